//! What the followers of one feed on a thread see together: how late ticks are, and when the first and the last of the
//! followers have each.

use std::time::Instant;

use super::Tally;
use crate::clock::Monotonic;
use crate::wire::Tick;

/// Ticks that may be on their way to some followers and not yet to others; of more, the oldest are given up.
pub(crate) const WAVES_MAX: u64 = 4096;

/// One tick, on its way to all followers. Times are nanoseconds of the machine's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wave {
    /// Which tick.
    pub(crate) number: u64,
    /// When the first follower had it.
    pub(crate) first: u64,
    /// When the last had.
    pub(crate) last: u64,
    followers: u64,
}

impl Wave {
    const NONE: Self = Self { number: u64::MAX, first: 0, last: 0, followers: 0 };
}

/// Ticks on their way to the followers that read.
#[derive(Debug)]
pub(crate) struct Following {
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
        let waves = vec![Wave::NONE; usize::try_from(WAVES_MAX)?];
        Ok(Self { clock: Monotonic::read()?, readers, waves })
    }

    /// A follower has `tick`.
    #[inline]
    pub(crate) fn handle(&mut self, tick: Tick, now: Instant, tally: &mut Tally) {
        let now = self.clock.nanos(now);
        tally.round_trips.saturating_record(now.saturating_sub(tick.nanos));
        tally.tick_end = tally.tick_end.max(tick.number.saturating_add(1));
        let place = usize::try_from(tick.number % WAVES_MAX).ok().and_then(|at| self.waves.get_mut(at));
        let Some(wave) = place else { return };
        if wave.number != tick.number {
            *wave = Wave { number: tick.number, first: now, last: now, followers: 0 };
        }
        wave.last = wave.last.max(now);
        wave.followers += 1;
        if wave.followers == self.readers {
            tally.waves.push(*wave);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn a_wave_is_over_once_all_have_the_tick() {
        let (mut following, mut tally) = (Following::new(3).unwrap(), Tally::new());
        let now = clock::now();
        let nanos = following.clock.nanos(now);
        let [one, two] = [1, 2].map(|number| Tick { key: 0, number, nanos });
        following.handle(one, now, &mut tally);
        following.handle(two, now, &mut tally);
        following.handle(one, now + Duration::from_millis(3), &mut tally);
        assert!(tally.waves.is_empty());
        following.handle(one, now + Duration::from_millis(1), &mut tally);
        let [wave] = tally.waves.as_slice() else { panic!("{:?}", tally.waves) };
        assert_eq!((wave.number, wave.last - wave.first), (1, 3_000_000));
        assert_eq!((tally.round_trips.len(), tally.tick_end), (4, 3));
    }

    #[test]
    fn forgets_old_ticks_rather_than_grow() {
        let (mut following, mut tally) = (Following::new(2).unwrap(), Tally::new());
        let now = clock::now();
        let tick = |number| Tick { key: 0, number, nanos: 0 };
        for number in [5, 5 + WAVES_MAX, 5] {
            following.handle(tick(number), now, &mut tally);
        }
        assert!(tally.waves.is_empty());
    }
}
