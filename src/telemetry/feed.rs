//! What is counted of one feed.

use std::time::{Duration, Instant};

use super::{Histogram, Tally, Traffic};

/// What happened with one feed. Totals, but for `clients_now` and the lags.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FeedCounters {
    /// Of its source; only the shard that owns it knows. Boxed, for the others have none.
    pub source: Option<Box<SourceCounters>>,
    /// Clients that get its messages at this moment.
    pub clients_now: u64,
    /// Messages handed to the kernel for a client, and their bytes on the wire: one message for two clients is two.
    pub deliveries: Traffic,
    /// Messages that a client did not get because a later one of the same key came instead.
    pub conflated: u64,
    /// Messages that a client did not get because it was too slow.
    pub dropped: u64,
    /// Clients that were sent away because they were too slow, by why: `buffer` or `time`.
    pub evicted: Tally<&'static str>,
    /// Messages that the slowest client has yet to get.
    pub lag_slowest: u64,
    /// The same of the client that 99 % are faster than or as fast as; of the shard where that is most.
    pub lag_p99: u64,
    /// From reading a message from the source to handing it to the kernel for the last client that keeps up.
    pub delivery_time: Histogram,
}

/// What happened with the source of a feed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceCounters {
    /// How it stands.
    pub state: SourceState,
    /// The source that is read, or was last, by its place in the configuration.
    pub current: usize,
    /// Messages published, and their bytes on the wire.
    pub messages: Traffic,
    /// Messages that were no data.
    pub skipped: u64,
    /// Messages of clients that the source was not there for, or too slow to take.
    pub unsaid: u64,
    /// Messages that two connections brought, and that were published once.
    pub duplicates: u64,
    /// Connections that got their 101.
    pub connects: u64,
    /// Attempts that did not, and connections that were lost, by why.
    pub failures: Tally<&'static str>,
    /// Connections that were replaced before the vendor would cut them.
    pub rotations: u64,
    /// Times in which messages may have been missed.
    pub gaps: u64,
    /// Keys that clients have subscribed to.
    pub topics_now: u64,
    /// When the last message was published.
    pub last_message_at: Option<Instant>,
}

impl SourceCounters {
    /// How long ago the last message was published.
    #[must_use]
    pub fn last_message_age(&self, now: Instant) -> Option<Duration> {
        self.last_message_at.map(|at| now.saturating_duration_since(at))
    }
}

/// How the source of a feed stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SourceState {
    /// It is being dialled, or will be when the backoff is over.
    #[default]
    Connecting,
    /// It is being read.
    Up,
    /// It said something fatal, which is this, and is not dialled any more.
    Stopped {
        /// Its words, cut to 256 bytes.
        words: String,
    },
}

impl FeedCounters {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        if self.source.is_none() {
            self.source.clone_from(&other.source);
        }
        self.clients_now += other.clients_now;
        self.deliveries.merge(other.deliveries);
        self.conflated += other.conflated;
        self.dropped += other.dropped;
        super::counters::merge_tally(&mut self.evicted, &other.evicted);
        self.lag_slowest = self.lag_slowest.max(other.lag_slowest);
        self.lag_p99 = self.lag_p99.max(other.lag_p99);
        self.delivery_time.merge(&other.delivery_time);
    }
}
