//! The Python library `websockets` at both ends: what those who come from a Python proxy have.
#![cfg(feature = "runtime")]

mod support;

use rustix::process::Signal;
use support::BACKEND_LOST;
use support::proxy::Proxy;
use support::python::Script;

/// A server, and its URL.
fn serve() -> (Script, String) {
    let server = Script::start("server.py", &[]);
    let url = format!("ws://127.0.0.1:{}", server.line());
    (server, url)
}

/// Has a client go through a scenario of `client.py`, through a proxy to a server.
fn play(scenario: &str) {
    let (_server, url) = serve();
    let proxy = Proxy::start(&[], &[&url]);
    Script::start("client.py", &[scenario, &format!("ws://{}", proxy.address)]).expect_success();
}

#[test]
fn compressed_and_plain_messages_come_back() {
    play("compression");
}

#[test]
fn large_messages_come_back() {
    play("large");
}

#[test]
fn fragmented_messages_come_back_whole() {
    play("fragments");
}

#[test]
fn pings_are_answered_both_ways() {
    play("pings");
}

#[test]
fn subprotocols_are_negotiated() {
    play("subprotocols");
}

#[test]
fn headers_arrive() {
    play("headers");
}

#[test]
fn close_codes_and_reasons_pass_both_ways() {
    play("closes");
}

#[test]
fn a_refusal_with_its_body_reaches_the_client() {
    play("refused");
}

#[test]
fn fifty_clients_at_once_are_served_by_two_servers() {
    let ((_one, first), (_other, second)) = (serve(), serve());
    let mut proxy = Proxy::start(&["--cores", "all"], &[&first, &second]);
    Script::start("client.py", &["crowd", &format!("ws://{}", proxy.address)]).expect_success();
    let backends: Vec<_> = (0..50).map(|_| proxy.session().get("backend")).collect();
    assert!(backends.contains(&first) && backends.contains(&second));
}

#[test]
fn a_client_whose_server_is_killed_gets_a_close_and_reconnects_to_another() {
    let ((_one, first), (_other, second)) = (serve(), serve());
    let proxy = Proxy::start(&[], &[&first, &second]);
    let arguments = ["survive", &format!("ws://{}", proxy.address), &BACKEND_LOST.to_string()];
    Script::start("client.py", &arguments).expect_success();
}

#[test]
fn a_drain_closes_client_and_server_properly() {
    let (_server, url) = serve();
    let mut proxy = Proxy::start(&["--drain-window", "1ms"], &[&url]);
    let client = Script::start("client.py", &["drained", &format!("ws://{}", proxy.address)]);
    assert_eq!(client.line(), "ready");
    proxy.signal(Signal::TERM);
    client.expect_success();
    let ended = proxy.ended();
    assert_eq!((ended.code, ended.last().number("drained"), ended.last().number("cut")), (Some(0), 1, 0));
}
