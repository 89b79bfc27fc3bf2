//! How a hub begins and ends to follow a feed, and what becomes of those that fall off the log.

use super::joined::Joined;
use super::latest::Latest;
use super::log::Log;
use super::subscriber::{Pace, Subscriber};
use super::{Hub, keys_max};
use crate::feed::{Seq, SlowPolicy, State};

impl Hub {
    /// How the feed stands: follows it from here. Subscribers that wait begin now, with what they wish for; those that
    /// had begun before, without the history.
    pub fn handle_state(&mut self, state: State) {
        self.handle_detached();
        self.log = Log::new(state.next, &state.recent);
        state.latest.iter().for_each(|(seq, message)| self.latest.insert(*seq, message));
        self.is_attached = true;
        for (_, subscriber) in self.subscribers.iter_mut() {
            subscriber.start(&self.log);
            self.slowest = self.slowest.min(subscriber.cursor);
        }
    }

    /// The feed is not followed any more: everything is forgotten, and the subscribers wait for a state. Those that are
    /// to be sent away as too slow still are.
    pub fn handle_detached(&mut self) {
        self.withdraw();
        self.is_attached = false;
        self.log = Log::default();
        self.joined = Joined::default();
        self.latest = Latest::new(keys_max(&self.settings));
        self.slowest = Seq(u64::MAX);
        for (_, subscriber) in self.subscribers.iter_mut() {
            self.counters.conflated += subscriber.overdue;
            subscriber.wait();
        }
    }

    /// How the feed stands, for a shard that has its first subscriber.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            next: self.log.next(),
            latest: self.latest.to_vec(),
            recent: self.log.recent(self.settings.history),
        }
    }

    /// Lets messages go that the buffer has no room for, with those subscribers that still wait for them.
    pub(super) fn retire(&mut self) {
        let leaving = self.log.surplus(self.settings.slow.buffer_bytes_max, self.settings.history);
        let last = leaving.checked_sub(1).and_then(|last| self.log.get(last)).map(|entry| entry.seq);
        if let Some(last) = last.filter(|last| self.slowest <= *last) {
            self.leave_behind(leaving, last);
        }
        self.log.forget(leaving);
    }

    /// The first `leaving` messages of the log go, up to `last`: deals with subscribers that have not got that.
    fn leave_behind(&mut self, leaving: usize, last: Seq) {
        let mut slowest = self.log.next();
        let policy = self.settings.slow.policy;
        for (id, subscriber) in self.subscribers.iter_mut() {
            if !subscriber.is_following() {
                continue;
            }
            if subscriber.cursor <= last {
                let lost = Lost::count(&self.log, subscriber, leaving);
                match policy {
                    SlowPolicy::Conflate => {
                        subscriber.pace = Pace::Catching;
                        subscriber.overdue += lost.with_key;
                        self.counters.dropped += lost.without_key;
                    }
                    SlowPolicy::DropOldest => {
                        subscriber.pace = Pace::Live;
                        subscriber.cursor = last.plus(1);
                        self.counters.dropped += lost.with_key + lost.without_key;
                        self.counters.conflated += std::mem::take(&mut subscriber.overdue);
                    }
                    SlowPolicy::Disconnect => {
                        subscriber.pace = Pace::TooSlow;
                        self.too_slow.push(id);
                        self.counters.evicted_by_buffer += 1;
                        self.counters.conflated += std::mem::take(&mut subscriber.overdue);
                        continue;
                    }
                }
            }
            slowest = slowest.min(subscriber.cursor);
        }
        self.slowest = slowest;
    }
}

/// Messages that leave the log before a subscriber gets them.
#[derive(Debug, Default)]
struct Lost {
    with_key: u64,
    without_key: u64,
}

impl Lost {
    /// Of the first `leaving` messages of the log, those that are for `subscriber`.
    fn count(log: &Log, subscriber: &Subscriber, leaving: usize) -> Self {
        let mut lost = Self::default();
        let from = log.index_of(subscriber.cursor);
        for entry in log.range(from).take(leaving.saturating_sub(from)) {
            match entry.message.key {
                _ if !subscriber.wants(&entry.message) => {}
                Some(_) => lost.with_key += 1,
                None => lost.without_key += 1,
            }
        }
        lost
    }
}
