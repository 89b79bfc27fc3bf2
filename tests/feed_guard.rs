//! Who gets a feed, and what clients may say: by key in the first message, by the guards that every route has, by
//! pings; and how a drain ends it.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use support::fed::{Fed, hear};
use support::frames::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, client_frame, close_payload};
use support::http::{Head, upgrade_request};
use support::path::Directory;
use support::raw::Raw;
use support::site::Frame;
use support::ws::{expect_close, text};
use support::{has_waited, now};
use tungstenite::Message;

const KEY: &str = "s3cr3t-0123456789";

/// A feed for those who have the key in their first message, with these words more about how.
fn keyed(name: &str, more: &str) -> (Fed, Directory) {
    let keys = Directory::new(&format!("{name}-keys"));
    fs::write(keys.file("keys"), format!("everybody:{KEY}\n")).expect("the directory is ours");
    let auth = format!(
        "auth = {{ first_message = \"userKey\", keys_file = \"{}\"{more} }}\n",
        keys.argument("keys")
    );
    (Fed::routed(name, &auth, ""), keys)
}

/// A client behind its 101 that has said nothing yet.
fn upgraded(fed: &Fed) -> Raw {
    let mut client = fed.site.proxy.dial();
    client.send(&upgrade_request("/", &[]));
    assert_eq!(client.head().status(), 101);
    client
}

/// The answer to this request.
fn answer(fed: &Fed, request: &[u8]) -> Head {
    let mut client = fed.site.proxy.dial();
    client.send(request);
    client.head()
}

fn first_message(key: &str) -> String {
    json!({ "userKey": key, "other": [1, 2] }).to_string()
}

#[test]
fn a_key_in_the_first_message_lets_a_client_in() {
    let (mut fed, _keys) = keyed("guard-right", "");
    let message = first_message(KEY);
    let (begin, end) = message.split_at(10);
    let ways = [
        client_frame(TEXT, true, message.as_bytes()),
        [
            client_frame(TEXT, false, begin.as_bytes()),
            client_frame(PING, true, b"?"),
            client_frame(CONTINUATION, true, end.as_bytes()),
        ]
        .concat(),
    ];
    for (at, way) in ways.iter().enumerate() {
        let mut client = upgraded(&fed);
        client.send(way);
        if at == 1 {
            assert_eq!(client.frame().opcode, PONG);
        }
        fed.talk_to(&client.stream);
        assert_eq!(client.frame().opcode, TEXT);
    }
}

#[test]
fn without_a_good_first_message_a_client_is_told_nothing_and_closed_1008() {
    let (mut fed, _keys) = keyed("guard-wrong", "");
    let wrong = [
        client_frame(TEXT, true, first_message("wrong").as_bytes()),
        client_frame(TEXT, true, format!("{{\"key\":\"{KEY}\"}}").as_bytes()),
        client_frame(TEXT, true, b"{\"userKey\":17}"),
        client_frame(TEXT, true, format!("[\"{KEY}\"]").as_bytes()),
        client_frame(TEXT, true, KEY.as_bytes()),
        client_frame(TEXT, true, b""),
        client_frame(BINARY, true, b"\0\xff"),
    ];
    for frame in wrong {
        let mut client = upgraded(&fed);
        fed.vendor.says(["not for you"]);
        client.send(&frame);
        assert_eq!(client.leave(client_frame).0, 1008, "{}", frame.escape_ascii());
    }
    assert_eq!(fed.count("clients"), 0);
    fed.site.proxy.expect_never_logged(KEY);
}

#[test]
fn a_first_message_that_is_too_long_is_not_waited_for() {
    let (fed, _keys) = keyed("guard-long", "");
    let mut client = upgraded(&fed);
    let frame = client_frame(TEXT, true, format!("{{\"userKey\":\"{}\"}}", "x".repeat(1 << 20)).as_bytes());
    // It need not be read to its end.
    client.send(&frame[..100_000]);
    let (code, _) = client.frame().close();
    assert!([1008, 1009].contains(&code), "{code}");
}

