//! Signals: how a proxy goes down without breaking what its peers have under way, and how it says how it is.
#![cfg(feature = "runtime")]

mod support;

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use support::backend::{Backend, Stage};
use support::frames::{
    BINARY, CLOSE, CONTINUATION, TEXT, client_frame, close_payload, payload, server_frame,
};
use support::http::{switching, upgrade_request};
use support::proxy::{Ended, Proxy};
use support::raw::Raw;
use support::witness::Witness;
use support::ws::{expect_close, expect_echo, text};
use support::{eventually, nobody, now};

/// All sessions at once.
const AT_ONCE: [&str; 2] = ["--drain-window", "1ms"];

fn going_away() -> (u16, String) {
    (1001, "going away".to_owned())
}

/// That it ended as it should, with these numbers in its last line.
fn expect_clean(ended: &Ended, numbers: &[(&str, u64)]) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for (name, number) in numbers {
        assert_eq!(ended.last().number(name), *number, "{name} in {:?}", ended.last());
    }
}

#[test]
fn a_drain_closes_both_sides_with_1001_awaits_the_echoes_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = Stage::new();
        let mut proxy = Proxy::start(&AT_ONCE, &[&stage.url()]);
        let (mut client, mut backend) = stage.open(&proxy);
        proxy.signal(signal);
        let close = client.frame();
        assert_eq!((close.close(), close.is_masked), (going_away(), false));
        let close = backend.frame();
        assert_eq!((close.close(), close.is_masked), (going_away(), true));
        // Neither has answered, so neither is let go.
        assert!(client.is_quiet() && backend.is_quiet());
        client.send(&client_frame(CLOSE, true, &close.payload));
        client.expect_fin();
        backend.send(&server_frame(CLOSE, true, &close.payload));
        backend.finish();
        backend.expect_fin();
        let ended = proxy.ended();
        expect_clean(&ended, &[("sessions", 1), ("drained", 1), ("cut", 0), ("faults", 0)]);
        let session = ended.lines.iter().find(|line| line.is("session ended")).unwrap();
        assert_eq!(session.end(), ("proxy".to_owned(), "drained".to_owned(), Some(1001)));
    }
}

#[test]
fn a_drain_waits_for_the_end_of_a_clients_message() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&AT_ONCE, &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let fragments = [
        client_frame(TEXT, false, b"frag"),
        client_frame(CONTINUATION, false, &payload(1000)),
        client_frame(CONTINUATION, true, b"ment"),
    ];
    let last_but_a_byte = fragments[1].len() - 1;
    client.send(&fragments[0]);
    client.send(&fragments[1][..last_but_a_byte]);
    assert_eq!(backend.exactly(fragments[0].len()), fragments[0]);
    proxy.signal(Signal::TERM);
    // Toward the client nothing is in progress.
    assert_eq!(client.frame().close(), going_away());
    client.send(&fragments[1][last_but_a_byte..]);
    assert_eq!(backend.exactly(fragments[1].len()), fragments[1]);
    // At the end of a frame, but not of the message.
    client.send(&fragments[2]);
    assert_eq!(backend.exactly(fragments[2].len()), fragments[2]);
    assert_eq!(backend.leave(server_frame), going_away());
    client.send(&client_frame(CLOSE, true, &close_payload(1001, "")));
    client.expect_fin();
    expect_clean(&proxy.ended(), &[("drained", 1), ("cut", 0)]);
}

#[test]
fn a_drain_waits_for_the_end_of_a_backends_message() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&AT_ONCE, &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let (first, last) = (server_frame(BINARY, false, b"one"), server_frame(CONTINUATION, true, b"two"));
    backend.send(&first);
    assert_eq!(client.exactly(first.len()), first);
    proxy.signal(Signal::TERM);
    assert_eq!(backend.frame().close(), going_away());
    backend.send(&last);
    assert_eq!(client.exactly(last.len()), last);
    assert_eq!(client.leave(client_frame), going_away());
    backend.send(&server_frame(CLOSE, true, &close_payload(1001, "")));
    backend.finish();
    backend.expect_fin();
    expect_clean(&proxy.ended(), &[("drained", 1), ("cut", 0)]);
}

