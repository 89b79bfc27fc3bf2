//! When messages are due, on this thread's clock.

use std::time::{Duration, Instant};

use crate::wire::Turns;

/// Messages that are let go before answers have their turn.
const RELEASES_MAX: usize = 64;

/// How long to wait at most for a message that is not due within years.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A schedule that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    began: Instant,
    turns: Turns,
}

impl Pace {
    /// These turns, from `began` on.
    pub(crate) fn new(turns: Turns, began: Instant) -> Self {
        Self { began, turns }
    }

    /// When the `number`-th message of the `serial`-th connection is due.
    #[inline]
    pub(super) fn due(&self, serial: u64, number: u64) -> Instant {
        self.at(self.turns.due(serial, number))
    }

    /// The turns that are due by `now`, each with when it was; only so many that answers do not wait.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = (u64, Instant)> {
        std::iter::from_fn(move || {
            let due = self.next_due();
            (due <= now).then(|| (self.turns.take(), due))
        })
        .take(RELEASES_MAX)
    }

    /// When the next turn is.
    pub(super) fn next_due(&self) -> Instant {
        self.at(self.turns.next_due())
    }

    fn at(&self, due: Duration) -> Instant {
        self.began.checked_add(due).unwrap_or(self.began + PATIENCE)
    }
}
