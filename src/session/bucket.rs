//! A token bucket: so many units a second, and so many at once.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// Parts of a token, so that each nanosecond fills in a whole number of them.
const PARTS: i128 = 1_000_000_000;

/// Holds up to `burst` tokens and is filled at a steady rate. It can be overdrawn: what is taken beyond its content
/// is a debt, paid by waiting. Exact: no token is lost or gained by rounding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBucket {
    per_second: NonZeroU64,
    burst: NonZeroU64,
    /// Content in [`PARTS`] of a token as of `since`; negative when overdrawn.
    parts: i128,
    since: Instant,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: NonZeroU64, burst: NonZeroU64, now: Instant) -> Self {
        Self { per_second, burst, parts: i128::from(burst.get()) * PARTS, since: now }
    }

    /// Takes `tokens`, whether they are there or not. Says whether they were.
    pub fn take(&mut self, tokens: u64, now: Instant) -> bool {
        self.parts = self.parts_at(now).saturating_sub(i128::from(tokens) * PARTS);
        self.since = self.since.max(now);
        self.parts >= 0
    }

    /// When there will be a whole token; `None` if there is one now.
    #[must_use]
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let missing = u128::try_from(PARTS - self.parts_at(now)).ok().filter(|missing| *missing > 0)?;
        let nanos = missing.div_ceil(u128::from(self.per_second.get()));
        Some(super::settings::after(now, Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
    }

    fn parts_at(&self, now: Instant) -> i128 {
        let nanos = now.saturating_duration_since(self.since).as_nanos();
        let filled = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_mul(self.per_second.get().into());
        self.parts.saturating_add(filled).min(i128::from(self.burst.get()) * PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: u64, burst: u64) -> (TokenBucket, Instant) {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let start = Instant::now();
        let new = |number| NonZeroU64::new(number).unwrap();
        (TokenBucket::new(new(per_second), new(burst), start), start)
    }

    #[test]
    fn gives_the_burst_and_then_the_rate_to_the_nanosecond() {
        let (mut bucket, start) = bucket(3, 5);
        for _ in 0..5 {
            assert_eq!(bucket.ready_at(start), None);
            assert!(bucket.take(1, start));
        }
        let mut now = start;
        for token in 1..=9_u64 {
            let ready_at = bucket.ready_at(now).unwrap();
            assert_eq!(ready_at - start, Duration::from_nanos((token * 1_000_000_000).div_ceil(3)));
            assert!(!bucket.clone().take(1, ready_at - Duration::from_nanos(1)));
            assert!(bucket.take(1, ready_at));
            now = ready_at;
        }
        // Nine tokens have come in three seconds, whatever was rounded on the way.
        assert_eq!(now - start, Duration::from_secs(3));
    }

    #[test]
    fn a_debt_is_paid_by_waiting_and_a_pause_saves_no_more_than_the_burst() {
        let (mut bucket, start) = bucket(10, 20);
        assert!(!bucket.take(50, start));
        // 30 are owed, and one more must be there.
        assert_eq!(bucket.ready_at(start), Some(start + Duration::from_millis(3_100)));
        let later = start + Duration::from_secs(1_000_000);
        assert!(bucket.take(20, later));
        assert!(!bucket.take(1, later));
    }

    #[test]
    fn the_largest_numbers_and_a_clock_that_stands_still_do_no_harm() {
        let (mut bucket, start) = bucket(1, u64::MAX);
        for _ in 0..3 {
            bucket.take(u64::MAX, start);
        }
        assert!(bucket.ready_at(start).is_some_and(|at| at > start + Duration::from_secs(1 << 31)));
        let (mut bucket, start) = super::tests::bucket(u64::MAX, 1);
        let later = start + Duration::from_secs(1 << 31);
        assert!(bucket.take(1, later));
        assert!(!bucket.take(1, start), "time that has been counted does not count again");
    }
}
