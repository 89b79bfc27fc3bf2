//! One feed at one moment, as it is shown: its source, its clients, and what lies between the two.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{FeedCounters, HistogramView, SourceCounters, SourceState, Tally, Traffic};

/// One feed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeedOverview {
    /// As the configuration calls it.
    pub name: String,
    /// How its source stands.
    pub state: FeedState,
    /// What the source said that stopped it; empty if nothing did.
    pub words: String,
    /// The URL of the source that is read, or was last, or is dialled first.
    pub source: String,
    /// The URLs of all sources, the preferred one first.
    pub sources: Vec<String>,
    /// Clients that get its messages now.
    pub clients: u64,
    /// What the source has said, each message once, and its bytes on the wire.
    pub messages: Traffic,
    /// What clients were given: one message for two clients is two.
    pub deliveries: Traffic,
    /// Messages that a client did not get because a later one of the same key came instead.
    pub conflated: u64,
    /// Messages that a client did not get because it was too slow.
    pub dropped: u64,
    /// Clients that were sent away because they were too slow.
    pub evicted: Vec<CountByWhy>,
    /// How far clients are behind.
    pub lag: Lag,
    /// Connections to a source that got their 101.
    pub connects: u64,
    /// Attempts that did not, and connections that were lost.
    pub failures: Vec<CountByWhy>,
    /// Times in which messages may have been missed.
    pub gaps: u64,
    /// Connections that were replaced before the vendor would cut them.
    pub rotations: u64,
    /// Messages that two connections brought, and that were published once.
    pub duplicates: u64,
    /// Messages of clients that the source was not there for, or too slow to take.
    pub unsaid: u64,
    /// Messages that were no data.
    pub skipped: u64,
    /// Keys that clients have subscribed to.
    pub topics: u64,
    /// Since the last message was published; `None` if there was none.
    pub last_message_age_seconds: Option<f64>,
    /// From reading a message from the source to handing it to the kernel for the last client that keeps up.
    pub delivery_seconds: HistogramView,
}

/// How the source of a feed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedState {
    /// It is being dialled, or will be.
    #[default]
    Connecting,
    /// It is being read.
    Up,
    /// It said something fatal, and is not dialled any more.
    Stopped,
}

/// How often something happened for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CountByWhy {
    /// One word of a fixed set, such as `refused`.
    pub why: String,
    /// How often.
    pub count: u64,
}

/// How many messages clients have yet to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lag {
    /// The slowest of all.
    pub slowest: u64,
    /// The one that 99 % are faster than or as fast as; of the shard where that is most.
    pub p99: u64,
}

impl FeedOverview {
    /// What was counted of the feed `name`, if anything was yet; `sources` are its URLs, the preferred one first.
    #[must_use]
    pub fn new(name: &str, sources: Vec<String>, counters: Option<&FeedCounters>, now: Instant) -> Self {
        let (no_counters, no_source) = (FeedCounters::default(), SourceCounters::default());
        let counters = counters.unwrap_or(&no_counters);
        let source = counters.source.as_deref().unwrap_or(&no_source);
        let (state, words) = match &source.state {
            SourceState::Connecting => (FeedState::Connecting, String::new()),
            SourceState::Up => (FeedState::Up, String::new()),
            SourceState::Stopped { words } => (FeedState::Stopped, words.clone()),
        };
        Self {
            name: name.to_owned(),
            state,
            words,
            source: sources.get(source.current).cloned().unwrap_or_default(),
            sources,
            clients: counters.clients_now,
            messages: source.messages,
            deliveries: counters.deliveries,
            conflated: counters.conflated,
            dropped: counters.dropped,
            evicted: by_why(&counters.evicted),
            lag: Lag { slowest: counters.lag_slowest, p99: counters.lag_p99 },
            connects: source.connects,
            failures: by_why(&source.failures),
            gaps: source.gaps,
            rotations: source.rotations,
            duplicates: source.duplicates,
            unsaid: source.unsaid,
            skipped: source.skipped,
            topics: source.topics_now,
            last_message_age_seconds: source.last_message_age(now).map(|age| age.as_secs_f64()),
            delivery_seconds: HistogramView::from(&counters.delivery_time),
        }
    }

    /// Clients that were sent away because they were too slow, whatever for.
    #[must_use]
    pub fn evicted_total(&self) -> u64 {
        self.evicted.iter().fold(0, |sum, evicted| sum.saturating_add(evicted.count))
    }
}

fn by_why(tally: &Tally<&'static str>) -> Vec<CountByWhy> {
    tally.iter().map(|(why, count)| CountByWhy { why: (*why).to_owned(), count: *count }).collect()
}

impl FeedState {
    /// Every state, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Connecting, Self::Up, Self::Stopped];

    /// As a label and for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn now() -> Instant {
        Instant::now()
    }

    fn urls() -> Vec<String> {
        ["wss://vendor.example", "wss://spare.example"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_feed_of_which_nothing_is_known_is_connecting_to_its_preferred_source() {
        let feed = FeedOverview::new("fx", urls(), None, now());
        assert_eq!((feed.state, feed.source.as_str()), (FeedState::Connecting, "wss://vendor.example"));
        assert_eq!((feed.last_message_age_seconds, feed.clients), (None, 0));
    }

    #[test]
    fn the_shard_with_the_source_and_those_with_clients_are_one_feed() {
        let now = now();
        let source = SourceCounters {
            state: SourceState::Stopped { words: "too many".to_owned() },
            current: 1,
            messages: Traffic { bytes: 70, messages: 7 },
            failures: [("refused", 2)].into(),
            last_message_at: Some(now),
            ..SourceCounters::default()
        };
        let mut owner = FeedCounters { source: Some(source.into()), ..FeedCounters::default() };
        let mut other = FeedCounters {
            clients_now: 3,
            deliveries: Traffic { bytes: 210, messages: 21 },
            evicted: [("buffer", 1), ("time", 4)].into(),
            lag_slowest: 9,
            lag_p99: 5,
            ..FeedCounters::default()
        };
        other.delivery_time.record(Duration::from_millis(1));
        owner.merge(&other);
        let feed = FeedOverview::new("fx", urls(), Some(&owner), now + Duration::from_secs(2));
        assert_eq!((feed.state, feed.words.as_str()), (FeedState::Stopped, "too many"));
        assert_eq!(feed.source, "wss://spare.example");
        assert_eq!((feed.messages.messages, feed.deliveries.messages), (7, 21));
        assert_eq!((feed.clients, feed.evicted_total()), (3, 5));
        assert_eq!(feed.lag, Lag { slowest: 9, p99: 5 });
        assert_eq!(feed.failures, [CountByWhy { why: "refused".to_owned(), count: 2 }]);
        assert_eq!((feed.last_message_age_seconds, feed.delivery_seconds.count()), (Some(2.0), 1));
    }
}
