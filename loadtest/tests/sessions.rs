//! `storm`, `idle` and `serve relay`, with tungstenite at the other end.

mod support;

use std::io::Read;
use std::net::TcpStream;

use support::{DEADLINE, Served, echo, foreign_server, run};
use tungstenite::{Message, WebSocket};

#[test]
fn a_storm_is_as_many_whole_sessions_as_asked_for() {
    let server = foreign_server(echo);
    let ended = run(&["storm", &server.url, "--count", "200", "--concurrency", "7"]);
    assert_eq!((ended.code, ended.count("answered")), (0, 200), "{} {}", ended.report, ended.errors);
    for session in server.ended(200) {
        assert_eq!(session, (1, Some(1000)));
    }
}

#[test]
fn a_storm_lasts_as_long_as_asked_for() {
    let server = Served::start("echo", &[]);
    let (url, pid) = (format!("ws://{}/", server.address), server.pid().to_string());
    let ended = run(&["storm", &url, "--for", "500ms", "--warmup", "100ms", "--pid", &pid]);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    assert!(ended.count("answered") > 0);
    let seconds = ended.report["seconds"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&seconds), "{seconds}");
    assert!(ended.cpu() > 0.0, "{}", ended.report);
}

#[test]
fn a_storm_tells_of_servers_that_do_not_end_tcp() {
    let server = foreign_server(|mut socket: WebSocket<TcpStream>| {
        while let Ok(message) = socket.read() {
            if message.is_binary() {
                socket.send(message).unwrap();
            }
            if !socket.can_read() {
                // The Close is answered with the next flush, which ends the WebSocket; hold on to the TCP below it.
                let _ = socket.flush();
                return socket.get_mut().read(&mut [0]).unwrap();
            }
        }
        usize::MAX
    });
    let ended = run(&["storm", &server.url, "--count", "3", "--timeout", "300ms"]);
    assert_eq!(ended.code, 1);
    assert_eq!(ended.failures("timed out while waiting for the server to end TCP"), 3, "{}", ended.report);
    assert_eq!(server.ended(3), [0, 0, 0]);
}

#[test]
fn a_storm_on_nobody_ends() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(&["storm", &format!("ws://{nobody}/"), "--for", "20s"]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("none succeeded"), "{}", ended.errors);
}

#[test]
fn idle_connections_say_one_message_and_close_in_the_end() {
    let server = foreign_server(echo);
    let pid = std::process::id().to_string();
    let ended = run(&["idle", &server.url, "--connections", "50", "--for", "200ms", "--pid", &pid]);
    assert_eq!((ended.code, ended.count("held")), (0, 50), "{} {}", ended.report, ended.errors);
    assert!(ended.process()["memory"]["pss_kib_after"].as_u64().unwrap() > 0, "{}", ended.report);
    for session in server.ended(50) {
        assert_eq!(session, (1, Some(1000)));
    }
}

#[test]
fn idle_tells_of_connections_that_were_dropped() {
    let server = foreign_server(|mut socket: WebSocket<TcpStream>| {
        let message = socket.read().unwrap();
        socket.send(message).unwrap();
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    });
    let ended = run(&["idle", &server.url, "--connections", "3", "--for", "10s"]);
    assert_eq!((ended.code, ended.count("held")), (1, 0), "{} {}", ended.report, ended.errors);
    assert_eq!(ended.failures("closed by the server without a code"), 3, "{}", ended.report);
}

#[test]
fn the_relay_passes_everything_on() {
    let server = foreign_server(echo);
    let relay = Served::start("relay", &["--to", &server.address.to_string()]);
    let before = relay.descriptors();
    let mut socket = relay.connect();
    for size in [0, 64, 16_384, 10_000_000] {
        let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
        socket.send(Message::binary(payload.clone())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::binary(payload), "{size} bytes");
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    assert_eq!(server.ended(1), [(4, None)]);

    let ended = run(&["echo", &format!("ws://{}/", relay.address), "--for", "500ms", "--connections", "20"]);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    // A connection through the relay and back tells that it has seen those before it end.
    let mut socket = relay.connect();
    socket.send(Message::text("done")).unwrap();
    socket.read().unwrap();
    assert_eq!(relay.descriptors(), before + 2);
}

#[test]
fn the_relay_drops_clients_for_whom_there_is_no_backend() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = Served::start("relay", &["--to", &nobody.to_string()]);
    let before = relay.descriptors();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(relay.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    // The last one may still be half closed.
    assert!(relay.descriptors() <= before + 2);
}
