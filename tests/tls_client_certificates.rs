//! Clients that show certificates: who has to, who is believed, and that backends and logs hear the name.
#![cfg(feature = "runtime")]

mod support;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use support::backend::{Backend, Stage};
use support::eventually;
use support::http::switching;
use support::openssl::OpenSsl;
use support::secured::Secured;
use support::tls::{Authority, Stream, Validity, connect, dial, over};
use support::ws::{expect_echo, text};
use tungstenite::{Error, HandshakeError};

/// What backends are told.
const TELLS: &str = "request_headers = { set = { \"X-Client\" = \"{identity}\" } }\n";

/// Those clients are let in that this authority has signed.
fn wanted(clients: &Authority, auth: &str) -> String {
    format!("client_ca = \"{}\"\nclient_auth = \"{auth}\"\n", clients.file())
}

/// Shakes hands, as far as the client knows: with TLS 1.3 it is told only later that it has failed.
fn shake(secured: &Secured, config: ClientConfig) -> std::io::Result<Stream> {
    dial(secured.address(), "localhost", Arc::new(config))
}

/// What the client is told, which is turned away.
fn rejection(secured: &Secured, config: ClientConfig) -> String {
    let shaken = shake(secured, config);
    let read = shaken.and_then(|mut stream| std::io::Read::read(&mut stream, &mut [0]));
    read.expect_err("it is turned away").to_string()
}

#[test]
fn backends_and_the_log_hear_the_name_in_a_clients_certificate() {
    let (stage, clients) = (Stage::new(), Authority::new());
    let mut secured = Secured::with(&stage.url(), &wanted(&clients, "required"), TELLS);
    let certificate = clients.client_certificate("sensor-17", Validity::Now);
    let stream = shake(&secured, secured.authority.client_with(&certificate)).expect("a handshake");
    let playing = std::thread::spawn(move || {
        // Whoever says so in a header is not believed.
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       X-Client: admin\r\n\r\n";
        let mut stream = stream;
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it is there");
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 101");
    });
    let (mut connection, asked) = stage.request();
    assert_eq!(asked.all("x-client"), ["sensor-17"]);
    connection.send(&switching(&[]));
    playing.join().expect("no panic");
    drop(connection);
    assert_eq!(secured.proxy.session().get("identity"), "sensor-17");
}

#[test]
fn who_shows_no_certificate_is_turned_away_where_one_is_required() {
    let (backend, clients) = (Backend::echo(), Authority::new());
    let mut secured = Secured::start(&backend.url(), &wanted(&clients, "required"));
    for version in [&TLS12, &TLS13] {
        let told = rejection(&secured, secured.authority.client_of(&[version]));
        assert!(
            told.contains("CertificateRequired") || told.contains("HandshakeFailure"),
            "{version:?}: {told}"
        );
        let failure = secured.failure();
        assert!(failure.contains("the client showed no certificate"), "{failure}");
    }
    let certificate = clients.client_certificate("sensor-17", Validity::Now);
    let stream = shake(&secured, secured.authority.client_with(&certificate)).expect("a handshake");
    expect_echo(&mut over(stream), &text("hello"));
}

#[test]
fn a_certificate_that_proves_nothing_is_worse_than_none() {
    let (backend, clients, stranger) = (Backend::echo(), Authority::new(), Authority::new());
    for auth in ["required", "optional"] {
        let mut secured = Secured::start(&backend.url(), &wanted(&clients, auth));
        let rows = [
            (stranger.client_certificate("sensor-17", Validity::Now), "signed by nobody whom we believe"),
            (clients.client_certificate("sensor-17", Validity::Over), "expired"),
            (clients.certificate(&["sensor-17"], Validity::Now), "is not for clientAuth"),
        ];
        for (certificate, words) in rows {
            let told = rejection(&secured, secured.authority.client_with(&certificate));
            assert!(told.contains("alert"), "{told}");
            let failure = secured.failure();
            assert!(failure.contains(words), "{words}: {failure}");
        }
    }
}

