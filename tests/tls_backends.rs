//! TLS with backends, as Python, openssl and rustls serve it: who is believed, who is passed over, how sessions end.
#![cfg(feature = "runtime")]

mod support;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;
use support::backend::{Backend, echo};
use support::http::{Head, upgrade_request};
use support::openssl::OpenSsl;
use support::proxy::Proxy;
use support::python::Script;
use support::raw::Raw;
use support::site::Site;
use support::tls::{
    Authority, Certificate, ServerStream, Validity, certificate_for, connect, serve_echo, serving,
};
use support::ws::{Client, expect_close, expect_echo, text};
use support::{BACKEND_LOST, DEADLINE, bind, eventually, loopback, secured};
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// A pool of these backends, with these lines in its table `tls`.
fn table(backends: &[&str], tls: &str) -> String {
    format!("[pool.app]\nbackends = {backends:?}\n[pool.app.tls]\n{tls}\n")
}

/// The same, and a route to it for everything.
fn pool(backends: &[&str], tls: &str) -> String {
    format!("[route.all]\npool = \"app\"\n{}", table(backends, tls))
}

/// The line that believes this authority alone.
fn believing(authority: &Authority) -> String {
    format!("ca = \"{}\"\n", authority.file())
}

/// A proxy in front of these backends, which believes this authority alone.
fn proxy(backends: &[&str], authority: &Authority) -> Proxy {
    Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n{}",
        loopback(),
        pool(backends, &believing(authority))
    ))
}

/// The same, of which one can ask what it counts.
fn site(backends: &[&str], authority: &Authority) -> Site {
    site_of(&pool(backends, &believing(authority)))
}

/// One with these routes and pools.
fn site_of(text: &str) -> Site {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    Site::start(&format!("tls-backends-{}", COUNT.fetch_add(1, Ordering::Relaxed)), text)
}

/// TLS handshakes with backends that came to this.
fn handshakes(site: &Site, result: &str) -> u64 {
    site.scrape().sum("selat_tls_handshakes_total", &[("side", "backend"), ("result", result)])
}

/// Echoes at an address of its own, with a certificate that `certificate` makes for it.
fn echo_as(certificate: impl FnOnce(&TcpListener) -> Certificate) -> Backend {
    let listener = bind();
    let certificate = certificate(&listener);
    Backend::on(listener, serving(certificate.server(), |stream, served| echo(stream, served)))
}

/// Where Python serves, with these files for its TLS.
fn python(files: &[String]) -> (Script, String) {
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let server = Script::start("server.py", &files);
    let url = format!("wss://127.0.0.1:{}", server.line());
    (server, url)
}

/// A WebSocket client that asks for this.
fn request(address: &str, target: &str) -> Client {
    let connection = Raw::connect(address);
    tungstenite::client(format!("ws://chat.example{target}"), connection.stream).expect("it upgrades").0
}

/// What Python knows of a session with it.
fn facts(address: &str) -> Value {
    let mut client = request(address, "/facts");
    let facts = client.read().expect("a message");
    client.close(None).expect("it is open");
    while client.read().is_ok() {}
    serde_json::from_str(facts.to_text().expect("text")).expect("JSON")
}

/// The answer to a request that comes to no session.
fn refused(address: &str, target: &str) -> (Head, String) {
    let mut client = Raw::connect(address);
    client.send(&upgrade_request(target, &[]));
    let (head, body) = client.response();
    (head, String::from_utf8(body).expect("text"))
}

#[test]
fn messages_come_back_from_every_server_in_every_version() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"], Validity::Now);
    let (_script, in_python) = python(&[certificate.chain_file(), certificate.key_file()]);
    let [older, newer] = [&TLS12, &TLS13].map(|version| {
        let listener = bind();
        let config = certificate_for(&listener, &authority).server_of(&[version]);
        Backend::on(listener, serving(config, |stream, served| echo(stream, served)))
    });
    for url in [older.tls_url(), newer.tls_url(), in_python] {
        let mut proxy = proxy(&[&url], &authority);
        let mut client = request(&proxy.address, "/echo");
        for len in [0, 1, 16_384, 16_385, 1 << 20] {
            expect_echo(&mut client, &Message::binary(vec![0x5a; len]));
        }
        client.close(None).expect("it is open");
        while client.read().is_ok() {}
        assert_eq!(proxy.session().end().1, "closed", "{url}");
    }
}