#[test]
fn a_message_that_does_not_end_gets_its_close_between_two_frames() {
    let stage = Stage::new();
    let flags = [&AT_ONCE[..], &["--close-timeout", "2s"]].concat();
    let mut proxy = Proxy::start(&flags, &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let first = client_frame(TEXT, false, b"and then");
    client.send(&first);
    assert_eq!(backend.exactly(first.len()), first);
    proxy.signal(Signal::TERM);
    // After half of the close timeout, with half of it left to answer.
    assert_eq!(backend.leave(server_frame), going_away());
    assert_eq!(client.leave(client_frame), going_away());
    expect_clean(&proxy.ended(), &[("sessions", 1), ("drained", 1), ("cut", 0)]);
}

#[test]
fn peers_that_do_not_answer_are_cut_at_the_deadline_and_counted() {
    let stage = Stage::new();
    let flags = [&AT_ONCE[..], &["--close-timeout", "300ms"]].concat();
    let mut proxy = Proxy::start(&flags, &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    proxy.signal(Signal::TERM);
    assert_eq!(client.expect_close_and_fin(), going_away());
    assert_eq!(backend.expect_close_and_fin(), going_away());
    expect_clean(&proxy.ended(), &[("sessions", 1), ("drained", 0), ("cut", 1)]);
}

/// Two sessions, one of them inside a frame, and a second signal before either has ended.
#[expect(clippy::indexing_slicing, reason = "the frame is longer than that")]
fn expect_two_cuts(drain_window: &str, wait: impl Fn(&mut Raw)) {
    let stage = Stage::new();
    let flags = ["--drain-window", drain_window, "--close-timeout", "1h"];
    let mut proxy = Proxy::start(&flags, &[&stage.url()]);
    let (mut idle_client, _idle_backend) = stage.open(&proxy);
    let (mut client, mut backend) = stage.open(&proxy);
    let half = &server_frame(BINARY, true, &payload(1000))[..500];
    backend.send(half);
    assert_eq!(client.exactly(half.len()), half);
    proxy.signal(Signal::TERM);
    // The first signal has been heard when nobody listens any more.
    eventually("it has stopped to accept", || TcpStream::connect(&proxy.address).is_err());
    wait(&mut idle_client);
    proxy.signal(Signal::INT);
    // No Close inside a frame, nor a second one.
    assert_eq!(client.rest().0.len(), 0);
    assert_eq!(idle_client.rest().0.len(), 0);
    let ended = proxy.ended();
    expect_clean(&ended, &[("sessions", 2), ("cut", 2), ("drained", 0)]);
    assert_eq!(ended.lines.iter().filter(|line| line.is("session ended")).count(), 2);
}

#[test]
fn a_second_signal_cuts_sessions_that_have_not_answered_their_close() {
    expect_two_cuts("1ms", |client| assert_eq!(client.frame().close(), going_away()));
}

#[test]
fn a_second_signal_cuts_sessions_whose_close_was_still_to_come() {
    expect_two_cuts("1h", |_| {});
}

#[test]
fn a_proxy_without_sessions_ends_at_once() {
    let flags = ["--drain-window", "1h", "--close-timeout", "1h", "--cores", "all"];
    let mut proxy = Proxy::start(&flags, &[&format!("ws://{}", nobody())]);
    proxy.signal(Signal::TERM);
    expect_clean(&proxy.ended(), &[("sessions", 0)]);
}

#[test]
fn a_signal_right_after_the_start_drains_like_any_other() {
    let backend = format!("ws://{}", nobody());
    for _ in 0..20 {
        let mut proxy = Proxy::start(&[], &[&backend]);
        proxy.signal(Signal::TERM);
        expect_clean(&proxy.ended(), &[("sessions", 0)]);
    }
}

#[test]
fn a_client_in_its_handshake_is_told_503() {
    let stage = Stage::new();
    let proxy = Proxy::start(&AT_ONCE, &[&stage.url()]);
    let mut witness = Witness::new(&proxy, &stage);
    let (mut silent, mut speaking) = (proxy.dial(), proxy.dial());
    speaking.send(b"GET / HTTP/1.1\r\nHost: x\r\n");
    witness.wait();
    proxy.signal(Signal::TERM);
    for client in [&mut silent, &mut speaking] {
        let (head, body) = client.response();
        assert_eq!((head.status(), head.one("retry-after")), (503, "1"));
        assert!(String::from_utf8(body).unwrap().contains("shutting down"));
    }
}

#[test]
fn a_client_whose_backend_has_yet_to_answer_is_not_left_hanging() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&AT_ONCE, &[&stage.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut backend, _) = stage.request();
    proxy.signal(Signal::TERM);
    eventually("it has stopped to accept", || TcpStream::connect(&proxy.address).is_err());
    backend.send(&switching(&[]));
    // A session, but a short one.
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.leave(client_frame), going_away());
    assert_eq!(backend.leave(server_frame), going_away());
    expect_clean(&proxy.ended(), &[("sessions", 1), ("drained", 1), ("cut", 0)]);
}

