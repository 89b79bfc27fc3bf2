//! The opening handshake between foreign peers: what reaches whom, in which order, how changed.
#![cfg(feature = "runtime")]

mod support;

use std::sync::mpsc;

use support::backend::{Backend, Stage};
use support::frames::{BINARY, CONTINUATION, TEXT, client_frame, payload, server_frame};
use support::http::{switching, upgrade_request};
use support::proxy::Proxy;
use support::raw::Ending;
use support::{bind, nobody};
use tungstenite::handshake::server::{Request, Response};

#[test]
fn a_client_is_not_upgraded_before_its_backend_has_agreed() {
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut server, _) = backend.request();
    assert!(client.is_quiet());
    server.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    // Nothing else, in particular no 101, came first.
    assert_eq!(client.response().0.status(), 403);
}

#[test]
fn bytes_behind_the_request_reach_the_backend_first() {
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&format!("ws://{}", nobody()), &backend.url()]);
    let first = client_frame(TEXT, true, b"glued to the request");
    let second = client_frame(BINARY, true, &payload(300_000));
    let (half, other_half) = second.split_at(second.len() / 2);
    let mut client = proxy.dial();
    client.send(&[&upgrade_request("/", &[]), &*first, half].concat());
    let (mut server, _) = backend.request();
    client.send(other_half);
    server.send(&switching(&[]));
    assert_eq!(client.head().status(), 101);
    client.send(&client_frame(TEXT, true, b"last"));
    assert_eq!(server.frame().payload, b"glued to the request");
    assert!(server.frame().payload == payload(300_000));
    assert_eq!(server.frame().payload, b"last");
}

#[test]
fn bytes_behind_the_101_reach_the_client_first() {
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut server, _) = backend.request();
    let [first, second] = [server_frame(TEXT, false, b"welc"), server_frame(CONTINUATION, true, b"ome")];
    // Cut inside a header: what is not yet a frame is kept as well.
    server.send(&[&switching(&[]), &*first, &second[..1]].concat());
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.frame().payload, b"welc");
    server.send(&second[1..]);
    assert_eq!(client.frame().payload, b"ome");
}

#[test]
fn the_backends_choices_and_headers_reach_the_client() {
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request(
        "/",
        &[
            "Sec-WebSocket-Protocol: soap, chat.v2",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other",
        ],
    ));
    let (mut server, _) = backend.request();
    server.send(&switching(&[
        "Sec-WebSocket-Protocol: chat.v2",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
        "Set-Cookie: a=1",
        "X-Odd-CASE: kept, as it is",
        "Keep-Alive: timeout=5",
        "Set-Cookie: b=2; Path=/",
    ]));
    let head = client.head();
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.one("sec-websocket-accept"), support::http::ACCEPT);
    assert_eq!(head.one("sec-websocket-protocol"), "chat.v2");
    assert_eq!(head.one("sec-websocket-extensions"), "permessage-deflate; server_no_context_takeover");
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2; Path=/"]);
    assert!(head.fields.contains(&("X-Odd-CASE".to_owned(), "kept, as it is".to_owned())));
    assert_eq!((head.one("upgrade"), head.one("connection")), ("websocket", "Upgrade"));
    // RFC 9110 §7.6.1: of one connection only.
    assert_eq!(head.all("keep-alive").len(), 0);
}

#[test]
fn a_subprotocol_is_negotiated_between_foreign_libraries() {
    let (sender, asked) = mpsc::channel();
    let backend = Backend::on(bind(), move |stream, _| {
        let sender = sender.clone();
        #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
        let choose = move |request: &Request, mut response: Response| {
            let _ = sender.send(request.headers()["sec-websocket-protocol"].clone());
            response.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
            Ok(response)
        };
        // Waits for the client to go.
        let _ = tungstenite::accept_hdr(stream, choose).unwrap().read();
    });
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let request = tungstenite::client::ClientRequestBuilder::new("ws://chat.example/".parse().unwrap());
    let request = request.with_sub_protocol("chat").with_sub_protocol("soap");
    let (_client, response) = tungstenite::client(request, proxy.dial().stream).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(asked.recv_timeout(support::DEADLINE).unwrap(), "chat, soap");
}

/// Refusals of an application, each a head and a body.
const REFUSALS: [(&str, &str); 8] = [
    (
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"chat\"\r\nContent-Length: 12\r\n\
         Content-Type: application/json\r\n\r\n",
        "{\"no\":\"way\"}",
    ),
    ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX-Why: nothing here\r\n\r\n", ""),
    ("HTTP/1.1 302 Found\r\nLocation: https://login.example/?next=%2F\r\nContent-Length: 4\r\n\r\n", "over"),
    (
        "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n",
        "4\r\nyou \r\n6\r\nagain!\r\n0\r\nX-T: 1\r\n\r\n",
    ),
    ("HTTP/1.1 429 Slow Down\r\nRetry-After: 120\r\n\r\n", "up to the end of the stream"),
    ("HTTP/1.1 204 No Content\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n", "hello"),
    ("HTTP/1.1 400\r\nContent-Length: 0\r\n\r\n", ""),
];

#[test]
fn an_applications_refusal_reaches_the_client_unchanged() {
    for (head, body) in REFUSALS {
        let backend = Backend::answering([head, body].concat());
        let proxy = Proxy::start(&[], &[&backend.url()]);
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        let (received, received_body) = client.response();
        let sent = support::http::Head::parse(head.as_bytes());
        assert_eq!(received.start.trim_end(), sent.start);
        for field in &sent.fields {
            assert!(received.fields.contains(field), "{field:?} in {received:?}");
        }
        assert_eq!(received.one("connection"), "close");
        assert_eq!(received_body.escape_ascii().to_string(), body.as_bytes().escape_ascii().to_string());
    }
}

