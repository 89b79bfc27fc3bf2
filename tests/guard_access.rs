//! Who may open a session: by origin, by address, by key, by password. Who may not gets an honest status, a line in
//! the log with the word for it, and reaches no backend; what opens the door is in no log.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::net::Ipv4Addr;

use support::frames::{TEXT, client_frame};
use support::gate::{Gate, Session};
use support::http::upgrade_request;
use support::path::Directory;
use support::proxy::Proxy;
use support::raw::Raw;
use support::ws::{expect_echo, text};
use support::{eventually, loopback};

const KEY: &str = "k3y-of-acme-0123456789";
const OTHER_KEY: &str = "k3y-of-globex-0123456789";

/// `Aladdin:open sesame`, as RFC 7617 §2 has it, and the hash of the password, made with OpenSSL.
const PASSWORD: &str = "QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
const USERS: &str = "Aladdin:{SHA256}Qe9LsLI2YeZjAarDYGaRLawDeCe0rmOnsRZaWqk+1Os=\n";

/// All that selat has to say.
const LOG: &str = "[log]\nlevel = \"trace\"\n";

fn get(more: &[&str]) -> Vec<u8> {
    upgrade_request("/", more)
}

/// A gate that opens to the keys of a file, sent `from` there.
fn keyed(directory: &Directory, from: &str) -> Gate {
    fs::write(directory.file("keys"), format!("acme:{KEY}\n")).expect("the directory is ours");
    let keys = directory.argument("keys");
    let route = format!(
        "auth = {{ kind = \"key\", keys_file = \"{keys}\", from = [{from}] }}\n\
         request_headers = {{ set = {{ X-User = \"{{identity}}\" }} }}"
    );
    Gate::with(&route, "", LOG)
}

#[test]
fn pages_of_other_origins_are_refused() {
    let mut gate = Gate::new(
        "origins = [\"https://example.com\", \"https://*.example.com\", \"http://localhost:3000\"]",
    );
    let good = [
        "https://example.com",
        "https://EXAMPLE.com",
        "https://example.com:443",
        "https://chat.example.com",
        "https://a.b.example.com",
        "http://localhost:3000",
    ];
    for origin in good {
        let Session { asked, .. } = gate.admits(&get(&[&format!("Origin: {origin}")]));
        assert_eq!(asked.one("origin"), origin);
    }
    // Programs send none.
    gate.admits(&get(&[]));
    let bad = [
        "http://example.com",
        "https://example.com:8443",
        "https://example.com.evil.example",
        "https://evilexample.com",
        "http://localhost",
        "null",
        "https://example.com, https://evil.example",
        "https://example.com/",
    ];
    for origin in bad {
        gate.refuses(&get(&[&format!("Origin: {origin}")]), 403, "origin_forbidden");
    }
    let twice = ["Origin: https://example.com", "Origin: https://evil.example"];
    gate.refuses(&get(&twice), 403, "origin_forbidden");
    gate.expect_nothing_reached_the_backend(&[]);
}

#[test]
fn an_origin_may_be_demanded() {
    let mut gate = Gate::new("origins = [\"https://example.com\"]\norigin_required = true");
    gate.refuses(&get(&[]), 403, "origin_missing");
    gate.expect_nothing_reached_the_backend(&["Origin: https://example.com"]);
}

#[test]
fn clients_are_kept_out_by_their_address() {
    let mut gate = Gate::new("allow = [\"127.0.7.0/24\", \"127.0.8.1\"]\ndeny = [\"127.0.7.66\"]");
    let rows = [
        ([127, 0, 7, 1], None),
        ([127, 0, 8, 1], None),
        ([127, 0, 7, 66], Some("address_denied")),
        ([127, 0, 8, 2], Some("address_not_allowed")),
        ([127, 0, 0, 1], Some("address_not_allowed")),
    ];
    for (source, refused) in rows {
        let client = Raw::connect_from(Ipv4Addr::from(source), &gate.proxy.address);
        match refused {
            None => drop(gate.admits_on(client, &get(&[]), &[])),
            Some(reason) => {
                let (_, body) = gate.refuses_on(client, &get(&[]), 403, reason);
                assert!(body.contains("this network"), "which list it was is nobody's business: {body}");
            }
        }
    }
}

