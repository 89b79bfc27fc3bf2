//! The client over TLS: Python's `ssl` (OpenSSL) ends it, and tungstenite serves behind.

mod support;

use std::net::TcpStream;

use serde_json::Value;
use support::terminator::Terminator;
use support::{Ended, Foreign, echo, foreign_server, run};
use tungstenite::{Message, WebSocket};

const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

/// A sound echo server behind TLS.
fn echo_behind_tls(args: &[&str]) -> (Foreign<(u64, Option<u16>)>, Terminator) {
    let server = foreign_server(echo);
    let tls = Terminator::start(server.address, args);
    (server, tls)
}

fn run_trusting(tls: &Terminator, command: &str, more: &[&str]) -> Ended {
    run(&[&[command, &tls.url, "--ca", &tls.certificate()], more].concat())
}

const SHORT_ECHO: [&str; 8] =
    ["--connections", "2", "--in-flight", "8", "--for", "400ms", "--warmup", "100ms"];

fn is_resumed(line: &Value) -> bool {
    line["resumed"] == true
}

#[test]
fn every_size_of_message_comes_back() {
    // Below, at and above a record's 16 KiB; one that fills a socket buffer many times over.
    for size in ["0", "64", "16384", "70000", "1000000"] {
        let (server, tls) = echo_behind_tls(&[]);
        let ended = run_trusting(&tls, "echo", &[&SHORT_ECHO[..], &["--size", size]].concat());
        assert_eq!(ended.code, 0, "{size} bytes: {} {}", ended.report, ended.errors);
        let served = server.ended(2);
        assert!(served.iter().all(|(_, code)| *code == Some(1000)), "{served:?}");
        let messages: u64 = served.iter().map(|(messages, _)| messages).sum();
        assert!(messages > 0 && ended.count("answered") <= messages, "{size} bytes: {}", ended.report);
    }
}

