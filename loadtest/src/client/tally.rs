//! What a thread has seen.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Failure, Wave};
use crate::net::Handshake;
use crate::wire::{Faults, Refused};

/// Nanoseconds of the longest time told apart from longer ones.
const TIME_NANOS_MAX: u64 = 100_000_000_000;

/// Significant digits of recorded times: 0.1 %.
const TIME_DIGITS: u8 = 3;

/// Counts and times over all sessions of a thread since they were taken last. Those of many threads and of many
/// stretches of time add up.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Sessions begun.
    pub(crate) begun: u64,
    /// Sessions that reached [`super::Stage::Open`].
    pub(crate) opened: u64,
    /// Sessions that ended with a closing handshake of our own.
    pub(crate) completed: u64,
    /// Messages, or sessions, that were to begin by a rate.
    pub(crate) intended: u64,
    /// Messages that have left, whole.
    pub(crate) sent: u64,
    /// Messages that came back, or ticks that came.
    pub(crate) answered: u64,
    /// Payload bytes of those.
    pub(crate) bytes: u64,
    /// What was wrong with them, or with those that did not.
    pub(crate) faults: Faults,
    /// Sessions that were still open at the end.
    pub(crate) held: u64,
    /// Sessions that never read and were ended for it.
    pub(crate) evicted: u64,
    /// Sessions that ended otherwise, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Of those, the ones that the server closed, by code; `none` where it gave none.
    pub(crate) closes: BTreeMap<String, u64>,
    /// Of those, the ones whose upgrade was refused, by status or by what was wrong with the answer.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// TLS handshakes in which the server proved who it is.
    pub(crate) handshakes_full: u64,
    /// TLS handshakes that resumed an earlier session.
    pub(crate) handshakes_resumed: u64,
    /// Both, by version, cipher suite and key exchange.
    pub(crate) suites: BTreeMap<String, u64>,
    /// Completed sessions whose end TLS did not announce with close_notify.
    pub(crate) truncated: u64,
    /// Nanoseconds from when a message left to its answer; of a tick, from its source to here.
    pub(crate) round_trips: Histogram<u64>,
    /// Nanoseconds from when a message was to leave by a rate to its answer.
    pub(crate) corrected: Histogram<u64>,
    /// Nanoseconds by which this thread was late to let messages leave that were due.
    pub(crate) lag: Histogram<u64>,
    /// The longest time that a connection, with those it was followed by, went without an answer.
    pub(crate) silence: Duration,
    /// Nanoseconds from when a session was to begin to the end of TCP, of completed sessions.
    pub(crate) sessions: Histogram<u64>,
    /// The number after the greatest of the ticks that have come; taking leaves it.
    pub(crate) tick_end: u64,
    /// Ticks that all followers of this thread have had.
    pub(crate) waves: Vec<Wave>,
}

impl Tally {
    /// Nothing seen.
    pub(crate) fn new() -> Self {
        let times = new_times();
        Self {
            begun: 0,
            opened: 0,
            completed: 0,
            intended: 0,
            sent: 0,
            answered: 0,
            bytes: 0,
            faults: Faults::default(),
            held: 0,
            evicted: 0,
            failures: BTreeMap::new(),
            closes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            handshakes_full: 0,
            handshakes_resumed: 0,
            suites: BTreeMap::new(),
            truncated: 0,
            round_trips: times.clone(),
            corrected: times.clone(),
            lag: times.clone(),
            silence: Duration::ZERO,
            sessions: times,
            tick_end: 0,
            waves: Vec::new(),
        }
    }

    /// What was seen so far, and from now on nothing.
    pub(crate) fn take(&mut self) -> Self {
        let nothing = Self { tick_end: self.tick_end, ..Self::new() };
        std::mem::replace(self, nothing)
    }

