//! When messages are due at a rate, whatever the server does.

use std::time::Duration;

use super::float;

/// A rate for all connections together, which may rise from nothing to begin with.
///
/// Connections take turns, so that none needs a timer, and when a message is due can be told from its number alone:
/// a backlog takes no memory, however long it grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    per_second: f64,
    ramp_seconds: f64,
    /// Messages that are due while the rate rises.
    in_ramp: f64,
}

impl Schedule {
    /// `per_second` messages (above zero), reached in a straight line within `ramp`.
    pub(crate) fn new(per_second: f64, ramp: Duration) -> Self {
        let ramp_seconds = ramp.as_secs_f64();
        Self { per_second, ramp_seconds, in_ramp: per_second * ramp_seconds / 2.0 }
    }

    /// How long after the beginning the `index`-th message is due, counted from 0. Centuries are [`Duration::MAX`].
    #[inline]
    pub(crate) fn due(&self, index: u64) -> Duration {
        let index = float(index);
        let seconds = if index < self.in_ramp {
            (2.0 * index * self.ramp_seconds / self.per_second).sqrt()
        } else {
            self.ramp_seconds + (index - self.in_ramp) / self.per_second
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// Whose turn it is: the messages that some of the connections send, in the order in which they are due.
///
/// Of `all` connections these are the `first`, and then each `stride`-th.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    schedule: Schedule,
    first: u64,
    stride: u64,
    /// How many of them there are.
    count: u64,
    all: u64,
    /// Turns taken.
    taken: u64,
}

impl Turns {
    /// The turns of the connections `first`, `first + stride`, … below `all`; `first < all`, and `stride` is not zero.
    pub(crate) fn new(schedule: Schedule, (first, stride): (u32, u32), all: u32) -> Self {
        let [first, stride, all] = [first, stride, all].map(u64::from);
        Self { schedule, first, stride, count: (all - first).div_ceil(stride), all, taken: 0 }
    }

    /// When the `number`-th message of the `serial`-th of all connections is due.
    #[inline]
    pub(crate) fn due(&self, serial: u64, number: u64) -> Duration {
        self.schedule.due(number.saturating_mul(self.all).saturating_add(serial))
    }

    /// When the next turn is.
    #[inline]
    pub(crate) fn next_due(&self) -> Duration {
        let place = self.taken % self.count;
        self.due(self.first + place * self.stride, self.taken / self.count)
    }

    /// Takes the next turn: the how-manieth of these connections it is.
    #[inline]
    pub(crate) fn take(&mut self) -> u64 {
        let place = self.taken % self.count;
        self.taken += 1;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_evenly() {
        let schedule = Schedule::new(50_000.0, Duration::ZERO);
        for index in [0, 1, 2, 49_999, 50_000, 3_600 * 50_000] {
            assert_eq!(schedule.due(index).as_micros(), u128::from(index) * 20);
        }
    }

    #[test]
    fn rises_in_a_straight_line() {
        let schedule = Schedule::new(1000.0, Duration::from_secs(10));
        let count = |from: f64, to: f64| {
            let due = (0..).map(|index| schedule.due(index).as_secs_f64());
            due.take_while(|due| *due < to).filter(|due| *due >= from).count()
        };
        // In the n-th second of the ramp, n - 1/2 tenths of the rate.
        for (second, expected) in [(0, 50), (4, 450), (9, 950), (10, 1000), (11, 1000)] {
            let from = f64::from(second);
            assert!(count(from, from + 1.0).abs_diff(expected) <= 1, "second {second}");
        }
    }

    #[test]
    fn is_even_over_all_connections_of_all_threads() {
        let schedule = Schedule::new(1000.0, Duration::ZERO);
        let mut due: Vec<Duration> = Vec::new();
        for first in 0..3 {
            let mut turns = Turns::new(schedule, (first, 3), 10);
            let count = if first == 0 { 4 } else { 3 };
            for taken in 0..count * 5 {
                let at = turns.next_due();
                assert_eq!(turns.take(), taken % count);
                let serial = u64::from(first) + taken % count * 3;
                assert_eq!(at, turns.due(serial, taken / count));
                due.push(at);
            }
        }
        due.sort();
        let expected: Vec<Duration> = (0..50).map(Duration::from_millis).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn never_is_a_time() {
        assert_eq!(Schedule::new(1e-300, Duration::ZERO).due(1), Duration::MAX);
    }
}
