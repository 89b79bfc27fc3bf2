//! Backends that fail: passed over unnoticed, told apart when all of them do, not stormed, and used again later.
#![cfg(feature = "runtime")]

mod support;

use std::net::{Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use support::backend::{Backend, Stage, echo};
use support::frames::{BINARY, TEXT, client_frame, payload, server_frame};
use support::http::{switching, upgrade_request};
use support::proxy::Proxy;
use support::raw::{Ending, Raw};
use support::ws::{expect_close, expect_echo, text};
use support::{BACKEND_LOST, bind, eventually, has_waited, nobody, now};
use tungstenite::Message;

fn refused_url() -> String {
    format!("ws://{}", nobody())
}

/// Whether a client of `proxy` gets a session, or which status.
fn ask(proxy: &Proxy) -> u16 {
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    client.head().status()
}

#[test]
fn a_backend_that_fails_the_handshake_is_passed_over_unnoticed() {
    let lines_with_wrong_accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    let without_upgrade = String::from_utf8(switching(&[])).unwrap().replace("Upgrade: websocket\r\n", "");
    let without_end = format!("HTTP/1.1 101 Switching Protocols\r\n{}", "X-Long: x\r\n".repeat(10_000));
    let two_lengths = "HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nno";
    let rows: [(&str, Vec<u8>); 11] = [
        ("RFC 9112 §6.3 item 5: a body of two lengths", two_lengths.into()),
        ("500", b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("503", b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy".to_vec()),
        ("garbage", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        ("hangs up at once", Vec::new()),
        ("hangs up in its head", switching(&[])[..60].to_vec()),
        ("RFC 6455 §4.1 item 4: wrong accept", lines_with_wrong_accept.into()),
        ("§4.1 item 2: no Upgrade", without_upgrade.into()),
        ("§4.1 item 5: extension not offered", switching(&["Sec-WebSocket-Extensions: permessage-deflate"])),
        ("§4.1 item 6: subprotocol not offered", switching(&["Sec-WebSocket-Protocol: chat"])),
        ("a head without end", without_end.into()),
    ];
    for (what, answer) in rows {
        let (mut bad, mut good) = (Backend::answering(answer), Backend::echo());
        let proxy = Proxy::start(&[], &[&bad.url(), &good.url()]);
        for _ in 0..3 {
            let mut client = proxy.dial();
            client.send(&[upgrade_request("/", &[]), client_frame(TEXT, true, b"hello")].concat());
            assert_eq!(client.head().status(), 101, "{what}");
            assert_eq!(client.frame().payload, b"hello", "{what}");
        }
        assert_eq!(good.served(), 3, "{what}");
        assert!(bad.served() >= 1, "{what}: it was tried");
    }
}

#[test]
fn a_backend_that_refuses_or_resets_is_passed_over_unnoticed() {
    let resetting = bind();
    let resetting_url = format!("ws://{}", resetting.local_addr().unwrap());
    // Ends with the test process.
    thread::spawn(move || resetting.incoming().flatten().for_each(|stream| Raw::new(stream).reset()));
    let good = Backend::echo();
    for bad in [refused_url(), resetting_url] {
        let mut proxy = Proxy::start(&[], &[&bad, &good.url()]);
        for _ in 0..3 {
            expect_echo(&mut proxy.connect(), &text("hello"));
        }
        assert!(proxy.counter("dials_failed") >= 1, "{bad} was tried");
    }
}

#[test]
fn a_backend_that_does_not_answer_costs_one_client_the_connect_timeout() {
    let (silent, good) = (Stage::new(), Backend::echo());
    let mut proxy = Proxy::start(&["--connect-timeout", "300ms"], &[&silent.url(), &good.url()]);
    let begun = now();
    expect_echo(&mut proxy.connect(), &text("hello"));
    assert!(has_waited(begun, Duration::from_millis(300)));
    assert_eq!(proxy.line("backend is down; new sessions go elsewhere").get("backend"), silent.url());
}

#[test]
fn a_pool_that_is_down_says_how() {
    let unavailable = Backend::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let garbage = Backend::answering("what?\r\n\r\n");
    let silent = Stage::new();
    let rows = [
        ("refuses", refused_url(), 502),
        ("answers 5xx", unavailable.url(), 502),
        ("answers garbage", garbage.url(), 502),
        ("does not answer", silent.url(), 504),
    ];
    for (what, backend, status) in rows {
        let proxy = Proxy::start(&["--connect-timeout", "300ms"], &[&backend]);
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        let (head, body) = client.response();
        assert_eq!(head.status(), status, "{what}");
        assert!(body.starts_with(status.to_string().as_bytes()), "{what}");
    }
}

#[test]
fn a_dead_pool_answers_quickly_and_is_not_stormed() {
    let mut failing = Backend::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::start(&[], &[&failing.url(), &refused_url()]);
    let begun = now();
    let answers: Vec<_> = (0..300).map(|_| ask(&proxy)).collect();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert_eq!(answers[0], 502, "the first clients learn what is wrong");
    let unavailable = answers.iter().filter(|status| **status == 503).count();
    assert!(answers.iter().all(|status| [502, 503].contains(status)), "{answers:?}");
    assert!(unavailable > 100, "{unavailable} of 300 quickly refused in {seconds} s");
    assert!(failing.served() <= 15 * (seconds + 1), "{} requests in {seconds} s", failing.served());
}

#[test]
fn a_refusal_for_want_of_backends_asks_to_try_again() {
    let proxy = Proxy::start(&[], &[&refused_url()]);
    eventually("the budget is spent", || {
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        let (head, _) = client.response();
        head.status() == 503 && head.one("retry-after") == "1"
    });
}

#[test]
fn a_backend_that_dies_between_frames_gives_its_client_a_close() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    let rows = [
        ("idle", Vec::new()),
        ("behind a message", server_frame(TEXT, true, b"hello")),
        ("between fragments", server_frame(TEXT, false, b"hel")),
        ("behind half a header", [server_frame(BINARY, true, b"x"), vec![0x82]].concat()),
    ];
    for (what, sent) in rows {
        for is_reset in [false, true] {
            let (mut client, mut backend) = stage.open(&proxy);
            backend.send(&sent);
            // What is only half a header does not pass.
            let passed = sent.len() - usize::from(sent.ends_with(&[0x82]));
            assert_eq!(client.exactly(passed), &sent[..passed], "{what}");
            if is_reset {
                backend.reset()
            } else {
                drop(backend)
            }
            assert_eq!(
                client.leave(client_frame),
                (BACKEND_LOST, "backend connection lost".to_owned()),
                "{what}"
            );
            let line = proxy.session();
            assert_eq!(
                line.end(),
                ("backend".to_owned(), "vanished".to_owned(), Some(BACKEND_LOST)),
                "{what}"
            );
            assert_eq!(line.get("cut"), "false");
        }
    }
}

#[test]
fn a_backend_that_dies_right_behind_its_101_gives_its_client_a_close() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut backend, _) = stage.request();
    backend.send(&switching(&[]));
    drop(backend);
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.leave(client_frame).0, BACKEND_LOST);
}