/// What a server was asked for: the name in TLS, the target and the host.
#[expect(clippy::result_large_err, reason = "the callback is tungstenite's")]
fn serve_questions(listener: TcpListener, certificate: &Certificate) -> (Backend, Receiver<[String; 3]>) {
    let (sender, asked) = channel();
    let backend = Backend::on(
        listener,
        serving(certificate.server(), move |stream, _| {
            let mut head = None;
            let note = |request: &Request, response: Response| {
                head =
                    Some((request.uri().to_string(), request.headers()["host"].to_str().map(str::to_owned)));
                Ok(response)
            };
            let _ = tungstenite::accept_hdr(&mut *stream, note).map(|mut socket| socket.read());
            let Some((target, Ok(host))) = head else { return };
            let name = stream.conn.server_name().unwrap_or_default().to_owned();
            let _ = sender.send([name, target, host]);
        }),
    );
    (backend, asked)
}

#[test]
fn a_backend_is_asked_by_its_name_and_gets_the_clients_request() {
    let authority = Authority::new();
    let local = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let port = local.local_addr().expect("it is bound").port();
    let (_named, asked) = serve_questions(local, &authority.certificate(&["localhost"], Validity::Now));
    let proxy = proxy(&[&format!("wss://localhost:{port}/base")], &authority);
    let mut client = Raw::connect(&proxy.address);
    client.send(&upgrade_request("/chat?room=1", &[]));
    assert_eq!(client.head().status(), 101);
    drop(client);
    let expected = ["localhost", "/base/chat?room=1", "chat.example"].map(str::to_owned);
    assert_eq!(asked.recv_timeout(DEADLINE), Ok(expected));

    // By another name than that of the URL; and an address is no name to ask for (RFC 6066 §3).
    let (other, asked) = serve_questions(bind(), &authority.certificate(&["feed.example"], Validity::Now));
    let named = believing(&authority) + "server_name = \"feed.example\"\n";
    let site = site_of(&pool(&[&other.tls_url()], &named));
    drop(site.proxy.connect());
    assert_eq!(asked.recv_timeout(DEADLINE).map(|[name, ..]| name).as_deref(), Ok("feed.example"));
    let listener = bind();
    let certificate = certificate_for(&listener, &authority);
    let (unnamed, asked) = serve_questions(listener, &certificate);
    let proxy = self::proxy(&[&unnamed.tls_url()], &authority);
    drop(proxy.connect());
    assert_eq!(asked.recv_timeout(DEADLINE).map(|[name, ..]| name).as_deref(), Ok(""));
}

#[test]
fn a_backend_that_cannot_be_believed_is_passed_over_and_told_of() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let healthy = serve_echo(&authority);
    let host = |listener: &TcpListener| listener.local_addr().expect("it is bound").ip().to_string();
    let rows = [
        ("unknown_ca", "signed by nobody whom we believe", echo_as(|at| certificate_for(at, &stranger))),
        ("expired", "expired 1 day ago", echo_as(|at| authority.certificate(&[&host(at)], Validity::Over))),
        ("not_valid_yet", "not valid", echo_as(|at| authority.certificate(&[&host(at)], Validity::Ahead))),
        ("name", "is not for", echo_as(|_| authority.certificate(&["other.example"], Validity::Now))),
    ];
    for (result, words, wrong) in &rows {
        let mut site = site(&[&wrong.tls_url(), &healthy.tls_url()], &authority);
        // Whoever is asked first: nobody is turned away, and sooner or later it is the wrong one.
        eventually("it is dialled", || {
            expect_echo(&mut site.proxy.connect(), &text("hello"));
            handshakes(&site, result) > 0
        });
        let line = site.proxy.line("no TLS session");
        assert!(line.get("error").contains(words), "{}", line.0);
        assert!(line.get("backend").contains(&wrong.tls_url()), "{}", line.0);
        assert!(handshakes(&site, "full") > 0);
    }
    let urls = rows.each_ref().map(|(.., wrong)| wrong.tls_url());
    let site = site(&urls.each_ref().map(String::as_str), &authority);
    assert_eq!(refused(&site.proxy.address, "/").0.status(), 502);
    assert_eq!(handshakes(&site, "full"), 0);
}

