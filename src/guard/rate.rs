//! How often: a token bucket, and the share of it that one shard keeps.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A rate of the whole process, as it is configured.
///
/// Connections are spread over the shards by the kernel, and each shard keeps `1/shards` of the rate by itself, so
/// that no handshake waits for another thread. Spread evenly, the process lets `per_second` in; where one shard gets
/// more than its share it refuses what the others would have had room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained rate, events a second.
    pub per_second: NonZeroU32,
    /// Events that may come at once after a pause. Shared out too, rounded up: at least one a shard.
    pub burst: NonZeroU32,
}

/// A token bucket that is full at first, kept as the time at which it will be full again (GCRA, ITU-T I.371).
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// Time one token takes to come back.
    interval: Duration,
    /// How far from full it may be and still have a token to give.
    tolerance: Duration,
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// The bucket of one shard among `shards`.
    pub(super) fn new(rate: Rate, shards: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1).saturating_mul(shards.get()) / rate.per_second.get();
        let burst = rate.burst.get().div_ceil(shards.get());
        Self { interval, tolerance: interval.saturating_mul(burst - 1), full_at: None }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// There is none; how long until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        let wait = full_at.duration_since(now).saturating_sub(self.tolerance);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = full_at.checked_add(self.interval);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;

    fn bucket(per_second: u32, burst: u32, shards: u32) -> TokenBucket {
        let [per_second, burst, shards] = [per_second, burst, shards].map(|n| NonZeroU32::new(n).unwrap());
        TokenBucket::new(Rate { per_second, burst }, shards)
    }

    /// Tokens given out when one is asked for every millisecond of `span`.
    fn given(bucket: &mut TokenBucket, from: Instant, span: Duration) -> u32 {
        let mut given = 0;
        for ms in 0..span.as_millis() {
            let now = from + Duration::from_millis(u64::try_from(ms).unwrap());
            given += u32::from(bucket.take(now).is_ok());
        }
        given
    }

    #[test]
    fn gives_the_burst_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = bucket(10, 5, 1);
        assert_eq!((0..20).filter(|_| bucket.take(start).is_ok()).count(), 5);
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        assert_eq!(given(&mut bucket, start, Duration::from_secs(10)), 99, "one each 100 ms after the first");
    }

    #[test]
    fn saves_no_more_than_the_burst_up() {
        let start = Instant::now();
        let mut bucket = bucket(10, 5, 1);
        assert!(bucket.take(start).is_ok());
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| bucket.take(later).is_ok()).count(), 5);
    }

    #[test]
    fn shards_share_the_rate_and_round_the_burst_up() {
        let start = Instant::now();
        let mut shards: Vec<TokenBucket> = (0..4).map(|_| bucket(8, 10, 4)).collect();
        let total: u32 = shards.iter_mut().map(|bucket| given(bucket, start, Duration::from_secs(10))).sum();
        // 3 at once in each of 4 shards, then 8 a second between them, less what is still due at the end.
        assert!((12 + 76..=12 + 80).contains(&total), "{total}");
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing_away() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut bucket = bucket(1, 1, 1);
        assert!(bucket.take(start).is_ok());
        assert_eq!(bucket.take(start - Duration::from_secs(30)), Err(Duration::from_secs(31)));
    }
}
