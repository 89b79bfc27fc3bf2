//! Probes of backends that speak TLS, and of those that should.
#![cfg(feature = "runtime")]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use selat::config::BackendUrl;
use selat::control::Question;
use selat::health::{Exchange, Probe, ProbeFault};
use selat::protocol::proxy_protocol::Version;
use selat::tls::{self, Authorities, Client, ClientSettings, Verification};
use support::backend::{Backend, Stage, echo};
use support::python::Script;
use support::tls::{Authority, Certificate, Validity, certificate_for, serve_echo, serving};
use support::{DEADLINE, bind};

/// For a backend that is not going to answer.
const SHORT: Duration = Duration::from_millis(200);

fn http() -> Probe {
    Probe::Http { path: "/health".to_owned() }
}

fn handshake() -> Probe {
    Probe::WebSocket { path: None, exchange: None }
}

fn exchange() -> Probe {
    let exchange = Exchange { send: "ping".to_owned(), expect: "ping".to_owned() };
    Probe::WebSocket { path: Some("/echo".to_owned()), exchange: Some(exchange) }
}

/// Believes that authority, and has nothing else special.
fn believing(authority: &Authority) -> ClientSettings {
    let authorities = Authorities::from_pem(&authority.pem()).expect("it is PEM");
    ClientSettings { verification: Verification::By(authorities), certificate: None, server_name: None }
}

/// What is asked of the backend at `url`, whose host is an address.
fn question(url: &str, probe: &Probe, settings: ClientSettings) -> Question {
    let url: BackendUrl = url.parse().expect("a URL");
    Question {
        address: SocketAddr::new(url.host.parse().expect("an address"), url.port),
        url,
        probe: probe.clone(),
        timeout: DEADLINE,
        send_proxy: None,
        tls: Some(Client::new(settings).expect("it can be used").into()),
    }
}

fn ask(question: &Question) -> Result<Duration, ProbeFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(question.ask())
}

/// What is wrong with the backend, in words.
fn fault(question: &Question) -> String {
    ask(question).expect_err("something is wrong").to_string()
}

/// A backend that shows this certificate.
fn showing(certificate: &Certificate) -> Backend {
    Backend::on(bind(), serving(certificate.server(), |stream, served| echo(stream, served)))
}

#[test]
fn a_backend_that_is_well_passes_every_probe() {
    let authority = Authority::new();
    let listener = bind();
    let certificate = certificate_for(&listener, &authority);
    let page = Backend::on(
        listener,
        serving(certificate.server(), |stream, _| {
            let mut request = [0; 1024];
            if stream.read(&mut request).is_ok_and(|len| len > 0) {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("it is there");
            }
        }),
    );
    let echo = serve_echo(&authority);
    let rows = [
        (page.tls_url(), http()),
        (echo.tls_url(), Probe::Tcp),
        (echo.tls_url(), handshake()),
        (echo.tls_url(), exchange()),
    ];
    for (url, probe) in rows {
        let asked = ask(&question(&url, &probe, believing(&authority)));
        asked.unwrap_or_else(|fault| unreachable!("{probe:?}: {fault}"));
    }
}

#[test]
fn a_certificate_that_proves_nothing_is_told_with_what_is_wrong_with_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let rows = [
        (stranger.certificate(&["localhost"], Validity::Now), "signed by nobody whom we believe"),
        (authority.certificate(&["localhost"], Validity::Over), "expired"),
        (authority.certificate(&["localhost"], Validity::Ahead), "is not valid yet"),
        (
            authority.certificate(&["a.example", "b.example"], Validity::Now),
            "is not for localhost but for a.example, b.example",
        ),
    ];
    for (certificate, words) in rows {
        let backend = showing(&certificate);
        for probe in [http(), handshake()] {
            let mut settings = believing(&authority);
            settings.server_name = Some("localhost".to_owned());
            let fault = fault(&question(&backend.tls_url(), &probe, settings));
            assert!(fault.starts_with("TLS: ") && fault.contains(words), "{words}: {fault}");
        }
    }
    // Without a name of its own, what counts is the host of the URL.
    let backend = showing(&authority.certificate(&["localhost"], Validity::Now));
    let fault = fault(&question(&backend.tls_url(), &handshake(), believing(&authority)));
    let host = backend.address().ip();
    assert!(fault.contains(&format!("is not for {host} but for localhost")), "{fault}");
}

#[test]
fn whoever_answers_is_believed_where_that_is_wanted() {
    let stranger = Authority::new();
    let insecure =
        || ClientSettings { verification: Verification::Insecure, certificate: None, server_name: None };
    for validity in [Validity::Now, Validity::Over] {
        let backend = showing(&stranger.certificate(&["other.example"], validity));
        ask(&question(&backend.tls_url(), &exchange(), insecure())).expect("it answers");
    }
}

