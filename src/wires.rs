//! Every message that crosses threads. Nothing else does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::balance::{BackendId, ShardId, Snapshot, Ticket};
use crate::config::{Config, ListenAddress};
use crate::feed::{self, Key};
use crate::guard::{Limits, Party};
use crate::health::Outcome;
use crate::routing::ListenId;
use crate::session::Cause;
use crate::telemetry::{BackendCounters, Counters, Refused, Traffic};
use crate::tls;

/// From the control plane to one shard; [`ToShard::Connection`] and [`ToShard::Feed`] from another shard.
#[derive(Debug)]
pub enum ToShard {
    /// All backends, as they stand now.
    Snapshot(Arc<Snapshot>),
    /// A new configuration, with the first snapshot that belongs to it.
    Config(Arc<Config>, Arc<Snapshot>),
    /// Close the sessions on these backends, with a Close 1012.
    Retire(Arc<[BackendId]>),
    /// Connections of each shard, by [`ShardId`], where that decides who serves a new one.
    Loads(Arc<[u32]>),
    /// A connection that another shard accepted for this one.
    Connection(Arrival),
    /// The answer to an [`Ask`].
    Ruling(Ticket, Ruling),
    /// Answer authorities by these, and by no others.
    Challenges(Arc<Challenges>),
    /// What another shard has to say about a feed.
    Feed(FeedNote),
    /// Send a [`ToControl::Report`].
    Report,
    /// Stop accepting and close every session.
    Drain(Drain),
    /// End every session at once, and the shard.
    Cut,
}

/// What proves to authorities that names are ours, while they certify them (RFC 8555 §8).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Challenges {
    /// Key authorizations by their tokens, for plain listeners (§8.3).
    pub http: HashMap<String, String>,
    /// For listeners that speak TLS (RFC 8737).
    pub tls: tls::Challenges,
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

/// A connection that nobody has read from yet.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub fd: OwnedFd,
    /// Who is at its other end; `None` for a client of a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Where it came in.
    pub listener: ListenId,
}

/// Between the shard that owns a feed's source and a shard with clients of it.
#[derive(Debug)]
pub struct FeedNote {
    /// Which feed, by name.
    pub feed: Arc<str>,
    /// What there is to say.
    pub word: FeedWord,
}

/// What shards say to each other about a feed.
#[derive(Debug)]
pub enum FeedWord {
    /// To the owner: this shard has clients, and wants a [`Self::State`] and all that is published from then on.
    Attach(ShardId),
    /// To the owner: this shard has no clients any more.
    Detach(ShardId),
    /// To the owner: clients of this shard want these keys, or none of them does any more.
    Topics {
        /// Whose clients.
        shard: ShardId,
        /// Keys that had no client there so far.
        wanted: Vec<Key>,
        /// Keys that have none now.
        unwanted: Vec<Key>,
    },
    /// To the owner: what a client says is for the source.
    Forward(feed::Kind, Box<[u8]>),
    /// To a shard with clients: how the feed stands.
    State(feed::State),
    /// To a shard with clients: what the source has said.
    Publish(Arc<feed::Batch>),
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
    /// A session has ended, or a request came to none.
    Session(Box<SessionRecord>),
    /// A TLS handshake has failed.
    Insecure(Box<Insecure>),
    /// Something has happened to the source of a feed.
    Source(Box<SourceNews>),
    /// What the shard has counted, as asked for.
    Report(Box<Report>),
    /// What the shard holds, having changed.
    Load {
        /// Whose.
        shard: ShardId,
        /// Open connections.
        connections: u32,
        /// Sessions on each backend.
        sessions: Vec<(BackendId, u32)>,
    },
    /// A question of which the whole process knows the answer.
    Ask(Ticket, Box<Ask>),
    /// What was granted is not needed any more, or will not be waited for.
    Release(Release),
    /// So many sessions began on these backends without having asked, because there was no limit then. They count
    /// from now on, and each is released like one that was granted.
    Adopted(Vec<(BackendId, u32)>),
    /// The shard has ended; this is its last report.
    Ended(Box<Report>),
    /// What the owner of the server wants; not from a shard.
    Order(Order),
}

