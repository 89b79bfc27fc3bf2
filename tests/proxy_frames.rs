//! Frames between foreign peers: all of them, in order, unchanged, however they are cut.
#![cfg(feature = "runtime")]

mod support;

use std::thread;

use support::backend::{Backend, Stage};
use support::frames::{
    BINARY, CLOSE, CONTINUATION, Encode, PING, PONG, TEXT, client_frame, close_payload, payload, server_frame,
};
use support::http::{switching, upgrade_request};
use support::proxy::Proxy;
use support::raw::Raw;
use support::witness::Witness;
use support::ws::{expect_close, expect_echo, text};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// Payload sizes at which headers change their form, and some that take several reads and writes.
const SIZES: [usize; 11] = [0, 1, 125, 126, 127, 65_535, 65_536, 262_144, 262_145, 1 << 20, 5_000_000];

#[test]
fn messages_of_every_size_come_back_as_they_went() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.connect();
    for size in SIZES {
        expect_echo(&mut client, &Message::binary(payload(size)));
        expect_echo(&mut client, &text(&"é".repeat(size / 2)));
    }
    client.close(Some(CloseFrame { code: CloseCode::Normal, reason: "bye".into() })).unwrap();
    assert_eq!(expect_close(&mut client), (1000, "bye".to_owned()));
}

/// Every kind of frame, control frames among the fragments of a message, as `encode` writes them.
fn every_kind(encode: Encode) -> Vec<u8> {
    [
        encode(TEXT, true, b"whole"),
        encode(TEXT, false, b"frag"),
        encode(PING, true, b"between"),
        encode(CONTINUATION, false, b""),
        encode(PONG, true, b""),
        encode(CONTINUATION, true, b"mented"),
        encode(BINARY, true, b""),
        encode(BINARY, true, &payload(130)),
        encode(PING, true, &[7; 125]),
        encode(CLOSE, true, &close_payload(4321, "done")),
    ]
    .concat()
}

#[test]
fn every_kind_of_frame_passes_verbatim_both_ways() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let (up, down) = (every_kind(client_frame), every_kind(server_frame));
    client.send(&up);
    backend.send(&down);
    assert_eq!(backend.exactly(up.len()), up);
    assert_eq!(client.exactly(down.len()), down);
}

#[test]
fn frames_may_be_cut_at_any_byte() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut witness = Witness::new(&proxy, &stage);
    let (up, down) = (every_kind(client_frame), every_kind(server_frame));
    // A session for each cut, for each ends with a Close.
    for cut in 1..up.len() {
        let (mut client, mut backend) = stage.open(&proxy);
        client.send(&up[..cut]);
        let down_cut = cut.min(down.len() - 1);
        backend.send(&down[..down_cut]);
        witness.wait();
        client.send(&up[cut..]);
        backend.send(&down[down_cut..]);
        assert_eq!(backend.exactly(up.len()), up, "cut at {cut}");
        assert_eq!(client.exactly(down.len()), down, "cut at {down_cut}");
    }
}

#[test]
fn frames_may_come_byte_by_byte() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut witness = Witness::new(&proxy, &stage);
    let (mut client, mut backend) = stage.open(&proxy);
    let up = every_kind(client_frame);
    for byte in &up {
        client.send(&[*byte]);
        witness.wait();
    }
    assert_eq!(backend.exactly(up.len()), up);
}

#[test]
fn what_has_come_of_a_long_frame_is_not_held_back() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let frame = client_frame(BINARY, true, &payload(1_000_000));
    client.send(&frame[..100]);
    assert_eq!(backend.exactly(100), &frame[..100]);
    client.send(&frame[100..]);
    assert!(backend.exactly(frame.len() - 100) == frame[100..]);
}

#[test]
fn a_burst_of_pipelined_messages_comes_back_in_order() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    assert_eq!(client.head().status(), 101);
    let bytes = payload(2000);
    let piece = |n: usize| [&n.to_be_bytes(), &bytes[..n % bytes.len()]].concat();
    let mut writer = Raw::new(client.stream.try_clone().unwrap());
    let burst: Vec<u8> = (0..5000).flat_map(|n| client_frame(BINARY, true, &piece(n))).collect();
    let writing = thread::spawn(move || writer.send(&burst));
    for n in 0..5000 {
        assert!(client.frame().payload == piece(n), "message {n}");
    }
    writing.join().unwrap();
}

#[test]
fn many_sessions_at_once_keep_their_messages_apart() {
    let backends = [Backend::echo(), Backend::echo()];
    let proxy = Proxy::start(&["--cores", "all"], &[&backends[0].url(), &backends[1].url()]);
    let clients = (0..64).map(|n| {
        let mut client = proxy.connect();
        thread::spawn(move || {
            for round in 0..50 {
                expect_echo(&mut client, &text(&format!("client {n}, round {round}")));
                expect_echo(&mut client, &Message::binary(vec![n; 3000 + round]));
            }
            client.close(None).unwrap();
            while client.read().is_ok() {}
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
}

#[test]
fn compressed_frames_pass_where_compression_was_negotiated() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &["Sec-WebSocket-Extensions: permessage-deflate"]));
    let (mut backend, _) = stage.request();
    backend.send(&switching(&["Sec-WebSocket-Extensions: permessage-deflate"]));
    assert_eq!(client.head().status(), 101);
    // RFC 7692 §7.2.3.1: "Hello", compressed.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let mut up = client_frame(TEXT, true, &hello);
    let mut down = server_frame(TEXT, true, &hello);
    up[0] |= 0x40;
    down[0] |= 0x40;
    client.send(&up);
    backend.send(&down);
    assert_eq!(backend.exactly(up.len()), up);
    assert_eq!(client.exactly(down.len()), down);
}

#[test]
fn a_session_is_logged_with_what_passed() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let (up, down) = (every_kind(client_frame), server_frame(CLOSE, true, &close_payload(4321, "done")));
    client.send(&up);
    assert_eq!(backend.exactly(up.len()), up);
    backend.send(&down);
    backend.finish();
    assert_eq!(client.exactly(down.len()), down);
    client.expect_fin();
    let address = client.stream.local_addr().unwrap().to_string();
    let line = proxy.session();
    assert_eq!((line.get("client"), line.get("backend")), (address, stage.url()));
    // Control frames are bytes, but no messages.
    assert_eq!((line.number("messages_from_client"), line.number("messages_from_backend")), (4, 0));
    assert_eq!(line.number("bytes_from_client"), u64::try_from(up.len()).unwrap());
    assert_eq!(line.number("bytes_from_backend"), u64::try_from(down.len()).unwrap());
    assert_eq!(line.end(), ("client".to_owned(), "closed".to_owned(), Some(4321)));
    assert_eq!((line.get("cut"), line.get("target")), ("false".to_owned(), "session".to_owned()));
}
