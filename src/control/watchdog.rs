//! When to tell the service manager that all is well: only after every shard has answered since the last time.
//!
//! Pure: `now` is an argument. A shard that hangs does not answer, so the service manager stops hearing from us and
//! restarts the service; a control plane that hangs does not even ask.

use std::time::{Duration, Instant};

/// Questions in the time that the service manager waits: one may be lost, or answered late.
const QUESTIONS: u32 = 3;

pub(super) struct Watchdog {
    every: Duration,
    next: Instant,
    /// Of each shard, whether its answer is still out.
    unanswered: Vec<bool>,
    has_ended: Vec<bool>,
}

impl Watchdog {
    /// For a service manager that waits `patience`.
    pub(super) fn new(patience: Duration, shards: usize, now: Instant) -> Self {
        let (unanswered, has_ended) = (vec![false; shards], vec![false; shards]);
        Self { every: patience / QUESTIONS, next: now, unanswered, has_ended }
    }

    /// When [`Self::is_due`] will be so.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether the shards are to be asked now; the caller does.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.next <= now;
        if is_due {
            self.next = now + self.every;
            // Those who owe an answer still owe it: asking again does not excuse them.
            if !self.unanswered.contains(&true) {
                for (unanswered, has_ended) in self.unanswered.iter_mut().zip(&self.has_ended) {
                    *unanswered = !has_ended;
                }
            }
        }
        is_due
    }

    /// A shard has answered. Whether it was the last one, so that the service manager can be told that all is well.
    pub(super) fn handle_answer(&mut self, shard: usize) -> bool {
        let Some(unanswered) = self.unanswered.get_mut(shard) else { return false };
        std::mem::take(unanswered) && !self.unanswered.contains(&true)
    }

    /// A shard has ended: it owes no answer any more. The result is that of [`Self::handle_answer`].
    pub(super) fn handle_ended(&mut self, shard: usize) -> bool {
        if let Some(has_ended) = self.has_ended.get_mut(shard) {
            *has_ended = true;
        }
        self.handle_answer(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn all_is_well_once_all_shards_have_answered() {
        let t = origin();
        let mut watchdog = Watchdog::new(3 * SECOND, 3, t);
        assert!(watchdog.is_due(t));
        assert!(!watchdog.is_due(t));
        assert!(!watchdog.handle_answer(2));
        // An answer too many is no other shard's.
        assert!(!watchdog.handle_answer(2));
        assert!(!watchdog.handle_answer(0));
        assert!(watchdog.handle_answer(1));
        assert!(!watchdog.handle_answer(1));
        assert_eq!(watchdog.next(), t + SECOND);
        assert!(watchdog.is_due(t + SECOND));
    }

    #[test]
    fn nothing_is_well_while_one_shard_hangs() {
        let t = origin();
        let mut watchdog = Watchdog::new(3 * SECOND, 2, t);
        for second in 0..10 {
            assert!(watchdog.is_due(t + second * SECOND));
            assert!(!watchdog.handle_answer(0), "in second {second}");
        }
        // It was asked again and again, so a late answer, or the answer to a later question, makes it well.
        assert!(watchdog.handle_answer(1));
    }

    #[test]
    fn a_shard_that_has_ended_is_not_waited_for() {
        let t = origin();
        let mut watchdog = Watchdog::new(3 * SECOND, 2, t);
        assert!(watchdog.is_due(t));
        assert!(!watchdog.handle_answer(0));
        assert!(watchdog.handle_ended(1));
        assert!(watchdog.is_due(t + SECOND));
        assert!(watchdog.handle_answer(0));
    }

    #[test]
    fn an_answer_nobody_asked_for_says_nothing() {
        let t = origin();
        let mut watchdog = Watchdog::new(3 * SECOND, 1, t);
        assert!(!watchdog.handle_answer(0));
        assert!(!watchdog.handle_answer(7));
    }
}
