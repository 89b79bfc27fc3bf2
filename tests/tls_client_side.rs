//! TLS with clients, as openssl, Python and rustls speak it.
#![cfg(feature = "runtime")]

mod support;

use rustls::version::{TLS12, TLS13};
use support::backend::Backend;
use support::http::upgrade_request;
use support::openssl::OpenSsl;
use support::path::Directory;
use support::proxy::Proxy;
use support::python::Script;
use support::raw::Raw;
use support::secured::{Secured, lines, toml};
use support::tls::{Authority, Validity, connect, dial, over};
use support::ws::{expect_close, expect_echo, text};
use support::{eventually, loopback};
use tungstenite::Message;

/// What openssl wants to be told of a server that is believed by this authority alone.
fn believing(authority: &Authority) -> Vec<String> {
    ["-CAfile", &authority.file(), "-verify_return_error", "-servername", "localhost"]
        .map(str::to_owned)
        .to_vec()
}

/// Has openssl shake hands with a proxy; what it said, and whether all was well.
fn greet(secured: &Secured, more: &[&str]) -> (bool, String) {
    let believing = believing(&secured.authority);
    let arguments: Vec<_> = believing.iter().map(String::as_str).chain(more.iter().copied()).collect();
    OpenSsl::greet(secured.address(), &arguments)
}

/// That all is well with a proxy for others.
fn expect_service(secured: &Secured) {
    expect_echo(&mut connect(secured.address(), &secured.authority), &text("hello"));
}

#[test]
fn messages_come_back_and_the_end_is_clean_in_every_version() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    for version in [&TLS12, &TLS13] {
        let stream = dial(secured.address(), "localhost", secured.authority.client_of(&[version]));
        let mut client = over(stream.expect("a handshake"));
        for len in [0, 1, 125, 16_383, 16_384, 16_385, 1 << 20, 9 << 20] {
            expect_echo(&mut client, &Message::binary(vec![0x5a; len]));
        }
        client.close(None).expect("it is open");
        // Without close_notify rustls would call it a cut.
        while client.read().is_ok() {}
        let mut rest = [0];
        let end = std::io::Read::read(client.get_mut(), &mut rest);
        assert!(end.is_ok_and(|len| len == 0), "{version:?}");
        assert_eq!(secured.proxy.session().end().1, "closed");
    }
}

#[test]
fn openssl_finds_both_versions_and_no_older_one() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (is_well, said) = greet(&secured, &["-brief", flag]);
        assert!(is_well && said.contains(&format!("Protocol version: {version}")), "{said}");
        assert!(said.contains("Verification: OK"), "{said}");
    }
    let (is_well, said) = greet(&secured, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(!is_well && said.contains("alert handshake failure"), "{said}");
    let failure = secured.failure();
    assert!(failure.contains("speaks no version of TLS that we do"), "{failure}");

    let mut newest = Secured::start(&backend.url(), "min_version = \"1.3\"\n");
    let (is_well, said) = greet(&newest, &["-tls1_2"]);
    assert!(!is_well && said.contains("alert protocol version"), "{said}");
    let failure = newest.failure();
    assert!(failure.contains("speaks no version of TLS that we do"), "{failure}");
    assert!(greet(&newest, &["-tls1_3"]).0);
}

#[test]
fn http_1_1_is_the_only_protocol_inside() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    for offered in ["http/1.1", "h2,http/1.1"] {
        let (is_well, said) = greet(&secured, &["-alpn", offered]);
        assert!(is_well && said.contains("ALPN protocol: http/1.1"), "{said}");
    }
    let (is_well, said) = greet(&secured, &["-alpn", "h2"]);
    assert!(!is_well && said.contains("no application protocol"), "{said}");
    assert!(secured.failure().contains("ALPN"));
    let (is_well, said) = greet(&secured, &[]);
    assert!(is_well && said.contains("No ALPN negotiated"), "{said}");
}

#[test]
fn sessions_are_resumed_by_their_tickets() {
    let backend = Backend::echo();
    let secured = Secured::start(&backend.url(), "");
    let directory = Directory::new("tls-tickets");
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let file = directory.argument(version);
        let believing = believing(&secured.authority);
        let arguments: Vec<_> =
            believing.iter().map(String::as_str).chain([flag, "-sess_out", &file]).collect();
        let mut first = OpenSsl::connect(secured.address(), &arguments);
        assert!(first.line("TLSv1").starts_with("New, "));
        // In TLS 1.3 the ticket comes behind the handshake.
        eventually("a ticket", || std::fs::metadata(&file).is_ok_and(|file| file.len() > 0));
        assert!(first.leave().0);
        let (is_well, said) = greet(&secured, &[flag, "-sess_in", &file]);
        assert!(is_well && said.contains(&format!("Reused, {version}")), "{said}");
    }
}

#[test]
fn a_renegotiation_is_refused_and_harms_nobody() {
    let backend = Backend::echo();
    let secured = Secured::start(&backend.url(), "");
    let mut other = connect(secured.address(), &secured.authority);
    let believing = believing(&secured.authority);
    let arguments: Vec<_> = believing.iter().map(String::as_str).chain(["-tls1_2"]).collect();
    let mut client = OpenSsl::connect(secured.address(), &arguments);
    client.line("Verify return code: 0");
    client.type_in("R\n");
    client.line("RENEGOTIATING");
    let (is_well, said) = client.ended();
    assert!(!is_well && said.contains("no renegotiation"), "{said}");
    expect_echo(&mut other, &text("still here"));
    expect_service(&secured);
}

