//! What the followers of one feed see together: how late ticks are, and how far apart the first and the last of the
//! followers have each.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::clock::Monotonic;
use crate::wire::Tick;

/// Ticks that may be on their way to some followers and not yet to others; of more, the oldest are given up.
const WAVES_MAX: u64 = 4096;

/// Nanoseconds of the longest time told apart from longer ones.
const TIME_NANOS_MAX: u64 = 100_000_000_000;

/// Significant digits of recorded times: 0.1 %.
const TIME_DIGITS: u8 = 3;

/// One tick, on its way to all followers.
#[derive(Debug, Clone, Copy)]
struct Wave {
    number: u64,
    first: u64,
    last: u64,
    followers: u64,
}

impl Wave {
    const NONE: Self = Self { number: u64::MAX, first: 0, last: 0, followers: 0 };
}

/// Times over all followers that read.
#[derive(Debug)]
pub(crate) struct Following {
    /// Nanoseconds from the source's sending to a follower's having it, of every delivery.
    pub(crate) latency: Histogram<u64>,
    /// Nanoseconds between the first and the last follower's having it, of every tick that all have had.
    pub(crate) spread: Histogram<u64>,
    /// The number after the greatest that any follower has had.
    end: u64,
    clock: Monotonic,
    readers: u64,
    waves: Vec<Wave>,
}

impl Following {
    /// Nothing seen, by `readers` followers that read.
    ///
    /// # Errors
    /// No clock.
    pub(crate) fn new(readers: u64) -> anyhow::Result<Self> {
        let times = Histogram::new_with_bounds(1, TIME_NANOS_MAX, TIME_DIGITS)?;
        Ok(Self {
            latency: times.clone(),
            spread: times,
            end: 0,
            clock: Monotonic::read()?,
            readers,
            waves: vec![Wave::NONE; usize::try_from(WAVES_MAX)?],
        })
    }

    /// The number after the greatest that any follower has had.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Forgets the times, at the beginning of what is to be measured, and the ticks on their way.
    pub(crate) fn reset_times(&mut self) {
        self.latency.reset();
        self.spread.reset();
        self.waves.fill(Wave::NONE);
    }

    /// A follower has `tick`.
    #[inline]
    pub(crate) fn handle(&mut self, tick: Tick, now: Instant) {
        let now = self.clock.nanos(now);
        self.latency.saturating_record(now.saturating_sub(tick.nanos));
        self.end = self.end.max(tick.number.saturating_add(1));
        let place = usize::try_from(tick.number % WAVES_MAX).ok().and_then(|at| self.waves.get_mut(at));
        let Some(wave) = place else { return };
        if wave.number != tick.number {
            *wave = Wave { number: tick.number, first: now, last: now, followers: 0 };
        }
        wave.last = wave.last.max(now);
        wave.followers += 1;
        if wave.followers == self.readers {
            self.spread.saturating_record(wave.last - wave.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn spread_is_known_once_all_have_a_tick() {
        let mut following = Following::new(3).unwrap();
        let now = clock::now();
        let nanos = following.clock.nanos(now);
        let [one, two] = [1, 2].map(|number| Tick { key: 0, number, nanos });
        following.handle(one, now);
        following.handle(two, now);
        following.handle(one, now + Duration::from_millis(3));
        assert!(following.spread.is_empty());
        following.handle(one, now + Duration::from_millis(10));
        assert_eq!((following.spread.len(), following.latency.len(), following.end()), (1, 4, 3));
        for (times, millis) in [(&following.spread, 10), (&following.latency, 10)] {
            let error = times.max().abs_diff(millis * 1_000_000);
            assert!(error < 20_000, "{millis} ms: {}", times.max());
        }
    }
}
