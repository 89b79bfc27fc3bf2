//! Who the client is, behind other proxies: the PROXY protocol in and out, `X-Forwarded-*` and `Forwarded` (RFC 7239).
#![cfg(feature = "runtime")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use support::backend::Stage;
use support::gate::{Gate, Session};
use support::http::{Head, switching, upgrade_request, upgrade_request_to};
use support::loopback;
use support::proxy::Proxy;
use support::raw::Raw;

/// A line of `[listen.public]`.
const REQUIRED: &str = "proxy_protocol = \"required\"";

/// proxy-protocol.txt §2.2.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// 192.0.2.7:51000 has connected to 198.51.100.1:443.
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n";

fn root() -> Vec<u8> {
    upgrade_request("/", &[])
}

/// A version 2 header with this command, family and rest, byte by byte.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [V2_SIGNATURE, &[0x20 | command, family], &len, rest].concat()
}

/// What [`V1`] says, in version 2, with a TLV behind it (§2.2.7: a noop).
fn v2_tcp4() -> Vec<u8> {
    let addresses =
        [&[192, 0, 2, 7][..], &[198, 51, 100, 1], &51000_u16.to_be_bytes(), &443_u16.to_be_bytes()];
    v2(1, 0x11, &[&addresses.concat()[..], &[0x04, 0, 2, 0, 0]].concat())
}

/// From 2001:db8::7 port 51000 to 2001:db8::1 port 443.
fn v2_tcp6() -> Vec<u8> {
    let ip = |last| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    v2(1, 0x21, &[&ip(7)[..], &ip(1), &51000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat())
}

/// Opens a session with this in front of the request; what the backend was asked, and the client in the log.
fn announced(gate: &mut Gate, header: &[u8], client: Raw) -> (Head, String) {
    let session = gate.admits_on(client, &[header, &root()].concat(), &[]);
    let asked = session.asked.clone();
    drop(session);
    (asked, gate.proxy.session().get("client"))
}

#[test]
fn a_proxy_header_tells_who_the_client_is() {
    let mut gate = Gate::with("", REQUIRED, "");
    let rows = [
        (V1.to_vec(), "192.0.2.7", "192.0.2.7:51000"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 443\r\n".to_vec(), "2001:db8::7", "[2001:db8::7]:51000"),
        (v2_tcp4(), "192.0.2.7", "192.0.2.7:51000"),
        (v2_tcp6(), "2001:db8::7", "[2001:db8::7]:51000"),
    ];
    for (header, address, known) in rows {
        let client = gate.proxy.dial();
        let (asked, logged) = announced(&mut gate, &header, client);
        assert_eq!(
            (asked.one("x-forwarded-for"), logged.as_str()),
            (address, known),
            "{}",
            header.escape_ascii()
        );
    }
    // A health check of the proxy in front, and a client that it does not know: then its own address counts.
    let own = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(),
        v2(0, 0, &[]),
        v2(1, 0, &[1; 36]),
    ];
    for header in own {
        let client = gate.proxy.dial();
        let (asked, logged) = announced(&mut gate, &header, client);
        assert_eq!(asked.one("x-forwarded-for"), "127.0.0.1", "{}", header.escape_ascii());
        assert!(logged.starts_with("127.0.0.1:"), "{logged}");
    }
}

#[test]
fn the_port_that_counts_is_the_one_that_the_client_connected_to() {
    let mut gate = Gate::with("", REQUIRED, "[forwarded]\nsend = [\"X-Forwarded-Port\"]");
    for (header, port) in [(V1, Some("443")), (b"PROXY UNKNOWN\r\n", None)] {
        let client = gate.proxy.dial();
        let own = client.stream.peer_addr().expect("it is connected").port().to_string();
        let (asked, _) = announced(&mut gate, header, client);
        assert_eq!(asked.one("x-forwarded-port"), port.unwrap_or(&own));
    }
}

#[test]
fn a_proxy_header_may_come_in_pieces() {
    let gate = Gate::with("", REQUIRED, "");
    for header in [V1.to_vec(), v2_tcp4()] {
        let mut client = gate.proxy.dial();
        for byte in &header {
            client.send(&[*byte]);
        }
        let Session { asked, .. } = gate.admits_on(client, &root(), &[]);
        assert_eq!(asked.one("x-forwarded-for"), "192.0.2.7");
    }
}

#[test]
fn a_connection_without_the_header_that_is_due_is_refused() {
    let mut gate = Gate::with("", REQUIRED, "");
    let headers = [
        Vec::new(),
        b"PROXY TCP4 192.0.2.7\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\n".to_vec(),
        b"proxy TCP4 192.0.2.7 198.51.100.1 51000 443\r\n".to_vec(),
        [b"PROXY TCP4 ", [b'1'; 200].as_slice(), b"\r\n"].concat(),
        // Version 1 of the binary form, an unknown command, an unknown family, too few bytes for its addresses.
        [V2_SIGNATURE, &[0x11, 0x11, 0, 0]].concat(),
        v2(2, 0x11, &[0; 12]),
        v2(1, 0x41, &[0; 12]),
        v2(1, 0x11, &[0; 11]),
    ];
    for header in headers {
        gate.refuses(&[&header[..], &root()].concat(), 400, "proxy_protocol");
    }
    let client = gate.proxy.dial();
    let session = gate.admits_on(client, &[V1, &upgrade_request("/witness", &[])].concat(), &[]);
    assert_eq!(session.asked.target(), "/witness", "none of them reached the backend");
}

#[test]
fn a_listener_that_wants_no_header_takes_none() {
    let mut gate = Gate::new("");
    // A request, by the looks of it, but in no version of HTTP; and none.
    gate.refuses(&[V1, &root()].concat(), 505, "version");
    gate.refuses(&[v2_tcp4(), root()].concat(), 400, "malformed");
    gate.expect_nothing_reached_the_backend(&[]);
}

#[test]
fn only_trusted_proxies_may_announce_a_client() {
    let mut gate = Gate::with("", REQUIRED, "[forwarded]\ntrusted = [\"127.0.6.1\"]");
    let from = |gate: &Gate, source| Raw::connect_from(Ipv4Addr::from(source), &gate.proxy.address);
    let client = from(&gate, [127, 0, 6, 1]);
    assert_eq!(announced(&mut gate, V1, client).1, "192.0.2.7:51000");
    // Whoever it announces is not trusted for that: what such a client says of itself is dropped.
    let client = from(&gate, [127, 0, 6, 1]);
    let request = upgrade_request("/", &["X-Forwarded-For: 203.0.113.1"]);
    let Session { asked, .. } = gate.admits_on(client, &[V1, &request].concat(), &[]);
    assert_eq!(asked.one("x-forwarded-for"), "192.0.2.7");
    let client = from(&gate, [127, 0, 6, 2]);
    gate.refuses_on(client, &[V1, &root()].concat(), 403, "forbidden");
}

#[test]
fn rules_for_addresses_are_for_the_client_that_was_announced() {
    let mut gate = Gate::with("deny = [\"192.0.2.0/24\"]\nlimits = { connections_per_ip = 1 }", REQUIRED, "");
    gate.refuses(&[V1, &root()].concat(), 403, "address_denied");
    let announce =
        |ip: &str| [format!("PROXY TCP4 {ip} 198.51.100.1 1 443\r\n").as_bytes(), &root()].concat();
    let _first = gate.admits(&announce("203.0.113.1"));
    let _other = gate.admits(&announce("203.0.113.2"));
    gate.refuses(&announce("203.0.113.1"), 429, "connections_per_ip");
}

/// A proxy that tells its backend the client by the PROXY protocol, in this version; with further lines behind its
/// listener.
fn telling(version: &str, listen: &str) -> (Proxy, Stage) {
    let backend = Stage::new();
    let proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n{listen}\n[route.all]\npool = \"app\"\n\
         [pool.app]\nbackends = [\"{}\"]\nsend_proxy = \"{version}\"\n",
        loopback(),
        backend.url()
    ));
    (proxy, backend)
}