#[test]
fn keys_are_updated_when_the_client_wants_it() {
    let backend = Backend::echo();
    let secured = Secured::start(&backend.url(), "");
    let believing = believing(&secured.authority);
    let arguments: Vec<_> = believing.iter().map(String::as_str).chain(["-tls1_3"]).collect();
    let mut client = OpenSsl::connect(secured.address(), &arguments);
    client.line("Verify return code: 0");
    // Ours, and then ours and the proxy's.
    for command in ["k\n", "K\n"] {
        client.type_in(command);
        client.line("KEYUPDATE");
    }
    client.type_in("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.line("426 Upgrade Required");
}

#[test]
fn python_speaks_through_the_proxy() {
    let server = Script::start("server.py", &[]);
    let secured = Secured::start(&format!("ws://127.0.0.1:{}", server.line()), "");
    let url = format!("wss://{}", secured.address());
    Script::start("client.py", &["encrypted", &url, &secured.authority.file()]).expect_success();
}

#[test]
fn who_speaks_no_tls_is_told_so() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    let mut client = Raw::connect(secured.address());
    client.send(&upgrade_request("/", &[]));
    let (head, body) = client.response();
    let body = String::from_utf8(body).expect("text");
    assert!(
        head.status() == 400 && body.contains("this port speaks TLS") && body.contains("wss://"),
        "{body}"
    );
    assert_eq!(secured.proxy.refusal().0, 400);
    expect_service(&secured);
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let backend = Backend::echo();
    let (authority, host) = (Authority::new(), loopback().to_string());
    let certificates = [&["chat.example"][..], &["feed.example", "*.feeds.example"]]
        .map(|names| authority.certificate(names, Validity::Now));
    let tables =
        certificates.each_ref().map(|one| format!("{{ {} }}", lines(one).trim().replace('\n', ", ")));
    let tls = format!("certs = [{}]\n", tables.join(", "));
    let pool = format!("[pool.app]\nbackends = [\"{}\"]\n", backend.url());
    let proxy = Proxy::from_toml(&toml(&host, &tls, &pool));
    let rows = [
        (&["-servername", "chat.example"][..], "chat.example"),
        (&["-servername", "feed.example"], "feed.example"),
        (&["-servername", "FEED.example"], "feed.example"),
        (&["-servername", "a.feeds.example"], "feed.example"),
        (&["-servername", "a.b.feeds.example"], "chat.example"),
        (&["-servername", "other.example"], "chat.example"),
        (&["-noservername"], "chat.example"),
    ];
    for (arguments, name) in rows {
        let (is_well, said) =
            OpenSsl::greet(&proxy.address, &[&["-CAfile", &authority.file()], arguments].concat());
        assert!(is_well && said.contains(&format!("subject=CN = {name}\n")), "{arguments:?}: {said}");
    }
}

#[test]
fn a_certificate_of_ours_that_is_wrong_is_told_by_clients_and_by_the_log() {
    let backend = Backend::echo();
    let (authority, host) = (Authority::new(), loopback().to_string());
    let pool = format!("[pool.app]\nbackends = [\"{}\"]\n", backend.url());
    let certificate = |validity| authority.certificate(&["localhost"], validity);
    let rows = [
        (Validity::Over, "localhost", "certificate has expired", "our certificate has expired: renew it"),
        (Validity::Ahead, "localhost", "certificate is not yet valid", "refuses our certificate"),
        (Validity::Now, "other.example", "Hostname mismatch", "refuses our certificate"),
    ];
    for (validity, name, words, logged) in rows {
        let mut proxy = Proxy::from_toml(&toml(&host, &lines(&certificate(validity)), &pool));
        let url = format!("wss://{}", proxy.address);
        let (file, address) = (authority.file(), proxy.address.clone());
        Script::start("client.py", &["distrusts", &url, &file, name, words]).expect_success();
        // Python says to itself alone what it does not like.
        let failure = proxy.line("no TLS session").get("error");
        assert!(failure.contains("the peer ended the connection"), "{failure}");
        let arguments = ["-CAfile", &file, "-verify_return_error", "-verify_hostname", name];
        assert!(!OpenSsl::greet(&address, &arguments).0);
        let failure = proxy.line("no TLS session").get("error");
        assert!(failure.contains(logged), "{failure}");
    }
}

#[test]
fn a_drain_closes_sessions_in_tls_as_it_does_others() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    let mut client = connect(secured.address(), &secured.authority);
    expect_echo(&mut client, &text("hello"));
    secured.proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(expect_close(&mut client).0, 1001);
    assert_eq!(secured.proxy.ended().code, Some(0));
}

#[test]
fn a_client_that_is_cut_off_is_told_from_one_that_leaves() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    let (certificate, host) = (lines(&secured.certificate), loopback().to_string());
    let mut answering =
        Proxy::from_toml(&toml(&host, &certificate, "").replace("pool = \"app\"", "respond = \"echo\""));
    for (says_goodbye, why) in [(true, "vanished"), (false, "truncated")] {
        for proxy in [&mut secured.proxy, &mut answering] {
            let mut client = connect(&proxy.address, &secured.authority);
            expect_echo(&mut client, &text("hello"));
            let stream = client.get_mut();
            if says_goodbye {
                stream.conn.send_close_notify();
                std::io::Write::flush(stream).expect("it is open");
            }
            stream.sock.shutdown(std::net::Shutdown::Write).expect("it is open");
            assert_eq!(proxy.session().end(), ("client".to_owned(), why.to_owned(), None));
        }
    }
}
