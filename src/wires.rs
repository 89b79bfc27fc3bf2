//! Every message that crosses threads. Nothing else does.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::balance::{BackendId, ShardId, Snapshot};
use crate::config::ListenAddress;
use crate::health::Outcome;
use crate::session::Cause;
use crate::telemetry::{Counters, Traffic};

/// From the control plane to one shard.
#[derive(Debug, Clone)]
pub enum ToShard {
    /// All backends, as they stand now.
    Snapshot(Arc<Snapshot>),
    /// Send a [`ToControl::Report`].
    Report,
    /// Stop accepting and close every session.
    Drain(Drain),
    /// End every session at once, and the shard.
    Cut,
}

/// How to go down.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Over which the Closes are spread, so that the clients do not all come back at once.
    pub window: Duration,
    /// When what is left gets cut.
    pub deadline: Instant,
    /// What becomes of clients that have connected, but not asked for anything yet.
    pub latecomers: Latecomers,
}

/// What becomes of clients whose request a drain does not wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latecomers {
    /// They get a 503, and may find another server.
    Refused,
    /// They get a session, for nobody shall notice that a successor serves those who come after them.
    Served,
}

/// From one shard to the control plane.
#[derive(Debug, Clone)]
pub enum ToControl {
    /// A backend was dialled for a session.
    Dialled {
        /// Which.
        backend: BackendId,
        /// What came of it.
        outcome: Outcome,
    },
    /// A session has ended.
    Session(Box<SessionRecord>),
    /// What the shard has counted, as asked for.
    Report(Box<Report>),
    /// The shard's sessions on each backend, by [`BackendId`], having changed.
    Sessions {
        /// Whose.
        shard: ShardId,
        /// How many.
        counts: Vec<u32>,
    },
    /// The shard has ended; this is its last report.
    Ended(Box<Report>),
    /// What the owner of the server wants; not from a shard.
    Order(Order),
}

/// From the owner of a running server to its control plane.
#[derive(Debug, Clone)]
pub enum Order {
    /// Close every session over the drain window, then end.
    Drain,
    /// A successor listens here, at these of our addresses: close every session over the drain window, then end.
    HandOver {
        /// Its process.
        successor: u32,
        /// The files of Unix sockets among them are not ours any more.
        addresses: Vec<ListenAddress>,
    },
    /// End at once.
    Cut,
    /// Say how things are.
    Look(SyncSender<Look>),
}

/// How things are with a server.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Of all shards.
    pub counters: Counters,
    /// Backends that new sessions may be placed on.
    pub backends_up: usize,
}

/// One shard's counters.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whose.
    pub shard: ShardId,
    /// Since its start.
    pub counters: Counters,
}

/// What the access log says of one session.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// The client's address; `unix` for a client of a Unix socket.
    pub client: String,
    /// The backend it was placed on; `None` where selat answered itself.
    pub backend: Option<BackendId>,
    /// From the 101 to the end.
    pub duration: Duration,
    /// What the client sent.
    pub from_client: Traffic,
    /// What the backend, or selat in its place, sent.
    pub from_backend: Traffic,
    /// What ended it.
    pub cause: Option<Cause>,
    /// Whether a peer had to be cut off.
    pub is_cut: bool,
}
