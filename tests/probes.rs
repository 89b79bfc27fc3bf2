//! Probes against backends that are well, and against all that can be wrong with one.
#![cfg(feature = "runtime")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use selat::config::BackendUrl;
use selat::control::Question;
use selat::health::{Exchange, Probe, ProbeFault};
use support::backend::{Backend, Stage};
use support::frames::{CONTINUATION, TEXT, server_frame};
use support::http::switching;
use support::python::Script;
use support::raw::Raw;
use support::ws::text;
use support::{DEADLINE, bind, nobody, now};
use tungstenite::{Message, WebSocket};

/// For a backend that is not going to answer.
const SHORT: Duration = Duration::from_millis(200);

fn http(path: &str) -> Probe {
    Probe::Http { path: path.to_owned() }
}

fn handshake(path: &str) -> Probe {
    Probe::WebSocket { path: Some(path.to_owned()), exchange: None }
}

fn exchange(path: &str, send: &str, expect: &str) -> Probe {
    let exchange = Exchange { send: send.to_owned(), expect: expect.to_owned() };
    Probe::WebSocket { path: Some(path.to_owned()), exchange: Some(exchange) }
}

/// Asks the backend at `url`, which is an address.
fn ask_within(url: &str, probe: &Probe, timeout: Duration) -> Result<Duration, ProbeFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let backend: BackendUrl = url.parse().expect("a URL");
    let address = SocketAddr::new(backend.host.parse().expect("an address"), backend.port);
    let probe = probe.clone();
    let question = Question { address, url: backend, probe, timeout, send_proxy: None, tls: None };
    runtime.block_on(question.ask())
}

/// The same, with all the patience of a test.
fn ask(url: &str, probe: &Probe) -> Result<Duration, ProbeFault> {
    ask_within(url, probe, DEADLINE)
}

/// What is wrong with the backend at `url`, in words.
fn fault(url: &str, probe: &Probe) -> String {
    ask(url, probe).expect_err("something is wrong").to_string()
}

/// A backend of which each connection is upgraded by tungstenite and then served so.
fn upgraded(serve: impl Fn(&mut WebSocket<TcpStream>) + Clone + Send + 'static) -> Backend {
    Backend::on(bind(), move |stream: TcpStream, _: Sender<()>| {
        if let Ok(mut socket) = tungstenite::accept(stream) {
            serve(&mut socket);
        }
    })
}

/// The same, which says what it was sent, Closes included.
fn overheard(
    serve: impl Fn(&mut WebSocket<TcpStream>) + Clone + Send + 'static,
) -> (Backend, Receiver<Message>) {
    let (sender, heard) = channel();
    let backend = upgraded(move |socket| {
        serve(socket);
        while let Ok(message) = socket.read() {
            let _ = sender.send(message);
        }
    });
    (backend, heard)
}

#[test]
fn a_backend_that_is_well_passes_every_probe() {
    let (echo, page) = (Backend::echo(), Backend::answering("HTTP/1.1 204 No Content\r\n\r\n"));
    let rows = [
        (echo.url(), Probe::Tcp),
        (page.url(), http("/health")),
        (echo.url(), Probe::WebSocket { path: None, exchange: None }),
        (echo.url(), handshake("/health?deep=yes")),
        (echo.url(), exchange("/", "ping at 12:00", "ping")),
    ];
    for (url, probe) in rows {
        let begun = now();
        let took = ask(&url, &probe).unwrap_or_else(|fault| unreachable!("{probe:?}: {fault}"));
        assert!(took <= begun.elapsed(), "{probe:?}");
    }
}

#[test]
fn nobody_there_is_refused() {
    let url = format!("ws://{}", nobody());
    for probe in [Probe::Tcp, http("/"), handshake("/")] {
        assert_eq!(ask(&url, &probe), Err(ProbeFault::Refused));
    }
}

#[test]
fn a_backend_that_does_not_even_accept_times_out() {
    // Its queue of one is full: the kernel drops what else comes.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((support::loopback(), 0)).into()).expect("a free port");
    socket.listen(0).expect("it is bound");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("IPv4");
    let _waiting = TcpStream::connect(address).expect("the first has a place");
    let asked = ask_within(&format!("ws://{address}"), &Probe::Tcp, SHORT);
    assert_eq!(asked, Err(ProbeFault::ConnectTimedOut { after: SHORT }));
}

#[test]
fn a_backend_that_hangs_passes_the_tcp_probe_and_no_other() {
    let silent = Stage::new();
    assert!(ask(&silent.url(), &Probe::Tcp).is_ok());
    for probe in [http("/"), handshake("/"), exchange("/", "ping", "pong")] {
        let begun = now();
        let asked = ask_within(&silent.url(), &probe, SHORT);
        assert_eq!(asked, Err(ProbeFault::AnswerTimedOut { after: SHORT }), "{probe:?}");
        assert!(begun.elapsed() >= SHORT);
    }
}