#[test]
fn a_healthy_backend_is_found_behind_dead_ones() {
    let good = Backend::echo();
    let dead: [String; 4] = std::array::from_fn(|_| refused_url());
    let mut urls: Vec<_> = dead.iter().map(String::as_str).collect();
    let good_url = good.url();
    urls.push(&good_url);
    let proxy = Proxy::start(&[], &urls);
    expect_echo(&mut proxy.connect(), &text("hello"));
}

#[test]
fn a_backend_that_dies_inside_a_frame_ends_its_client_without_a_close() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    for is_reset in [false, true] {
        let (mut client, mut backend) = stage.open(&proxy);
        let half = &server_frame(BINARY, true, &payload(1000))[..500];
        backend.send(half);
        assert_eq!(client.exactly(half.len()), half);
        if is_reset {
            backend.reset()
        } else {
            drop(backend)
        }
        // A Close would be taken for payload.
        let (bytes, Ending::Fin | Ending::Reset) = client.rest();
        assert_eq!(bytes.len(), 0);
    }
}

#[test]
fn clients_of_a_killed_backend_get_a_close_and_reconnect_to_a_healthy_one() {
    let (doomed, mut healthy) = (Backend::echo(), Backend::echo());
    let proxy = Proxy::start(&["--cores", "all"], &[&doomed.url(), &healthy.url()]);
    let mut clients: Vec<_> = (0..40).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        expect_echo(client, &text("before"));
    }
    let survivors = healthy.served();
    assert!((10..=30).contains(&survivors), "{survivors} of 40 were placed there");
    doomed.kill();
    let mut bereaved = 0;
    for mut client in clients {
        // Those of the healthy one answer as before.
        client.send(text("after")).unwrap();
        let answer = client.read().unwrap();
        if let Message::Close(Some(frame)) = answer {
            bereaved += 1;
            assert_eq!(u16::from(frame.code), BACKEND_LOST);
            expect_echo(&mut proxy.connect(), &text("again"));
        } else {
            assert_eq!(answer, text("after"));
        }
    }
    assert_eq!((bereaved, healthy.served()), (40 - survivors, 40));
}

