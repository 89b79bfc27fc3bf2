//! The echo server, judged by tungstenite and by raw sockets.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use support::{DEADLINE, Served};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Error, Message};

/// The request of RFC 6455 §1.3.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A raw connection that has been upgraded.
fn upgraded(server: &Served) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).expect("it accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    stream.write_all(REQUEST).expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it answers in time");
        head.extend(byte);
    }
    let head = String::from_utf8(head).expect("HTTP");
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    stream
}

#[test]
fn echoes_messages_of_every_length_encoding() {
    let server = Served::start("echo", &[]);
    let mut socket = server.connect();
    for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000, 5_000_000] {
        let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
        socket.send(Message::binary(payload.clone())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::binary(payload), "{size} bytes");
    }
    socket.send(Message::text("größer")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("größer"));
}

#[test]
fn answers_a_ping_with_a_pong_of_the_same_payload() {
    let server = Served::start("echo", &[]);
    let mut socket = server.connect();
    for payload in [b"".as_slice(), b"there?", &[7; 125]] {
        socket.send(Message::Ping(payload.to_vec().into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(payload.to_vec().into()));
    }
    socket.send(Message::Pong("unasked".into())).unwrap();
    socket.send(Message::text("after")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("after"));
}

#[test]
fn echoes_fragments_with_a_ping_between_them() {
    let server = Served::start("echo", &[]);
    let mut socket = server.connect();
    let frames = [
        Frame::message(vec![b'a'; 200], OpCode::Data(Data::Text), false),
        Frame::ping("between"),
        Frame::message(vec![b'b'; 70_000], OpCode::Data(Data::Continue), false),
        Frame::message("", OpCode::Data(Data::Continue), true),
    ];
    for frame in frames {
        socket.send(Message::Frame(frame)).unwrap();
    }
    assert_eq!(socket.read().unwrap(), Message::Pong("between".into()));
    assert_eq!(socket.read().unwrap(), Message::text("a".repeat(200) + &"b".repeat(70_000)));
}

#[test]
fn answers_close_and_is_the_first_to_end_tcp() {
    let server = Served::start("echo", &[]);
    let mut socket = server.connect();
    let close = CloseFrame { code: CloseCode::Library(4001), reason: "bye".into() };
    socket.close(Some(close.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(close)));
    // tungstenite as a client ends its side only after the server has.
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn closes_1002_on_what_the_protocol_forbids() {
    let server = Served::start("echo", &[]);
    let unmasked: &[u8] = &[0x81, 0x02, b'h', b'i'];
    let reserved_bit: &[u8] = &[0xC1, 0x80, 1, 2, 3, 4];
    let reserved_opcode: &[u8] = &[0x83, 0x80, 1, 2, 3, 4];
    let long_ping: &[u8] = &[0x89, 0xFE, 0x00, 0x7E, 1, 2, 3, 4];
    for frame in [unmasked, reserved_bit, reserved_opcode, long_ping] {
        let mut stream = upgraded(&server);
        stream.write_all(frame).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[0], &answer[2..]), (0x88, 1002_u16.to_be_bytes().as_slice()), "{frame:02x?}");
    }
}

#[test]
fn takes_bytes_one_at_a_time() {
    let server = Served::start("echo", &[]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // §5.7: a single-frame masked text message, "Hello".
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for byte in REQUEST.iter().chain(&hello) {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut bytes = Vec::new();
    while !bytes.ends_with(&[0x81, 0x05, b'H', b'e', b'l', b'l', b'o']) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.extend(byte);
    }
}

#[test]
fn answers_frames_that_came_with_the_request() {
    let server = Served::start("echo", &[]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&[REQUEST, &[0x81, 0x81, 0, 0, 0, 0, b'x', 0x88, 0x80, 0, 0, 0, 0]].concat()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.ends_with(&[0x81, 0x01, b'x', 0x88, 0x00]), "{bytes:?}");
}

#[test]
fn stops_reading_from_a_client_that_does_not_read() {
    let server = Served::start("echo", &[]);
    let mut stream = upgraded(&server);
    let before = server.resident_kib();
    let mut frame = vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4];
    frame.resize(frame.len() + (1 << 20), 0);
    let mut sender = stream.try_clone().unwrap();
    sender.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    let blocked = loop {
        let at = sent % frame.len();
        match sender.write(&frame[at..]) {
            Ok(len) => sent += len,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "it took a gigabyte without giving one back");
    };
    assert!(matches!(blocked.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{blocked}");
    assert!(server.resident_kib() < before + 2048, "from {before} to {} KiB", server.resident_kib());

    // Everything comes back once it is asked for: finish the frame, read on, compare.
    let rest = frame.len() - sent % frame.len();
    sender.set_write_timeout(Some(DEADLINE)).unwrap();
    let unfinished = frame[frame.len() - rest..].to_vec();
    let sending = std::thread::spawn(move || {
        sender.write_all(&unfinished).and_then(|()| sender.shutdown(Shutdown::Write))
    });
    let mut answer = vec![0x82, 0x7F, 0, 0, 0, 0, 0, 0x10, 0, 0];
    answer.extend([1, 2, 3, 4].iter().cycle().take(1 << 20));
    let mut received = vec![0; answer.len()];
    for _ in 0..(sent + rest) / frame.len() {
        stream.read_exact(&mut received).unwrap();
        assert!(received == answer);
    }
    assert_eq!(stream.read(&mut received).unwrap(), 0);
    sending.join().unwrap().unwrap();
}

#[test]
fn refuses_what_is_no_upgrade_with_a_sentence() {
    let server = Served::start("echo", &[]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("connect with ws://"), "{answer}");
}

#[test]
fn gives_descriptors_back() {
    let server = Served::start("echo", &[]);
    let before = server.descriptors();
    for round in 0..100 {
        let mut socket = server.connect();
        if round % 2 == 0 {
            socket.close(None).unwrap();
            while socket.read().is_ok() {}
        }
    }
    // The last connection of a round trip tells that the server has seen those before it end.
    let mut socket = server.connect();
    socket.send(Message::text("done")).unwrap();
    socket.read().unwrap();
    assert_eq!(server.descriptors(), before + 1);
}