#[test]
fn a_backend_that_answers_drop_by_drop_times_out() {
    for probe in [http("/"), handshake("/")] {
        let stage = Stage::new();
        let url = stage.url();
        let dripping = thread::spawn(move || {
            let (connection, _) = stage.request();
            let mut drops = "HTTP/1.1 200 OK\r\nX-Long: ".bytes().chain(std::iter::repeat(b'x'));
            // Until nobody is there any more.
            while let Some(drop) = drops.next()
                && std::io::Write::write_all(&mut &connection.stream, &[drop]).is_ok()
            {
                thread::park_timeout(Duration::from_millis(5));
            }
        });
        let asked = ask_within(&url, &probe, SHORT);
        assert_eq!(asked, Err(ProbeFault::AnswerTimedOut { after: SHORT }), "{probe:?}");
        dripping.join().expect("it has seen us leave");
    }
}

#[test]
fn http_answers_are_judged_by_their_status() {
    let rows: [(u16, bool); 9] = [
        (200, true),
        (204, true),
        (302, true),
        (399, true),
        (101, false),
        (400, false),
        (401, false),
        (404, false),
        (503, false),
    ];
    for (status, is_good) in rows {
        let head = format!("HTTP/1.1 {status} So\r\nContent-Length: 4\r\n\r\nbody");
        let backend = Backend::answering(head);
        match ask(&backend.url(), &http("/")) {
            Ok(_) => assert!(is_good, "{status}"),
            Err(fault) => {
                assert_eq!(fault.to_string(), format!("status {status} instead of 200 to 399"));
                assert!(!is_good, "{status}");
            }
        }
    }
    let interim = Backend::answering("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert!(ask(&interim.url(), &http("/")).is_ok());
}

#[test]
fn what_is_no_http_is_named() {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X-Long: x\r\n".repeat(100_000));
    let rows = [
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), "malformed answer"),
        (endless, "malformed answer"),
        (String::new(), "the connection ended before the answer"),
        ("HTTP/1.1 200 O".to_owned(), "the connection ended before the answer"),
    ];
    for (answer, words) in rows {
        let backend = Backend::answering(answer.clone());
        let fault = fault(&backend.url(), &http("/"));
        assert!(fault.starts_with(words), "{fault} for {:?}", answer.get(..20));
    }
}

#[test]
fn requests_carry_the_backends_authority_and_its_base_path() {
    let stage = Stage::new();
    let url = format!("{}/base", stage.url());
    let authority = stage.url().replace("ws://", "");
    let rows = [
        (http("/health?x=1"), "/base/health?x=1"),
        (handshake("/health"), "/base/health"),
        (Probe::WebSocket { path: None, exchange: None }, "/base"),
    ];
    for (probe, target) in rows {
        let url = url.clone();
        let asking = thread::spawn(move || ask(&url, &probe));
        let (mut connection, head) = stage.request();
        assert_eq!((head.target(), head.one("host")), (target, authority.as_str()));
        assert_eq!(head.one("user-agent"), "selat-probe");
        connection.send(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        drop(connection);
        assert!(asking.join().expect("no panic").is_err());
    }
}

#[test]
fn a_path_that_cannot_be_asked_for_is_said_to_be_wrong() {
    let silent = Stage::new();
    for probe in [http("/a b"), handshake("/a\r\nb"), http("/\u{1}")] {
        let fault = fault(&silent.url(), &probe);
        assert!(fault.contains("check the path of the probe"), "{fault}");
    }
}

#[test]
fn a_handshake_that_fails_is_told_apart() {
    let rows = [
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".as_bytes().to_vec(),
            "status 503 instead of 101 (Switching Protocols)",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), "status 200 instead of 101"),
        // It answers another key than ours.
        (switching(&[]), "malformed answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), "malformed answer"),
        (Vec::new(), "the connection ended before the answer"),
        (
            format!("HTTP/1.1 101 Switching Protocols\r\n{}", "X-Long: x\r\n".repeat(100_000)).into(),
            "the answer is too long",
        ),
        (
            format!("HTTP/1.1 101 Switching Protocols\r\nX-Long: {}", "x".repeat(1 << 20)).into(),
            "the answer is too long",
        ),
    ];
    for (answer, words) in rows {
        let backend = Backend::answering(answer.clone());
        let fault = fault(&backend.url(), &handshake("/"));
        assert!(fault.starts_with(words), "{fault} for {}", answer[..answer.len().min(40)].escape_ascii());
    }
}

