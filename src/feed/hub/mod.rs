//! Who gets which message of a feed next: one hub a shard and feed.
//!
//! A log holds the recent messages, a compacted log the last one of every key. A subscriber is a place in them, and
//! never has a message of its own: what leaves the log is gone, whoever still waits for it. Messages are numbered by the
//! owner of the source, so all shards mean the same by a place.
//!
//! Whether a subscriber has fallen behind is judged when a batch comes, by what the log held before it. So whoever had
//! everything misses nothing, however large the batch, and the log holds at most the buffer and one batch.

mod joined;
mod latest;
mod log;
mod start;
mod subscriber;
mod walk;

#[cfg(test)]
mod tests;

use std::time::Instant;

use joined::{Joined, Span};
use latest::Latest;
use log::Log;
use subscriber::{Pace, Subscriber, Table};
pub use subscriber::{SubscriberId, Wish};
use walk::Walk;

use super::{Batch, Key, Seq, Settings};
use crate::telemetry::Traffic;

/// The subscribers of a feed on one shard, and what they can still get.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    log: Log,
    latest: Latest,
    /// Whether it follows the feed.
    is_attached: bool,
    subscribers: Table,
    /// No subscriber that takes part stands before this place.
    slowest: Seq,
    joined: Joined,
    walk: Walk,
    offered: Option<Offered>,
    /// Those that turned so and have not been asked for.
    too_slow: Vec<SubscriberId>,
    counters: HubCounters,
}

/// What comes next for a subscriber.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<'h> {
    /// Nothing, for now.
    UpToDate,
    /// Whole messages behind each other, as they go over the wire: at most 256 KiB, or one message. Say how much of it was
    /// taken with [`Hub::handle_taken`].
    Bytes(&'h [u8]),
    /// It has fallen too far behind and is to be sent away (RFC 6455 §7.4.1: Close 1013).
    TooSlow,
}

/// What a hub has counted since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubCounters {
    /// Messages that subscribers took, and their bytes. One that was cut counts whole: its rest goes before anything else.
    pub deliveries: Traffic,
    /// Messages that a subscriber did not get because a later one of the same key came instead. Those that had left the
    /// log are counted once it has caught up, or leaves.
    pub conflated: u64,
    /// Messages that a subscriber did not get because it, or its shard, was too slow.
    pub dropped: u64,
    /// Subscribers that turned [`Offer::TooSlow`].
    pub evicted_by_buffer: u64,
}

/// Messages that subscribers have yet to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lags {
    /// Of the slowest.
    pub slowest: u64,
    /// Of the one that 99 % are faster than or as fast as.
    pub p99: u64,
}

/// What a hub keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Recent messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Keys whose last message is remembered.
    pub keys: usize,
}

/// The last offer; it can be taken until the hub is told something else.
#[derive(Debug)]
struct Offered {
    to: SubscriberId,
    /// `None`: the walk.
    span: Option<Span>,
}