#[test]
fn who_shows_none_is_nobody_in_particular_where_it_is_optional() {
    let (backend, clients) = (Backend::echo(), Authority::new());
    let mut secured = Secured::with(&backend.url(), &wanted(&clients, "optional"), TELLS);
    let mut nobody = connect(secured.address(), &secured.authority);
    expect_echo(&mut nobody, &text("hello"));
    drop(nobody);
    assert!(!secured.proxy.session().has("identity"));
    let certificate = clients.client_certificate("sensor-17", Validity::Now);
    let stream = shake(&secured, secured.authority.client_with(&certificate)).expect("a handshake");
    let mut somebody = over(stream);
    expect_echo(&mut somebody, &text("hello"));
    drop(somebody);
    assert_eq!(secured.proxy.session().get("identity"), "sensor-17");
}

#[test]
fn a_session_that_is_resumed_still_has_its_name() {
    let (backend, clients) = (Backend::echo(), Authority::new());
    let mut secured = Secured::start(&backend.url(), &wanted(&clients, "required"));
    let certificate = clients.client_certificate("sensor-17", Validity::Now);
    // One memory for both connections.
    let config = Arc::new(secured.authority.client_with(&certificate));
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let mut client = over(dial(secured.address(), "localhost", config.clone()).expect("a handshake"));
        assert_eq!(client.get_ref().conn.handshake_kind(), Some(kind));
        expect_echo(&mut client, &text("hello"));
        drop(client);
        assert_eq!(secured.proxy.session().get("identity"), "sensor-17");
    }
}

#[test]
fn connections_of_one_certificates_name_are_counted() {
    let (backend, clients) = (Backend::echo(), Authority::new());
    let limit = "limits = { connections_per_identity = 1 }\n";
    let mut secured = Secured::with(&backend.url(), &wanted(&clients, "optional"), limit);
    // It is the name that counts, which another certificate has too.
    let [first, renewed] = [(); 2].map(|()| clients.client_certificate("sensor-17", Validity::Now));
    let other = clients.client_certificate("sensor-18", Validity::Now);
    let ask = |certificate| {
        let stream = shake(&secured, secured.authority.client_with(certificate)).expect("a handshake");
        tungstenite::client("wss://localhost/", stream).map_err(|error| match error {
            HandshakeError::Failure(Error::Http(answer)) => answer.status().as_u16(),
            error @ (HandshakeError::Failure(_) | HandshakeError::Interrupted(_)) => {
                unreachable!("an answer, not {error}")
            }
        })
    };
    let admitted = ask(&first).expect("it is the only one");
    assert_eq!(ask(&renewed).err(), Some(429));
    let _other = ask(&other).expect("it is somebody else");
    // Who shows none is nobody in particular, however many there are.
    let _nobodies = [(); 2].map(|()| connect(secured.address(), &secured.authority));
    drop(admitted);
    eventually("its place is free", || ask(&renewed).is_ok());
    assert_eq!(secured.proxy.refusal(), (429, "connections_per_identity".into()));
}

#[test]
fn a_handshake_may_come_in_records_as_small_as_it_likes() {
    let (backend, clients) = (Backend::echo(), Authority::new());
    let mut secured = Secured::start(&backend.url(), &wanted(&clients, "required"));
    let certificate = clients.client_certificate("sensor-17", Validity::Now);
    for version in [&TLS12, &TLS13] {
        let mut config = secured.authority.client_with_of(&certificate, &[version]);
        // A certificate is then a dozen records, which are no message each.
        config.max_fragment_size = Some(64);
        let mut client = over(shake(&secured, config).expect("a handshake"));
        expect_echo(&mut client, &text(&"hello".repeat(1000)));
        drop(client);
        assert_eq!(secured.proxy.session().get("identity"), "sensor-17");
    }
}

#[test]
fn openssl_is_asked_for_a_certificate_of_the_right_authority() {
    let (backend, clients) = (Backend::echo(), Authority::new());
    let secured = Secured::start(&backend.url(), &wanted(&clients, "optional"));
    let certificate = clients.client_certificate("sensor-17", Validity::Now);
    let (ca, chain, key) = (secured.authority.file(), certificate.chain_file(), certificate.key_file());
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["-CAfile", &ca, "-cert", &chain, "-key", &key, version];
        let (is_well, said) = OpenSsl::greet(secured.address(), &arguments);
        assert!(is_well && said.contains("Acceptable client certificate CA names"), "{said}");
        assert!(said.contains("CN = selat test authority"), "{said}");
    }
}
