//! What selat was told to do: validated, immutable, free of any file or flag syntax.
//!
//! Pure: parses text, resolves nothing. Every error says what was wrong and what would be right.

mod address;
mod backend;
mod cores;
mod units;

use std::path::PathBuf;
use std::time::Duration;

pub use address::{InvalidAddress, ListenAddress};
pub use backend::{BackendUrl, InvalidBackend};
pub use cores::{Cores, InvalidCores};
pub use units::{InvalidUnit, parse_bytes, parse_duration};

use crate::balance::Policy;

/// Everything one server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect.
    pub listen: ListenAddress,
    /// Which cores get a shard.
    pub cores: Cores,
    /// What is done with a request, by path; the first match wins, no match is a 404.
    pub routes: Vec<Route>,
    /// The pool that [`Target::Pool`] means.
    pub backends: Vec<BackendUrl>,
    /// How its backends are chosen.
    pub policy: Policy,
    /// Sizes and counts.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
    /// The Unix socket at which a starting selat asks a running one for its listeners, and then is asked in its turn.
    pub handover: Option<PathBuf>,
}

/// One line of the route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The exact path it is for; `None` for every path.
    pub path: Option<String>,
    /// What is done.
    pub target: Target,
}

/// What a route does with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Places it on a backend of the pool.
    Pool,
    /// Sends every message back.
    Echo,
    /// Sends a numbered message at this interval.
    Ticker {
        /// Between two messages.
        every: Duration,
    },
}

/// Bounds on what a peer can make selat hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Client connections of the whole process; beyond: 503. `None` for as many as the descriptor limit allows.
    pub connections_max: Option<u32>,
    /// Bytes of a message, as on the wire; beyond: Close 1009.
    pub message_bytes_max: u64,
}

/// How long selat waits for whom.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a client's whole request head; then 408.
    pub head: Duration,
    /// For a backend to accept the connection and answer the handshake; then the next one is tried.
    pub connect: Duration,
    /// For a closing handshake, from its first Close to the end of both connections; then they are cut.
    pub close: Duration,
    /// Without a byte in either direction; then Close 1001.
    pub idle: Duration,
    /// Over which the sessions are spread that a drain closes.
    pub drain_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: None, message_bytes_max: u64::MAX }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            close: Duration::from_secs(10),
            idle: Duration::from_secs(60 * 60),
            drain_window: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// The target of a request for this path (and query).
    #[must_use]
    pub fn route(&self, target: &str) -> Option<Target> {
        let path = target.split('?').next().unwrap_or_default();
        let matches = |route: &&Route| route.path.as_deref().is_none_or(|wanted| wanted == path);
        self.routes.iter().find(matches).map(|route| route.target)
    }
}