#[test]
fn only_the_cipher_suite_that_was_asked_for_is_spoken() {
    for (version, suite, theirs) in [
        ("1.3", CIPHER, CIPHER),
        ("1.3", "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
        ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ] {
        let (_server, tls) = echo_behind_tls(&["--version", version]);
        let ended = run_trusting(&tls, "storm", &["--count", "3", "--cipher", suite]);
        assert_eq!(ended.code, 0, "{suite}: {} {}", ended.report, ended.errors);
        for line in tls.ended(3) {
            assert_eq!(
                (line["version"].as_str(), line["cipher"].as_str()),
                (Some(&*format!("TLSv{version}")), Some(theirs))
            );
        }
    }
}

#[test]
fn handshakes_are_full_unless_sessions_are_resumed() {
    let (_server, tls) = echo_behind_tls(&[]);
    let ended = run_trusting(&tls, "storm", &["--count", "20", "--concurrency", "4"]);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    assert_eq!((ended.count("handshakes_full"), ended.count("handshakes_resumed")), (20, 0));
    assert!(!tls.ended(20).iter().any(is_resumed));

    let ended = run_trusting(&tls, "storm", &["--count", "200", "--concurrency", "20", "--resume"]);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    // The server's count, and ours of the same.
    let resumed = u64::try_from(tls.ended(200).iter().filter(|line| is_resumed(line)).count()).unwrap();
    assert_eq!((ended.count("handshakes_resumed"), ended.count("handshakes_full")), (resumed, 200 - resumed));
    // The first of each place has no ticket yet; a session that a server ends late may have given none either.
    assert!(resumed >= 150, "{resumed} of 200");
}

#[test]
fn handshakes_are_made_for_their_own_sake() {
    let (server, tls) = echo_behind_tls(&[]);
    let ended = run_trusting(&tls, "storm", &["--count", "100", "--handshake-only", "--resume"]);
    assert_eq!((ended.code, ended.count("answered")), (0, 100), "{} {}", ended.report, ended.errors);
    let resumed = u64::try_from(tls.ended(100).iter().filter(|line| is_resumed(line)).count()).unwrap();
    assert_eq!(ended.count("handshakes_resumed"), resumed);
    assert!(resumed > 0);
    // Nobody has spoken to the server behind.
    assert!(server.is_untouched());
}

#[test]
fn counts_lost_and_corrupted_messages_through_tls() {
    let server = foreign_server(|mut socket: WebSocket<TcpStream>| {
        let (mut number, mut lost, mut corrupted) = (0_u64, 0_u64, 0_u64);
        while let Ok(message) = socket.read() {
            let Message::Binary(payload) = message else { continue };
            let mut payload = payload.to_vec();
            number += 1;
            if number % 50 == 0 {
                lost += 1;
                continue;
            }
            if number % 30 == 0 {
                corrupted += 1;
                *payload.last_mut().unwrap() ^= 1;
            }
            // The client may have gone; then the messages read next end the loop.
            let _ = socket.send(Message::binary(payload));
        }
        (lost, corrupted)
    });
    let tls = Terminator::start(server.address, &[]);
    let ended = run_trusting(&tls, "echo", &SHORT_ECHO);
    let planted =
        server.ended(2).into_iter().fold((0, 0), |sum, (lost, corrupted)| (sum.0 + lost, sum.1 + corrupted));
    assert!(planted.0 > 0 && planted.1 > 0);
    assert_eq!(
        (ended.code, (ended.count("lost"), ended.count("corrupted"))),
        (1, planted),
        "{}",
        ended.report
    );
}

#[test]
fn idle_connections_are_held_over_tls() {
    let (server, tls) = echo_behind_tls(&[]);
    let ended = run_trusting(&tls, "idle", &["--connections", "50", "--for", "200ms"]);
    assert_eq!((ended.code, ended.count("held")), (0, 50), "{} {}", ended.report, ended.errors);
    assert!(server.ended(50).iter().all(|session| *session == (1, Some(1000))));
}

#[test]
fn a_missing_close_notify_is_told_of() {
    for (args, truncated) in [(&[][..], 0), (&["--cut"][..], 5)] {
        let (_server, tls) = echo_behind_tls(args);
        let ended = run_trusting(&tls, "storm", &["--count", "5"]);
        assert_eq!(
            (ended.code, ended.count("truncated")),
            (0, truncated),
            "{} {}",
            ended.report,
            ended.errors
        );
    }
}

#[test]
fn a_connection_that_is_cut_off_has_failed() {
    let server = foreign_server(|mut socket: WebSocket<TcpStream>| socket.read().map(|_| ()));
    let tls = Terminator::start(server.address, &["--cut"]);
    let ended = run_trusting(&tls, "storm", &["--count", "2"]);
    assert_eq!(ended.code, 1);
    let reason = "cut off without a close_notify while the connection was open";
    assert_eq!(ended.failures(reason), 2, "{}", ended.report);
}

#[test]
fn who_has_not_proved_itself_is_not_measured() {
    let (_server, tls) = echo_behind_tls(&[]);
    let (_other_server, other) = echo_behind_tls(&[]);
    let (by_another_name, certificate) = (tls.url_of_another_name(), tls.certificate());
    for (url, ca, reason) in [
        (&tls.url, &other.certificate(), "invalid peer certificate"),
        (&by_another_name, &certificate, "certificate not valid for name"),
    ] {
        let ended = run(&["echo", url, "--ca", ca, "--for", "100ms"]);
        assert_eq!(ended.code, 2, "{}", ended.report);
        assert!(ended.errors.contains(reason), "{}", ended.errors);
    }
    let ended = run(&["echo", &by_another_name, "--insecure", "--for", "100ms", "--warmup", "0s"]);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
}

#[test]
fn says_what_it_wants_to_know() {
    let (server, tls) = echo_behind_tls(&[]);
    for (args, sentence) in [
        (&["echo", &tls.url][..], "needs --ca FILE, or --insecure"),
        (&["echo", &tls.url, "--ca", "/nowhere.pem"], "cannot read certificates from /nowhere.pem"),
        (&["echo", &server.url, "--insecure"], "the target must be wss://"),
        (&["storm", &server.url, "--resume"], "the target must be wss://"),
        (&["storm", &server.url, "--handshake-only"], "the target must be wss://"),
    ] {
        let ended = run(args);
        assert_eq!(ended.code, 2, "{args:?}");
        assert!(ended.errors.contains(sentence), "{args:?}: {}", ended.errors);
    }
}

#[test]
fn a_plain_server_is_no_tls_server() {
    let server = foreign_server(echo);
    let url = server.url.replace("ws://", "wss://");
    let ended = run(&["echo", &url, "--insecure", "--connections", "1", "--timeout", "2s"]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("in the TLS handshake"), "{}", ended.errors);
}
