//! Faults that are planted are found, each as what it is and as often as it was planted; and what a server keeps its
//! users waiting for shows, unless one waits with it.

mod support;

use std::collections::BTreeMap;

use support::{Ended, Served, run};
use tungstenite::{Error, Message};

/// What a faulty server says at its end.
fn planted(server: Served) -> BTreeMap<String, u64> {
    let said = server.end();
    let line = |line: &str| {
        let (what, count) = line.split_once(' ').expect("what, and how often");
        (what.to_owned(), count.parse().expect("a number"))
    };
    said.lines().map(line).collect()
}

/// A run of a second and a half on four connections of two threads, without warm-up so that nothing is left out.
fn run_echo(server: &Served, more: &[&str]) -> Ended {
    let url = format!("ws://{}/", server.address);
    let args = ["echo", &url, "--connections", "4", "--threads", "2", "--for", "1500ms", "--warmup", "0s"];
    run(&[&args, more].concat())
}

#[test]
fn every_fault_is_found_as_what_it_is() {
    let faults = [
        ("drop", "dropped", "lost"),
        ("duplicate", "duplicated", "duplicated"),
        ("swap", "swapped", "reordered"),
        ("corrupt", "corrupted", "corrupted"),
        ("misroute", "misrouted", "misrouted"),
    ];
    for load in [["--rate", "2000/s"], ["--in-flight", "8"]] {
        for (option, done, found) in faults {
            let server = Served::start("faulty", &[&format!("--{option}"), "100"]);
            let ended = run_echo(&server, &[&["--size", "64:50%,200:50%"], load.as_slice()].concat());
            let planted = planted(server);
            assert_eq!(ended.code, 1, "{option}: {} {}", ended.report, ended.errors);
            assert!(planted[done] > 5, "{option}: {planted:?}");
            for other in ["lost", "duplicated", "reordered", "corrupted", "misrouted"] {
                // A message that waits for the next to go first, and is the last, is dropped.
                let expected = if other == found { planted[done] } else { 0 };
                let expected =
                    expected + if other == "lost" && option != "drop" { planted["dropped"] } else { 0 };
                assert_eq!(ended.count(other), expected, "{option}, {other}: {planted:?} {}", ended.report);
            }
            let intervals = ended.report["intervals"].as_array().unwrap();
            let errors: u64 = intervals.iter().map(|interval| interval["errors"].as_u64().unwrap()).sum();
            assert!(errors > 0 && errors <= planted[done], "{option}: {planted:?} {}", ended.report);
        }
    }
}

#[test]
fn early_closes_are_tabulated_by_code() {
    let server = Served::start("faulty", &["--close", "500", "--close-code", "4321"]);
    let ended = run_echo(&server, &["--rate", "2000/s"]);
    let planted = planted(server);
    assert_eq!(ended.code, 1, "{} {}", ended.report, ended.errors);
    assert!((1..=4).contains(&planted["closed"]), "{planted:?}");
    assert_eq!(ended.report["closes"]["4321"], planted["closed"], "{}", ended.report);
    assert_eq!(ended.failures("closed by the server with code 4321"), planted["closed"]);
}

#[test]
fn clients_that_come_back_find_every_early_close() {
    let server = Served::start("faulty", &["--close", "200"]);
    let ended = run_echo(&server, &["--reconnect", "--in-flight", "4"]);
    let planted = planted(server);
    assert_eq!(ended.code, 1, "{} {}", ended.report, ended.errors);
    // More than there were connections at first.
    assert!(planted["closed"] > 4, "{planted:?}");
    assert_eq!(ended.report["closes"]["1011"], planted["closed"], "{}", ended.report);
    assert!(ended.count("lost") >= planted["closed"], "{planted:?} {}", ended.report);
}

#[test]
fn a_stall_shows_in_corrected_times_and_hides_from_a_closed_loop() {
    let run_echo = |more: &[&str]| {
        let server = Served::start("faulty", &["--stall", "200ms", "--stall-every", "1s"]);
        let url = format!("ws://{}/", server.address);
        let ended = run(&[&["echo", &url, "--for", "4s", "--warmup", "0s"], more].concat());
        assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
        ended
    };
    let millis = |ended: &Ended, which: &str, percentile: &str| {
        ended.report["latency"][which][percentile].as_f64().unwrap() / 1e3
    };
    let shows = |ended: &Ended, which| {
        let times = ["p99", "p999"].map(|percentile| millis(ended, which, percentile));
        assert!(times.iter().all(|time| (150.0..500.0).contains(time)), "{times:?} {}", ended.report);
    };
    // Of messages due evenly, a fifth are due while it stands still, and of those a twentieth in its first 10 ms.
    shows(&run_echo(&["--rate", "500/s", "--connections", "4"]), "corrected");
    // One at a time leaves late: counted from when it left, the stall is hidden; from when it was due, it is not.
    let late = run_echo(&["--rate", "500/s", "--connections", "4", "--in-flight", "1"]);
    shows(&late, "corrected");
    assert!(millis(&late, "uncorrected", "p99") < millis(&late, "corrected", "p99") / 2.0, "{}", late.report);
    // A closed loop waits with the server: of all its messages 4 are slow, and they are fewer than one in a thousand.
    let closed = run_echo(&["--in-flight", "1", "--connections", "1"]);
    assert!(closed.count("answered") > 5_000, "{}", closed.report);
    assert!(millis(&closed, "uncorrected", "p999") < 100.0, "{}", closed.report);
    assert!(closed.report["latency"].get("corrected").is_none(), "{}", closed.report);
}

#[test]
fn a_faulty_server_is_a_websocket_server() {
    let server = Served::start("faulty", &["--drop", "3"]);
    let mut socket = server.connect();
    for size in [0, 125, 126, 70_000] {
        let text = "x".repeat(size);
        socket.send(Message::text(text.clone())).unwrap();
        if size != 126 {
            assert_eq!(socket.read().unwrap(), Message::text(text));
        }
    }
    socket.send(Message::Ping("there?".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("there?".into()));
    socket.close(None).unwrap();
    assert!(matches!(socket.read(), Ok(Message::Close(None))));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    let planted = planted(server);
    assert_eq!((planted["heard"], planted["dropped"]), (4, 1));
}