/// That a session with this in front of the client's request has `told` in front of the backend's, byte by byte.
fn expect_told(proxy: &Proxy, backend: &Stage, mut client: Raw, header: &[u8], told: &[u8]) {
    client.send(&[header, &root()].concat());
    let mut server = backend.accept();
    assert_eq!(server.exactly(told.len()).escape_ascii().to_string(), told.escape_ascii().to_string());
    assert_eq!(server.head().start, "GET / HTTP/1.1");
    server.send(&switching(&[]));
    assert_eq!(client.head().status(), 101, "{}", proxy.address);
}

#[test]
fn a_backend_is_told_the_client_in_front_of_the_request() {
    for version in ["v1", "v2"] {
        let (proxy, backend) = telling(version, "");
        let client = proxy.dial();
        let ends =
            [client.stream.local_addr(), client.stream.peer_addr()].map(|end| end.expect("it is connected"));
        let [SocketAddr::V4(source), SocketAddr::V4(destination)] = ends else { unreachable!("IPv4") };
        let told = match version {
            "v1" => format!(
                "PROXY TCP4 {} {} {} {}\r\n",
                source.ip(),
                destination.ip(),
                source.port(),
                destination.port()
            )
            .into_bytes(),
            _ => {
                let ips = [source.ip().octets(), destination.ip().octets()].concat();
                let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
                v2(1, 0x11, &[ips, ports].concat())
            }
        };
        expect_told(&proxy, &backend, client, b"", &told);
    }
}

