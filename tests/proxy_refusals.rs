//! Requests that get no session: each an honest status, a sentence, a FIN, and not a byte to a backend.
#![cfg(feature = "runtime")]

mod support;

use std::io::Read;
use std::time::Duration;

use support::backend::{Backend, Stage};
use support::http::{Head, KEY, upgrade_request};
use support::proxy::Proxy;
use support::raw::Raw;
use support::{eventually, has_waited, now};

/// A proxy before a backend that must not be bothered.
struct Gate {
    proxy: Proxy,
    backend: Stage,
}

impl Gate {
    fn new(flags: &[&str]) -> Self {
        let backend = Stage::new();
        Self { proxy: Proxy::start(flags, &[&backend.url()]), backend }
    }

    /// The answer to a request that must be refused with this status.
    fn refuses(&self, request: &[u8], status: u16) -> (Head, String) {
        let mut client = self.proxy.dial();
        client.send(request);
        let (head, body) = client.response();
        let shown = request.get(..request.len().min(400)).unwrap_or_default().escape_ascii();
        assert_eq!(head.status(), status, "{shown}");
        assert_eq!(head.one("content-length"), body.len().to_string());
        (head, String::from_utf8(body).expect("a sentence"))
    }

    /// That the first request to reach the backend is this one, sent now.
    fn expect_nothing_reached_the_backend(&self) {
        let mut client = self.proxy.dial();
        client.send(&upgrade_request("/witness", &[]));
        assert_eq!(self.backend.request().1.target(), "/witness");
    }
}

/// Refuses each of these requests with this status, none of which reaches the backend.
fn refuses_all(requests: &[Vec<u8>], status: u16) -> Vec<(Head, String)> {
    let gate = Gate::new(&[]);
    let answers = requests.iter().map(|request| gate.refuses(request, status)).collect();
    gate.expect_nothing_reached_the_backend();
    answers
}

/// The legal handshake with one piece of it replaced.
fn request_with(piece: &str, instead: &str) -> Vec<u8> {
    let request = String::from_utf8(upgrade_request("/", &[])).expect("ASCII");
    assert!(request.contains(piece));
    request.replacen(piece, instead, 1).into_bytes()
}

const VERSION_LINE: &str = "Sec-WebSocket-Version: 13\r\n";

#[test]
fn answers_426_with_its_version_to_any_other_version() {
    // RFC 6455 §4.2.2 item 4, §4.4.
    let lines = [
        "",
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 13, 8\r\n",
        "Sec-WebSocket-Version:\r\n",
    ];
    let mut requests: Vec<_> = lines.iter().map(|line| request_with(VERSION_LINE, line)).collect();
    requests.push(upgrade_request("/", &["Sec-WebSocket-Version: 13"]));
    for (head, body) in refuses_all(&requests, 426) {
        assert_eq!(head.one("sec-websocket-version"), "13");
        assert_eq!(head.one("upgrade"), "websocket");
        assert!(body.contains("must be 13"), "{body}");
    }
}

#[test]
fn answers_400_to_a_missing_repeated_or_malformed_key() {
    // RFC 6455 §4.2.1 item 5: base64 of 16 bytes.
    let line = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let key = |key: &str| request_with(&line, &format!("Sec-WebSocket-Key: {key}\r\n"));
    let requests = [
        request_with(&line, ""),
        upgrade_request("/", &[line.trim_end()]),
        key(""),
        key("too-short"),
        key("dGhlIHNhbXBsZSBub25jZTEy"),
        key("dGhlIHNhbXBsZSBub25jZQ"),
        key("dGhlIHNhbXBsZSBub25jZQ==, x"),
        key("????????????????????????"),
    ];
    for (_, body) in refuses_all(&requests, 400) {
        assert!(body.contains("Sec-WebSocket-Key"), "{body}");
    }
}

