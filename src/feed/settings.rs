//! What a feed is told to do. Plain data; whoever reads the configuration fills it in.

use std::fmt;
use std::time::Duration;

use super::{Pattern, Quiet, Template};
use crate::json::Pointer;

/// What holds for one feed, but for where its sources are.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Texts that are sent to a source as soon as it has answered 101, in this order, after each connect.
    pub on_open: Vec<Words>,
    /// Texts of the source that are not data: they are dropped.
    pub skip: Vec<Pattern>,
    /// Texts of the source after which it is not to be dialled any more, until a reload.
    pub fatal: Vec<Pattern>,
    /// Where a message says what it is about; `None`: nowhere.
    pub key: Option<Pointer>,
    /// Keys whose last message is remembered; beyond, the one longest without a message is forgotten.
    pub keys_max: usize,
    /// Whether who joins gets the last message of every key first.
    pub snapshot: bool,
    /// So many of the last messages go to who joins, first.
    pub history: usize,
    /// Payload bytes of a message, its fragments together and inflated; a source that sends more is dialled anew.
    pub message_bytes_max: u64,
    /// What becomes of clients that do not keep up.
    pub slow: Slow,
    /// When a source that says nothing is given up.
    pub stall: Stall,
    /// When a connection is replaced before the vendor cuts it.
    pub rotate: Option<Rotate>,
    /// Between two attempts to connect.
    pub backoff: Backoff,
    /// Whether compression is offered to the source (RFC 7692).
    pub compression: bool,
    /// What becomes of what clients say.
    pub client_messages: ClientMessages,
    /// How clients choose keys at the source; `None`: they do not.
    pub subscriptions: Option<Subscriptions>,
    /// Text that every client gets when messages may have been missed; `None`: no word of it.
    pub gap_message: Option<String>,
}

impl Settings {
    /// Whether a source could not tell it from `other`: what differs concerns clients alone.
    #[must_use]
    pub fn is_like_for_sources(&self, other: &Self) -> bool {
        let Self { snapshot, history, slow, client_messages, .. } = *other;
        Self { snapshot, history, slow, client_messages, ..self.clone() } == *other
    }
}

impl Default for Settings {
    /// Every message to everybody, in order; nobody is waited for.
    fn default() -> Self {
        Self {
            on_open: Vec::new(),
            skip: Vec::new(),
            fatal: Vec::new(),
            key: None,
            keys_max: 10_000,
            snapshot: false,
            history: 0,
            message_bytes_max: 1 << 20,
            slow: Slow::default(),
            stall: Stall::default(),
            rotate: None,
            backoff: Backoff::default(),
            compression: false,
            client_messages: ClientMessages::default(),
            subscriptions: None,
            gap_message: None,
        }
    }
}

/// What selat says to a source: it may hold the vendor's key, and shows itself as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(pub Box<str>);

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What becomes of clients that do not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// Once more than [`Self::buffer_bytes_max`] wait for a client.
    pub policy: SlowPolicy,
    /// Bytes of messages that may wait for a client, counted from its place to the newest. All clients share them.
    pub buffer_bytes_max: usize,
    /// A client that takes nothing for so long, while messages wait for it, gets Close 1013.
    pub evict_after: Duration,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            policy: SlowPolicy::Disconnect,
            buffer_bytes_max: 1 << 20,
            evict_after: Duration::from_secs(30),
        }
    }
}

/// What a client gets that has fallen too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowPolicy {
    /// Of each key the latest message alone, in order, until it has caught up. Messages without a key are dropped as
    /// they leave the buffer.
    Conflate,
    /// What is still in the buffer.
    DropOldest,
    /// Close 1013.
    Disconnect,
}

/// When a source that says nothing is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Without a message for so long, the connection is replaced; `None`: only death is a reason.
    pub after: Option<Duration>,
    /// When silence is normal, so that an answered ping is life enough.
    pub quiet: Vec<Quiet>,
    /// From one ping to the next, while the source says nothing.
    pub ping_every: Duration,
    /// Without any sign of life behind a ping; then the source is dead.
    pub ping_timeout: Duration,
}

impl Default for Stall {
    fn default() -> Self {
        Self {
            after: None,
            quiet: Vec::new(),
            ping_every: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// When a connection is replaced before the vendor cuts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate {
    /// From the 101 on.
    pub every: Duration,
    /// For so long both connections are read, and what both bring is published once.
    pub overlap: Duration,
}

/// Between two attempts to connect: doubling, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

/// What becomes of what clients say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientMessages {
    /// Nothing.
    #[default]
    Discard,
    /// Close 1008.
    Reject,
    /// It goes to the source as it is.
    Forward,
}

/// How clients choose keys at the source: they say what they would say to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscriptions {
    /// To have these keys.
    pub subscribe: Template,
    /// To have them no more; `None`: a source that cannot be told.
    pub unsubscribe: Option<Template>,
    /// Between two keys.
    pub separator: Box<str>,
    /// What a new subscription means to those before it.
    pub conflict: Conflict,
    /// Keys that one client may have; beyond: Close 1008.
    pub topics_max: usize,
}

/// What a new subscription means to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// It adds to them: only what changes is sent.
    Adds,
    /// It replaces them: the whole union is sent each time.
    Replaces,
}