#[test]
fn whoever_answers_is_believed_where_that_was_written_out() {
    let authority = Authority::new();
    let rows = [
        echo_as(|at| certificate_for(at, &authority)),
        echo_as(|_| authority.certificate(&["other.example"], Validity::Over)),
    ];
    for backend in rows {
        let mut site = site_of(&pool(&[&backend.tls_url()], "insecure = true"));
        expect_echo(&mut site.proxy.connect(), &text("hello"));
        assert_eq!(handshakes(&site, "full"), 1);
        site.proxy.expect_never_logged("no TLS session");
    }
}

#[test]
fn a_backend_that_wants_a_certificate_gets_ours_or_is_told_of() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let ours = clients.client_certificate("selat", Validity::Now);
    let known = format!("{}{}", believing(&authority), secured::lines(&ours));

    let certificate = authority.certificate(&["127.0.0.1"], Validity::Now);
    let (_script, url) = python(&[certificate.chain_file(), certificate.key_file(), clients.file()]);
    let site = site_of(&pool(&[&url], &known));
    let facts = facts(&site.proxy.address);
    assert!(facts["peer"]["subject"].to_string().contains("\"selat\""), "{facts}");

    let listener = bind();
    let config = certificate_for(&listener, &authority).server_for(&clients);
    let backend = Backend::on(listener, serving(config, |stream, served| echo(stream, served)));
    let site = site_of(&pool(&[&backend.tls_url()], &known));
    expect_echo(&mut site.proxy.connect(), &text("hello"));

    let mut site = self::site(&[&backend.tls_url()], &authority);
    assert_eq!(refused(&site.proxy.address, "/").0.status(), 502);
    let line = site.proxy.line("no TLS session");
    assert!(line.get("error").contains("wants a client certificate"), "{}", line.0);
    assert_eq!(handshakes(&site, "alert"), 1);
}

#[test]
fn openssl_says_that_it_wants_a_certificate_in_every_version() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let certificate = authority.certificate(&["localhost"], Validity::Now);
    let named = believing(&authority) + "server_name = \"localhost\"\n";
    // TLS 1.2 has no alert of its own for it, and refuses within the handshake (RFC 5246 §7.4.6).
    let rows =
        [("-tls1_2", "or a client certificate that it wants"), ("-tls1_3", "wants a client certificate")];
    for (version, words) in rows {
        let wanting = ["-rev", "-Verify", "1", "-CAfile", &clients.file(), version];
        let (_server, address) = OpenSsl::serve(&certificate, &wanting);
        let mut site = site_of(&pool(&[&format!("wss://{address}")], &named));
        assert_eq!(refused(&site.proxy.address, "/").0.status(), 502);
        let line = site.proxy.line("no TLS session");
        assert!(line.get("error").contains(words), "{version}: {}", line.0);
        assert_eq!(handshakes(&site, "alert"), 1, "{version}");
    }
}

#[test]
fn sessions_with_a_backend_are_resumed() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"], Validity::Now);
    let (_script, url) = python(&[certificate.chain_file(), certificate.key_file()]);
    let site = site(&[&url], &authority);
    let resumed: Vec<_> = (0..4).map(|_| facts(&site.proxy.address)["resumed"].clone()).collect();
    assert_eq!(resumed, [false, true, true, true]);
    assert_eq!(["full", "resumed"].map(|result| handshakes(&site, result)), [1, 3]);

    let older = {
        let listener = bind();
        let config = certificate_for(&listener, &authority).server_of(&[&TLS12]);
        Backend::on(listener, serving(config, |stream, served| echo(stream, served)))
    };
    let site = self::site(&[&older.tls_url()], &authority);
    for _ in 0..3 {
        expect_echo(&mut site.proxy.connect(), &text("hello"));
    }
    assert_eq!(["full", "resumed"].map(|result| handshakes(&site, result)), [1, 2]);
}

