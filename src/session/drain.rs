//! Whether a session was asked to go, and when it goes.

use std::time::Instant;

use super::Farewell;

/// What a session was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Drain {
    /// The strongest reason it was given.
    heard: Option<Farewell>,
    /// When it goes, until then.
    pending: Option<(Instant, Farewell)>,
}

impl Drain {
    /// It is to go at `at`. If it was asked to before, the earlier time counts; but nothing is earlier than a shutdown
    /// for the sake of less.
    pub(crate) fn handle(&mut self, at: Instant, farewell: Farewell) {
        let gives_way = |(until, former)| at < until && former <= farewell;
        if self.heard.is_none() || self.pending.is_some_and(gives_way) {
            self.pending = Some((at, farewell));
        }
        self.heard = self.heard.max(Some(farewell));
    }

    /// Why it goes now, once.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Farewell> {
        self.pending.take_if(|(at, _)| *at <= now).map(|(_, farewell)| farewell)
    }

    /// When it goes, if it has not gone.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.map(|(at, _)| at)
    }

    /// Whether it was given this reason or a stronger one.
    pub(crate) fn has_heard(&self, farewell: Farewell) -> bool {
        self.heard >= Some(farewell)
    }
}