#[test]
fn answers_400_to_an_upgrade_that_carries_a_body() {
    let rows: [(&[&str], &[u8]); 5] = [
        (&["Content-Length: 5"], b"hello"),
        (&["Content-Length: 0", "Content-Length: 5"], b"hello"),
        (&["Content-Length: +0"], b""),
        (&["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        (&["Transfer-Encoding: identity"], b"hello"),
    ];
    let requests = rows.map(|(lines, body)| [&upgrade_request("/", lines), body].concat());
    for (_, body) in refuses_all(&requests, 400) {
        assert!(body.contains("must not have a body"), "{body}");
    }
}

#[test]
fn answers_400_to_heads_that_two_parsers_might_read_differently() {
    // RFC 9112 §2.2, §5.1, §5.2, §3.2; RFC 9110 §5.5; RFC 6455 §3.
    let requests = [
        request_with("GET / HTTP/1.1\r\n", "GET / HTTP/1.1\n"),
        request_with("Host: chat.example\r\n", "Host: chat.example\n"),
        request_with("\r\n\r\n", "\r\n\n"),
        upgrade_request("/", &["X-A: folded", " onto this line"]),
        upgrade_request("/", &["X-A: folded", "\tonto this line"]),
        upgrade_request("/", &["X-A: nul\0inside"]),
        upgrade_request("/nul\0inside", &[]),
        upgrade_request("/", &["X-A: carriage\rreturn"]),
        upgrade_request("/", &["X-A : a space before the colon"]),
        upgrade_request("/", &["no colon"]),
        upgrade_request("/", &[": no name"]),
        upgrade_request("/#fragment", &[]),
        upgrade_request("no-slash", &[]),
        upgrade_request("ftp://chat.example/", &[]),
        upgrade_request("http://user@chat.example/", &[]),
        request_with("Host: chat.example\r\n", ""),
        upgrade_request("/", &["Host: other.example"]),
    ];
    refuses_all(&requests, 400);
}

#[test]
fn answers_431_to_a_head_over_its_bound() {
    let long_value = format!("X-Long: {}", "x".repeat(16 * 1024));
    let many: Vec<_> = (0..120).map(|n| format!("X-{n}: {n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let without_an_end = format!("GET /{}", "x".repeat(17 * 1024)).into_bytes();
    refuses_all(&[upgrade_request("/", &[&long_value]), upgrade_request("/", &many), without_an_end], 431);
}

#[test]
fn takes_a_head_just_under_its_bound() {
    let gate = Gate::new(&[]);
    let value = "x".repeat(16 * 1024 - upgrade_request("/", &["X-Long: "]).len());
    let mut client = gate.proxy.dial();
    client.send(&upgrade_request("/", &[&format!("X-Long: {value}")]));
    assert_eq!(gate.backend.request().1.one("x-long"), value);
}

#[test]
fn answers_505_to_another_http_version() {
    // RFC 6455 §4.2.1 item 1.
    let plain = b"GET / HTTP/1.0\r\nHost: x\r\n\r\n".to_vec();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    refuses_all(&[request_with("HTTP/1.1", "HTTP/1.0"), plain, http2], 505);
}

#[test]
fn answers_405_to_an_upgrade_that_is_not_a_get() {
    for (head, _) in refuses_all(&[request_with("GET", "POST"), request_with("GET", "PUT")], 405) {
        assert_eq!(head.one("allow"), "GET");
    }
}

#[test]
fn answers_ordinary_http_with_426_and_a_sentence_for_a_person() {
    let body = "x".repeat(500_000);
    let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let requests = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nAccept: text/html\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n".to_vec(),
        request_with("Connection: Upgrade\r\n", ""),
        // Its body comes whether it is wanted or not; the answer must survive that.
        post.into_bytes(),
    ];
    for (head, body) in refuses_all(&requests, 426) {
        assert_eq!(head.one("sec-websocket-version"), "13");
        assert!(body.contains("connect with a WebSocket client"), "{body}");
    }
}

#[test]
fn answers_408_to_a_head_that_does_not_end_in_time() {
    let gate = Gate::new(&["--head-timeout", "300ms"]);
    let begun = now();
    let (_, body) = gate.refuses(b"GET / HTTP/1.1\r\nHost: x\r\n", 408);
    assert!(body.contains("in time"), "{body}");
    assert!(has_waited(begun, Duration::from_millis(300)));
    gate.expect_nothing_reached_the_backend();
}

#[test]
fn a_head_that_trickles_in_has_no_longer_than_one_that_stalls() {
    let gate = Gate::new(&["--head-timeout", "300ms"]);
    let Raw { mut stream, .. } = gate.proxy.dial();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut answer = [0; 12];
    // As many bytes as would take ten seconds and more.
    let answered = (0..1000).any(|_| {
        std::io::Write::write_all(&mut stream, b"x").is_ok()
            && stream.read(&mut answer).is_ok_and(|len| len > 0)
    });
    assert!(answered);
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn a_refused_client_that_goes_on_sending_is_not_reset() {
    let gate = Gate::new(&[]);
    let mut client = gate.proxy.dial();
    client.send(&[b"GET / HTTP/1.0\r\n\r\n", &[b'x'; 200_000][..]].concat());
    assert_eq!(client.response().0.status(), 505);
    // Whatever the shard does with the first client behind its FIN, it has done when the second has its answer.
    gate.refuses(b"GET / HTTP/1.0\r\n\r\n", 505);
    // A reset, which may destroy an answer that was not read yet, would show at the second of these.
    for _ in 0..3 {
        client.send(b"and another thing");
    }
}

#[test]
fn a_refused_client_that_has_half_closed_still_reads_its_answer() {
    let gate = Gate::new(&[]);
    let mut client = gate.proxy.dial();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    client.finish();
    assert_eq!(client.response().0.status(), 505);
}

#[test]
fn answers_503_beyond_the_connections_it_may_hold_and_serves_again_after() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&["--max-connections", "2"], &[&backend.url()]);
    let (first, _second) = (proxy.connect(), proxy.connect());
    let (head, _) = proxy.dial().response();
    assert_eq!((head.status(), head.one("retry-after")), (503, "1"));
    drop(first);
    eventually("a place is free again", || {
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        client.head().status() == 101
    });
}
