//! Up, down, and when to look again: consecutive failures eject, a probe brings back, backoff grows in between.

use std::time::{Duration, Instant};

/// Failures in a row, of a kind that one session cannot prove, that take a backend down.
const FALL: u32 = 3;

/// The first wait before a backend that went down is probed, and the longest.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What one dial, by a shard for a session, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered the handshake, with a 101 or a refusal of its own.
    Answered,
    /// It could not be reached: refused, unreachable. Certain at once.
    Refused,
    /// It did not answer in time. Each further try would cost a client as long: certain enough.
    TimedOut,
    /// It answered 5xx or nonsense, or broke off: perhaps to this one request only.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up { failures: u32 },
    Down { probe_at: Instant },
}

/// The health of one backend.
#[derive(Debug, Clone)]
pub struct Health {
    state: State,
    /// The wait before the next probe, should it go down (again).
    backoff: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self { state: State::Up { failures: 0 }, backoff: BACKOFF_FIRST }
    }
}

impl Health {
    /// Whether new sessions may be placed there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// A shard reports a dial.
    pub fn handle_outcome(&mut self, outcome: Outcome, now: Instant) {
        match (outcome, self.state) {
            (Outcome::Answered, _) => *self = Self::default(),
            (Outcome::Failed, State::Up { failures }) if failures + 1 < FALL => {
                self.state = State::Up { failures: failures + 1 };
            }
            (Outcome::Failed | Outcome::Refused | Outcome::TimedOut, State::Up { .. }) => self.go_down(now),
            // Dials that began before it went down, or in desperation, tell nothing new.
            (Outcome::Failed | Outcome::Refused | Outcome::TimedOut, State::Down { .. }) => {}
        }
    }

    /// When a probe is wanted; `None` while it is up.
    #[must_use]
    pub fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Up { .. } => None,
            State::Down { probe_at } => Some(probe_at),
        }
    }

    /// A probe came back. Success lets sessions in again; only their success resets the backoff.
    pub fn handle_probe(&mut self, is_reachable: bool, now: Instant) {
        if self.is_up() {
            return;
        }
        if is_reachable {
            self.state = State::Up { failures: 0 };
        } else {
            self.go_down(now);
        }
    }

    fn go_down(&mut self, now: Instant) {
        self.state = State::Down { probe_at: now + self.backoff };
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ejects_at_once_and_odd_failures_after_three_in_a_row() {
        let now = Instant::now();
        let mut health = Health::default();
        health.handle_outcome(Outcome::Refused, now);
        assert!(!health.is_up());

        let mut health = Health::default();
        for outcome in [Outcome::Failed, Outcome::Failed, Outcome::Answered, Outcome::Failed, Outcome::Failed]
        {
            health.handle_outcome(outcome, now);
            assert!(health.is_up());
        }
        health.handle_outcome(Outcome::Failed, now);
        assert!(!health.is_up());
    }

    #[test]
    fn probes_back_off_until_a_session_succeeds() {
        let mut now = Instant::now();
        let mut health = Health::default();
        health.handle_outcome(Outcome::TimedOut, now);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let at = health.probe_at().unwrap();
            assert_eq!(at - now, Duration::from_secs(seconds));
            now = at;
            health.handle_probe(false, now);
        }
        health.handle_probe(true, now);
        assert!(health.is_up());
        health.handle_outcome(Outcome::Refused, now);
        assert_eq!(health.probe_at(), Some(now + BACKOFF_MAX));
        health.handle_outcome(Outcome::Answered, now);
        health.handle_outcome(Outcome::Refused, now);
        assert_eq!(health.probe_at(), Some(now + BACKOFF_FIRST));
    }
}