    /// Adds what somebody else saw, or what was seen later; without the waves, which do not add up.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.begun, other.begun),
            (&mut self.opened, other.opened),
            (&mut self.completed, other.completed),
            (&mut self.intended, other.intended),
            (&mut self.sent, other.sent),
            (&mut self.answered, other.answered),
            (&mut self.bytes, other.bytes),
            (&mut self.held, other.held),
            (&mut self.evicted, other.evicted),
            (&mut self.handshakes_full, other.handshakes_full),
            (&mut self.handshakes_resumed, other.handshakes_resumed),
            (&mut self.truncated, other.truncated),
        ] {
            *sum += more;
        }
        self.faults.absorb(other.faults);
        for (sums, more) in [
            (&mut self.failures, &other.failures),
            (&mut self.closes, &other.closes),
            (&mut self.refusals, &other.refusals),
            (&mut self.suites, &other.suites),
        ] {
            for (key, count) in more {
                *sums.entry(key.clone()).or_default() += count;
            }
        }
        for (sum, more) in [
            (&mut self.round_trips, &other.round_trips),
            (&mut self.corrected, &other.corrected),
            (&mut self.lag, &other.lag),
            (&mut self.sessions, &other.sessions),
        ] {
            sum.add(more).expect("all have the same bounds");
        }
        self.tick_end = self.tick_end.max(other.tick_end);
        self.silence = self.silence.max(other.silence);
    }

    /// Counts a TLS handshake.
    pub(crate) fn secure(&mut self, handshake: Handshake) {
        self.handshakes_full += u64::from(!handshake.resumed);
        self.handshakes_resumed += u64::from(handshake.resumed);
        *self.suites.entry(handshake.suite).or_default() += 1;
    }

    /// Counts a failed session.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        *self.failures.entry(failure.to_string()).or_default() += 1;
        match failure {
            Failure::Closed(code) => {
                let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
                *self.closes.entry(code).or_default() += 1;
            }
            Failure::Refused(refused) => {
                let reason = match refused {
                    Refused::Status(status) => status.to_string(),
                    Refused::Accept | Refused::Subprotocol | Refused::Malformed => failure.to_string(),
                };
                *self.refusals.entry(reason).or_default() += 1;
            }
            Failure::Connect(_)
            | Failure::Lost(..)
            | Failure::Tls(..)
            | Failure::Ended(_)
            | Failure::Truncated(_)
            | Failure::Violation(_)
            | Failure::TimedOut(_) => {}
        }
    }

    /// Sessions that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Room for times in nanoseconds.
pub(crate) fn new_times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_NANOS_MAX, TIME_DIGITS).expect("these bounds make a histogram")
}

/// Counts `time` in `times`, `count` of it; what is beyond the bounds counts as the bound.
#[inline]
pub(super) fn record(times: &mut Histogram<u64>, time: Duration, count: u64) {
    times.saturating_record_n(u64::try_from(time.as_nanos()).unwrap_or(TIME_NANOS_MAX), count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Stage;

    #[test]
    fn what_was_taken_adds_up() {
        let (mut tally, mut sum) = (Tally::new(), Tally::new());
        for turn in 1..=3 {
            tally.answered += turn;
            tally.tick_end = 100 * turn;
            tally.faults.lost += 1;
            record(&mut tally.round_trips, Duration::from_micros(turn), turn);
            tally.fail(&Failure::Closed(Some(1011)));
            tally.fail(&Failure::Refused(Refused::Status(503)));
            tally.fail(&Failure::TimedOut(Stage::Open));
            sum.absorb(&tally.take());
            assert_eq!((tally.answered, tally.tick_end), (0, 100 * turn));
        }
        assert_eq!((sum.answered, sum.tick_end, sum.faults.lost, sum.failed()), (6, 300, 3, 9));
        assert_eq!((sum.round_trips.len(), sum.round_trips.max() / 10), (6, 300));
        assert_eq!(sum.closes, BTreeMap::from([("1011".to_owned(), 3)]));
        assert_eq!(sum.refusals, BTreeMap::from([("503".to_owned(), 3)]));
    }
}