#[test]
fn a_first_message_has_to_come_in_time() {
    let (fed, _keys) = keyed("guard-late", ", timeout = \"200ms\"");
    let begun = now();
    let mut silent = upgraded(&fed);
    let mut halting = upgraded(&fed);
    halting.send(&client_frame(TEXT, false, b"{"));
    halting.send(&client_frame(PING, true, b""));
    assert_eq!(halting.frame().opcode, PONG);
    for client in [&mut silent, &mut halting] {
        assert_eq!(client.leave(client_frame).0, 1008);
    }
    assert!(has_waited(begun, Duration::from_millis(200)));
}

#[test]
fn with_the_first_message_in_time_a_client_stays_beyond_it() {
    let (mut fed, _keys) = keyed("guard-stays", ", timeout = \"100ms\"");
    let mut client = fed.site.proxy.connect();
    client.send(text(&first_message(KEY))).unwrap();
    let begun = now();
    while begun.elapsed() < Duration::from_millis(300) {
        fed.talk_to(client.get_ref());
        hear(&mut client);
    }
}

#[test]
fn a_key_in_a_header_is_checked_before_the_upgrade() {
    let keys = Directory::new("guard-header-keys");
    fs::write(keys.file("keys"), format!("acme:{KEY}\n")).unwrap();
    let auth = format!("auth = {{ kind = \"key\", keys_file = \"{}\" }}\n", keys.argument("keys"));
    let fed = Fed::routed("guard-header", &auth, "");
    assert_eq!(answer(&fed, &upgrade_request("/", &[])).status(), 401);
    assert_eq!(answer(&fed, &upgrade_request("/", &["X-Api-Key: wrong"])).status(), 403);
    assert_eq!(answer(&fed, &upgrade_request("/", &[&format!("X-Api-Key: {KEY}")])).status(), 101);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let fed = Fed::routed("guard-origin", "origins = [\"https://app.example\"]\n", "");
    assert_eq!(answer(&fed, &upgrade_request("/", &["Origin: https://evil.example"])).status(), 403);
    assert_eq!(answer(&fed, &upgrade_request("/", &["Origin: https://app.example"])).status(), 101);
}

#[test]
fn an_address_may_have_so_many_clients() {
    let mut fed = Fed::routed("guard-limit", "limits = { connections_per_ip = 2 }\n", "");
    let [one, _two] = fed.join();
    assert_eq!(answer(&fed, &upgrade_request("/", &[])).status(), 429);
    drop(one);
    fed.wait_until("one has left", |fed| answer(fed, &upgrade_request("/", &[])).status() == 101);
}

#[test]
fn a_request_that_is_no_upgrade_is_refused() {
    let fed = Fed::start("guard-plain", "");
    assert_eq!(answer(&fed, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").status(), 426);
}

#[test]
fn clients_that_answer_pings_stay_and_others_are_cut() {
    let mut fed = Fed::routed("guard-ping", "ping = { every = \"50ms\", timeout = \"300ms\" }\n", "");
    let (mut alive, mut dead) = (upgraded(&fed), upgraded(&fed));
    while fed.count("clients") > 1 {
        let ping = alive.frame();
        assert_eq!((ping.opcode, ping.is_masked), (PING, false));
        alive.send(&client_frame(PONG, true, &ping.payload));
    }
    // A peer that is dead gets no Close.
    let (mut bytes, _) = dead.rest();
    while let Some((frame, len)) = support::frames::Frame::parse(&bytes) {
        assert_eq!(frame.opcode, PING);
        bytes.drain(..len);
    }
    fed.vendor.says(["still there"]);
    loop {
        let frame = alive.frame();
        if frame.opcode == TEXT {
            break;
        }
        alive.send(&client_frame(PONG, true, &frame.payload));
    }
}

#[test]
fn pings_of_clients_are_answered_between_messages() {
    let mut fed = Fed::start("guard-pong", "");
    let mut client = fed.join_raw(None);
    client.send(&client_frame(PING, true, b"are you there?"));
    let pong = client.frame();
    assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, &b"are you there?"[..]));
    fed.vendor.says(["yes"]);
    assert_eq!(client.frame().payload, b"yes");
}

