//! How sessions end: closing handshakes, half-closes, vanished peers, timeouts; and that nothing stays behind.
#![cfg(feature = "runtime")]

mod support;

use std::time::Duration;

use support::backend::{Backend, Stage};
use support::frames::{BINARY, CLOSE, TEXT, client_frame, close_payload, payload, server_frame};
use support::proxy::Proxy;
use support::raw::Ending;
use support::witness::Witness;
use support::ws::{expect_close, expect_echo, text};
use support::{has_waited, now};
use tungstenite::protocol::CloseFrame;

fn words(side: &str, why: &str, code: impl Into<Option<u16>>) -> (String, String, Option<u16>) {
    (side.to_owned(), why.to_owned(), code.into())
}

/// Close payloads that may stand on the wire (RFC 6455 §7.4, the IANA registry).
fn close_payloads() -> Vec<(Vec<u8>, Option<u16>)> {
    let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999];
    let longest = "é".repeat(61) + "!";
    let mut payloads: Vec<_> = codes.map(|code| (close_payload(code, "why not"), Some(code))).into();
    payloads.extend([(Vec::new(), None), (close_payload(4000, &longest), Some(4000))]);
    payloads
}

#[test]
fn a_clients_close_passes_with_its_code_and_reason_and_so_does_the_answer() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    for (payload, code) in close_payloads() {
        let (mut client, mut backend) = stage.open(&proxy);
        let close = client_frame(CLOSE, true, &payload);
        client.send(&close);
        assert_eq!(backend.exactly(close.len()), close);
        let answer = server_frame(CLOSE, true, &payload);
        backend.send(&answer);
        assert_eq!(client.exactly(answer.len()), answer);
        // §7.1.1: the server closes first; so we do toward the client, and wait for the backend to.
        client.expect_fin();
        assert!(backend.is_quiet());
        backend.finish();
        backend.expect_fin();
        assert_eq!(proxy.session().end(), words("client", "closed", code));
    }
}

#[test]
fn a_backends_close_passes_with_its_code_and_reason_and_so_does_the_answer() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    for (payload, code) in close_payloads() {
        let (mut client, mut backend) = stage.open(&proxy);
        let close = server_frame(CLOSE, true, &payload);
        backend.send(&close);
        assert_eq!(client.exactly(close.len()), close);
        let answer = client_frame(CLOSE, true, &payload);
        client.send(&answer);
        assert_eq!(backend.exactly(answer.len()), answer);
        client.expect_fin();
        backend.finish();
        backend.expect_fin();
        assert_eq!(proxy.session().end(), words("backend", "closed", code));
    }
}

#[test]
fn foreign_libraries_close_through_the_proxy_as_they_would_directly() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.connect();
    expect_echo(&mut client, &text("hello"));
    client.close(Some(CloseFrame { code: 4001.into(), reason: "enough".into() })).unwrap();
    assert_eq!(expect_close(&mut client), (4001, "enough".to_owned()));
    let line = proxy.session();
    assert_eq!(line.end(), words("client", "closed", 4001));
    assert_eq!(line.get("cut"), "false");
}

#[test]
fn closes_that_cross_count_as_answers_to_each_other() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    client.send(&client_frame(CLOSE, true, &close_payload(4001, "client")));
    backend.send(&server_frame(CLOSE, true, &close_payload(4002, "backend")));
    backend.finish();
    assert_eq!(client.expect_close_and_fin(), (4002, "backend".to_owned()));
    assert_eq!(backend.frame().close(), (4001, "client".to_owned()));
    backend.expect_fin();
    assert_eq!(proxy.session().get("cut"), "false");
}

#[test]
fn nothing_that_follows_a_close_passes() {
    // RFC 6455 §5.5.1: the application MUST NOT send any more data frames after sending a Close frame.
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut witness = Witness::new(&proxy, &stage);
    let (mut client, mut backend) = stage.open(&proxy);
    let close = client_frame(CLOSE, true, &close_payload(1000, ""));
    client.send(&[&close, &*client_frame(TEXT, true, b"too late")].concat());
    client.send(&payload(1000));
    assert_eq!(backend.exactly(close.len()), close);
    witness.wait();
    backend.send(&server_frame(CLOSE, true, &close_payload(1000, "")));
    backend.finish();
    backend.expect_fin();
}

