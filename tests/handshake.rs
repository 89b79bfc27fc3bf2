//! The opening handshake, row by row: what is refused and how, and what goes on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and what it looks at is there"
)]

use selat::protocol::frame::Rsv;
use selat::protocol::handshake::{
    Answer, Body, Facts, Forwarding, HEADERS_MAX, HeadFault, HeaderEdits, Hop, InvalidAnswer, PathRewrite,
    Refusal, RequestHead, Rewrite, Scheme, UpgradeRequest, answer, head_len, switching_protocols,
};

/// The handshake of RFC 6455 §1.2, as far as it is mandatory.
const VALID: &str = "GET /chat HTTP/1.1\r\nHost: selat.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The valid request with more lines.
fn with(lines: &str) -> String {
    format!("{}{lines}\r\n\r\n", VALID.strip_suffix("\r\n").unwrap())
}

/// The valid request with something else in place of `part`.
fn instead(part: &str, other: &str) -> String {
    assert!(VALID.contains(part), "{part:?}");
    VALID.replacen(part, other, 1)
}

fn judge(bytes: &[u8]) -> Result<UpgradeRequest<'_>, Refusal> {
    let len = head_len(bytes)?.unwrap_or_else(|| panic!("not a whole head: {}", bytes.escape_ascii()));
    UpgradeRequest::parse(&bytes[..len])
}

fn assert_refused(rows: &[(&str, String, Refusal)]) {
    for (rule, head, refusal) in rows {
        let verdict = judge(head.as_bytes()).map(|_| "accepted");
        assert_eq!(verdict, Err(*refusal), "{rule}: {head:?}");
    }
}

/// The header lines that a backend at `ws://backend/base` gets.
fn forwarded(head: &str, client: Option<&str>) -> Vec<String> {
    let request = judge(head.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}: {head:?}"));
    rewritten(&request, client, &PathRewrite::default(), &HeaderEdits::default())
}

/// The header lines that a backend at `ws://backend/base` gets with these rewrites.
fn rewritten(
    request: &UpgradeRequest<'_>,
    client: Option<&str>,
    path: &PathRewrite,
    edits: &HeaderEdits,
) -> Vec<String> {
    let peer = client.map(|address| address.parse().unwrap());
    let forwarded = request.head_for(&Rewrite {
        base_path: "/base",
        path,
        forwarding: &Forwarding::default(),
        hop: Hop { peer, scheme: Scheme::Http, port: None },
        edits,
        facts: &Facts {
            client: peer,
            host: request.authority(),
            path: request.path(),
            route: "chat",
            identity: None,
        },
    });
    let forwarded = String::from_utf8(forwarded).unwrap();
    forwarded.strip_suffix("\r\n\r\n").unwrap().split("\r\n").map(str::to_owned).collect()
}

/// The values of one field among these lines.
fn values<'l>(lines: &'l [String], name: &str) -> Vec<&'l str> {
    let fields = lines.iter().filter_map(|line| line.split_once(':'));
    fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

