//! The open loop: messages leave when they are due, whatever the server does.

mod support;

use support::{Served, echo, foreign_server, run};

#[test]
fn keeps_to_the_rate() {
    let server = Served::start("echo", &[]);
    let url = format!("ws://{}/", server.address);
    for (connections, rate) in [("1", "500/s"), ("50", "2000/s"), ("7", "33/s")] {
        let args = ["--connections", connections, "--rate", rate, "--warmup", "200ms", "--for", "2s"];
        let ended = run(&[&["echo", &url], args.as_slice()].concat());
        assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
        let asked: f64 = rate.trim_end_matches("/s").parse().unwrap();
        for what in ["intended", "sent", "answered"] {
            // What the server held at either end of the measured time may be more or less, and on a busy machine is.
            let per_second = f64::from(u32::try_from(ended.count(what)).unwrap()) / ended.seconds();
            let off = (per_second / asked - 1.0).abs();
            assert!(off < if what == "intended" { 0.01 } else { 0.05 }, "{what}: {per_second} of {rate}");
        }
        assert!(ended.samples("latency/corrected") > 0 && ended.samples("latency/uncorrected") > 0);
    }
}

#[test]
fn sends_text_that_a_foreign_server_takes_for_one() {
    for size in ["5", "24", "200", "30:50%,70000:50%"] {
        // tungstenite fails what is not UTF-8.
        let server = foreign_server(echo);
        let args = ["--connections", "2", "--rate", "100/s", "--warmup", "0s", "--for", "300ms", "--text"];
        let ended = run(&[&["echo", &server.url, "--size", size], args.as_slice()].concat());
        assert_eq!(ended.code, 0, "{size}: {} {}", ended.report, ended.errors);
        let messages: u64 = server.ended(2).iter().map(|(messages, _)| messages).sum();
        assert!(messages >= ended.count("answered") && ended.count("answered") > 10, "{}", ended.report);
    }
}

#[test]
fn a_rate_that_is_too_high_leaves_messages_behind() {
    let server = Served::start("echo", &[]);
    let args =
        ["--connections", "2", "--rate", "1000k/s", "--in-flight", "2", "--warmup", "0s", "--for", "1s"];
    let ended = run(&[&["echo", &format!("ws://{}/", server.address)], args.as_slice()].concat());
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    assert!(ended.count("intended") > ended.count("sent"), "{}", ended.report);
    let p50 = |which: &str| ended.report["latency"][which]["p50"].as_f64().unwrap();
    assert!(p50("corrected") > 10.0 * p50("uncorrected"), "{}", ended.report);
    assert!(ended.report["warnings"].to_string().contains("saturated"), "{}", ended.report);
}
