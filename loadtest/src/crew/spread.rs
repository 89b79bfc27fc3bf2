//! How far apart the first and the last of all followers have a tick, when each thread knows of its own only.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::client::{WAVES_MAX, Wave, new_times};

/// Ticks that all followers of some threads have had, and not yet those of the others.
#[derive(Debug)]
pub(super) struct Spread {
    /// Threads that have followers.
    threads: u32,
    /// By number: how many threads, when the first follower had it, when the last.
    waves: BTreeMap<u64, (u32, u64, u64)>,
    /// Nanoseconds between the two, of ticks that all have had.
    pub(super) times: Histogram<u64>,
}

impl Spread {
    /// Nothing seen, by the followers of `threads` threads.
    pub(super) fn new(threads: u32) -> Self {
        Self { threads, waves: BTreeMap::new(), times: new_times() }
    }

    /// All followers of a thread have had a tick.
    pub(super) fn handle(&mut self, wave: Wave) {
        let (threads, first, last) = self.waves.entry(wave.number).or_insert((0, wave.first, wave.last));
        *threads += 1;
        *first = wave.first.min(*first);
        *last = wave.last.max(*last);
        if *threads == self.threads {
            self.times.saturating_record(*last - *first);
            self.waves.remove(&wave.number);
        }
        if u64::try_from(self.waves.len()).is_ok_and(|len| len > WAVES_MAX) {
            self.waves.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::{Following, Tally};
    use crate::clock;
    use crate::wire::Tick;

    /// The wave of the `number`-th tick on a thread with one follower, which has it after `after`.
    fn wave(number: u64, after: Duration) -> Wave {
        let (mut following, mut tally) = (Following::new(1).unwrap(), Tally::new());
        following.handle(Tick { key: 0, number, nanos: 0 }, clock::now() + after, &mut tally);
        tally.waves[0]
    }

    #[test]
    fn is_known_once_all_threads_have_a_tick() {
        let mut spread = Spread::new(2);
        let (first, second) = (wave(7, Duration::ZERO), wave(7, Duration::from_secs(2)));
        spread.handle(first);
        spread.handle(wave(8, Duration::ZERO));
        assert!(spread.times.is_empty());
        spread.handle(second);
        let seconds = Duration::from_nanos(spread.times.max()).as_secs_f64();
        assert!((1.9..3.0).contains(&seconds) && spread.times.len() == 1, "{seconds}");
    }

    #[test]
    fn forgets_rather_than_grow() {
        let mut spread = Spread::new(2);
        let mut wave = wave(0, Duration::ZERO);
        for number in 0..WAVES_MAX + 10 {
            wave.number = number;
            spread.handle(wave);
        }
        assert_eq!(spread.waves.len(), usize::try_from(WAVES_MAX).unwrap());
    }
}