#[test]
fn the_body_of_a_refusal_is_waited_for_and_has_a_bound() {
    for (body_len, is_whole) in [(60_000, true), (1 << 20, false)] {
        let backend = Stage::new();
        let proxy = Proxy::start(&[], &[&backend.url()]);
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        let (mut server, _) = backend.request();
        server.send(format!("HTTP/1.1 404 Not Found\r\nContent-Length: {body_len}\r\n\r\n").as_bytes());
        let body = payload(body_len);
        let (first, second) = body.split_at(body_len / 2);
        server.send(first);
        // Past the bound the proxy may hang up before it was all sent.
        let _ = std::io::Write::write_all(&mut server.stream, second);
        let (head, received) = client.response();
        assert_eq!(head.status(), 404);
        assert!(
            received.len() >= 60_000 && body.starts_with(&received),
            "{} of {body_len} bytes",
            received.len()
        );
        assert_eq!(received.len() == body_len, is_whole);
    }
}

#[test]
fn request_headers_reach_the_backend_as_they_came_but_for_those_of_the_hop() {
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    let kept = [
        "Origin: https://app.example",
        "Cookie: session=abc; theme=dark",
        "Authorization: Bearer t0ken",
        "X-MiXeD-CaSe: stays, as it   is",
        "X-Twice: one",
        "X-Twice: two",
        "X-Utf-8: caf\u{e9}",
        "Sec-WebSocket-Protocol: chat",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ];
    let dropped = [
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Trailer: X-Checksum",
        "X-Named-By-Connection: secret",
        "Connection: x-named-by-connection",
    ];
    let replaced =
        ["X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil.example"];
    client.send(&upgrade_request("/room?id=1&x=%20", &[&kept[..], &dropped, &replaced].concat()));
    let (_server, head) = backend.request();
    assert_eq!(head.start, "GET /room?id=1&x=%20 HTTP/1.1");
    let lines: Vec<_> = head.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let position = |line: &str| lines.iter().position(|found| found == line);
    let positions: Vec<_> =
        kept.iter().map(|line| position(line).unwrap_or_else(|| panic!("{line}"))).collect();
    assert!(positions.is_sorted(), "in their order: {lines:?}");
    for line in dropped {
        assert_eq!(position(line), None, "{line}");
    }
    assert_eq!(head.one("host"), "chat.example");
    assert_eq!(head.one("x-forwarded-for"), "198.51.100.7, 127.0.0.1");
    assert_eq!(head.one("x-forwarded-proto"), "http");
    assert_eq!(head.one("x-forwarded-host"), "chat.example");
    assert_eq!((head.one("upgrade"), head.one("connection")), ("websocket", "Upgrade"));
    assert_eq!(
        (head.one("sec-websocket-key"), head.one("sec-websocket-version")),
        (support::http::KEY, "13")
    );
}

#[test]
fn a_connection_header_cannot_take_away_what_the_handshake_needs() {
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &["Connection: Host, Sec-WebSocket-Key, Sec-WebSocket-Version"]));
    let (_server, head) = backend.request();
    assert_eq!((head.one("host"), head.one("sec-websocket-key")), ("chat.example", support::http::KEY));
    assert_eq!(head.one("sec-websocket-version"), "13");
}

#[test]
fn the_base_path_of_a_backend_goes_before_the_path_of_the_request() {
    let rows = [
        ("/base", "/room?id=1", "/base/room?id=1"),
        ("/base/", "/", "/base/"),
        ("", "/room", "/room"),
        ("/", "/room", "/room"),
        // RFC 9112 §3.2.2: a server MUST accept the absolute-form.
        ("/base", "http://chat.example/room?id=1", "/base/room?id=1"),
        ("", "ws://chat.example?id=1", "/?id=1"),
    ];
    for (base_path, target, expected) in rows {
        let backend = Stage::new();
        let proxy = Proxy::start(&[], &[&format!("{}{base_path}", backend.url())]);
        let mut client = proxy.dial();
        client.send(&upgrade_request(target, &[]));
        assert_eq!(backend.request().1.target(), expected);
    }
}

#[test]
fn a_target_with_an_authority_of_its_own_replaces_host() {
    // RFC 9112 §3.2.2.
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("http://other.example:81/room", &[]));
    let (_server, head) = backend.request();
    assert_eq!((head.target(), head.one("host")), ("/room", "other.example:81"));
    assert_eq!(head.one("x-forwarded-host"), "other.example:81");
}

#[test]
fn heads_may_come_byte_by_byte_from_either_side() {
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    let frame = client_frame(TEXT, true, b"hello");
    for byte in [upgrade_request("/", &[]), frame].concat() {
        client.send(&[byte]);
    }
    let (mut server, _) = backend.request();
    for byte in [switching(&["X-A: b"]), server_frame(TEXT, true, b"hi")].concat() {
        server.send(&[byte]);
    }
    assert_eq!(client.head().one("x-a"), "b");
    assert_eq!(client.frame().payload, b"hi");
    assert_eq!(server.frame().payload, b"hello");
}

#[test]
fn interim_answers_of_a_backend_are_waited_out() {
    // RFC 9110 §15.2: a client MUST be able to parse one or more 1xx responses before the final one.
    let backend = Stage::new();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut server, _) = backend.request();
    server.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    server.send(&switching(&[]));
    assert_eq!(client.head().status(), 101);
}

#[test]
fn a_client_that_leaves_during_the_handshake_takes_its_backend_connection_with_it() {
    let backend = Stage::new();
    let proxy = Proxy::start(&["--connect-timeout", "500ms"], &[&backend.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut server, _) = backend.request();
    client.reset();
    let (bytes, ending) = server.rest();
    assert_eq!((bytes.len(), ending), (0, Ending::Fin));
}