#[test]
fn behind_a_trusted_proxy_the_clients_address_counts() {
    let mut gate = Gate::with(
        "deny = [\"192.0.2.0/24\"]",
        "",
        "[forwarded]\ntrusted = [\"127.0.7.1\", \"198.51.100.0/24\"]",
    );
    let (proxy, stranger) = (Ipv4Addr::new(127, 0, 7, 1), Ipv4Addr::new(127, 0, 7, 2));
    let rows = [
        (proxy, "192.0.2.7", Some("192.0.2.7")),
        // A client may say what it likes to the left of what the proxies say.
        (proxy, "203.0.113.9, 192.0.2.7, 198.51.100.1", Some("192.0.2.7")),
        (proxy, "192.0.2.7, 203.0.113.9", None),
        (stranger, "192.0.2.7", None),
    ];
    for (source, chain, refused) in rows {
        let client = Raw::connect_from(source, &gate.proxy.address);
        let request = get(&[&format!("X-Forwarded-For: {chain}")]);
        match refused {
            None => drop(gate.admits_on(client, &request, &[])),
            Some(address) => {
                let mut client = client;
                client.send(&request);
                assert_eq!(client.response().0.status(), 403, "{chain}");
                let line = gate.proxy.line("request refused");
                assert_eq!(
                    (line.get("client"), line.get("reason")),
                    (address.into(), "address_denied".into())
                );
            }
        }
    }
}

#[test]
fn a_key_opens_the_door_from_wherever_it_may_come() {
    let directory = Directory::new("places");
    let mut gate = keyed(&directory, "\"header:X-Api-Key\", \"bearer\", \"query:key\", \"subprotocol:key.\"");
    let in_query = |key: &str| upgrade_request(&format!("/?room=1&key={key}"), &[]);
    let good = [
        get(&[&format!("X-Api-Key: {KEY}")]),
        get(&[&format!("Authorization: Bearer {KEY}")]),
        in_query(KEY),
        in_query(&KEY.replace('-', "%2D")),
        get(&[&format!("Sec-WebSocket-Protocol: chat, key.{KEY}")]),
    ];
    for request in &good {
        let session = gate.admits(request);
        assert_eq!(session.asked.one("x-user"), "acme");
        drop(session);
        assert_eq!(gate.proxy.session().get("identity"), "acme");
    }
    let (head, body) = gate.refuses(&get(&[]), 401, "key_missing");
    assert!(head.one("www-authenticate").starts_with("ApiKey"), "{body}");
    for request in [
        get(&[&format!("X-Api-Key: {OTHER_KEY}")]),
        get(&[&format!("X-Api-Key: {KEY}x")]),
        get(&["X-Api-Key:"]),
        in_query(OTHER_KEY),
        get(&[&format!("Sec-WebSocket-Protocol: chat, key.{OTHER_KEY}")]),
    ] {
        gate.refuses(&request, 403, "key_wrong");
    }
    let key = format!("X-Api-Key: {KEY}");
    for request in [
        get(&[&key, &key]),
        get(&[&key, &format!("Authorization: Bearer {KEY}")]),
        upgrade_request(&format!("/?key={KEY}&key={KEY}"), &[]),
    ] {
        gate.refuses(&request, 400, "credential_repeated");
    }
    gate.expect_nothing_reached_the_backend(&[&key]);
    for secret in [KEY, OTHER_KEY, &KEY.replace('-', "%2D")] {
        gate.proxy.expect_never_logged(secret);
    }
}

#[test]
fn a_key_among_subprotocols_stays_here_and_the_others_are_negotiated() {
    let directory = Directory::new("subprotocols");
    let gate = keyed(&directory, "\"subprotocol:key.\"");
    for offer in [format!("chat, key.{KEY}, soap"), format!("key.{KEY},chat ,soap")] {
        let request = get(&[&format!("Sec-WebSocket-Protocol: {offer}")]);
        let session = gate.admits_on(gate.proxy.dial(), &request, &["Sec-WebSocket-Protocol: soap"]);
        let offered: Vec<_> = session.asked.one("sec-websocket-protocol").split(',').map(str::trim).collect();
        assert_eq!(offered, ["chat", "soap"]);
        assert_eq!(session.answered.one("sec-websocket-protocol"), "soap");
        assert!(session.asked.fields.iter().all(|(_, value)| !value.contains(KEY)), "{:?}", session.asked);
    }
    // In a line of its own.
    let lines = ["Sec-WebSocket-Protocol: chat".to_owned(), format!("Sec-WebSocket-Protocol: key.{KEY}")];
    let Session { asked, .. } = gate.admits(&get(&[&lines[0], &lines[1]]));
    assert_eq!(asked.all("sec-websocket-protocol"), ["chat"]);
}

