//! What a dispatch is told to do. Plain data; whoever reads the configuration fills it in.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::Template;
use crate::json::Pointer;

/// What holds for one dispatch, but for where its backends are.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Who gets a message.
    pub send: Send,
    /// Whether and how messages have replies.
    pub replies: Replies,
    /// Messages of one client that wait for their replies; beyond, the client is not read.
    pub outstanding_max: usize,
}

/// Who gets a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Send {
    /// One backend, chosen so.
    One(Balance),
    /// All that are connected.
    All(Gather),
}

/// How the backend for a message is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest messages of this shard without a reply, by weight.
    LeastOutstanding,
    /// The better of two taken at random.
    PowerOfTwo,
    /// The one that has answered fastest of late, considering what it has yet to answer (peak EWMA).
    Ewma,
    /// Always the same one for the same value in a message (rendezvous); in turn for messages without it.
    Hash(Pointer),
}

/// What becomes of the replies to a message that several backends got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// The first goes to the client, the others nowhere.
    First,
    /// So many go to the client, as they come, the others nowhere; `None`: all of them.
    All {
        /// How many suffice.
        quorum: Option<NonZeroUsize>,
    },
    /// They go to the client as one JSON array, in the order in which they came, as soon as there are so many; `None`:
    /// all of them.
    Array {
        /// How many suffice.
        quorum: Option<NonZeroUsize>,
    },
}

/// Whether and how messages have replies.
#[derive(Debug, Clone, PartialEq)]
pub enum Replies {
    /// Any number: whatever a backend says goes to the client, and no message waits for anything.
    Any,
    /// One from each backend that got the message.
    One(Exchange),
}

/// How messages and replies belong together, and what becomes of those that do not come.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Where both say which message it is; `None`: a backend's n-th reply answers its n-th message.
    pub correlate: Option<Pointer>,
    /// In which order the client gets replies.
    pub order: Order,
    /// How often a message is sent anew whose backend was lost before it answered.
    pub retries: u32,
    /// From the end of a message to its reply.
    pub timeout: Duration,
    /// What becomes of a message without a reply: too late, or lost with its backend.
    pub unanswered: Unanswered,
}

/// In which order a client gets replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    AsTheyCome,
    /// As the messages came that they answer: a reply waits for those before it.
    AsAsked,
}

/// What becomes of a message that gets no reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Unanswered {
    /// Nothing: it is counted, and the client waits in vain.
    Drop,
    /// The client is closed with 1011.
    Close,
    /// The client gets this in the place of the reply.
    Reply(Template),
}

impl Default for Settings {
    /// Requests, each to the backend that owes the fewest replies.
    fn default() -> Self {
        Self {
            send: Send::One(Balance::LeastOutstanding),
            replies: Replies::One(Exchange::default()),
            outstanding_max: 1000,
        }
    }
}

impl Default for Exchange {
    /// A client whose reply is lost is closed: it is to know that it waits in vain, and one that counts its replies would
    /// take the next for the one that is missing.
    fn default() -> Self {
        Self {
            correlate: None,
            order: Order::AsTheyCome,
            retries: 0,
            timeout: Duration::from_secs(5),
            unanswered: Unanswered::Close,
        }
    }
}

impl fmt::Display for Send {
    /// Who gets a message: `all`, or how the one is chosen, in the configuration's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(Balance::RoundRobin) => f.write_str("round-robin"),
            Self::One(Balance::LeastOutstanding) => f.write_str("least-outstanding"),
            Self::One(Balance::PowerOfTwo) => f.write_str("p2c"),
            Self::One(Balance::Ewma) => f.write_str("ewma"),
            Self::One(Balance::Hash(pointer)) => write!(f, "hash:{pointer}"),
            Self::All(_) => f.write_str("all"),
        }
    }
}
