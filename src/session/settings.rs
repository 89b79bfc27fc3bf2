//! What a session is held to: times, sizes, rates, pings. Shared by all sessions of one kind.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::Peer;

/// As good as never, and still within what an [`Instant`] can tell.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What a session is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// From the first sign of an end to cutting what is left.
    pub close: Duration,
    /// Without anything to forward in either direction; then Close 1001. The proxy's own pings, and the answers to
    /// them, are not traffic.
    pub idle: Duration,
    /// From the 101 on; then Close 1001 at the end of a message. `None` for no limit.
    pub lifetime: Option<Duration>,
    /// Bytes of a message, all its fragments together, as on the wire; beyond: Close 1009.
    pub message_bytes_max: u64,
    /// Payload bytes of a data frame, as on the wire; beyond: Close 1009.
    pub frame_bytes_max: u64,
    /// How much a client may send. `None` for as much as the backend takes.
    pub rate: Option<RateLimit>,
    /// Who is pinged by the proxy.
    pub ping: Pings,
}

impl Default for Settings {
    /// No limit but an hour of silence, ten seconds for a closing handshake; no pings.
    fn default() -> Self {
        Self {
            close: Duration::from_secs(10),
            idle: Duration::from_secs(60 * 60),
            lifetime: None,
            message_bytes_max: u64::MAX,
            frame_bytes_max: u64::MAX,
            rate: None,
            ping: Pings::default(),
        }
    }
}

/// How much a client may send to its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Data messages, counted as they end.
    pub messages: Option<Rate>,
    /// Bytes on the wire, headers and control frames included.
    pub bytes: Option<Rate>,
    /// What happens to a client that sends more.
    pub excess: Excess,
}

/// A steady rate, and how far it may be exceeded for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU64,
    /// At once, after a pause.
    pub burst: NonZeroU64,
}

/// What happens to a client that sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It is not read until it has paid: TCP slows it down.
    Slow,
    /// Close 1008.
    Close,
}

/// Who is pinged by the proxy, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pings {
    /// Toward the client.
    pub client: Option<Ping>,
    /// Toward the backend.
    pub backend: Option<Ping>,
}

impl Pings {
    pub(super) fn of(&self, peer: Peer) -> Option<Ping> {
        match peer {
            Peer::Client => self.client,
            Peer::Backend => self.backend,
        }
    }
}

/// How one peer is pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// From one ping to the next.
    pub every: Duration,
    /// Without any sign of life behind a ping; then the peer is taken for dead.
    pub timeout: Duration,
}

/// `wait` from `now`, or as good as never.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(FOREVER)
}
