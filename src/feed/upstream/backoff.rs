//! How long to wait before the next attempt, and which source it is for.

use std::time::Duration;

use crate::feed::Backoff;
use crate::session;

/// Attempts since a connection last proved to be of use.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts {
    failures: u32,
    next: usize,
}

impl Attempts {
    /// The source to dial, by its place among them.
    pub(super) fn source(&self) -> usize {
        self.next
    }

    /// All is well: the preferred source is the next one to dial.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// `source`, one of `sources`, was of no use: the one behind it is next.
    pub(super) fn handle_failure(&mut self, source: usize, sources: usize) {
        self.failures = self.failures.saturating_add(1);
        self.next = if source + 1 < sources { source + 1 } else { 0 };
    }

    /// From now to the next attempt. The wait doubles with each round of all the sources: a spare does not wait for the
    /// failures of those before it.
    pub(super) fn wait(&self, backoff: Backoff, sources: usize, random: u64) -> Duration {
        let rounds = self.failures.saturating_sub(1) / u32::try_from(sources.max(1)).unwrap_or(u32::MAX);
        session::backoff(backoff.min, backoff.max, rounds, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { min: Duration::from_secs(2), max: Duration::from_secs(30) };

    #[test]
    fn doubles_up_to_the_most_and_half_of_it_is_chance() {
        let mut attempts = Attempts::default();
        for most in [2, 2, 4, 8, 16, 30, 30] {
            let most = Duration::from_secs(most);
            assert_eq!(attempts.wait(BACKOFF, 1, 0), most / 2);
            assert_eq!(attempts.wait(BACKOFF, 1, 1000), most);
            assert_eq!(attempts.wait(BACKOFF, 1, 500), most * 3 / 4);
            attempts.handle_failure(0, 1);
        }
        for _ in 0..100 {
            attempts.handle_failure(0, 1);
        }
        assert_eq!(attempts.wait(BACKOFF, 1, u64::MAX), attempts.wait(BACKOFF, 1, u64::MAX % 1001));
        attempts.restart();
        assert_eq!(attempts.wait(BACKOFF, 1, 1000), BACKOFF.min);
    }

    #[test]
    fn takes_the_sources_in_turn_and_doubles_with_each_round() {
        let mut attempts = Attempts::default();
        let mut seen = Vec::new();
        for _ in 0..7 {
            seen.push((attempts.source(), attempts.wait(BACKOFF, 3, 1000).as_secs()));
            attempts.handle_failure(attempts.source(), 3);
        }
        assert_eq!(seen, [(0, 2), (1, 2), (2, 2), (0, 2), (1, 4), (2, 4), (0, 4)]);
    }

    #[test]
    fn a_backoff_of_nothing_and_one_of_everything_do_no_harm() {
        let mut attempts = Attempts::default();
        let none = Backoff { min: Duration::ZERO, max: Duration::ZERO };
        let all = Backoff { min: Duration::MAX, max: Duration::MAX };
        for _ in 0..200 {
            attempts.handle_failure(7, 1);
            assert_eq!(attempts.source(), 0);
            assert_eq!(attempts.wait(none, 1, u64::MAX), Duration::ZERO);
            assert!(attempts.wait(all, 0, u64::MAX) > Duration::from_secs(1 << 40));
        }
    }
}