impl Hub {
    /// A hub without subscribers. It waits for a state; the owner of the source gives it an empty one.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            log: Log::default(),
            latest: Latest::new(keys_max(settings)),
            is_attached: false,
            subscribers: Table::default(),
            slowest: Seq(u64::MAX),
            joined: Joined::default(),
            walk: Walk::default(),
            offered: None,
            too_slow: Vec::new(),
            counters: HubCounters::default(),
        }
    }

    /// Goes on with other settings. A subscriber that is behind is judged by them when the next batch comes. If messages
    /// are keyed otherwise, the last ones of the old keys are forgotten; a shard that does not own the source does best
    /// to attach anew.
    pub fn adopt(&mut self, settings: &Settings) {
        self.withdraw();
        if self.settings.key != settings.key {
            self.latest = Latest::default();
        }
        self.latest.set_keys_max(keys_max(settings));
        self.settings = settings.clone();
    }

    /// Messages of the source. Those that are known, or come before a state, are ignored. If some are missing before
    /// them, they count as dropped for every subscriber without keys, and it goes on; a shard that wants them attaches
    /// anew.
    pub fn handle_batch(&mut self, batch: &Batch) {
        let known = usize::try_from(self.log.next().since(batch.first)).unwrap_or(usize::MAX);
        if !self.is_attached || known >= batch.messages.len() {
            return;
        }
        self.withdraw();
        self.retire();
        let missing = batch.first.since(self.log.next());
        if missing > 0 {
            let misses = |subscriber: &&Subscriber| subscriber.is_following() && subscriber.wants_all();
            let lost = missing.saturating_mul(count(self.subscribers.iter().filter(misses).count()));
            self.counters.dropped = self.counters.dropped.saturating_add(lost);
            self.log.skip_to(batch.first);
        }
        for message in batch.messages.iter().skip(known) {
            self.latest.insert(self.log.next(), message);
            self.log.push(message.clone());
        }
    }

    /// One more subscriber. It begins at once if the feed is followed, and else with the next state.
    pub fn subscribe(&mut self, wish: Wish) -> SubscriberId {
        let id = self.subscribers.insert(wish);
        if let Some(subscriber) = self.subscribers.get_mut(id).filter(|_| self.is_attached) {
            subscriber.start(&self.log);
            self.slowest = self.slowest.min(subscriber.cursor);
        }
        id
    }

    /// From the next message on, a subscriber gets these keys alone.
    ///
    /// If it wishes for snapshots, the last messages of keys that are new to it come first. These may be older than
    /// what it has got of other keys; those of one key are in order.
    pub fn set_keys(&mut self, id: SubscriberId, keys: Vec<Key>) {
        self.withdraw();
        if let Some(subscriber) = self.subscribers.get_mut(id) {
            subscriber.set_keys(keys, &self.latest);
        }
    }

    /// A subscriber has left.
    pub fn unsubscribe(&mut self, id: SubscriberId) {
        self.withdraw();
        if let Some(subscriber) = self.subscribers.remove(id) {
            self.counters.conflated += subscriber.overdue;
            self.too_slow.retain(|too_slow| *too_slow != id);
        }
    }

    /// What comes next for a subscriber, if nothing of what it took before is left over.
    #[inline]
    pub fn offer(&mut self, id: SubscriberId) -> Offer<'_> {
        let Some(subscriber) = self.subscribers.get(id) else { return Offer::UpToDate };
        match subscriber.pace {
            Pace::Waiting => return Offer::UpToDate,
            Pace::TooSlow => return Offer::TooSlow,
            Pace::Live if subscriber.is_plain() => {
                if subscriber.cursor >= self.log.next() {
                    return Offer::UpToDate;
                }
                let index = self.log.index_of(subscriber.cursor);
                if let Some(span) = self.joined.reach(&self.log, index) {
                    self.offered = Some(Offered { to: id, span: Some(span) });
                    return Offer::Bytes(self.joined.bytes(&self.log, &span));
                }
            }
            Pace::Live | Pace::Catching => {}
        }
        self.offer_walk(id)
    }

    /// The first `bytes` of what was just offered were taken; nothing else was said to the hub in between. Returns the
    /// rest of the message that was cut, which has to be sent before anything else; the hub goes on behind it.
    #[inline]
    pub fn handle_taken(&mut self, id: SubscriberId, bytes: usize, now: Instant) -> &[u8] {
        let offered = self.offered.take().filter(|offered| offered.to == id);
        debug_assert!(offered.is_some(), "taken without an offer");
        let Some((offered, subscriber)) = offered.zip(self.subscribers.get_mut(id)) else { return &[] };
        let Some(span) = offered.span else { return self.take_walk(id, bytes, now) };
        if bytes >= span.len {
            subscriber.handle_flushed();
            subscriber.cursor = span.upto;
            self.counters.deliveries.add(span.len, count(span.messages));
            return &[];
        }
        let position = span.start + count(bytes);
        let index = self.log.index_of_byte(position);
        let Some(entry) = self.log.get(index) else { return &[] };
        let cut = usize::try_from(position - entry.start()).unwrap_or_default();
        let (behind, rest) = match cut {
            0 => (index, &[][..]),
            _ => (index + 1, entry.message.image.get(cut..).unwrap_or_default()),
        };
        let messages = behind - self.log.index_of(subscriber.cursor);
        if let Some(last) = behind.checked_sub(1).and_then(|last| self.log.get(last)) {
            subscriber.cursor = subscriber.cursor.max(last.seq.plus(1));
        }
        subscriber.handle_part(bytes, cut > 0, now);
        self.counters.deliveries.add(bytes + rest.len(), count(messages));
        rest
    }

    /// A part of what was left over was taken.
    pub fn handle_progress(&mut self, id: SubscriberId, now: Instant) {
        if let Some(subscriber) = self.subscribers.get_mut(id) {
            subscriber.handle_progress(now);
        }
    }

    /// Nothing is left over any more.
    pub fn handle_flushed(&mut self, id: SubscriberId) {
        if let Some(subscriber) = self.subscribers.get_mut(id) {
            subscriber.handle_flushed();
        }
    }

    /// A subscriber that has turned [`Offer::TooSlow`], each once: one whose connection takes nothing is not offered
    /// anything and would not be found otherwise.
    pub fn poll_too_slow(&mut self) -> Option<SubscriberId> {
        self.too_slow.pop()
    }

    /// When a subscriber is to be sent away (RFC 6455 §7.4.1: Close 1013), for it takes nothing of what waits for it.
    #[must_use]
    pub fn evict_at(&self, id: SubscriberId) -> Option<Instant> {
        self.subscribers.get(id)?.stuck_since().map(|since| since + self.settings.slow.evict_after)
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// The place of the next message.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.log.next()
    }

    /// When the newest message was read from the source.
    #[must_use]
    pub fn newest_received_at(&self) -> Option<Instant> {
        self.log.newest().map(|entry| entry.message.received_at)
    }

    /// What it keeps: in all, and not for each subscriber.
    #[must_use]
    pub fn held(&self) -> Held {
        Held { messages: self.log.len(), bytes: self.log.bytes(), keys: self.latest.len() }
    }

    /// What was counted since it was last taken.
    #[must_use]
    pub fn counters(&self) -> &HubCounters {
        &self.counters
    }

    /// What was counted since the last time.
    pub fn take_counters(&mut self) -> HubCounters {
        std::mem::take(&mut self.counters)
    }

    /// How far subscribers are behind, by places: messages that are not among the keys of one count too.
    #[must_use]
    pub fn lags(&self) -> Lags {
        let follows = |subscriber: &&Subscriber| subscriber.is_following();
        let lag = |subscriber: &Subscriber| self.log.next().since(subscriber.cursor);
        let mut lags: Vec<_> = self.subscribers.iter().filter(follows).map(lag).collect();
        let Some(last) = lags.len().checked_sub(1) else { return Lags::default() };
        let (_, p99, slower) = lags.select_nth_unstable(last - lags_beyond(last + 1));
        Lags { p99: *p99, slowest: slower.iter().copied().max().unwrap_or(*p99) }
    }

    /// Offers what is for this subscriber alone.
    fn offer_walk(&mut self, id: SubscriberId) -> Offer<'_> {
        let Some(subscriber) = self.subscribers.get_mut(id) else { return Offer::UpToDate };
        self.walk.collect(subscriber, &self.log, &self.latest);
        if self.walk.bytes().is_empty() {
            let taken = self.walk.take(0, subscriber);
            subscriber.handle_flushed();
            self.counters.conflated += taken.conflated;
            return Offer::UpToDate;
        }
        self.offered = Some(Offered { to: id, span: None });
        Offer::Bytes(self.walk.bytes())
    }

    /// So much of that was taken.
    fn take_walk(&mut self, id: SubscriberId, bytes: usize, now: Instant) -> &[u8] {
        let Some(subscriber) = self.subscribers.get_mut(id) else { return &[] };
        let taken = self.walk.take(bytes, subscriber);
        match bytes < self.walk.bytes().len() {
            true => subscriber.handle_part(bytes, taken.is_cut(), now),
            false => subscriber.handle_flushed(),
        }
        self.counters.deliveries.add(taken.bytes, count(taken.messages));
        self.counters.conflated += taken.conflated;
        self.walk.rest(&taken)
    }

    /// What was offered may not be there any longer.
    fn withdraw(&mut self) {
        self.offered = None;
        self.walk.clear();
    }
}

/// Of how many subscribers the lag is not counted in the 99th percentile.
fn lags_beyond(subscribers: usize) -> usize {
    subscribers / 100
}

/// How many keys are remembered: without a pointer, messages have none.
fn keys_max(settings: &Settings) -> usize {
    if settings.key.is_some() { settings.keys_max } else { 0 }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
