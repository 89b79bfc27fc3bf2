//! How many handshakes a shard begins: each costs it a signature, which those who already talk have to wait for.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The share of a second's handshakes that may begin at once: 20 ms of them.
const BURST_SHARE: u32 = 50;

/// Gives each handshake its turn: at once while there are few, later when there are many (GCRA, ITU-T I.371).
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    tolerance: Duration,
    /// When there will be as many at once again as there may be.
    rested_at: Option<Instant>,
}

impl Pace {
    /// So many in a second.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        Self { interval, tolerance: interval * (per_second.get() / BURST_SHARE), rested_at: None }
    }

    /// When the next one may begin, which from now on is taken.
    pub fn next(&mut self, now: Instant) -> Instant {
        let rested_at = self.rested_at.map_or(now, |rested_at| rested_at.max(now));
        self.rested_at = rested_at.checked_add(self.interval);
        now + rested_at.duration_since(now).saturating_sub(self.tolerance)
    }

    /// Whether one that would begin now had to wait until after `at`. It takes no turn, so that those who cannot wait
    /// make nobody wait longer.
    #[must_use]
    pub fn is_taken_until(&self, at: Instant) -> bool {
        self.rested_at.is_some_and(|rested_at| rested_at > at + self.tolerance)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;

    #[test]
    fn a_few_begin_at_once_and_the_rest_one_after_the_other() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(1000).unwrap());
        let waits: Vec<_> = (0..23).map(|_| pace.next(start).duration_since(start).as_millis()).collect();
        assert_eq!(waits[..21], [0; 21]);
        assert_eq!(waits[21..], [1, 2]);
        let later = start + Duration::from_secs(1);
        assert_eq!(pace.next(later), later, "rested");
    }

    #[test]
    fn those_who_cannot_wait_take_no_turn() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::MIN);
        let soon = start + Duration::from_millis(1500);
        assert!(!pace.is_taken_until(soon));
        assert_eq!(pace.next(start), start);
        assert_eq!(pace.next(start), start + Duration::from_secs(1));
        assert!(pace.is_taken_until(soon));
    }
}
