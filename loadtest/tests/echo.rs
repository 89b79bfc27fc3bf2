//! The closed-loop client against tungstenite: sound servers, and servers with planted faults.

mod support;

use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

use support::{Ended, Served, echo, foreign_server, run};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Message, WebSocket};

/// A run of a second on two connections, eight messages in flight on each.
fn run_echo(url: &str, more: &[&str]) -> Ended {
    let args = ["echo", url, "--connections", "2", "--in-flight", "8", "--for", "600ms", "--warmup", "200ms"];
    run(&[&args, more].concat())
}

/// What a faulty server does with the `number`-th message, counted from 1.
type Plant = fn(&mut WebSocket<TcpStream>, u64, Vec<u8>) -> Planted;

/// Whether a fault was planted.
enum Planted {
    Fault,
    None,
}

/// A server that treats every message as `plant` says, and returns how many faults it planted.
fn faulty_server(plant: Plant) -> support::Foreign<u64> {
    foreign_server(move |mut socket| {
        let (mut faults, mut number) = (0, 0);
        while let Ok(message) = socket.read() {
            if let Message::Binary(payload) = message {
                number += 1;
                faults += u64::from(matches!(plant(&mut socket, number, payload.to_vec()), Planted::Fault));
            }
        }
        faults
    })
}

fn send(socket: &mut WebSocket<TcpStream>, payload: Vec<u8>) {
    // The client may have gone; then the messages read next end the loop.
    let _ = socket.send(Message::binary(payload));
}

#[test]
fn measures_a_sound_server_without_fault() {
    for size in ["0", "7", "12", "64", "126", "70000", "1000000", "64:70%,3:20%,16KiB:10%"] {
        let server = foreign_server(echo);
        let ended = run_echo(&server.url, &["--size", size]);
        assert_eq!(ended.code, 0, "{size} bytes: {} {}", ended.report, ended.errors);
        let served = server.ended(2);
        assert!(served.iter().all(|(_, code)| *code == Some(1000)), "{served:?}");
        let messages: u64 = served.iter().map(|(messages, _)| messages).sum();
        assert!((1..=messages).contains(&ended.count("answered")), "{size} bytes: {}", ended.report);
        assert!(ended.samples("latency/uncorrected") > 0, "{size} bytes: {}", ended.report);
    }
}

#[test]
fn counts_every_lost_message() {
    let server = faulty_server(|socket, number, payload| {
        if number % 50 == 0 {
            return Planted::Fault;
        }
        send(socket, payload);
        Planted::None
    });
    let ended = run_echo(&server.url, &[]);
    let planted: u64 = server.ended(2).iter().sum();
    assert!(planted > 0);
    assert_eq!((ended.code, ended.count("lost")), (1, planted), "{}", ended.report);
}

#[test]
fn counts_every_duplicated_message() {
    let server = faulty_server(|socket, number, payload| {
        send(socket, payload.clone());
        if number % 50 == 0 {
            send(socket, payload);
            return Planted::Fault;
        }
        Planted::None
    });
    let ended = run_echo(&server.url, &[]);
    let planted: u64 = server.ended(2).iter().sum();
    assert!(planted > 0);
    assert_eq!((ended.code, ended.count("duplicated")), (1, planted), "{}", ended.report);
}

#[test]
fn counts_every_reordered_message() {
    let server = faulty_server(|socket, number, payload| {
        if number % 50 == 0
            && let Ok(Message::Binary(next)) = socket.read()
        {
            send(socket, next.to_vec());
            send(socket, payload);
            return Planted::Fault;
        }
        send(socket, payload);
        Planted::None
    });
    let ended = run_echo(&server.url, &[]);
    let planted: u64 = server.ended(2).iter().sum();
    assert!(planted > 0);
    // At the end a server may wait for a message that never comes, and the one it holds is lost.
    assert_eq!(ended.code, 1);
    assert_eq!((ended.count("reordered"), ended.count("lost") <= 2), (planted, true), "{}", ended.report);
}

#[test]
fn counts_every_corrupted_message() {
    let server = faulty_server(|socket, number, mut payload| {
        let fault = number % 50 == 0;
        if fault {
            // Any byte at all.
            let at = usize::try_from(number / 50 * 7).unwrap() % payload.len();
            payload[at] ^= 1;
        }
        send(socket, payload);
        if fault { Planted::Fault } else { Planted::None }
    });
    let ended = run_echo(&server.url, &["--size", "300"]);
    let planted: u64 = server.ended(2).iter().sum();
    assert!(planted > 0);
    assert_eq!((ended.code, ended.count("corrupted")), (1, planted), "{}", ended.report);
}

#[test]
fn counts_every_misrouted_message() {
    /// The first message of some connection.
    static FOREIGN: OnceLock<Vec<u8>> = OnceLock::new();
    let server = faulty_server(|socket, number, payload| {
        let foreign = FOREIGN.get_or_init(|| payload.clone());
        // A message begins with three bytes that name its connection.
        let fault = number % 50 == 0 && foreign[..3] != payload[..3];
        if fault {
            send(socket, foreign.clone());
        }
        send(socket, payload);
        if fault { Planted::Fault } else { Planted::None }
    });
    let ended = run_echo(&server.url, &[]);
    let planted: u64 = server.ended(2).iter().sum();
    assert!(planted > 0);
    assert_eq!((ended.code, ended.count("misrouted")), (1, planted), "{}", ended.report);
}