#[test]
fn the_answer_may_come_behind_other_messages() {
    let (backend, heard) = overheard(|socket| {
        socket.send(text("welcome")).expect("it is there");
        socket.send(Message::Ping("are you?".into())).expect("it is there");
        let question = socket.read().expect("a question");
        assert_eq!(question, text("ping"));
        socket.send(Message::binary("{\"answer\": \"pong\", \"load\": 3}")).expect("it is there");
    });
    ask(&backend.url(), &exchange("/", "ping", "pong")).expect("it is well");
    let heard: Vec<_> = heard.iter().filter(|message| !message.is_pong()).take(1).collect();
    let [Message::Close(Some(close))] = heard.as_slice() else { unreachable!("a Close, not {heard:?}") };
    assert_eq!(u16::from(close.code), 1000);
}

#[test]
fn a_wrong_answer_is_shown() {
    let backend = upgraded(|socket| {
        let _ = socket.read();
        // Says this, and then nothing more; or ends.
        let _ = socket.send(text("overloaded\n\u{1b}[31m"));
        let _ = socket.read();
    });
    let asked = ask_within(&backend.url(), &exchange("/", "ping", "pong"), SHORT);
    let fault = asked.expect_err("it is not well").to_string();
    assert_eq!(fault, "answered \"overloaded\\n\\u{1b}[31m\", not what was expected");
}

#[test]
fn a_backend_that_upgrades_and_then_fails_is_told_apart() {
    let hanging = upgraded(|socket| while socket.read().is_ok() {});
    let asked = ask_within(&hanging.url(), &exchange("/", "ping", "pong"), SHORT);
    assert_eq!(asked, Err(ProbeFault::AnswerTimedOut { after: SHORT }));

    let leaving = upgraded(|socket| {
        let _ = socket.close(None);
        while socket.read().is_ok() {}
    });
    assert_eq!(ask(&leaving.url(), &exchange("/", "ping", "pong")), Err(ProbeFault::Ended));

    let vanishing = upgraded(|_| {});
    assert_eq!(ask(&vanishing.url(), &exchange("/", "ping", "pong")), Err(ProbeFault::Ended));

    let unruly = upgraded(|socket| {
        let _ = std::io::Write::write_all(socket.get_mut(), &[0xf1, 0x00]);
        while socket.read().is_ok() {}
    });
    let fault = fault(&unruly.url(), &exchange("/", "ping", "pong"));
    assert!(fault.starts_with("malformed answer"), "{fault}");
}

#[test]
fn no_answer_is_held_beyond_its_bound() {
    let huge = upgraded(|socket| {
        let _ = socket.send(Message::text("x".repeat(1 << 20)));
        while socket.read().is_ok() {}
    });
    assert_eq!(ask(&huge.url(), &exchange("/", "ping", "pong")), Err(ProbeFault::TooLong));

    let fragments = upgraded(|socket| {
        // A message that never ends.
        let (first, next) =
            (server_frame(TEXT, false, &[b'x'; 1000]), server_frame(CONTINUATION, false, &[b'x'; 1000]));
        let mut stream: &TcpStream = socket.get_ref();
        let mut is_there = std::io::Write::write_all(&mut stream, &first).is_ok();
        while is_there {
            is_there = std::io::Write::write_all(&mut stream, &next).is_ok();
        }
    });
    assert_eq!(ask(&fragments.url(), &exchange("/", "ping", "pong")), Err(ProbeFault::TooLong));

    let babbling = upgraded(|socket| while socket.send(text("hello")).is_ok() {});
    let asked = ask(&babbling.url(), &exchange("/", "ping", "pong"));
    assert_eq!(asked, Err(ProbeFault::wrong_answer("hello")));
}

#[test]
fn a_backend_that_never_reads_times_out() {
    let backend = Backend::on(bind(), |stream: TcpStream, _: Sender<()>| {
        let socket = tungstenite::accept(stream).expect("a handshake");
        // Until the probe has gone.
        let mut raw = Raw::new(socket.get_ref().try_clone().expect("a descriptor"));
        thread::park_timeout(SHORT * 2);
        let _ = raw.rest();
    });
    let question = "x".repeat(64 << 20);
    let asked = ask_within(&backend.url(), &exchange("/", &question, "pong"), SHORT);
    assert_eq!(asked, Err(ProbeFault::AnswerTimedOut { after: SHORT }));
}

#[test]
fn a_python_server_is_asked_and_left_politely() {
    let server = Script::start("server.py", &[]);
    let url = format!("ws://127.0.0.1:{}", server.line());
    ask(&url, &exchange("/echo", "ping", "ping")).expect("it is well");
    // The code of the Close that ended that.
    ask(&url, &exchange("/last-close", "", "[1000")).expect("it was closed as it should be");
    assert_eq!(fault(&url, &handshake("/secret")), "status 401 instead of 101 (Switching Protocols)");
    assert_eq!(fault(&url, &http("/echo")), "status 426 instead of 200 to 399");
}
