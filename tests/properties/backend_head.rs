//! A backend's answer: only a true 101 is passed as one, and what a client gets is one unambiguous head
//! (RFC 6455 §4.1, RFC 9112 §6.3).

use selat::protocol::frame::Rsv;
use selat::protocol::handshake::{
    Answer, Body, HEADERS_MAX, InvalidAnswer, UpgradeRequest, answer, head_len,
};

use super::http::{self, Head};

/// The request that every answer is judged by: it offers two subprotocols and two extensions.
pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: selat.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-foo\r\n\r\n";

/// The `Sec-WebSocket-Accept` that answers [`REQUEST`] (RFC 6455 §1.3).
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Whatever a backend sends: no panic, and nothing reaches the client that a client should not get.
pub(crate) fn check(bytes: &[u8]) {
    let request = UpgradeRequest::parse(REQUEST.as_bytes()).expect("valid");
    // Not delimited: whatever it makes of that, it must not panic.
    let _ = answer(bytes, &request);
    let Ok(Some(len)) = head_len(bytes) else { return };
    let (head, rest) = bytes.split_at(len);
    let came = http::response(head);
    match answer(head, &request) {
        Ok(Answer::Switching { head, rsv }) => check_switching(&came.expect("a response"), &head, rsv),
        Ok(Answer::Refused { status, head, body }) => {
            check_refused(&came.expect("a response"), status, &head, body);
            check_body(body, rest);
        }
        Ok(Answer::Unavailable { status }) => {
            assert!((500..=599).contains(&status));
            assert_eq!(came.expect("a response").start.0, status.to_string());
        }
        Ok(Answer::Interim) => {
            let status = came.expect("a response").start.0;
            assert!(status.starts_with('1') && status.len() == 3 && status != "101");
        }
        Err(InvalidAnswer::Syntax(_)) => {
            let is_odd = |came: Head| came.fields.len() > HEADERS_MAX || came.start.0.len() < 3;
            assert!(came.is_none_or(is_odd));
        }
        Err(_) => {
            let came = came.expect("a response");
            assert!(came.start.0 == "101" || !is_framed(&came), "{came:?}");
        }
    }
}

/// Whether the end of the body is beyond doubt (RFC 9112 §6.3).
fn is_framed(came: &Head) -> bool {
    let lengths = came.values("content-length");
    let is_number = |length: &[u8]| {
        let digits =
            std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits.is_some_and(|digits| digits.parse::<u64>().is_ok())
    };
    let are_alike = lengths.iter().all(|length| is_number(length) && *length == lengths[0]);
    are_alike && (lengths.is_empty() || came.values("transfer-encoding").is_empty())
}

fn check_switching(came: &Head, head: &[u8], rsv: Rsv) {
    http::assert_unambiguous(head);
    let went = http::response(head).expect("a response");
    assert_eq!((went.start.0.as_str(), &went.start.1), ("101", &came.start.1));
    assert_eq!(came.values("sec-websocket-accept"), [ACCEPT.as_bytes()]);
    assert_eq!(went.values("sec-websocket-accept"), [ACCEPT.as_bytes()]);
    assert_eq!(went.values("upgrade"), [b"websocket"]);
    assert_eq!(went.values("connection"), [b"Upgrade"]);
    assert_eq!(went.values("sec-websocket-protocol"), came.values("sec-websocket-protocol"));
    assert!(matches!(came.values("sec-websocket-protocol")[..], [] | [b"chat"] | [b"superchat"]));
    assert_eq!(went.members("sec-websocket-extensions"), came.members("sec-websocket-extensions"));
    // RFC 9110 §8.6, RFC 9112 §6.1: a 1xx has neither; what follows are frames.
    assert!(went.values("content-length").is_empty() && went.values("transfer-encoding").is_empty());
    check_extensions(&went, rsv);
    check_foreign(&went, head);
}

fn check_extensions(went: &Head, rsv: Rsv) {
    let name = |member: &[u8]| {
        let name = member.split(|byte| *byte == b';').next().unwrap_or_default();
        String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()
    };
    let names: Vec<_> = went.members("sec-websocket-extensions").into_iter().map(name).collect();
    assert!(names.iter().all(|name| matches!(name.as_str(), "permessage-deflate" | "x-foo")), "{names:?}");
    let expected = match names.iter().any(|name| name == "x-foo") {
        true => Rsv::ALL,
        false if names.is_empty() => Rsv::NONE,
        false => Rsv::RSV1,
    };
    assert_eq!(rsv, expected);
}

/// A foreign client with the same key takes the head for the answer to its handshake.
fn check_foreign(went: &Head, head: &[u8]) {
    let mut request = tungstenite::http::Request::builder().uri("ws://selat.example/chat");
    for line in REQUEST.lines().skip(1).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("a field");
        // tungstenite insists on an answer to subprotocols, which RFC 6455 §4.2.2 leaves to the server.
        if name != "Sec-WebSocket-Protocol" || !went.values(name).is_empty() {
            request = request.header(name, value);
        }
    }
    let request = request.body(()).expect("valid");
    let outcome = tungstenite::client(request, super::foreign::Recorded(head));
    assert!(outcome.is_ok(), "{:?}: {}", outcome.err(), head.escape_ascii());
}

fn check_refused(came: &Head, status: u16, head: &[u8], body: Body) {
    http::assert_unambiguous(head);
    let went = http::response(head).unwrap_or_else(|| panic!("not a response: {}", head.escape_ascii()));
    assert_eq!((&went.start.0, &went.start.1), (&came.start.0, &came.start.1));
    assert_eq!(status.to_string(), came.start.0);
    assert!(!(100..=199).contains(&status) && !(500..=599).contains(&status));
    assert_eq!(went.values("connection"), [b"close"]);
    assert!(went.values("keep-alive").is_empty() && went.values("upgrade").is_empty());
    assert_eq!(went.values("content-type"), came.values("content-type"));
    // A client that parses it another way would find another body.
    assert!(is_framed(&went), "{went:?}");
    let length = went
        .values("content-length")
        .first()
        .and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    let expected = match (went.members("transfer-encoding").last(), length) {
        _ if matches!(status, 204 | 304) => Body::Length(0),
        (Some(coding), _) if coding.eq_ignore_ascii_case(b"chunked") => Body::Chunked,
        (None, Some(length)) => Body::Length(length),
        (Some(_), _) | (None, None) => Body::UntilClose,
    };
    assert_eq!(body, expected, "{went:?}");
}

/// A body ends at one place, known as soon as it is there and not changed by what follows.
fn check_body(body: Body, bytes: &[u8]) {
    let end = body.end_in(bytes);
    assert!(end.is_none_or(|end| end <= bytes.len()));
    if body == Body::UntilClose {
        assert_eq!(end, None);
    }
    let around = end.map_or(0, |end| end.saturating_sub(4));
    for cut in (0..=bytes.len().min(64)).chain(around..=bytes.len().min(around + 64)) {
        let expected = end.filter(|end| *end <= cut);
        assert_eq!(body.end_in(&bytes[..cut]), expected, "{body:?} cut at {cut}");
    }
}