#[test]
fn a_client_that_closes_is_answered() {
    let mut fed = Fed::start("guard-closes", "");
    let mut client = fed.join_raw(None);
    client.send(&client_frame(CLOSE, true, &close_payload(1000, "bye")));
    assert_eq!(client.expect_close_and_fin().0, 1000);
    fed.wait_until("it is gone", |fed| fed.count("clients") == 0);
    assert_eq!(fed.vendor.count("closed"), 0);
}

#[test]
fn a_client_that_breaks_the_protocol_is_closed_1002_and_nobody_else_is() {
    let mut fed = Fed::start("guard-breaks", "");
    let [mut good] = fed.join();
    let mut bad = fed.join_raw(None);
    // Not masked.
    bad.send(&support::frames::server_frame(TEXT, true, b"hello"));
    assert_eq!(bad.frame().close().0, 1002);
    assert_eq!(hear(&mut good), "is anybody there?");
}

#[test]
fn what_clients_say_is_discarded() {
    let mut fed = Fed::start("guard-discard", "");
    let [mut client] = fed.join();
    client.send(text("hello?")).unwrap();
    client.send(Message::binary(vec![0; 1_000_000])).unwrap();
    client.send(text("anybody?")).unwrap();
    fed.wait_for(std::slice::from_mut(&mut client));
    assert_eq!(fed.vendor.count("received"), 0);
}

#[test]
fn what_clients_say_is_reason_to_send_them_away() {
    let mut fed = Fed::start("guard-reject", "client_messages = \"reject\"\n");
    let [mut quiet, mut loud] = fed.join();
    // Not messages.
    quiet.send(Message::Ping(vec![1].into())).unwrap();
    assert!(quiet.read().unwrap().is_pong());
    loud.send(text("hello?")).unwrap();
    assert_eq!(expect_close(&mut loud).0, 1008);
    fed.vendor.says(["after"]);
    assert_eq!(hear(&mut quiet), "after");
    assert_eq!(fed.vendor.count("received"), 0);
}

#[test]
fn what_clients_say_goes_to_the_source() {
    let process = "drain_window = \"1ms\"\ncores = \"all\"";
    let frame = Frame { process, ..Frame::default() };
    let mut fed = Fed::framed("guard-forward", frame, "", "client_messages = \"forward\"\n");
    let mut clients = fed.join::<6>();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(text(&format!("I am {at}"))).unwrap();
        assert_eq!(fed.vendor.received(), format!("I am {at}"));
    }
    clients[0].send(Message::binary(vec![0, 0xff])).unwrap();
    assert_eq!(fed.vendor.event("received").text("binary"), "00ff");
    let mut raw = fed.join_raw(None);
    let fragments = [
        client_frame(TEXT, false, b"in "),
        client_frame(PING, true, b""),
        client_frame(CONTINUATION, true, b"fragments"),
    ];
    raw.send(&fragments.concat());
    assert_eq!(fed.vendor.received(), "in fragments");
}

#[test]
fn a_drain_closes_clients_with_1001_and_the_source_last() {
    let mut fed = Fed::start("guard-drain", "");
    let mut client = fed.join_raw(None);
    fed.site.proxy.signal(Signal::TERM);
    let close = client.frame();
    assert_eq!(close.close().0, 1001);
    // It has not answered, so it is still there, and so is the source.
    assert_eq!(fed.vendor.count("closed"), 0);
    client.send(&client_frame(CLOSE, true, &close.payload));
    client.expect_fin();
    let (connection, code) = fed.vendor.closed();
    assert!(connection == 1 && [1000, 1001].contains(&code), "{code}");
    assert_eq!(fed.site.proxy.ended().code, Some(0));
}

#[test]
fn a_drain_with_no_clients_and_no_source_ends() {
    let mut fed = Fed::start("guard-drain-alone", "backoff = { min = \"1h\", max = \"1h\" }\n");
    fed.vendor.dies();
    fed.wait_until("the loss is noticed", |fed| {
        fed.count_of("source_state", &[("state", "connecting")]) == 1
    });
    fed.site.proxy.signal(Signal::TERM);
    assert_eq!(fed.site.proxy.ended().code, Some(0));
}
