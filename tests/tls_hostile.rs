//! Clients that come to harm, or do some, before TLS has begun: half handshakes, garbage, sudden ends, and crowds of them.
#![cfg(feature = "runtime")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use support::backend::Backend;
use support::raw::Raw;
use support::secured::Secured;
use support::tls::{Client, connect};
use support::ws::{expect_echo, text};
use support::{Deadline, eventually, has_waited, now};

/// Connections that stop in the middle of a handshake.
const HALF_OPEN: usize = 1000;

/// The first flight of a client.
fn client_hello(secured: &Secured) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(secured.authority.client()), name).expect("it is whole");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory takes it");
    hello
}

/// That all is well with a proxy for others.
fn expect_service(secured: &Secured) {
    expect_echo(&mut connect(secured.address(), &secured.authority), &text("hello"));
}

/// Bytes of memory that a process has now.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

#[test]
fn who_leaves_in_the_middle_of_the_handshake_leaves_nothing_behind() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    let hello = client_hello(&secured);
    for len in [0, 1, 5, hello.len() / 2, hello.len() - 1, hello.len()] {
        let (begun, _) = hello.split_at(len);
        let mut leaving = Raw::connect(secured.address());
        leaving.send(begun);
        leaving.finish();
        leaving.rest();
        let mut vanishing = Raw::connect(secured.address());
        vanishing.send(begun);
        vanishing.reset();
    }
    expect_service(&secured);
    eventually("nobody is left", || secured.proxy.counter("sessions_now") == 0);
}

#[test]
fn garbage_is_turned_away_with_an_alert_or_without_a_word() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    let hello = client_hello(&secured);
    let mut torn = hello.clone();
    torn.iter_mut().skip(5).for_each(|byte| *byte ^= 0x5a);
    let rows: [(&[u8], &str); 7] = [
        (b"\0\0\0\0\0\0\0\0", "not TLS"),
        (b"\x80\x2e\x01\x00\x02 as SSL 2 began", "not TLS"),
        // A record of a handshake that is no handshake.
        (b"\x16\x03\x01\x00\x05hello", ""),
        // One of a version that there is not, one that is too long, one that is empty.
        (b"\x16\x09\x09\x00\x05hello", ""),
        (b"\x16\x03\x01\xff\xffhello", ""),
        (b"\x16\x03\x01\x00\x00", ""),
        (&torn, ""),
    ];
    for (garbage, words) in rows {
        let mut client = Raw::connect(secured.address());
        client.send(garbage);
        client.finish();
        let (answer, _) = client.rest();
        // RFC 8446 §6: an alert is a record of type 21, of two bytes.
        assert!(
            answer.is_empty() || (answer.len() == 7 && answer.first() == Some(&21)),
            "{}",
            answer.escape_ascii()
        );
        let failure = secured.failure();
        assert!(failure.contains(words), "{}: {failure}", garbage.escape_ascii());
    }
    expect_service(&secured);
}

#[test]
fn who_hears_nothing_of_a_client_in_time_hangs_up() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "timeout = \"200ms\"\n");
    let hello = client_hello(&secured);
    for len in [0, 1, hello.len() - 1, hello.len()] {
        let (begun, _) = hello.split_at(len);
        let mut client = Raw::connect(secured.address());
        let begun_at = now();
        client.send(begun);
        client.rest();
        assert!(has_waited(begun_at, Duration::from_millis(200)));
        let failure = secured.failure();
        assert!(failure.contains("in time") || failure.contains("too long"), "{failure}");
    }
    expect_service(&secured);
}

#[test]
fn a_client_that_dribbles_its_handshake_gets_no_more_time() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "timeout = \"500ms\"\n");
    let hello = client_hello(&secured);
    let client = Raw::connect(secured.address());
    let (begun_at, deadline) = (now(), Deadline::new());
    // A byte at a time would take for minutes.
    for byte in hello {
        if (&client.stream).write_all(&[byte]).is_err() {
            break;
        }
        assert!(!deadline.left().is_zero(), "it is cut off");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(has_waited(begun_at, Duration::from_millis(500)));
    assert!(secured.failure().contains("too long"));
}

#[test]
fn a_handshake_that_never_ends_is_not_kept() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "timeout = \"1m\"\n");
    // A ClientHello of 16 MiB, as it says, in records of 16 KiB.
    let mut flood = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03".to_vec();
    flood.resize(5 + (1 << 14), 0);
    let client = Raw::connect(secured.address());
    let before = memory(secured.proxy.pid());
    let mut sent = 0;
    while (&client.stream).write_all(&flood).is_ok() {
        sent += flood.len();
        assert!(sent < 64 << 20, "it is cut off");
        flood.splice(5..11, [0; 6]);
    }
    let failure = secured.failure();
    assert!(!failure.is_empty());
    assert!(memory(secured.proxy.pid()) < before + (8 << 20));
    expect_service(&secured);
}

#[test]
fn of_those_who_wait_for_their_turn_little_is_held() {
    const WAITING: u32 = 200;
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "handshakes = \"1/s\"\ntimeout = \"10m\"\n");
    let mut flood = client_hello(&secured);
    flood.resize(256 << 10, 0);
    let before = secured.proxy.memory_kib();
    let clients: Vec<_> = (0..WAITING)
        .map(|_| {
            let client = Raw::connect(secured.address());
            client.stream.set_nonblocking(true).expect("it is ours");
            assert!((&client.stream).write(&flood).expect("some of it is taken") > 64 << 10);
            client
        })
        .collect();
    eventually("all are there", || secured.proxy.counter("accepted") >= WAITING.into());
    let held_kib = secured.proxy.memory_kib().saturating_sub(before);
    assert!(held_kib < u64::from(WAITING) * 16, "{held_kib} KiB");
    drop(clients);
}

#[test]
fn a_thousand_half_open_handshakes_harm_nobody() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "timeout = \"1m\"\n");
    let hello = client_hello(&secured);
    let mut clients: Vec<Client> = (0..8).map(|_| connect(secured.address(), &secured.authority)).collect();
    let before = memory(secured.proxy.pid());
    let mut half_open: Vec<TcpStream> = Vec::new();
    for number in 0..HALF_OPEN {
        let client = Raw::connect(secured.address());
        // Some say nothing, some half of it, some all and never read the answer.
        let (begun, _) = hello.split_at(hello.len() * (number % 3) / 2);
        (&client.stream).write_all(begun).expect("it is taken");
        half_open.push(client.stream);
        let one = clients.get_mut(number % 8).expect("there are eight");
        expect_echo(one, &text("still here"));
        if number % 100 == 0 {
            expect_service(&secured);
        }
    }
    eventually("all are there", || {
        secured.proxy.counter("accepted") >= u64::try_from(HALF_OPEN).expect("few")
    });
    expect_service(&secured);
    clients.iter_mut().for_each(|client| expect_echo(client, &text("still here")));
    // What a handshake holds: rustls's own state, and the flight that was answered.
    let held = memory(secured.proxy.pid()).saturating_sub(before);
    assert!(held < 64 * 1024 * u64::try_from(HALF_OPEN).expect("few"), "{held} bytes");

    drop(half_open);
    for mut client in clients {
        expect_echo(&mut client, &text("still here"));
    }
    assert_eq!(secured.proxy.counter("accept_failures"), 0);
}