#[test]
fn refuses_what_is_not_a_websocket_handshake() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_refused(&[
        ("§4.1 item 2: GET", instead("GET", "POST"), Refusal::Method),
        ("§4.1 item 2: at least HTTP/1.1", instead("HTTP/1.1", "HTTP/1.0"), Refusal::HttpVersion),
        ("RFC 9112 §2.3: HTTP/2 is not written so", instead("HTTP/1.1", "HTTP/2.0"), Refusal::HttpVersion),
        ("§4.2.1 item 3: Upgrade", instead("Upgrade: websocket\r\n", ""), Refusal::NotAnUpgrade),
        ("§4.2.1 item 3: to websocket", instead("websocket", "h2c"), Refusal::NotAnUpgrade),
        ("§4.2.1 item 4: Connection", instead("Connection: Upgrade\r\n", ""), Refusal::NotAnUpgrade),
        ("§4.2.1 item 4: names Upgrade", instead("n: Upgrade", "n: close"), Refusal::NotAnUpgrade),
        ("§4.2.1 item 6: version", instead("Sec-WebSocket-Version: 13\r\n", ""), Refusal::Version),
        ("§4.2.1 item 6: 13", instead("n: 13", "n: 8"), Refusal::Version),
        ("§4.2.1 item 6: and only 13", instead("n: 13", "n: 13, 8"), Refusal::Version),
        ("§11.3.5: once", with("Sec-WebSocket-Version: 13\r\n"), Refusal::Version),
        ("§4.2.1 item 5: a key", instead("Sec-WebSocket-Key", "X-Key"), Refusal::Key),
        ("§4.2.1 item 5: not of 15 bytes", instead(KEY, "dGhlIHNhbXBsZSBub25j"), Refusal::Key),
        ("§4.2.1 item 5: not of 18 bytes", instead(KEY, "dGhlIHNhbXBsZSBub25jZTEy"), Refusal::Key),
        ("§4.2.1 item 5: in base64", instead(KEY, "d*hlIHNhbXBsZSBub25jZQ=="), Refusal::Key),
        ("§4.2.1 item 5: not empty", instead(KEY, ""), Refusal::Key),
        ("§11.3.1: once", with("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), Refusal::Key),
        ("RFC 9112 §3.2: Host", instead("Host: selat.example\r\n", ""), Refusal::Host),
        ("RFC 9112 §3.2: one Host", with("Host: other.example\r\n"), Refusal::Host),
    ]);
}

#[test]
fn refuses_what_two_parsers_could_read_differently() {
    let syntax = Refusal::Syntax;
    assert_refused(&[
        ("RFC 9112 §6: no body", with("Content-Length: 5\r\n"), Refusal::BodyPresent),
        ("RFC 9112 §6.3: no doubt of that", with("Content-Length: 0, 5\r\n"), Refusal::BodyPresent),
        (
            "RFC 9112 §6.3: not twice",
            with("Content-Length: 0\r\nContent-Length: 5\r\n"),
            Refusal::BodyPresent,
        ),
        ("RFC 9112 §6.1: no transfer coding", with("Transfer-Encoding: chunked\r\n"), Refusal::BodyPresent),
        ("RFC 9112 §6.1: none at all", with("Transfer-Encoding: identity\r\n"), Refusal::BodyPresent),
        ("RFC 9112 §5.2: obs-fold", with("X-A: b\r\n c\r\n"), HeadFault::ObsFold.into()),
        ("RFC 9112 §5.2: with a tab", with("X-A: b\r\n\tc\r\n"), HeadFault::ObsFold.into()),
        ("RFC 9112 §2.2: CR LF", instead("HTTP/1.1\r\n", "HTTP/1.1\n"), HeadFault::BareLf.into()),
        ("RFC 9112 §2.2: everywhere", with("X-A: b\nX-B: c\r\n"), HeadFault::BareLf.into()),
        ("RFC 9112 §2.2: no bare CR", with("X-A: b\rX-B: c\r\n"), syntax(httparse::Error::HeaderValue)),
        ("RFC 9110 §5.5: NUL", with("X-A: b\0\r\n"), HeadFault::Nul.into()),
        ("RFC 9112 §3: nor in the first line", instead("/chat", "/\0chat"), HeadFault::Nul.into()),
        (
            "RFC 9112 §5.1: no space before the colon",
            with("X-A : b\r\n"),
            syntax(httparse::Error::HeaderName),
        ),
        ("RFC 9110 §5.1: a name is a token", with("X(A): b\r\n"), syntax(httparse::Error::HeaderName)),
        ("RFC 9112 §3: one space", instead("GET /chat", "GET  /chat"), syntax(httparse::Error::Token)),
        ("RFC 9112 §3.2: asterisk-form", instead("/chat", "*"), Refusal::Target),
        ("RFC 9112 §3.2: authority-form", instead("/chat", "selat.example:80"), Refusal::Target),
        ("RFC 9112 §3.2: no form at all", instead("/chat", "chat"), Refusal::Target),
        (
            "RFC 9112 §3.2: nor with a URL inside",
            instead("/chat", "chat?next=http://x/admin"),
            Refusal::Target,
        ),
        ("RFC 6455 §3: a fragment", instead("/chat", "/chat#top"), Refusal::Target),
        ("RFC 6585 §5: too many fields", with(&"X-A: b\r\n".repeat(HEADERS_MAX - 4)), Refusal::HeadTooLarge),
    ]);
}

#[test]
fn accepts_a_handshake_however_it_is_written() {
    let rows = [
        ("RFC 6455 §1.2", VALID.to_owned()),
        ("§4.2.1 item 4: among others", instead("n: Upgrade", "n: keep-alive, Upgrade")),
        ("RFC 9110 §5.3: or in two lines", with("Connection: keep-alive\r\n")),
        (
            "§4.2.1 items 3 and 4: in any case",
            VALID.replace("websocket", "WebSocket").replace("Upgrade", "UPGRADE"),
        ),
        (
            "RFC 9110 §5.1: names in any case",
            VALID
                .to_ascii_lowercase()
                .replace("get /chat http/1.1", "GET / HTTP/1.1")
                .replace("dghlihnhbxbszsbub25jzq==", "dGhlIHNhbXBsZSBub25jZQ=="),
        ),
        ("RFC 9112 §5.1: no space needed", VALID.replace(": ", ":")),
        ("RFC 9112 §6.3: an empty body is none", with("Content-Length: 0\r\n")),
        ("RFC 9110 §5.5: obs-text", with("X-Name: caf\u{e9}\r\n")),
        ("as many fields as may be", with(&"X-A: b\r\n".repeat(HEADERS_MAX - 5))),
    ];
    for (rule, head) in rows {
        assert!(judge(head.as_bytes()).is_ok(), "{rule}: {head:?}");
    }
}

#[test]
fn each_target_goes_on_behind_the_base_path() {
    let rows = [
        ("RFC 9112 §3.2.1", "/", "/base/"),
        ("RFC 9112 §3.2.1: with its query", "/chat?room=1&u=http://x/", "/base/chat?room=1&u=http://x/"),
        ("RFC 9112 §3.2.2", "http://selat.example/chat?room=1", "/base/chat?room=1"),
        ("RFC 9112 §3.2.2: no path is /", "ws://selat.example", "/base/"),
        ("RFC 9112 §3.2.2: with its query", "ws://selat.example?room=1", "/base/?room=1"),
        ("RFC 9110 §4.2.3: as it came", "/a/../b//%2e%2E", "/base/a/../b//%2e%2E"),
    ];
    for (rule, target, expected) in rows {
        let lines = forwarded(&instead("/chat", target), None);
        assert_eq!(lines[0], format!("GET {expected} HTTP/1.1"), "{rule}");
    }
}

#[test]
fn an_absolute_target_says_which_host_is_meant() {
    // RFC 9112 §3.2.2: the received Host MUST be ignored; nginx's $host says the same.
    let lines = forwarded(&instead("/chat", "http://other.example/chat"), None);
    assert_eq!(values(&lines, "Host"), ["other.example"]);
    assert_eq!(values(&lines, "X-Forwarded-Host"), ["other.example"]);
}

#[test]
fn what_belongs_to_one_connection_does_not_go_on() {
    let lines = forwarded(
        &with(
            "Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
             Trailer: X-After\r\nProxy-Connection: keep-alive\r\nContent-Length: 0\r\nX-Other: 2\r\n\
             Connection: Hostname\r\nHostname: 3\r\n",
        ),
        None,
    );
    // RFC 9110 §7.6.1: these, and whatever Connection names.
    for name in ["X-Secret", "Keep-Alive", "TE", "Trailer", "Proxy-Connection", "Content-Length", "Hostname"]
    {
        assert_eq!(values(&lines, name), [""; 0], "{name}");
    }
    assert_eq!(values(&lines, "Connection"), ["Upgrade"]);
    assert_eq!(values(&lines, "Upgrade"), ["websocket"]);
    assert_eq!(values(&lines, "X-Other"), ["2"]);
}

#[test]
fn a_connection_field_cannot_strip_the_handshake() {
    let nominated = "n: Upgrade, Host, Sec-WebSocket-Key, sec-websocket-version, Sec-WebSocket-Protocol, \
        Sec-WebSocket-Extensions, X-Forwarded-For, X-Forwarded-Proto";
    let head = instead("n: Upgrade", nominated);
    let more = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
        X-Forwarded-For: 192.0.2.1\r\n\r\n";
    let lines = forwarded(&format!("{}{more}", head.strip_suffix("\r\n").unwrap()), Some("198.51.100.7"));
    let rows = [
        ("Host", "selat.example"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("X-Forwarded-For", "192.0.2.1, 198.51.100.7"),
        ("X-Forwarded-Proto", "http"),
    ];
    for (name, value) in rows {
        assert_eq!(values(&lines, name), [value], "{name}");
    }
}

#[test]
fn forwarding_is_told_as_nginx_tells_it() {
    // $proxy_add_x_forwarded_for, $scheme, $host.
    let rows = [
        ("", Some("198.51.100.7"), "198.51.100.7"),
        ("", Some("2001:db8::7"), "2001:db8::7"),
        ("X-Forwarded-For: 192.0.2.1\r\n", Some("198.51.100.7"), "192.0.2.1, 198.51.100.7"),
        (
            "X-Forwarded-For: a\r\nX-A: b\r\nx-forwarded-for: c, d\r\n",
            Some("198.51.100.7"),
            "a, c, d, 198.51.100.7",
        ),
        ("X-Forwarded-For: 192.0.2.1\r\n", None, "192.0.2.1"),
    ];
    for (lines, client, expected) in rows {
        let spoofed = format!("{lines}X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n");
        let lines = forwarded(&with(&spoofed), client);
        assert_eq!(values(&lines, "X-Forwarded-For"), [expected]);
        assert_eq!(values(&lines, "X-Forwarded-Proto"), ["http"]);
        assert_eq!(values(&lines, "X-Forwarded-Host"), ["selat.example"]);
    }
    assert_eq!(values(&forwarded(VALID, None), "X-Forwarded-For"), [""; 0]);
}

#[test]
fn everything_else_goes_on_as_it_came() {
    let came = "Origin: https://app.example\r\ncookie: a=b; c=d\r\nAuthorization: Bearer x\r\n\
        User-Agent: test\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\nForwarded: for=192.0.2.1\r\n";
    let lines = forwarded(&with(came), None);
    let at = lines.iter().position(|line| line.starts_with("Origin")).unwrap();
    assert_eq!(lines[at..at + 8].join("\r\n") + "\r\n", came);
}

#[test]
fn a_head_is_read_for_its_route_whether_it_is_a_handshake_or_not() {
    let rows = [
        ("a health check", "HEAD /healthz HTTP/1.0\r\n\r\n", None, Some("/healthz"), None),
        ("a browser", "GET /?a=b?c HTTP/1.1\r\nHost: x\r\n\r\n", Some("x"), Some("/"), Some("a=b?c")),
        ("with a port", "GET /a HTTP/1.1\r\nHost: X.example:80\r\n\r\n", Some("X.example"), Some("/a"), None),
        ("IPv6", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", Some("[2001:db8::1]"), Some("/"), None),
        ("IPv6 alone", "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", Some("[::1]"), Some("/"), None),
        ("absolute", "GET ws://y?q HTTP/1.1\r\nHost: x\r\n\r\n", Some("y"), Some("/"), Some("q")),
        ("no Host in doubt", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", None, Some("/"), None),
        ("asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Some("x"), None, None),
    ];
    for (what, head, host, path, query) in rows {
        let head = RequestHead::parse(head.as_bytes()).unwrap();
        assert_eq!((head.host(), head.path(), head.query()), (host, path, query), "{what}");
    }
    let head = RequestHead::parse(b"HEAD / HTTP/1.1\r\nX-a: 1\r\nx-A: 2 \r\n\r\n").unwrap();
    assert_eq!(head.method(), "HEAD");
    assert_eq!((head.header("X-A"), head.header("X-B")), (Some(b"1".as_slice()), None));
}

#[test]
fn a_request_that_gets_a_fixed_response_must_still_be_unambiguous() {
    let rows = [
        ("RFC 9112 §3.2: 1.0 needs no Host", "GET / HTTP/1.0\r\n\r\n", Ok(())),
        ("RFC 9112 §3.2: 1.1 does", "GET / HTTP/1.1\r\n\r\n", Err(Refusal::Host)),
        ("RFC 9112 §3.2: one", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Err(Refusal::Host)),
        ("any method", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        ("a handshake too", VALID, Ok(())),
        ("RFC 9112 §3.2: no path", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Err(Refusal::Target)),
    ];
    for (rule, head, verdict) in rows {
        assert_eq!(RequestHead::parse(head.as_bytes()).unwrap().check_plain(), verdict, "{rule}");
    }
    let verdict = RequestHead::parse(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n").map(|_| "read");
    assert_eq!(verdict, Err(Refusal::HttpVersion), "RFC 9112 §2.3");
}

#[test]
fn the_first_fault_of_several_is_the_one_that_is_told() {
    // In this order; each row has the fault that it names and those of all the rows below it.
    let rows = [
        (Refusal::HttpVersion, "POST * HTTP/1.0\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n"),
        (Refusal::Host, "POST * HTTP/1.1\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n"),
        (Refusal::NotAnUpgrade, "POST * HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"),
        (
            Refusal::Method,
            "POST * HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            Refusal::BodyPresent,
            "GET * HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5\r\n\r\n",
        ),
        (Refusal::Version, "GET * HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        (
            Refusal::Key,
            "GET * HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
        ),
    ];
    assert_refused(&rows.map(|(refusal, head)| ("order", head.to_owned(), refusal)));
}

#[test]
fn a_rewritten_path_keeps_its_query_and_goes_behind_the_base_path() {
    let strip = PathRewrite::prefix("/chat", "").unwrap();
    let rows = [
        (&strip, "/chat/room?u=/chat", "/base/room?u=/chat"),
        (&strip, "/chat?u=1", "/base/?u=1"),
        (&strip, "/chat?", "/base/?"),
        (&strip, "ws://x/chat", "/base/"),
        (&PathRewrite::replace("/other").unwrap(), "/chat?u=1", "/base/other?u=1"),
    ];
    for (path, target, expected) in rows {
        let head = instead("/chat", target);
        let lines = rewritten(&judge(head.as_bytes()).unwrap(), None, path, &HeaderEdits::default());
        assert_eq!(lines[0], format!("GET {expected} HTTP/1.1"));
    }
}

#[test]
fn configured_fields_have_the_last_word() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let edits = HeaderEdits::new(
        &[pair("Host", "backend.example"), pair("X-Real-IP", "{client_ip}"), pair("X-User", "{identity}")],
        &[pair("X-Route", "{route} at {host}{path}")],
        &["X-Forwarded-For".to_owned(), "cookie".to_owned()],
    )
    .unwrap();
    let head = with("X-Real-IP: 6.6.6.6\r\nX-User: root\r\nCookie: a=b\r\nX-Route: mine\r\n");
    let request = judge(head.as_bytes()).unwrap();
    let lines = rewritten(&request, Some("198.51.100.7"), &PathRewrite::default(), &edits);
    assert_eq!(values(&lines, "Host"), ["backend.example"]);
    assert_eq!(values(&lines, "X-Real-IP"), ["198.51.100.7"]);
    assert_eq!(values(&lines, "X-User"), [""; 0], "nobody proved to be anybody");
    assert_eq!(values(&lines, "X-Route"), ["mine", "chat at selat.example/chat"]);
    assert_eq!(values(&lines, "X-Forwarded-For"), [""; 0]);
    assert_eq!(values(&lines, "Cookie"), [""; 0]);
    assert_eq!(values(&lines, "X-Forwarded-Host"), ["selat.example"], "what the client asked");
    assert_eq!(values(&lines, "Upgrade"), ["websocket"]);
}

#[test]
fn a_subprotocol_that_carried_a_credential_does_not_go_on() {
    let rows: [(&[&str], &[&str]); 4] = [
        (&["chat, key.s3cret, superchat"], &["chat, superchat"]),
        (&["key.s3cret"], &[]),
        (&["key.s3cret", "chat,key.s3cret"], &["chat"]),
        (&["chat,superchat"], &["chat,superchat"]),
    ];
    for (offers, expected) in rows {
        let offers: String =
            offers.iter().map(|offer| format!("Sec-WebSocket-Protocol: {offer}\r\n")).collect();
        let head = with(&format!("X-Before: 1\r\n{offers}"));
        let mut request = judge(head.as_bytes()).unwrap();
        request.withhold_protocols(b"key.");
        assert!(!request.offers_protocol(b"key.s3cret"));
        request.withhold_protocols(b"never offered");
        assert!(!request.offers_protocol(b"key.s3cret"), "hidden for good");
        let lines = rewritten(&request, None, &PathRewrite::default(), &HeaderEdits::default());
        assert_eq!(values(&lines, "Sec-WebSocket-Protocol"), expected);
        assert!(!lines.concat().contains("s3cret"));
        // A backend that chooses it all the same has not been offered it.
        let raw = switching(&["Sec-WebSocket-Protocol: key.s3cret"]);
        assert_eq!(answer(raw.as_bytes(), &request).unwrap_err(), InvalidAnswer::Protocol);
    }
}

/// The verdict on a backend's answer to [`VALID`] with two subprotocols and permessage-deflate offered, in words.
fn verdict(raw: &str) -> String {
    let offers = "Sec-WebSocket-Protocol: chat, superchat\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-foo\r\n";
    let request = with(offers);
    let request = judge(request.as_bytes()).unwrap();
    let len = match head_len(raw.as_bytes()) {
        Ok(len) => len.unwrap(),
        Err(fault) => return fault.to_string(),
    };
    match answer(&raw.as_bytes()[..len], &request) {
        Ok(Answer::Switching { rsv: Rsv::NONE, .. }) => "101".to_owned(),
        Ok(Answer::Switching { rsv: Rsv::RSV1, .. }) => "101 with RSV1".to_owned(),
        Ok(Answer::Switching { .. }) => "101 with any bit".to_owned(),
        Ok(Answer::Refused { status, body: Body::Length(len), .. }) => format!("{status} with {len}"),
        Ok(Answer::Refused { status, body: Body::Chunked, .. }) => format!("{status} in chunks"),
        Ok(Answer::Refused { status, body: Body::UntilClose, .. }) => format!("{status} until it closes"),
        Ok(Answer::Unavailable { status }) => format!("unavailable: {status}"),
        Ok(Answer::Interim) => "to be continued".to_owned(),
        Err(invalid) => invalid.to_string(),
    }
}

/// A 101 with these lines in place of or beside the mandatory ones.
fn switching(lines: &[&str]) -> String {
    let mandatory =
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="];
    let name = |line: &str| line.split(':').next().unwrap().to_owned();
    let is_kept = |line: &&&str| !lines.iter().any(|other| name(other) == name(line));
    let lines: Vec<_> = mandatory.iter().filter(is_kept).chain(lines).copied().collect();
    format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\n", lines.join("\r\n"))
}

#[test]
fn a_101_counts_only_if_a_client_may_take_it() {
    let not_an_upgrade = "a 101 that does not upgrade to websocket";
    let wrong_accept = "Sec-WebSocket-Accept is missing or does not answer the key";
    let not_offered = "an extension that was not offered";
    let rows: [(&str, &[&str], &str); 19] = [
        ("§1.3", &[], "101"),
        ("§4.1 item 2: in any case", &["Upgrade: WebSocket"], "101"),
        ("§4.1 item 2", &["Upgrade:"], not_an_upgrade),
        ("§4.1 item 2: to websocket", &["Upgrade: h2c"], not_an_upgrade),
        ("§4.1 item 3", &["Connection: keep-alive"], not_an_upgrade),
        ("§4.1 item 3: among others", &["Connection: keep-alive, upgrade"], "101"),
        ("§4.1 item 4", &["Sec-WebSocket-Accept:"], wrong_accept),
        ("§4.1 item 4: another key's", &["Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="], wrong_accept),
        ("§4.1 item 4: case counts", &["Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="], wrong_accept),
        (
            "§11.3.3: once",
            &["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "sec-websocket-accept: x"],
            wrong_accept,
        ),
        ("§4.1 item 6", &["Sec-WebSocket-Protocol: superchat"], "101"),
        ("§4.1 item 6: offered", &["Sec-WebSocket-Protocol: soap"], "a subprotocol that was not offered"),
        (
            "§4.1 item 6: one",
            &["Sec-WebSocket-Protocol: chat, superchat"],
            "a subprotocol that was not offered",
        ),
        ("§4.1 item 5", &["Sec-WebSocket-Extensions: permessage-deflate"], "101 with RSV1"),
        (
            "RFC 7692 §7.1",
            &["Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10"],
            "101 with RSV1",
        ),
        ("§4.1 item 5: unknown to selat", &["Sec-WebSocket-Extensions: x-foo"], "101 with any bit"),
        ("§4.1 item 5: offered", &["Sec-WebSocket-Extensions: x-webkit-deflate-frame"], not_offered),
        ("§4.1 item 5: each", &["Sec-WebSocket-Extensions: permessage-deflate, x-bar"], not_offered),
        ("§9.1: none is none", &["Sec-WebSocket-Extensions:"], "101"),
    ];
    for (rule, lines, expected) in rows {
        assert_eq!(verdict(&switching(lines)), expected, "{rule}: {lines:?}");
    }
}

#[test]
fn any_other_answer_is_the_applications_or_a_reason_to_try_another_backend() {
    let rows = [
        ("RFC 9110 §15.2.1", "HTTP/1.1 100 Continue\r\n\r\n", "to be continued"),
        ("RFC 8297 §2", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "to be continued"),
        ("RFC 9110 §15.5.2", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", "401 with 2"),
        ("RFC 9110 §15.4.3", "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "302 with 0"),
        ("RFC 9112 §6.3 item 4", "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", "403 in chunks"),
        (
            "RFC 9112 §6.3 item 4: last",
            "HTTP/1.1 403 No\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "403 in chunks",
        ),
        (
            "RFC 9112 §6.3 item 4: not last",
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            "403 until it closes",
        ),
        ("RFC 9112 §6.3 item 8", "HTTP/1.1 404 Not Found\r\n\r\n", "404 until it closes"),
        ("RFC 9112 §6.3 item 1", "HTTP/1.1 204 No Content\r\n\r\n", "204 with 0"),
        ("RFC 9112 §6.3 item 1", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 with 0"),
        ("RFC 6455 §4.1 item 1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 with 5"),
        ("RFC 9110 §15.6.4", "HTTP/1.1 503 Service Unavailable\r\n\r\n", "unavailable: 503"),
        ("RFC 9110 §15.6.1", "HTTP/1.0 500 Oops\r\n\r\n", "unavailable: 500"),
        ("RFC 9112 §2.2", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "a line ends in LF without CR"),
    ];
    for (rule, raw, expected) in rows {
        assert_eq!(verdict(raw), expected, "{rule}: {raw:?}");
    }
    for raw in ["SSH-2.0-OpenSSH_9.9\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 Odd\r\n\r\n", "\r\n"]
    {
        assert!(verdict(raw).starts_with("malformed response"), "{raw:?}: {}", verdict(raw));
    }
}

#[test]
fn a_body_whose_end_is_in_doubt_does_not_reach_the_client() {
    // RFC 9112 §6.3 item 5: a proxy MUST discard such an answer; the client would look elsewhere for the end.
    for length in ["5\r\nContent-Length: 6", "5, 6", "+5", "-1", "five", "99999999999999999999", ""] {
        let raw = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
        let verdict = verdict(&raw);
        assert!(!verdict.starts_with("200"), "{length:?}: {verdict}");
    }
}

#[test]
fn the_client_gets_the_answer_less_what_belonged_to_the_backends_connection() {
    let request = judge(VALID.as_bytes()).unwrap();
    let raw = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nConnection: keep-alive, X-Hop\r\n\
        Keep-Alive: timeout=5\r\nX-Hop: 1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\n";
    let Ok(Answer::Refused { head, .. }) = answer(raw.as_bytes(), &request) else { panic!("{raw:?}") };
    let expected = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
        Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(String::from_utf8(head).unwrap(), expected);

    // RFC 9112 §6.3 item 3: of the two, Transfer-Encoding counts, and the other MUST NOT go on.
    let raw = "HTTP/1.1 403 No\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
    let Ok(Answer::Refused { head, body: Body::Chunked, .. }) = answer(raw.as_bytes(), &request) else {
        panic!("{raw:?}")
    };
    assert!(!String::from_utf8(head).unwrap().contains("Content-Length"));

    // RFC 9110 §8.6, RFC 9112 §6.1: neither may stand in a 101.
    let raw = switching(&["Content-Length: 5", "Transfer-Encoding: chunked", "Set-Cookie: a=b"]);
    let Ok(Answer::Switching { head, .. }) = answer(raw.as_bytes(), &request) else { panic!("{raw:?}") };
    let expected = switching(&["Set-Cookie: a=b"]);
    assert_eq!(String::from_utf8(head).unwrap(), expected);
}

#[test]
fn every_response_can_be_given_fields() {
    let add = [("Strict-Transport-Security".to_owned(), "max-age=63072000".to_owned())];
    let edits = HeaderEdits::new(&[], &add, &["Server".to_owned()]).unwrap();
    let request = judge(VALID.as_bytes()).unwrap();
    let raw = switching(&["Server: x"]);
    let Ok(Answer::Switching { head: switched, .. }) = answer(raw.as_bytes(), &request) else {
        panic!("{raw:?}")
    };
    for response in [switched, switching_protocols(request.key()), Refusal::Full.response()] {
        let mut edited = response.clone();
        edits.apply(&mut edited, &Facts::default());
        let (before, after) = (String::from_utf8(response).unwrap(), String::from_utf8(edited).unwrap());
        let (head, body) = before.split_once("\r\n\r\n").unwrap();
        let head = head.replace("\r\nServer: x", "");
        assert_eq!(after, format!("{head}\r\nStrict-Transport-Security: max-age=63072000\r\n\r\n{body}"));
    }
}
