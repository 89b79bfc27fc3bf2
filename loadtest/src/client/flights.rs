//! When a connection's messages left that are still on their way.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

/// Messages that left in one write, up to but without `end`.
#[derive(Debug, Clone, Copy)]
struct Flight {
    end: u64,
    left_at: Instant,
}

/// Departures in order. One entry for each write, so that runs cost as little as single messages.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: VecDeque<Flight>,
    /// The first message that has not landed.
    landed: u64,
    departed: u64,
}

impl Flights {
    /// Messages before `end` have left, or at least begun to; those that had not before did so now.
    #[inline]
    pub(super) fn depart(&mut self, end: u64, now: Instant) {
        if end > self.departed {
            self.departed = end;
            self.flights.push_back(Flight { end, left_at: now });
        }
    }

    /// Messages before `end` have been answered: `each` is told of those that had not before, by departure.
    #[inline]
    pub(super) fn land(&mut self, end: u64, mut each: impl FnMut(Range<u64>, Instant)) {
        while self.landed < end
            && let Some(flight) = self.flights.front()
        {
            let until = flight.end.min(end);
            each(self.landed..until, flight.left_at);
            self.landed = until;
            if flight.end == until {
                self.flights.pop_front();
            }
        }
    }

    /// Messages before `end` will not be answered, or not in time.
    pub(super) fn forget(&mut self, end: u64) {
        self.land(end, |_, _| {});
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn lands_what_has_departed_once() {
        let (mut flights, first) = (Flights::default(), clock::now());
        let second = first + Duration::from_millis(1);
        flights.depart(3, first);
        flights.depart(3, second);
        flights.depart(5, second);
        let landed = |flights: &mut Flights, end| {
            let mut landed = Vec::new();
            flights.land(end, |range, at| landed.push((range, at)));
            landed
        };
        assert_eq!(landed(&mut flights, 1), [(0..1, first)]);
        assert_eq!(landed(&mut flights, 4), [(1..3, first), (3..4, second)]);
        flights.forget(5);
        assert_eq!(landed(&mut flights, 9), []);
        flights.depart(6, first);
        assert_eq!(landed(&mut flights, 9), [(5..6, first)]);
        assert!(flights.flights.is_empty());
    }
}
