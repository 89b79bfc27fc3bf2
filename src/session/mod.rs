//! One session's decisions, without sockets or clock (RFC 6455 §5.5, §7; DESIGN of the tunnel in
//! `docs/adr/0004-verbatim-forwarding.md`).
//!
//! [`Tunnel`] decides for a pool session: what goes on, what is held back, which frames of the proxy's own are
//! due, and when each connection ends, all as its [`Settings`] have it. [`Responder`] decides for a session that selat answers itself.

mod backoff;
mod bucket;
mod cause;
mod drain;
mod flow;
mod half;
mod keepalive;
mod meter;
mod parting;
mod respond;
mod settings;
mod tunnel;

pub(crate) use backoff::backoff;
pub use bucket::TokenBucket;
pub(crate) use cause::reason_for;
pub use cause::{Cause, Farewell, Why};
pub(crate) use drain::Drain;
pub use flow::{Backlog, Disposition, Flow, Random, Then};
pub(crate) use half::{Half, Input, Output};
pub(crate) use keepalive::{Keepalive, Link, Verdict};
pub(crate) use meter::{Charge, Meter};
pub use respond::{Responder, Script};
pub(crate) use settings::after;
pub use settings::{Excess, Ping, Pings, Rate, RateLimit, Settings};
pub use tunnel::Tunnel;

/// The two connections of a pool session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Who connected to us.
    Client,
    /// Whom we dialled.
    Backend,
}

impl Peer {
    /// Both, in the order in which a session looks at them.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Backend];

    /// The peer at the opposite end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// How a peer's stream stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// FIN: it sends no more but may still read.
    Fin,
    /// Reset or write failure: nothing can be sent to it either.
    Reset,
    /// In TLS: without close_notify, so that something may be missing. Nothing can be sent to it either.
    Truncated,
}

/// Whose doing it was that a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client closed, broke the protocol or a limit, or vanished.
    Client,
    /// The backend did.
    Backend,
    /// selat did: drain, idle timeout, lifetime, a fault of its own.
    Proxy,
}

impl Side {
    /// The word for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Proxy => "proxy",
        }
    }
}

impl From<Peer> for Side {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Client => Self::Client,
            Peer::Backend => Self::Backend,
        }
    }
}