#[test]
fn keys_that_change_in_their_file_count_without_a_restart() {
    let directory = Directory::new("rotation");
    let mut gate = keyed(&directory, "\"header:X-Api-Key\"");
    let request = |key: &str| get(&[&format!("X-Api-Key: {key}")]);
    let mut long = gate.admits(&request(KEY));
    gate.refuses(&request(OTHER_KEY), 403, "key_wrong");
    fs::write(directory.file("keys"), format!("globex:{OTHER_KEY}\n")).expect("the directory is ours");
    gate.proxy.line("reloaded");
    assert_eq!(gate.admits(&request(OTHER_KEY)).asked.one("x-user"), "globex");
    gate.refuses(&request(KEY), 403, "key_wrong");
    // A file that is wrong changes nothing, and the log says where, not what.
    fs::write(directory.file("keys"), "globex:sh0rt-key\n").expect("the directory is ours");
    let said = gate.proxy.line_beginning("not reloaded: ").get("message");
    assert!(said.contains("keys_file") && said.contains("line 1"), "{said}");
    assert_eq!(gate.admits(&request(OTHER_KEY)).asked.one("x-user"), "globex");
    // Whoever was let in stays.
    long.client.send(&client_frame(TEXT, true, b"still here"));
    assert_eq!(long.backend.frame().payload, b"still here");
    for secret in [KEY, OTHER_KEY, "sh0rt-key"] {
        gate.proxy.expect_never_logged(secret);
    }
}

#[test]
fn a_password_opens_the_door_to_its_user() {
    let directory = Directory::new("users");
    fs::write(directory.file("users"), USERS).expect("the directory is ours");
    let route = format!(
        "auth = {{ kind = \"basic\", users_file = \"{}\" }}\n\
         request_headers = {{ set = {{ X-User = \"{{identity}}\" }}, remove = [\"Authorization\"] }}",
        directory.argument("users")
    );
    let mut gate = Gate::with(&route, "", LOG);
    for scheme in ["Basic", "basic"] {
        let session = gate.admits(&get(&[&format!("Authorization: {scheme} {PASSWORD}")]));
        assert_eq!((session.asked.one("x-user"), session.asked.all("authorization")), ("Aladdin", vec![]));
        drop(session);
        assert_eq!(gate.proxy.session().get("identity"), "Aladdin");
    }
    let rows = [
        (None, "password_missing"),
        (Some("Bearer x".to_owned()), "password_missing"),
        // Aladdin:closed sesame, genie:open sesame, and what is not base64.
        (Some("Basic QWxhZGRpbjpjbG9zZWQgc2VzYW1l".to_owned()), "password_wrong"),
        (Some("Basic Z2VuaWU6b3BlbiBzZXNhbWU=".to_owned()), "password_wrong"),
        (Some("Basic Aladdin:open sesame".to_owned()), "password_wrong"),
        (Some("Basic".to_owned()), "password_wrong"),
    ];
    for (credentials, reason) in rows {
        let line = credentials.map(|credentials| format!("Authorization: {credentials}"));
        let lines: Vec<_> = line.iter().map(String::as_str).collect();
        let (head, _) = gate.refuses(&get(&lines), 401, reason);
        assert_eq!(head.one("www-authenticate"), "Basic realm=\"selat\", charset=\"UTF-8\"");
    }
    gate.expect_nothing_reached_the_backend(&[&format!("Authorization: Basic {PASSWORD}")]);
    for secret in [PASSWORD, "sesame", "Qe9LsLI2"] {
        gate.proxy.expect_never_logged(secret);
    }
}

#[test]
fn an_echo_route_is_guarded_like_any_other() {
    let directory = Directory::new("echo");
    fs::write(directory.file("keys"), format!("acme:{KEY}\n")).expect("the directory is ours");
    let mut proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n[route.echo]\nrespond = \"echo\"\n\
         auth = {{ kind = \"key\", keys_file = \"{}\", from = [\"query:key\"] }}\nlimits = {{ connections = 1 }}\n",
        loopback(),
        directory.argument("keys")
    ));
    let mut client = proxy.dial();
    client.send(&get(&[]));
    assert_eq!(client.response().0.status(), 401);
    assert_eq!(proxy.refusal(), (401, "key_missing".into()));
    let url = format!("ws://chat.example/?key={KEY}");
    let (mut client, _) = tungstenite::client(url.as_str(), proxy.dial().stream).expect("it is let in");
    expect_echo(&mut client, &text("hello"));
    let mut second = proxy.dial();
    second.send(&upgrade_request(&format!("/?key={KEY}"), &[]));
    assert_eq!(second.response().0.status(), 503);
    drop(client);
    eventually("its place is free", || {
        let mut client = proxy.dial();
        client.send(&upgrade_request(&format!("/?key={KEY}"), &[]));
        client.head().status() == 101
    });
}
