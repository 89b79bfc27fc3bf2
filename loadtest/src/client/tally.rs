//! What a swarm has seen.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Failure;
use crate::net::Handshake;
use crate::wire::Faults;

/// Nanoseconds of the longest time told apart from longer ones.
const TIME_NANOS_MAX: u64 = 100_000_000_000;

/// Significant digits of recorded times: 0.1 %.
const TIME_DIGITS: u8 = 3;

/// Counts over all sessions of a thread. Plain numbers, so that two readings can be subtracted.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Sessions that reached [`super::Stage::Open`].
    pub(crate) opened: u64,
    /// Sessions that ended with a closing handshake of our own.
    pub(crate) completed: u64,
    /// Messages that came back, or ticks that came.
    pub(crate) answered: u64,
    /// What was wrong with them, or with those that did not.
    pub(crate) faults: Faults,
    /// Sessions that never read and were ended for it.
    pub(crate) evicted: u64,
    /// Sessions that ended otherwise, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
    /// TLS handshakes in which the server proved who it is.
    pub(crate) handshakes_full: u64,
    /// TLS handshakes that resumed an earlier session.
    pub(crate) handshakes_resumed: u64,
    /// Both, by version, cipher suite and key exchange.
    pub(crate) suites: BTreeMap<String, u64>,
    /// Completed sessions whose end TLS did not announce with close_notify.
    pub(crate) truncated: u64,
    /// Payload bytes of those.
    pub(crate) bytes: u64,
    /// Messages that were to leave by a rate.
    pub(crate) intended: u64,
    /// Messages that have left, whole.
    pub(crate) sent: u64,
    /// Nanoseconds from when a message left to its answer.
    pub(crate) round_trips: Histogram<u64>,
    /// Nanoseconds from when a message was to leave by a rate to its answer.
    pub(crate) corrected: Histogram<u64>,
    /// Nanoseconds by which this thread was late to let messages leave that were due.
    pub(crate) lag: Histogram<u64>,
    /// Nanoseconds from connecting to the end of TCP, of completed sessions.
    pub(crate) sessions: Histogram<u64>,
}

impl Tally {
    /// Nothing seen.
    ///
    /// # Errors
    /// None with these bounds.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let times = Histogram::new_with_bounds(1, TIME_NANOS_MAX, TIME_DIGITS)?;
        Ok(Self {
            opened: 0,
            completed: 0,
            answered: 0,
            faults: Faults::default(),
            evicted: 0,
            failures: BTreeMap::new(),
            handshakes_full: 0,
            handshakes_resumed: 0,
            suites: BTreeMap::new(),
            truncated: 0,
            bytes: 0,
            intended: 0,
            sent: 0,
            round_trips: times.clone(),
            corrected: times.clone(),
            lag: times.clone(),
            sessions: times,
        })
    }

    /// Forgets the times, at the beginning of what is to be measured.
    pub(crate) fn reset_times(&mut self) {
        self.round_trips.reset();
        self.corrected.reset();
        self.lag.reset();
        self.sessions.reset();
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
    }

    /// Sessions that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Counts `time` in `times`, `count` of it; what is beyond the bounds counts as the bound.
#[inline]
pub(super) fn record(times: &mut Histogram<u64>, time: Duration, count: u64) {
    times.saturating_record_n(u64::try_from(time.as_nanos()).unwrap_or(TIME_NANOS_MAX), count);
}