#[test]
fn what_was_announced_is_told_on() {
    let v1_tcp6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 443\r\n".to_vec();
    // Without its TLV: that is for us.
    let v2_tcp4_bare = v2(1, 0x11, &v2_tcp4()[16..28]);
    let rows = [("v1", V1.to_vec(), v1_tcp6), ("v2", v2_tcp4_bare, v2_tcp6())];
    for (version, tcp4, tcp6) in rows {
        let (proxy, backend) = telling(version, REQUIRED);
        expect_told(&proxy, &backend, proxy.dial(), V1, &tcp4);
        expect_told(&proxy, &backend, proxy.dial(), &v2_tcp4(), &tcp4);
        expect_told(&proxy, &backend, proxy.dial(), &v2_tcp6(), &tcp6);
    }
}

#[test]
fn the_port_of_a_client_that_others_speak_for_is_not_made_up() {
    let (proxy, backend) = telling("v1", "[forwarded]\ntrusted = [\"127.0.0.1\"]");
    let mut client = proxy.dial();
    let own = client.stream.peer_addr().expect("it is connected");
    client.send(&upgrade_request("/", &["X-Forwarded-For: 192.0.2.7"]));
    let told = format!("PROXY TCP4 192.0.2.7 {} 0 {}\r\n", own.ip(), own.port());
    assert_eq!(
        backend.accept().exactly(told.len()).escape_ascii().to_string(),
        told.escape_default().to_string()
    );
}

/// A request that says this of its client, all there is to say.
fn forwarded() -> Vec<u8> {
    upgrade_request_to(
        "chat.example:8765",
        "/",
        &[
            "X-Forwarded-For: 192.0.2.7, 198.51.100.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: www.example",
            "X-Forwarded-Port: 443",
            "Forwarded: for=192.0.2.7;proto=https;host=www.example",
        ],
    )
}

/// What a backend is told by the five headers, in order of their names.
fn told(head: &Head) -> [Vec<&str>; 5] {
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"]
        .map(|name| head.all(name))
}

const SEND_ALL: &str = "send = [\"X-Forwarded-For\", \"X-Forwarded-Proto\", \"X-Forwarded-Host\", \"X-Forwarded-Port\", \"Forwarded\"]";

#[test]
fn without_a_list_headers_are_passed_on_and_believed_in_nothing() {
    let mut gate = Gate::new("deny = [\"192.0.2.7\"]");
    let session = gate.admits(&forwarded());
    assert_eq!(
        told(&session.asked),
        [
            vec!["for=192.0.2.7;proto=https;host=www.example"],
            vec!["192.0.2.7, 198.51.100.1, 127.0.0.1"],
            vec!["chat.example:8765"],
            vec!["443"],
            vec!["http"],
        ]
    );
    drop(session);
    assert!(gate.proxy.session().get("client").starts_with("127.0.0.1:"));
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let mut gate = Gate::with(
        "request_headers = { set = { X-Real-Ip = \"{client_ip}\" } }",
        "",
        &format!("[forwarded]\ntrusted = [\"127.0.0.1\", \"198.51.100.0/24\"]\n{SEND_ALL}"),
    );
    let session = gate.admits(&forwarded());
    assert_eq!(
        told(&session.asked),
        [
            vec![
                "for=192.0.2.7;proto=https;host=www.example, for=127.0.0.1;host=\"chat.example:8765\";proto=http"
            ],
            vec!["192.0.2.7, 198.51.100.1, 127.0.0.1"],
            vec!["www.example"],
            vec!["443"],
            vec!["https"],
        ]
    );
    assert_eq!(session.asked.one("x-real-ip"), "192.0.2.7");
    drop(session);
    assert_eq!(gate.proxy.session().get("client"), "192.0.2.7");
    // RFC 7239 alone does as well; what is left of the last stranger proves nothing.
    let request =
        upgrade_request("/", &["Forwarded: for=203.0.113.9, for=\"[2001:db8::7]:4711\", for=198.51.100.1"]);
    let Session { asked, .. } = gate.admits(&request);
    assert_eq!(asked.one("x-real-ip"), "2001:db8::7");
}

#[test]
fn what_strangers_say_is_dropped_where_there_is_a_list() {
    let mut gate = Gate::with("", "", &format!("[forwarded]\ntrusted = [\"10.0.0.0/8\"]\n{SEND_ALL}"));
    let port = gate.proxy.address.rsplit(':').next().expect("a port").to_owned();
    let session = gate.admits(&forwarded());
    assert_eq!(
        told(&session.asked),
        [
            vec!["for=127.0.0.1;host=\"chat.example:8765\";proto=http"],
            vec!["127.0.0.1"],
            vec!["chat.example:8765"],
            vec![port.as_str()],
            vec!["http"],
        ]
    );
    drop(session);
    assert!(gate.proxy.session().get("client").starts_with("127.0.0.1:"));
}

#[test]
fn headers_that_are_not_to_be_sent_are_not() {
    let gate = Gate::with("", "", "[forwarded]\ntrusted = [\"10.0.0.0/8\"]\nsend = []");
    assert_eq!(told(&gate.admits(&forwarded()).asked), [(); 5].map(|()| Vec::<&str>::new()));
}