#[test]
fn the_closes_of_a_drain_are_spread_over_its_window() {
    let backends = [Backend::echo(), Backend::echo()];
    let flags = ["--drain-window", "2s", "--cores", "all"];
    let mut proxy = Proxy::start(&flags, &[&backends[0].url(), &backends[1].url()]);
    let clients: Vec<_> = (0..40).map(|_| proxy.connect()).collect();
    let wait = |mut client| {
        thread::spawn(move || {
            assert_eq!(expect_close(&mut client), going_away());
            now()
        })
    };
    let closes: Vec<_> = clients.into_iter().map(wait).collect();
    proxy.signal(Signal::TERM);
    let mut at: Vec<_> = closes.into_iter().map(|close| close.join().unwrap()).collect();
    at.sort_unstable();
    // Forty even draws from two seconds that all fall into half of one: less likely than 10^-20.
    assert!(at[39] - at[0] > Duration::from_millis(500), "{:?}", at[39] - at[0]);
    expect_clean(&proxy.ended(), &[("sessions", 40), ("drained", 40), ("cut", 0)]);
}

#[test]
fn sessions_work_on_until_their_close() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&["--drain-window", "2s"], &[&backend.url()]);
    let mut client = proxy.connect();
    proxy.signal(Signal::TERM);
    eventually("it has stopped to accept", || TcpStream::connect(&proxy.address).is_err());
    let mut echoes = 0;
    while client.send(text("hello")).is_ok() && client.read().is_ok_and(|message| message.is_text()) {
        echoes += 1;
    }
    // Two seconds or a little of them; it would take much bad luck to draw a millisecond.
    assert!(echoes > 0);
    while client.read().is_ok() {}
    expect_clean(&proxy.ended(), &[("sessions", 1), ("drained", 1), ("cut", 0)]);
}

#[test]
fn sigusr1_says_how_it_is() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&["--cores", "all"], &[&backend.url(), &format!("ws://{}", nobody())]);
    let mut clients = [proxy.connect(), proxy.connect(), proxy.connect()];
    for client in &mut clients {
        for _ in 0..5 {
            expect_echo(client, &text("hello"));
        }
    }
    proxy.dial().send(b"GET / HTTP/1.0\r\n\r\n");
    let [gone, _two, _three] = &mut clients;
    gone.close(None).unwrap();
    while gone.read().is_ok() {}
    proxy.session();
    eventually("the refusal is counted", || proxy.counter("refused") == 1);
    let counters = proxy.counters();
    let all = counters.last().unwrap();
    assert_eq!(all.get("of"), "all shards");
    let names = ["sessions", "sessions_now", "messages_from_clients", "messages_from_backends", "accepted"];
    assert_eq!(names.map(|name| all.number(name)), [3, 2, 15, 15, 4]);
    // 11 bytes a masked "hello", 6 for the empty Close.
    assert_eq!(all.number("bytes_from_clients"), 15 * 11 + 6);
    let of_shards = counters.iter().filter(|line| line.get("of").starts_with("shard "));
    assert_eq!(of_shards.map(|line| line.number("sessions")).sum::<u64>(), 3);
    proxy.signal(Signal::USR1);
    assert_eq!(proxy.line("backends").number("backends"), 2);
}
