//! Peers that do not read: backpressure, bounded memory, nothing lost.
#![cfg(feature = "runtime")]

mod support;

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::backend::{Backend, Stage, echo};
use support::bind;
use support::frames::{BINARY, CLOSE, Encode, client_frame, close_payload, payload, server_frame};
use support::http::upgrade_request;
use support::proxy::Proxy;
use support::raw::Raw;
use support::witness::Witness;

/// More than can be on its way to a [`narrow`] reader: Linux lets a receive buffer grow to 32 MiB, a send buffer to
/// 4, and there is one of the former and there are two of the latter.
const FLOOD_BYTES: usize = 48 << 20;

/// Keeps the kernel from holding much of what its owner does not read.
fn narrow(socket: impl AsFd) {
    socket2::SockRef::from(&socket).set_recv_buffer_size(256 * 1024).expect("it is a socket");
}

/// What a stream without end looks like: short frames, long ones, and a Close at the end.
#[expect(clippy::indexing_slicing, reason = "a hundred rounds and half a megabyte end within the payload")]
fn flood(encode: Encode) -> Vec<u8> {
    let bytes = payload(1 << 20);
    let mut flood = Vec::with_capacity(FLOOD_BYTES + (2 << 20));
    let mut round = 0;
    while flood.len() < FLOOD_BYTES {
        round += 1;
        for len in [0, round, 126, 70_000, 1 << 19] {
            flood.extend(encode(BINARY, true, &bytes[round..round + len]));
        }
    }
    flood.extend(encode(CLOSE, true, &close_payload(1000, "that was all")));
    flood
}

/// Writes of a thread, as far as they have come.
struct Writing {
    thread: JoinHandle<()>,
    progress: Receiver<usize>,
}

impl Writing {
    fn start(peer: &Raw, bytes: Vec<u8>) -> Self {
        let mut stream = peer.stream.try_clone().expect("a descriptor");
        let (sender, progress) = channel();
        let thread = thread::spawn(move || {
            for (at, piece) in (0..).zip(bytes.chunks(64 * 1024)) {
                stream.write_all(piece).expect("the other end reads in time");
                let _ = sender.send(at * 64 * 1024 + piece.len());
            }
        });
        Self { thread, progress }
    }

    /// Waits until it gets no further, and says how far it got.
    fn stalled_at(&self) -> usize {
        let mut written = 0;
        loop {
            match self.progress.recv_timeout(Duration::from_millis(500)) {
                Ok(len) => written = len,
                Err(RecvTimeoutError::Timeout) => return written,
                Err(RecvTimeoutError::Disconnected) => unreachable!("all of it was taken: {written} bytes"),
            }
        }
    }

    fn finish(self) {
        self.thread.join().expect("it writes all");
    }
}

#[test]
fn a_client_that_does_not_read_costs_little_and_loses_nothing() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut witness = Witness::new(&proxy, &stage);
    // So that the shard's own buffer has been touched.
    witness.carry(1 << 20);
    let before_kib = proxy.memory_kib();
    let (mut client, backend) = stage.open(&proxy);
    narrow(&client.stream);
    let flood = flood(server_frame);
    let writing = Writing::start(&backend, flood.clone());
    let stalled_at = writing.stalled_at();
    assert!(stalled_at < FLOOD_BYTES, "the backend feels it");
    let growth_kib = proxy.memory_kib().saturating_sub(before_kib);
    assert!(growth_kib < 1024, "{growth_kib} KiB more, with {stalled_at} bytes on their way");
    // Nor does it delay anybody else.
    witness.wait();
    assert!(client.exactly(flood.len()) == flood);
    writing.finish();
}

#[test]
fn a_backend_that_does_not_read_stalls_its_client_and_loses_nothing() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut witness = Witness::new(&proxy, &stage);
    witness.carry(1 << 20);
    let before_kib = proxy.memory_kib();
    let (client, mut backend) = stage.open(&proxy);
    narrow(&backend.stream);
    let flood = flood(client_frame);
    let writing = Writing::start(&client, flood.clone());
    let stalled_at = writing.stalled_at();
    assert!(stalled_at < FLOOD_BYTES, "the client feels it");
    let growth_kib = proxy.memory_kib().saturating_sub(before_kib);
    assert!(growth_kib < 1024, "{growth_kib} KiB more, with {stalled_at} bytes on their way");
    witness.wait();
    assert!(backend.exactly(flood.len()) == flood);
    writing.finish();
}

#[test]
fn both_directions_may_stall_at_once_and_go_on() {
    let listener = bind();
    narrow(&listener);
    let echo = Backend::on(listener, echo);
    let proxy = Proxy::start(&[], &[&echo.url()]);
    let mut client = proxy.dial();
    narrow(&client.stream);
    client.send(&upgrade_request("/", &[]));
    assert_eq!(client.head().status(), 101);
    let bytes = payload(100_000);
    // There and back again.
    let count = 2 * FLOOD_BYTES / bytes.len();
    let flood: Vec<u8> = (0..count).flat_map(|n| client_frame(BINARY, true, &bytes[n..])).collect();
    let writing = Writing::start(&client, flood);
    // The echo server waits for us to read, so it does not read, so we cannot write.
    writing.stalled_at();
    for n in 0..count {
        assert!(client.frame().payload == bytes[n..], "message {n}");
    }
    writing.finish();
}

#[test]
fn a_client_that_vanishes_while_its_backend_does_not_read_is_noticed() {
    let stage = Stage::new();
    // What the backend has not taken by then it will not get.
    let mut proxy = Proxy::start(&["--close-timeout", "300ms"], &[&stage.url()]);
    let (client, backend) = stage.open(&proxy);
    client.fill(&client_frame(BINARY, true, &payload(1 << 20)));
    client.reset();
    let (ended_by, why, _) = proxy.session().end();
    assert_eq!((ended_by.as_str(), why.as_str()), ("client", "vanished"));
    drop(backend);
}