#[test]
fn what_a_backend_still_says_to_a_closing_client_reaches_it() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    client.send(&client_frame(CLOSE, true, &close_payload(1000, "")));
    assert!(backend.frame().is_close());
    backend.send(&server_frame(TEXT, true, b"one last thing"));
    backend.send(&server_frame(CLOSE, true, &close_payload(1000, "")));
    assert_eq!(client.frame().payload, b"one last thing");
    assert_eq!(client.expect_close_and_fin().0, 1000);
}

#[test]
fn a_half_closed_client_is_served_to_the_end() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let question = client_frame(TEXT, true, b"tell me all");
    client.send(&question);
    client.finish();
    let (bytes, ending) = backend.rest();
    assert_eq!((bytes, ending), (question, Ending::Fin));
    for n in 0..10 {
        backend.send(&server_frame(BINARY, true, &payload(n * 1000)));
        assert!(client.frame().payload == payload(n * 1000));
    }
    backend.send(&server_frame(CLOSE, true, &close_payload(1000, "all told")));
    backend.finish();
    assert_eq!(client.expect_close_and_fin(), (1000, "all told".to_owned()));
    assert_eq!(proxy.session().end(), words("client", "vanished", None));
}

#[test]
fn the_end_of_a_client_reaches_its_backend_whatever_it_was_in() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    let frame = client_frame(BINARY, true, &payload(1000));
    for sent in [0, frame.len() / 2, frame.len()] {
        for is_reset in [false, true] {
            let (mut client, mut backend) = stage.open(&proxy);
            client.send(&frame[..sent]);
            assert_eq!(backend.exactly(sent), &frame[..sent]);
            if is_reset {
                client.reset()
            } else {
                drop(client)
            }
            backend.expect_fin();
            backend.finish();
            assert_eq!(proxy.session().end(), words("client", "vanished", None));
        }
    }
}

#[test]
fn a_close_that_is_not_answered_in_time_is_cut() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&["--close-timeout", "300ms"], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let begun = now();
    client.send(&client_frame(CLOSE, true, &close_payload(1000, "")));
    client.expect_fin();
    assert!(has_waited(begun, Duration::from_millis(300)));
    assert!(backend.frame().is_close());
    backend.expect_fin();
    let line = proxy.session();
    assert_eq!((line.end(), line.get("cut")), (words("client", "closed", 1000), "true".to_owned()));
}

#[test]
fn a_backend_that_has_closed_but_keeps_its_connection_does_not_keep_ours() {
    let stage = Stage::new();
    let proxy = Proxy::start(&["--close-timeout", "300ms"], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    client.send(&client_frame(CLOSE, true, &close_payload(1000, "")));
    assert!(backend.frame().is_close());
    backend.send(&server_frame(CLOSE, true, &close_payload(1000, "")));
    assert_eq!(client.expect_close_and_fin().0, 1000);
    // And does not close.
    backend.expect_fin();
}

#[test]
fn an_idle_session_gets_1001_on_both_sides() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&["--idle-timeout", "300ms"], &[&stage.url()]);
    let begun = now();
    let (mut client, mut backend) = stage.open(&proxy);
    let close = backend.frame();
    assert!(has_waited(begun, Duration::from_millis(300)));
    assert!(close.is_masked);
    assert_eq!(close.close(), (1001, "idle timeout".to_owned()));
    backend.send(&server_frame(CLOSE, true, &close_payload(1001, "")));
    backend.finish();
    backend.expect_fin();
    assert_eq!(client.frame().close(), (1001, "idle timeout".to_owned()));
    client.send(&client_frame(CLOSE, true, &close_payload(1001, "")));
    client.expect_fin();
    let line = proxy.session();
    assert_eq!((line.end(), line.get("cut")), (words("proxy", "idle", 1001), "false".to_owned()));
}

#[test]
fn traffic_one_way_is_enough_not_to_be_idle() {
    let stage = Stage::new();
    let proxy = Proxy::start(&["--idle-timeout", "2s"], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let begun = now();
    while begun.elapsed() < Duration::from_secs(3) {
        client.send(&client_frame(TEXT, true, b"still here"));
        assert_eq!(backend.frame().payload, b"still here");
        backend.expect_silence(Duration::from_millis(100));
    }
}