/// A TLS handshake that failed.
#[derive(Debug, Clone)]
pub struct Insecure {
    /// With whom.
    pub with: Far,
    /// Why, for people.
    pub error: String,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub enum Far {
    /// The client at this address.
    Client(String),
    /// A backend.
    Backend(BackendId),
}

/// What the shard that owns a feed's source has to tell of it.
#[derive(Debug, Clone)]
pub struct SourceNews {
    /// Which feed, by name.
    pub feed: Arc<str>,
    /// The URL of the source.
    pub source: String,
    /// What happened.
    pub event: SourceEvent,
}

/// What happens to a source.
#[derive(Debug, Clone)]
pub enum SourceEvent {
    /// It has answered 101, so long after it was dialled.
    Opened {
        /// How long.
        after: Duration,
    },
    /// It could not be reached, or its connection is lost.
    Lost {
        /// Why, for people.
        why: String,
        /// Until a source is dialled again.
        retry_in: Duration,
    },
    /// It said something fatal: no source of the feed is dialled any more.
    Stopped {
        /// Its words, cut to 256 bytes.
        words: String,
    },
    /// Messages may have been missed.
    Gap,
}

/// Something of which the whole process has only so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// One more connection on a route.
    Route {
        /// Which route.
        route: Arc<str>,
        /// Of whom.
        client: Party,
        /// How many there may be.
        limits: Limits,
    },
    /// One more session on a backend of a pool some of whose backends take only so many.
    Backend {
        /// Which pool.
        pool: Arc<str>,
        /// The policy's choice, if it has any.
        preferred: Option<BackendId>,
        /// Those that have failed this session.
        tried: Vec<BackendId>,
    },
}

/// What the control plane says to an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The connection may stay.
    Admitted,
    /// The session may go to this backend.
    Placed(BackendId),
    /// The route, or whoever comes to it, has as many as it may.
    Denied(Denied),
    /// The pool's queue is full, or waiting in it took too long.
    Crowded,
}

/// Which count is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Connections of the route.
    Route,
    /// Connections from this address on the route.
    Address,
    /// Connections of this identity on the route.
    Identity,
}

/// What a shard gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// A connection on a route.
    Route {
        /// Which route.
        route: Arc<str>,
        /// Of whom.
        client: Party,
    },
    /// A session on a backend.
    Backend(BackendId),
    /// A question that nobody waits for any more. If it was still open, its ruling is [`Ruling::Crowded`].
    Ask(Ticket),
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
    /// All of them.
    pub backends: usize,
}

/// What one shard has counted since its start.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whose.
    pub shard: ShardId,
    /// Of the shard and its routes.
    pub counters: Counters,
    /// Processor time that the shard has taken.
    pub busy: Duration,
    /// Of the backends that it knows.
    pub backends: Vec<(BackendId, BackendCounters)>,
}

/// What the access log says of one session, or of a request that came to none.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// The client's address; `unix` for a client of a Unix socket.
    pub client: String,
    /// The route it took; `None` if it did not come that far.
    pub route: Option<Arc<str>>,
    /// The path that was asked for, without the query: that may hold secrets.
    pub path: String,
    /// Who the client has proved to be.
    pub identity: Option<String>,
    /// The backend it was placed on; `None` where selat answered itself.
    pub backend: Option<BackendId>,
    /// How the session ended, or why there was none.
    pub end: End,
    /// From the 101 to the end.
    pub duration: Duration,
    /// What the client sent.
    pub from_client: Traffic,
    /// What the backend, or selat in its place, sent.
    pub from_backend: Traffic,
}

/// The last line of a session's story.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// It was a session.
    Session {
        /// What ended it.
        cause: Option<Cause>,
        /// Whether a peer had to be cut off.
        is_cut: bool,
    },
    /// It came to none.
    Refused(Refused),
}
