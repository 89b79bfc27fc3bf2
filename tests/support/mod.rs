//! What the black-box tests share: the program itself, and foreign peers to set against it.
//!
//! Nothing here uses selat's own code, but for reading what `/status` says: frames and handshakes are tungstenite's,
//! or bytes written out by hand.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod admin;
pub(crate) mod backend;
pub(crate) mod browser;
pub(crate) mod caller;
pub(crate) mod crowd;
pub(crate) mod fed;
pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod greeting;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod node;
pub(crate) mod notify;
pub(crate) mod openssl;
pub(crate) mod path;
pub(crate) mod pebble;
pub(crate) mod probed;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod raw;
pub(crate) mod scrape;
pub(crate) mod secured;
pub(crate) mod site;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod toml;
pub(crate) mod vendor;
pub(crate) mod witness;
pub(crate) mod worker;
pub(crate) mod ws;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Generous: the machine may be busy with something else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The close code for clients whose backend is gone or talks nonsense.
pub(crate) const BACKEND_LOST: u16 = 1011;

/// A moment by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(now() + DEADLINE)
    }

    /// What is left of it; nothing once it has passed.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }
}

/// A clock to measure with.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's only clock: for deadlines and for how long things took"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Whether somebody has waited for `timeout` since `begun`, and did not act at once.
///
/// Half of it will do: a shard looks at the clock once a pass, so a pass that was held up gives its timers a start
/// that lies back as far.
pub(crate) fn has_waited(begun: Instant, timeout: Duration) -> bool {
    begun.elapsed() >= timeout / 2
}

/// Waits until `is_so`: for what can only be looked at, never waited for (`/proc`, another process's sockets).
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Deadline::new();
    while !is_so() {
        assert!(!deadline.left().is_zero(), "not in time: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// A loopback address that no other test and no outgoing connection has, so that no port of it is ever taken by
/// somebody else, not even after its first owner has gone.
pub(crate) fn loopback() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let [_, high, low, _] = (std::process::id() << 8).to_be_bytes();
    let [.., count] = (COUNT.fetch_add(1, Ordering::Relaxed) % 254 + 1).to_be_bytes();
    // Never 127.0.0.x, where everybody else is.
    Ipv4Addr::new(127, high | 0x80, low, count)
}

/// A listener on an address of its own.
pub(crate) fn bind() -> TcpListener {
    TcpListener::bind((loopback(), 0)).expect("loopback has free ports")
}

/// An address where nobody listens: dialling it is refused.
pub(crate) fn nobody() -> SocketAddr {
    bind().local_addr().expect("it is bound")
}

/// Whether this machine has IPv6 on loopback. Containers often have not.
pub(crate) fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The cores that this process may run on, lowest first.
pub(crate) fn allowed_cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("the kernel says");
    let number = |text: &str| text.trim().parse::<usize>().expect("a number");
    let ranges = list.split(',').map(|part| part.split_once('-').unwrap_or((part, part)));
    ranges.flat_map(|(first, last)| number(first)..=number(last)).collect()
}