#[test]
fn the_backend_is_asked_for_by_the_name_that_it_has_to_prove() {
    let authority = Authority::new();
    let (sender, names) = channel();
    let certificate = authority.certificate(&["feed.example"], Validity::Now);
    let backend = Backend::on(
        bind(),
        serving(certificate.server(), move |stream, served| {
            while stream.conn.is_handshaking() && stream.conn.complete_io(&mut stream.sock).is_ok() {}
            let _ = sender.send(stream.conn.server_name().map(str::to_owned));
            echo(stream, served);
        }),
    );
    let mut settings = believing(&authority);
    settings.server_name = Some("feed.example".to_owned());
    ask(&question(&backend.tls_url(), &handshake(), settings)).expect("it is well");
    assert_eq!(names.recv_timeout(DEADLINE), Ok(Some("feed.example".to_owned())));
}

#[test]
fn a_backend_that_wants_a_certificate_gets_ours() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let listener = bind();
    let server = certificate_for(&listener, &authority).server_for(&clients);
    let backend = Backend::on(listener, serving(server, |stream, served| echo(stream, served)));
    for probe in [http(), handshake()] {
        let fault = fault(&question(&backend.tls_url(), &probe, believing(&authority)));
        // TLS 1.3 tells only after the handshake.
        assert!(fault.starts_with("TLS: the server wants a client certificate"), "{fault}");
    }
    let ours = clients.client_certificate("selat", Validity::Now);
    let mut settings = believing(&authority);
    settings.certificate = Some(tls::Certificate::from_pem(&ours.chain, &ours.key).expect("it is PEM"));
    ask(&question(&backend.tls_url(), &exchange(), settings)).expect("it knows us");
}

#[test]
fn a_backend_that_speaks_no_tls_is_told_so() {
    let authority = Authority::new();
    let plain = Backend::on(bind(), |mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let silent = Stage::new();
    let leaving = Backend::on(bind(), |_, _| {});
    for probe in [http(), handshake()] {
        let ask_of = |url: &str| question(&url.replace("ws://", "wss://"), &probe, believing(&authority));
        let told = fault(&ask_of(&leaving.url()));
        assert!(told.starts_with("TLS: the connection ended in the handshake"), "{told}");
        let told = fault(&ask_of(&plain.url()));
        assert!(told.starts_with("TLS: the server does not speak TLS"), "{told}");
        let slow = Question { timeout: SHORT, ..ask_of(&silent.url()) };
        assert_eq!(ask(&slow), Err(ProbeFault::AnswerTimedOut { after: SHORT }));
    }
    let url = silent.url().replace("ws://", "wss://");
    ask(&question(&url, &Probe::Tcp, believing(&authority))).expect("a connection is enough");
}

#[test]
fn the_proxy_header_comes_before_the_handshake() {
    let authority = Authority::new();
    let stage = Stage::new();
    let url = stage.url().replace("ws://", "wss://");
    let name = url.trim_start_matches("wss://").split(':').next().expect("a host").to_owned();
    let certificate = authority.certificate(&[&name], Validity::Now);
    let server = thread::spawn(move || {
        let mut stream = stage.accept().stream;
        let (mut header, mut byte) = (Vec::new(), [0]);
        // Not a byte too many: what follows is the handshake's.
        while !header.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).expect("a header");
            header.extend(byte);
        }
        let (sender, _served) = channel();
        serving(certificate.server(), |stream, served| echo(stream, served))(stream, sender);
        String::from_utf8(header).expect("text")
    });
    let question =
        Question { send_proxy: Some(Version::V1), ..question(&url, &exchange(), believing(&authority)) };
    ask(&question).expect("it is well");
    let header = server.join().expect("no panic");
    assert!(header.starts_with("PROXY TCP4 "), "{header}");
}

#[test]
fn a_python_server_is_asked_in_tls() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let certificate = authority.certificate(&["127.0.0.1"], Validity::Now);
    let ours = clients.client_certificate("selat", Validity::Now);
    let files = [certificate.chain_file(), certificate.key_file(), clients.file()];
    let server = Script::start("server.py", &files.each_ref().map(String::as_str));
    let url = format!("wss://127.0.0.1:{}", server.line());
    let known = || ClientSettings {
        certificate: tls::Certificate::from_pem(&ours.chain, &ours.key).ok(),
        ..believing(&authority)
    };
    ask(&question(&url, &exchange(), known())).expect("it is well");
    // Python ends the connection without a word about it.
    ask(&question(&url, &exchange(), believing(&authority))).expect_err("it does not know us");
}
