//! Clients that come back: a session that failed is followed by another, which knows since when nothing was heard.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::wire::ConnectionId;

/// From a failure to the next attempt: at once, to a user, and no flood on a server that refuses.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients that are about to come back, in order of time.
#[derive(Debug, Default)]
pub(super) struct Returns(VecDeque<Return>);

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Return {
    /// Which client.
    pub(super) id: ConnectionId,
    /// When it comes.
    pub(super) due: Instant,
    /// When it was answered last.
    pub(super) heard_at: Instant,
}

impl Returns {
    /// A client whose session failed now, and who was answered last at `heard_at`.
    pub(super) fn add(&mut self, id: ConnectionId, now: Instant, heard_at: Instant) {
        self.0.push_back(Return { id, due: now + PAUSE, heard_at });
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().map(|next| next.due)
    }

    /// The next, if it is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Return> {
        let is_due = self.next().is_some_and(|due| due <= now);
        if is_due { self.0.pop_front() } else { None }
    }

    /// All of them, who will not come back.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = Return> {
        self.0.drain(..)
    }
}
