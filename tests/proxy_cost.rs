//! What a proxy costs while nothing moves, and what sessions leave behind: next to nothing.
#![cfg(feature = "runtime")]

mod support;

use std::sync::mpsc;
use std::time::Duration;

use support::backend::{Backend, Stage};
use support::eventually;
use support::frames::{BINARY, CLOSE, TEXT, client_frame, close_payload, payload, server_frame};
use support::http::{switching, upgrade_request};
use support::proxy::Proxy;
use support::raw::Raw;
use support::ws::{expect_echo, text};

/// Sessions and refusals of every kind, one of each.
fn one_of_each_kind(proxy: &Proxy, stage: &Stage) {
    let close = close_payload(1000, "");
    let (mut client, mut backend) = stage.open(proxy);
    client.send(&client_frame(CLOSE, true, &close));
    assert!(backend.frame().is_close());
    backend.send(&server_frame(CLOSE, true, &close));
    client.expect_close_and_fin();

    // Client gone by FIN, by RST; backend gone by FIN, by RST.
    let (client, mut backend) = stage.open(proxy);
    drop(client);
    backend.expect_fin();
    let (client, mut backend) = stage.open(proxy);
    client.reset();
    backend.expect_fin();
    let (mut client, backend) = stage.open(proxy);
    drop(backend);
    client.leave(client_frame);
    let (mut client, backend) = stage.open(proxy);
    backend.reset();
    client.leave(client_frame);

    // Both at once, with bytes on their way.
    let (mut client, mut backend) = stage.open(proxy);
    client.send(&client_frame(BINARY, true, &payload(5000)));
    backend.send(&server_frame(BINARY, true, &payload(5000)));
    client.reset();
    backend.reset();

    let (mut client, mut backend) = stage.open(proxy);
    client.send(b"\xFF\xFF not a frame");
    backend.leave(server_frame);
    client.expect_close_and_fin();

    // No session: a refusal of ours, one of the backend's, one that leaves, ones that say nothing.
    let mut client = proxy.dial();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    client.response();
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut backend, _) = stage.request();
    backend.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    client.response();
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut backend, _) = stage.request();
    drop(client);
    // It may have been told already that nobody listens.
    let _ = std::io::Write::write_all(&mut backend.stream, &switching(&[]));
    drop(proxy.dial());
    proxy.dial().reset();
}

#[test]
fn no_descriptor_and_no_memory_stays_behind() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&["--close-timeout", "1s", "--connect-timeout", "1s"], &[&stage.url()]);
    for _ in 0..10 {
        one_of_each_kind(&proxy, &stage);
    }
    eventually("the first sessions end", || proxy.counter("sessions_now") == 0);
    let (descriptors, memory_kib) = (proxy.descriptors(), proxy.memory_kib());
    for _ in 0..50 {
        one_of_each_kind(&proxy, &stage);
    }
    assert!(proxy.counter("sessions") >= 60 * 7);
    eventually("every descriptor is closed", || proxy.descriptors() <= descriptors);
    assert_eq!(proxy.counter("sessions_now"), 0);
    // 650 connections: two kilobytes kept of each would show.
    let growth_kib = proxy.memory_kib().saturating_sub(memory_kib);
    assert!(growth_kib < 1024, "{growth_kib} KiB more");
}

#[test]
fn thousands_of_sessions_that_come_and_go_leave_nothing() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&["--cores", "all"], &[&backend.url()]);
    expect_echo(&mut proxy.connect(), &text("hello"));
    proxy.session();
    let descriptors = proxy.descriptors();
    for _ in 0..20 {
        let mut clients: Vec<_> = (0..100).map(|_| proxy.connect()).collect();
        clients.iter_mut().for_each(|client| expect_echo(client, &text("hello")));
    }
    eventually("every descriptor is closed", || proxy.descriptors() <= descriptors);
    (0..2000).for_each(|_| drop(proxy.session()));
}

/// Sessions that are stuck, each in another way, and what has to be kept for them to stay so.
fn stuck_in_every_way(proxy: &Proxy, stage: &Stage) -> Vec<Raw> {
    let mut kept = Vec::new();
    let mut keep = |client: Raw, backend: Raw| kept.extend([client, backend]);
    let close = close_payload(1000, "");

    // Nothing moves.
    let (client, backend) = stage.open(proxy);
    keep(client, backend);
    // Half a header, half a payload.
    let (mut client, mut backend) = stage.open(proxy);
    client.send(&[0x82]);
    backend.send(&[0x82, 5, 1]);
    assert_eq!(client.exactly(3), [0x82, 5, 1]);
    keep(client, backend);
    // A client that is half-closed.
    let (client, mut backend) = stage.open(proxy);
    client.finish();
    backend.expect_fin();
    keep(client, backend);
    // A client that has sent its Close, and goes on.
    let (mut client, mut backend) = stage.open(proxy);
    client.send(&client_frame(CLOSE, true, &close));
    client.send(&client_frame(TEXT, true, b"too late"));
    assert!(backend.frame().is_close());
    keep(client, backend);
    // The same, and half-closed.
    let (mut client, mut backend) = stage.open(proxy);
    client.send(&client_frame(CLOSE, true, &close));
    client.finish();
    assert!(backend.frame().is_close());
    keep(client, backend);
    // A backend that has sent its Close.
    let (mut client, mut backend) = stage.open(proxy);
    backend.send(&server_frame(CLOSE, true, &close));
    backend.finish();
    assert!(client.frame().is_close());
    keep(client, backend);
    // A backend that is gone, and a client that does not answer its Close.
    for is_reset in [false, true] {
        let (mut client, backend) = stage.open(proxy);
        if is_reset {
            backend.reset()
        } else {
            backend.finish()
        }
        assert!(client.frame().is_close());
        kept.push(client);
    }
    // Offenders, and others that do not answer.
    let (mut client, mut backend) = stage.open(proxy);
    client.send(&server_frame(TEXT, true, b"unmasked"));
    client.finish();
    assert!(backend.frame().is_close());
    kept.extend([client, backend]);
    let (mut client, mut backend) = stage.open(proxy);
    backend.send(&client_frame(TEXT, true, b"masked"));
    assert!(client.frame().is_close());
    kept.extend([client, backend]);
    // A client in its request, one whose backend has not answered, one that is refused and stays.
    let mut client = proxy.dial();
    client.send(b"GET /");
    kept.push(client);
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    kept.extend([stage.request().0, client]);
    kept
}

#[test]
fn sessions_in_which_nothing_moves_take_no_time() {
    let stage = Stage::new();
    let flags = ["--close-timeout", "1h", "--head-timeout", "1h", "--connect-timeout", "1h"];
    let mut proxy = Proxy::start(&flags, &[&stage.url()]);
    let stuck = stuck_in_every_way(&proxy, &stage);
    // Two that cannot write, for the other side does not read.
    let (client, backend) = stage.open(&proxy);
    client.fill(&client_frame(BINARY, true, &payload(1 << 20)));
    backend.fill(&server_frame(BINARY, true, &payload(1 << 20)));
    assert!(proxy.counter("sessions_now") >= 11);
    let (never, nothing) = mpsc::channel::<()>();
    let before = proxy.cpu_time();
    assert!(nothing.recv_timeout(Duration::from_secs(1)).is_err());
    let used = proxy.cpu_time() - before;
    // A shard that polls for nothing would use all of it.
    assert!(used < Duration::from_millis(200), "{used:?} in a second");
    drop((never, stuck));
}
