//! What load there can be beside the plain one, and how a run is watched and ended.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{DEADLINE, Ended, Served, echo, foreign_server, run, start};
use tungstenite::handshake::server::{Request, Response};

fn url(server: &Served) -> String {
    format!("ws://{}/", server.address)
}

fn per_second(ended: &Ended, what: &str) -> f64 {
    f64::from(u32::try_from(ended.count(what)).expect("not that many")) / ended.seconds()
}

#[test]
fn who_thinks_sends_less() {
    let server = Served::start("echo", &[]);
    let args = ["--connections", "2", "--in-flight", "3", "--think", "50ms", "--warmup", "0s", "--for", "2s"];
    let ended = run(&[&["echo", &url(&server)], args.as_slice()].concat());
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    // Six at once, and each again every 50 ms at the earliest.
    assert!((60..=246).contains(&ended.count("sent")), "{}", ended.report);
}

#[test]
fn slow_readers_are_no_part_of_what_is_measured() {
    let server = foreign_server(echo);
    let args = ["--connections", "2", "--slow", "2", "--size", "64KiB", "--in-flight", "2"];
    let times = ["--warmup", "0s", "--for", "1s"];
    let ended = run(&[&["echo", &server.url], args.as_slice(), &times].concat());
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    let mut served: Vec<u64> = server.ended(4).iter().map(|(messages, _)| *messages).collect();
    served.sort_unstable();
    let [slow, slower, fast, faster] = served.as_slice() else { unreachable!("{served:?}") };
    assert!(*slow > 0 && slower * 2 < *fast, "{served:?}");
    assert!((1..=fast + faster).contains(&ended.count("answered")), "{served:?} {}", ended.report);
    // Even so, all that was sent is what the fast ones sent.
    assert!(ended.count("sent") <= fast + faster, "{served:?} {}", ended.report);
}

#[test]
fn a_load_rises_before_it_is_measured() {
    let server = Served::start("echo", &[]);
    let args = ["--connections", "10", "--rate", "1k/s", "--ramp", "500ms", "--warmup", "0s", "--for", "1s"];
    let began = clock();
    let ended = run(&[&["echo", &url(&server)], args.as_slice()].concat());
    let took = clock().saturating_sub(began);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    assert!((per_second(&ended, "intended") / 1000.0 - 1.0).abs() < 0.01, "{}", ended.report);
    // The last of ten connections is due after 450 ms, and the rate rises for as long again.
    assert!(took > Duration::from_millis(1950), "{took:?}");
}

/// The machine's monotonic clock.
fn clock() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("there is one").into()
}

#[test]
fn a_storm_keeps_to_its_rate_and_counts_from_when_sessions_were_due() {
    let server = Served::start("faulty", &["--stall", "200ms", "--stall-every", "1s"]);
    let args = ["storm", &url(&server), "--per-second", "200/s", "--warmup", "0s", "--for", "3s"];
    for concurrency in [["--concurrency", "2"], ["--threads", "2"]] {
        let ended = run(&[&args, concurrency.as_slice()].concat());
        assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
        assert!((per_second(&ended, "intended") / 200.0 - 1.0).abs() < 0.01, "{}", ended.report);
        assert!(per_second(&ended, "answered") > 150.0, "{}", ended.report);
        // Those that may not begin during a stall are late by as much.
        assert!(ended.report["session"]["p90"].as_f64().expect("times") > 50_000.0, "{}", ended.report);
    }
}

#[test]
fn asks_for_a_subprotocol_and_sends_fields() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut chosen = "chat.v1";
            #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
            let answer = |request: &Request, mut response: Response| {
                let field = |name: &str| {
                    request.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
                };
                if field("x-choose").is_some() {
                    chosen = "unasked";
                }
                response.headers_mut().insert("sec-websocket-protocol", chosen.parse().expect("a value"));
                let _ = sender.send((field("sec-websocket-protocol"), field("authorization"), field("host")));
                Ok(response)
            };
            if let Ok(mut socket) = tungstenite::accept_hdr(stream, answer) {
                thread::spawn(move || {
                    while let Ok(message) = socket.read() {
                        if message.is_binary() {
                            let _ = socket.send(message);
                        }
                    }
                });
            }
        }
    });
    let url = format!("ws://{address}/");
    let asks =
        ["--subprotocol", "chat.v2", "--subprotocol", "chat.v1", "--header", "Authorization: Bearer x"];
    let times = ["--connections", "1", "--warmup", "0s", "--for", "100ms"];
    let ended = run(&[&["echo", &url, "--header", "host: elsewhere"], asks.as_slice(), &times].concat());
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    let expected = ["chat.v2, chat.v1", "Bearer x", "elsewhere"].map(|value| Some(value.to_owned()));
    assert_eq!(asked.recv_timeout(DEADLINE).expect("it connects"), expected.into());

    let storm = ["storm", &url, "--count", "3", "--header", "X-Choose: x"];
    let ended = run(&[&storm, asks.as_slice()].concat());
    let reason = "the upgrade was answered with a subprotocol that was not asked for";
    assert_eq!((ended.code, ended.failures(reason)), (1, 3), "{} {}", ended.report, ended.errors);
    assert_eq!(ended.report["refusals"][reason], 3, "{}", ended.report);
}