#[test]
fn the_proxy_header_comes_before_the_handshake() {
    let authority = Authority::new();
    let listener = bind();
    let config = Arc::new(certificate_for(&listener, &authority).server());
    let (sender, headers) = channel();
    let backend = Backend::on(listener, move |mut stream, served| {
        let (mut header, mut byte) = (Vec::new(), [0]);
        // Not a byte too many: what follows is the handshake's.
        while !header.ends_with(b"\r\n") && stream.read_exact(&mut byte).is_ok() {
            header.extend(byte);
        }
        let _ = sender.send(header);
        serving(config.clone(), |stream, served| echo(stream, served))(stream, served);
    });
    let announced = pool(&[&backend.tls_url()], &believing(&authority))
        .replace("[pool.app.tls]", "send_proxy = \"v1\"\n[pool.app.tls]");
    let site = site_of(&announced);
    expect_echo(&mut site.proxy.connect(), &text("hello"));
    let header = headers.recv_timeout(DEADLINE).expect("a header");
    assert!(header.starts_with(b"PROXY TCP4 127.0.0.1 "), "{}", header.escape_ascii());
}

#[test]
fn a_backends_refusal_reaches_the_client_as_it_is() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"], Validity::Now);
    let (_script, url) = python(&[certificate.chain_file(), certificate.key_file()]);
    let proxy = proxy(&[&url], &authority);
    let (head, body) = refused(&proxy.address, "/secret");
    assert_eq!(
        (head.status(), head.one("WWW-Authenticate"), body.as_str()),
        (401, "Bearer", "who are you?\n")
    );
}

#[test]
fn a_server_that_speaks_something_else_within_tls_is_no_backend() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost"], Validity::Now);
    // Sends every line back, reversed.
    let (_server, address) = OpenSsl::serve(&certificate, &["-rev"]);
    let named = believing(&authority) + "server_name = \"localhost\"\n";
    let site = site_of(&pool(&[&format!("wss://{address}")], &named));
    assert_eq!(refused(&site.proxy.address, "/").0.status(), 502);
    assert_eq!(handshakes(&site, "full"), 1);
}

#[test]
fn a_server_of_old_is_told_that_it_is() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost"], Validity::Now);
    let old = ["-rev", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let (_server, address) = OpenSsl::serve(&certificate, &old);
    let mut site = site(&[&format!("wss://{address}")], &authority);
    assert_eq!(refused(&site.proxy.address, "/").0.status(), 502);
    let line = site.proxy.line("no TLS session");
    assert!(line.get("error").contains("the server speaks no version of TLS that we do"), "{}", line.0);
}

#[test]
fn a_backend_that_speaks_no_tls_is_told_of() {
    let authority = Authority::new();
    let plain = Backend::on(bind(), |mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let leaving = Backend::on(bind(), |mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
    });
    let rows = [
        (plain, "not_tls", "the server does not speak TLS"),
        (leaving, "ended", "ended the connection during the TLS handshake"),
    ];
    for (backend, result, words) in rows {
        let mut site = site(&[&backend.tls_url()], &authority);
        assert_eq!(refused(&site.proxy.address, "/").0.status(), 502);
        let line = site.proxy.line("no TLS session");
        assert!(line.get("error").contains(words), "{}", line.0);
        assert_eq!(handshakes(&site, result), 1);
    }
}

/// How a backend's stream ends, of itself.
#[derive(Debug, Clone, Copy)]
enum Leave {
    /// By close_notify.
    Goodbye,
    /// By FIN alone.
    Cut,
}