#[test]
fn answers_pings_and_takes_fragmented_answers() {
    let server = foreign_server(|mut socket: WebSocket<TcpStream>| {
        let (mut pings, mut pongs, mut number) = (0_u64, 0_u64, 0_u64);
        loop {
            match socket.read() {
                Ok(Message::Binary(payload)) => {
                    number += 1;
                    let (first, second) = payload.split_at(payload.len() / 2);
                    let first = Frame::message(first.to_vec(), OpCode::Data(Data::Binary), false);
                    let second = Frame::message(second.to_vec(), OpCode::Data(Data::Continue), true);
                    let _ = socket.send(Message::Frame(first));
                    if number % 10 == 0 {
                        pings += 1;
                        let _ = socket.send(Message::Ping(number.to_be_bytes().to_vec().into()));
                    }
                    let _ = socket.send(Message::Frame(second));
                }
                Ok(Message::Pong(payload)) => {
                    pongs += 1;
                    assert_eq!(payload.as_ref(), (pongs * 10).to_be_bytes());
                }
                Ok(Message::Text(_) | Message::Ping(_) | Message::Close(_) | Message::Frame(_)) => {}
                Err(_) => return (pings, pongs),
            }
        }
    });
    let ended = run_echo(&server.url, &[]);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    for (pings, pongs) in server.ended(2) {
        assert!(pings > 0);
        assert_eq!(pings, pongs);
    }
}

#[test]
fn tells_how_servers_end_connections_early() {
    let server = foreign_server(|mut socket: WebSocket<TcpStream>| {
        for _ in 0..20 {
            let message = socket.read().unwrap();
            socket.send(message).unwrap();
        }
        socket.close(Some(CloseFrame { code: CloseCode::Error, reason: "tired".into() })).unwrap();
        while socket.read().is_ok() {}
    });
    let ended = run_echo(&server.url, &[]);
    assert_eq!(ended.code, 1, "{} {}", ended.report, ended.errors);
    assert_eq!(ended.failures("closed by the server with code 1011"), 2, "{}", ended.report);

    let server = foreign_server(|mut socket: WebSocket<TcpStream>| {
        for _ in 0..20 {
            let message = socket.read().unwrap();
            socket.send(message).unwrap();
        }
        socket.get_mut().shutdown(std::net::Shutdown::Both).unwrap();
    });
    let ended = run_echo(&server.url, &[]);
    assert_eq!((ended.code, ended.failed()), (1, 2), "{}", ended.report);
}

#[test]
fn reports_what_a_process_costs() {
    let server = foreign_server(echo);
    let pid = std::process::id().to_string();
    let ended = run_echo(&server.url, &["--pid", &pid]);
    assert_eq!(ended.process()["pid"], std::process::id());
    assert!(ended.cpu() > 0.0, "{}", ended.report);
    let own = &ended.report["cost"]["generator"]["us_per_unit"];
    assert!(own.as_f64().unwrap() > 0.0, "{}", ended.report);
}

#[test]
fn a_server_that_dies_is_reported_with_what_it_had_cost() {
    let server = Served::start("echo", &[]);
    let (url, pid) = (format!("ws://{}/", server.address), server.pid().to_string());
    let args = [
        "--connections",
        "3",
        "--for",
        "3s",
        "--warmup",
        "0s",
        "--interval",
        "100ms",
        "--reconnect",
        "--pid",
        &pid,
    ];
    let killer = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_secs(1));
        drop(server);
    });
    let ended = run(&[&["echo", &url], args.as_slice()].concat());
    killer.join().unwrap();
    assert!(ended.code == 1 && ended.failed() >= 3, "{} {}", ended.report, ended.errors);
    assert!(ended.seconds() > 2.0 && ended.cpu() > 0.0, "{}", ended.report);
    assert_eq!(ended.process()["has_ended"], true);
    assert!(ended.report["warnings"].to_string().contains("ended before the load did"), "{}", ended.report);
}

#[test]
fn keeps_to_the_rate_of_connecting() {
    let server = foreign_server(echo);
    let due = Duration::from_millis(450);
    let (sender, ended) = std::sync::mpsc::channel();
    let url = server.url.clone();
    std::thread::spawn(move || {
        let args = [
            "echo",
            &url,
            "--connections",
            "10",
            "--connect-rate",
            "20/s",
            "--for",
            "10ms",
            "--warmup",
            "0s",
        ];
        let _ = sender.send(run(&args).code);
    });
    // Ten at 20 a second: the last is due after 450 ms.
    assert!(ended.recv_timeout(due).is_err());
    assert_eq!(ended.recv_timeout(support::DEADLINE), Ok(0));
}

#[test]
fn says_why_nothing_could_be_measured() {
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run_echo(&format!("ws://{refused}/"), &[]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("could not connect: Connection refused"), "{}", ended.errors);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut head);
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        }
    });
    let ended = run_echo(&format!("ws://{address}/"), &[]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("refused with status 503"), "{}", ended.errors);

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = run_echo(&format!("ws://{}/", silent.local_addr().unwrap()), &["--timeout", "300ms"]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("timed out while waiting for the upgrade"), "{}", ended.errors);

    let ended = run_echo(&format!("ws://{address}/"), &["--pid", "4194304"]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("no process 4194304"), "{}", ended.errors);

    let ended = run(&["echo", &format!("ws://{address}/"), "--connections", "4000000000"]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("file descriptors"), "{}", ended.errors);
}