#[test]
fn a_restarted_backend_is_used_again() {
    let (doomed, other) = (Backend::echo(), Backend::echo());
    let mut proxy = Proxy::start(&[], &[&doomed.url(), &other.url()]);
    let url = doomed.url();
    let address = doomed.kill();
    for _ in 0..2 {
        expect_echo(&mut proxy.connect(), &text("without it"));
    }
    assert_eq!(proxy.line("backend is down; new sessions go elsewhere").get("backend"), url);
    let mut restarted = Backend::echo_at(address);
    // No client has to try it out.
    assert_eq!(proxy.line("backend is up again").get("backend"), url);
    eventually("it gets its share", || {
        expect_echo(&mut proxy.connect(), &text("with it"));
        restarted.served() > 0
    });
}

#[test]
fn the_close_of_a_lost_backend_is_one_that_foreign_clients_know() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[], &[&backend.url()]);
    let mut client = proxy.connect();
    expect_echo(&mut client, &text("hello"));
    backend.kill();
    assert_eq!(expect_close(&mut client), (BACKEND_LOST, "backend connection lost".to_owned()));
}

#[test]
fn a_backend_may_be_a_name_and_is_found_at_any_of_its_addresses() {
    let addresses: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().collect();
    assert!(!addresses.is_empty());
    for address in addresses {
        // At the others of them nobody listens.
        let backend = Backend::on(TcpListener::bind(address).unwrap(), echo);
        let proxy = Proxy::start(&[], &[&format!("ws://localhost:{}", backend.address().port())]);
        expect_echo(&mut proxy.connect(), &text("hello"));
    }
}

#[test]
fn a_backend_may_have_an_ipv6_address_which_fails_over_where_there_is_no_ipv6() {
    let other = Backend::echo();
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    let backend = listener.ok().map(|listener| Backend::on(listener, echo));
    let url = backend.as_ref().map_or("ws://[::1]:9".to_owned(), Backend::url);
    let proxy = Proxy::start(&[], &[&url, &other.url()]);
    for _ in 0..2 {
        expect_echo(&mut proxy.connect(), &text("hello"));
    }
    if let Some(mut backend) = backend {
        assert_eq!(backend.served(), 1);
    }
}

/// A backend that greets each client with `name`.
fn named(name: &'static str) -> Backend {
    Backend::on(bind(), move |stream: TcpStream, _: Sender<()>| {
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        socket.send(text(name)).expect("it is still there");
        while socket.read().is_ok() {}
    })
}

#[test]
fn round_robin_gives_each_backend_its_turn() {
    let backends = [named("a"), named("b"), named("c")];
    let urls = backends.each_ref().map(Backend::url);
    let proxy = Proxy::start(&["--balance", "round-robin"], &urls.each_ref().map(String::as_str));
    let greetings: Vec<_> = (0..12).map(|_| proxy.connect().read().unwrap()).collect();
    for turn in greetings.chunks(3) {
        for name in ["a", "b", "c"] {
            assert!(turn.contains(&text(name)), "{greetings:?}");
        }
    }
}

#[test]
fn least_connections_fills_up_the_emptiest_backend() {
    let backends = [named("a"), named("b")];
    let urls = backends.each_ref().map(Backend::url);
    let mut proxy = Proxy::start(&["--balance", "least-connections"], &urls.each_ref().map(String::as_str));
    let enter = |proxy: &Proxy| {
        let mut client = proxy.connect();
        (client.read().unwrap(), client)
    };
    let clients: Vec<_> = (0..8).map(|_| enter(&proxy)).collect();
    let (of_a, of_b): (Vec<_>, Vec<_>) = clients.into_iter().partition(|(name, _)| *name == text("a"));
    assert_eq!((of_a.len(), of_b.len()), (4, 4));
    drop(of_a);
    (0..4).for_each(|_| drop(proxy.session()));
    // Four places behind, so the next four all go there; then it is level.
    let next: Vec<_> = (0..4).map(|_| enter(&proxy)).collect();
    assert!(next.iter().all(|(name, _)| *name == text("a")));
    let last: Vec<_> = (0..4).map(|_| enter(&proxy)).collect();
    assert_eq!(last.iter().filter(|(name, _)| *name == text("a")).count(), 2);
}