#[test]
fn refusals_are_tabulated_by_status() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let answers = [
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
        ];
        for (mut stream, answer) in listener.incoming().flatten().zip(answers.iter().cycle()) {
            let _ = Read::read(&mut stream, &mut [0; 4096]);
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let ended = run(&["storm", &format!("ws://{address}/"), "--count", "9"]);
    assert_eq!(ended.code, 1, "{} {}", ended.report, ended.errors);
    let refusals = &ended.report["refusals"];
    assert_eq!((&refusals["403"], &refusals["503"]), (&3.into(), &3.into()), "{}", ended.report);
    assert_eq!(refusals["the upgrade was answered with something other than HTTP"], 3, "{}", ended.report);
}

#[test]
fn a_run_shows_how_it_goes_and_ends_with_a_report_when_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let server = Served::start("echo", &[]);
        let args =
            ["--rate", "500/s", "--connections", "4", "--threads", "2", "--warmup", "0s", "--for", "600s"];
        let watch = ["--progress", "--interval", "100ms", "--json"];
        let mut child = start(&[&["echo", &url(&server)], args.as_slice(), &watch].concat());
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        for _ in 0..3 {
            let line = lines.next().expect("a line").expect("text");
            assert!(line.contains(" messages/s  p50 ") && line.ends_with(" 0 errors"), "{line:?}");
        }
        kill(Pid::from_raw(child.id().try_into().expect("an id")), signal).expect("it runs");
        let mut report = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut report).expect("text");
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{report}");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert!(report["totals"]["answered"].as_u64().expect("a count") > 50, "{report}");
        assert!(report["intervals"].as_array().expect("intervals").len() >= 3, "{report}");
        assert!(report["warnings"].to_string().contains("interrupted"), "{report}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    // A server that never answers a Close keeps a run waiting for its timeout.
    let server = Served::start("faulty", &["--drop", "1"]);
    let args = ["--connections", "1", "--warmup", "0s", "--for", "600s", "--progress", "--interval", "100ms"];
    let mut child = start(&[&["echo", &url(&server)], args.as_slice()].concat());
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    lines.next().expect("a line").expect("text");
    let pid = Pid::from_raw(child.id().try_into().expect("an id"));
    let began = clock();
    kill(pid, Signal::SIGINT).expect("it runs");
    // A signal that comes before the first is handled is the same one.
    while child.try_wait().expect("it is ours").is_none() {
        let _ = kill(pid, Signal::SIGINT);
        thread::yield_now();
    }
    assert!(clock().saturating_sub(began) < Duration::from_secs(4), "it waited for lost answers");
    assert_eq!(child.wait().expect("it ended").code(), Some(130));
}

#[test]
fn threads_are_pinned_where_they_are_told_to_be() {
    let server = Served::start("echo", &[]);
    let allowed = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let allowed = allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
    let first = allowed.trim().split(['-', ',']).next().expect("a core");
    let times = ["--connections", "4", "--warmup", "0s", "--for", "100ms"];
    let ended = run(&[&["echo", &url(&server), "--cores", "9999"], times.as_slice()].concat());
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("may not run on core 9999"), "{}", ended.errors);
    let args = ["--cores", first, "--connections", "4", "--for", "600s", "--progress", "--interval", "100ms"];
    let mut child = start(&[&["echo", &url(&server), "--warmup", "0s"], args.as_slice()].concat());
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    lines.next().expect("a line").expect("text");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("it runs");
    let statuses = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("status")));
    let load = statuses.flatten().find(|status| status.starts_with("Name:\tload 0\n")).expect("a thread");
    assert!(load.contains(&format!("Cpus_allowed_list:\t{first}\n")), "{load}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
