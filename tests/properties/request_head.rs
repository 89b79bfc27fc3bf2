//! A client's request head: judged the same for any cut, forwarded only as one unambiguous handshake
//! (RFC 6455 §4.2.1, RFC 9112).

use std::net::IpAddr;

use selat::protocol::handshake::{
    Facts, ForwardHeader, Forwarding, HeadFault, HeaderEdits, Hop, Occurrence, PathRewrite, Refusal, Rewrite,
    Scheme, UpgradeRequest, head_len,
};

use super::http::{self, Head};

/// Fields that end at a proxy, or that it writes itself (RFC 9110 §7.6.1).
const REPLACED: [&str; 11] = [
    "connection",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "proxy-authenticate",
    "content-length",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

/// Whatever a client sends: no panic; one extent for any cut; an honest refusal, or a request that is a WebSocket
/// handshake and nothing else once forwarded.
pub(crate) fn check(bytes: &[u8], client: Option<IpAddr>, base_path: &str) {
    check_extent(bytes);
    // Not delimited: whatever it makes of that, it must not panic.
    let _ = UpgradeRequest::parse(bytes);
    let Ok(Some(len)) = head_len(bytes) else { return };
    let head = &bytes[..len];
    match UpgradeRequest::parse(head) {
        Ok(request) => {
            check_forwarded(head, &request, client, base_path);
            check_rewritten(&request, client);
        }
        Err(refusal) => check_refusal(refusal),
    }
}

/// The first verdict on a growing head is the verdict on the whole.
pub(crate) fn check_extent(bytes: &[u8]) {
    let verdict = head_len(bytes);
    let line_ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let mut decided = false;
    for cut in line_ends.flat_map(|at| [at, at + 1]).chain([bytes.len()]) {
        let earlier = head_len(&bytes[..cut]);
        decided |= earlier != Ok(None);
        assert_eq!(earlier, if decided { verdict } else { Ok(None) }, "cut at {cut}");
        if let Ok(Some(len)) = earlier {
            assert!(len <= cut && bytes[..len].ends_with(b"\r\n"));
        }
    }
    if let Err(fault) = verdict {
        check_refusal(fault.into());
        assert!(fault != HeadFault::Nul || bytes.contains(&0));
    }
}

/// A refusal is one whole HTTP response.
fn check_refusal(refusal: Refusal) {
    let response = refusal.response();
    let end = response.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = response.split_at(end);
    http::assert_unambiguous(head);
    let head = http::response(head).expect("a response");
    assert_eq!(head.start.0, refusal.http_status().to_string());
    assert_eq!(head.values("content-length"), [body.len().to_string().as_bytes()]);
    assert!(head.has("connection", "close"));
    assert_eq!(refusal.http_status() == 426, head.has("upgrade", "websocket"));
}

fn check_forwarded(head: &[u8], request: &UpgradeRequest<'_>, client: Option<IpAddr>, base_path: &str) {
    let came = http::request(head).expect("accepted, so HTTP/1.1");
    let hop = Hop { peer: client, scheme: Scheme::Http, port: None };
    let forwarded = request.head_for(&Rewrite {
        base_path,
        path: &PathRewrite::default(),
        forwarding: &Forwarding::default(),
        hop,
        edits: &HeaderEdits::default(),
        facts: &Facts::default(),
    });
    http::assert_unambiguous(&forwarded);
    let went = http::request(&forwarded).expect("HTTP/1.1");

    assert_eq!(went.start.0, "GET");
    let target = went.start.1.strip_prefix(base_path.trim_end_matches('/')).expect("behind the base path");
    assert!(target.starts_with('/') && !target.contains('#'));
    assert!(came.start.1.ends_with(target) || target.starts_with("/?") || target == "/");
    assert_eq!(target.split_once('?').map_or(target, |(path, _)| path), request.path());
    assert_eq!(target.split_once('?').map(|(_, query)| query), request.query());

    for name in ["sec-websocket-key", "sec-websocket-version"] {
        assert_eq!(went.values(name), came.values(name), "{name}");
        assert_eq!(went.values(name).len(), 1, "{name}");
    }
    check_host(&came, &went);
    assert_eq!(went.values("sec-websocket-key"), [request.key().as_bytes()]);
    assert_eq!(went.values("sec-websocket-version"), [b"13"]);
    assert_eq!(went.values("upgrade"), [b"websocket"]);
    assert_eq!(went.values("connection"), [b"Upgrade"]);
    for name in ["content-length", "transfer-encoding", "te", "trailer", "keep-alive", "proxy-connection"] {
        assert!(went.values(name).is_empty(), "{name} went to the backend");
    }
    check_forwarded_for(&came, &went, client);
    check_fields(&came, &went);
    check_foreign(&went, &forwarded);
    check_lookup(&came, request);
}

/// What is looked up is what httparse reads, and never one of several.
fn check_lookup(came: &Head, request: &UpgradeRequest<'_>) {
    for (name, _) in &came.fields {
        let values = came.values(name);
        assert_eq!(request.header(name), Occurrence::of(values), "{name}");
        assert_eq!(request.header(&name.to_uppercase()), request.header(name), "{name}");
    }
    assert!(request.protocols().eq(came.members("sec-websocket-protocol")));
}

/// Rewritten in every way there is, it is the same handshake, and what an untrusted client said of itself is gone.
fn check_rewritten(request: &UpgradeRequest<'_>, client: Option<IpAddr>) {
    use ForwardHeader::{For, Forwarded, Host, Port, Proto};
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let facts = "{client_ip} {host} {path} {route} {identity}";
    let edits = HeaderEdits::new(
        &[owned(("X-Secret", "ours")), owned(("Cookie", facts))],
        &[owned(("X-Trace", facts))],
        &["Origin".to_owned()],
    );
    let trusted = vec!["10.0.0.0/8".parse().expect("a network"), "8000::/1".parse().expect("a network")];
    let forwarding = Forwarding { trusted, headers: vec![For, Proto, Host, Port, Forwarded] };
    let identity = Some("a\r\nInjected: 1");
    let real = client.map(|peer| forwarding.real_client(peer, request.head()));
    let rewritten = request.head_for(&Rewrite {
        base_path: "/base",
        path: &PathRewrite::prefix("/chat", "/new").expect("paths"),
        forwarding: &forwarding,
        hop: Hop { peer: client, scheme: Scheme::Https, port: Some(443) },
        edits: &edits.expect("legal"),
        facts: &Facts { client: real, host: request.authority(), path: request.path(), route: "r", identity },
    });
    http::assert_unambiguous(&rewritten);
    let went = http::request(&rewritten).expect("HTTP/1.1");
    assert!(went.start.1.starts_with("/base/new"), "{}", went.start.1);
    assert_eq!(went.start.1.split_once('?').map(|(_, query)| query), request.query());
    for name in ["host", "sec-websocket-key", "sec-websocket-version", "x-forwarded-for", "forwarded"] {
        let expected = usize::from(name != "x-forwarded-for" || client.is_some());
        assert_eq!(went.values(name).len(), expected, "{name}");
    }
    assert_eq!(went.values("x-secret"), [b"ours"]);
    assert_eq!((went.values("cookie").len(), went.values("origin").len()), (1, 0));
    assert!(went.values("injected").is_empty() && !went.values("x-trace").is_empty());
    let is_trusted =
        |ip: &IpAddr| forwarding.trusted.iter().any(|network| network.contains(&ip.to_canonical()));
    if !client.is_some_and(|client| is_trusted(&client)) {
        assert_eq!(real, client.map(|client| client.to_canonical()));
        assert_eq!(went.values("x-forwarded-proto"), [b"https"]);
        assert_eq!(went.values("x-forwarded-port"), [b"443"]);
        assert_eq!(went.values("x-forwarded-host"), went.values("host"));
        let told: Vec<_> =
            client.iter().map(|client| client.to_canonical().to_string().into_bytes()).collect();
        assert_eq!(went.values("x-forwarded-for"), told);
    }
}

/// nginx's `$proxy_add_x_forwarded_for`, `$scheme` and `$host`.
fn check_forwarded_for(came: &Head, went: &Head, client: Option<IpAddr>) {
    let mut hops = came.values("x-forwarded-for").join(b", ".as_slice());
    if let Some(client) = client {
        let separator = if hops.is_empty() { "" } else { ", " };
        hops.extend_from_slice(format!("{separator}{}", client.to_canonical()).as_bytes());
    }
    // An empty field is a hop too, but white space at the end of a field is not part of it.
    let expected: &[&[u8]] = if hops.is_empty() { &[] } else { &[hops.trim_ascii()] };
    assert_eq!(went.values("x-forwarded-for"), expected);
    assert_eq!(went.values("x-forwarded-proto"), [b"http"]);
    assert_eq!(went.values("x-forwarded-host"), went.values("host"));
}

/// One host, the client's: that of the target where it names one (RFC 9112 §3.2.2).
fn check_host(came: &Head, went: &Head) {
    assert_eq!((came.values("host").len(), went.values("host").len()), (1, 1));
    let target = &came.start.1;
    if target.starts_with('/') {
        assert_eq!(went.values("host"), came.values("host"));
    } else {
        let host = String::from_utf8_lossy(went.values("host")[0]).into_owned();
        assert!(target.contains(&format!("://{host}")), "{target} at {host}");
    }
}

/// Nothing is injected, and nothing is lost but what a `Connection` field may take away (RFC 9110 §7.6.1).
fn check_fields(came: &Head, went: &Head) {
    let is_replaced = |name: &str| REPLACED.iter().any(|replaced| name.eq_ignore_ascii_case(replaced));
    let is_needed = |name: &str| {
        name.eq_ignore_ascii_case("host") || name.to_ascii_lowercase().starts_with("sec-websocket-")
    };
    let is_passed = |name: &str| !is_replaced(name) && (is_needed(name) || !came.has("connection", name));
    let expected: Vec<_> = came.fields.iter().filter(|(name, _)| is_passed(name)).collect();
    let passed: Vec<_> = went.fields.iter().filter(|(name, _)| !is_replaced(name)).collect();
    assert_eq!(passed.len(), expected.len());
    for (passed, expected) in passed.iter().zip(expected) {
        // The host has been looked at.
        assert!(
            *passed == expected || passed.0.eq_ignore_ascii_case("host"),
            "{expected:?} became {passed:?}"
        );
    }
}

/// A foreign server takes it for a handshake too, and answers the same key.
fn check_foreign(went: &Head, forwarded: &[u8]) {
    // What the `http` crate makes of odd but parseable targets and values is its own affair.
    let mut builder = tungstenite::http::Request::builder().uri(&went.start.1);
    for (name, value) in &went.fields {
        builder = builder.header(name, value.as_slice());
    }
    let Ok(request) = builder.body(()) else { return };
    let response = tungstenite::handshake::server::create_response(&request);
    assert!(response.is_ok(), "{response:?}: {}", forwarded.escape_ascii());
}