/// A backend that sends one message back, and a Close if it has a code for it, and leaves without waiting for more.
fn leaving(authority: &Authority, leave: Leave, code: Option<CloseCode>) -> Backend {
    let listener = bind();
    let config = Arc::new(certificate_for(&listener, authority).server());
    Backend::on(listener, move |stream, _| {
        let mut stream = accept(&config, stream);
        let Ok(mut socket) = tungstenite::accept(&mut stream) else { return };
        let _ = socket.read().and_then(|message| socket.send(message));
        if let Some(code) = code {
            let _ = socket.close(Some(CloseFrame { code, reason: "done".into() }));
        }
        match leave {
            Leave::Goodbye => stream.conn.send_close_notify(),
            Leave::Cut => {}
        }
        let _ = stream.flush();
        let _ = stream.sock.shutdown(Shutdown::Write);
        // Until the proxy leaves too.
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

fn accept(config: &Arc<rustls::ServerConfig>, stream: TcpStream) -> ServerStream {
    StreamOwned::new(ServerConnection::new(config.clone()).expect("the configuration is whole"), stream)
}

#[test]
fn a_cut_stream_is_told_from_one_that_ended() {
    let authority = Authority::new();
    for (leave, why) in [(Leave::Goodbye, "vanished"), (Leave::Cut, "truncated")] {
        let backend = leaving(&authority, leave, None);
        let mut proxy = proxy(&[&backend.tls_url()], &authority);
        let mut client = proxy.connect();
        expect_echo(&mut client, &text("hello"));
        assert_eq!(expect_close(&mut client).0, BACKEND_LOST);
        let end = proxy.session().end();
        assert_eq!(end, ("backend".to_owned(), why.to_owned(), Some(BACKEND_LOST)), "{leave:?}");
    }
}

/// A backend that echoes until the Close, leaves in order, and says what it read of the proxy's then.
fn orderly(authority: &Authority, sender: Sender<Result<usize, io::ErrorKind>>) -> Backend {
    let listener = bind();
    let config = Arc::new(certificate_for(&listener, authority).server());
    Backend::on(listener, move |stream, served| {
        let mut stream = accept(&config, stream);
        echo(&mut stream, served);
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let _ = stream.sock.shutdown(Shutdown::Write);
        let _ = sender.send(stream.read(&mut [0]).map_err(|error| error.kind()));
    })
}

/// A proxy that speaks TLS with both sides.
fn both_sides(backend: &Backend, authority: &Authority, certificate: &Certificate) -> Proxy {
    let pool = table(&[&backend.tls_url()], &believing(authority));
    Proxy::from_toml(&secured::toml(&loopback().to_string(), &secured::lines(certificate), &pool))
}

#[test]
fn both_ends_are_told_by_close_notify_that_a_session_is_over() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost"], Validity::Now);
    let (sender, ends) = channel();
    let backend = orderly(&authority, sender);
    for is_drained in [false, true] {
        let mut proxy = both_sides(&backend, &authority, &certificate);
        let mut client = connect(&proxy.address, &authority);
        expect_echo(&mut client, &text("hello"));
        let end = if is_drained {
            proxy.signal(Signal::TERM);
            assert_eq!(expect_close(&mut client).0, 1001);
            ("proxy".to_owned(), "drained".to_owned(), Some(1001))
        } else {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
            client.close(Some(frame)).expect("it is open");
            while client.read().is_ok() {}
            ("client".to_owned(), "closed".to_owned(), Some(1000))
        };
        // Without close_notify rustls would call it a cut.
        assert!(client.get_mut().read(&mut [0]).is_ok_and(|len| len == 0));
        assert_eq!(ends.recv_timeout(DEADLINE), Ok(Ok(0)));
        assert_eq!(proxy.session().end(), end);
    }
}

#[test]
fn a_backend_that_closes_and_leaves_at_once_has_ended_in_order() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost"], Validity::Now);
    for leave in [Leave::Goodbye, Leave::Cut] {
        let backend = leaving(&authority, leave, Some(CloseCode::Normal));
        let mut proxy = both_sides(&backend, &authority, &certificate);
        let mut client = connect(&proxy.address, &authority);
        expect_echo(&mut client, &text("hello"));
        assert_eq!(expect_close(&mut client), (1000, "done".to_owned()));
        assert!(client.get_mut().read(&mut [0]).is_ok_and(|len| len == 0), "{leave:?}");
        let end = proxy.session().end();
        assert_eq!(end, ("backend".to_owned(), "closed".to_owned(), Some(1000)), "{leave:?}");
    }
}
