//! What a pool's owner says about the health of its backends. Plain data: the config room validates it.

use std::time::Duration;

/// How the health of one pool's backends is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is asked of each backend, up or down. `None`: nobody is asked while sessions go well; a backend that
    /// sessions found down is let back in by a TCP connection.
    pub probe: Option<Probe>,
    /// Probes in a row that must succeed before a backend that is down is up; at least 1. Two: one success may be
    /// a process that starts and dies again. Without a probe of its own, a pool takes the first TCP connection.
    pub rise: u32,
    /// Probes in a row that must fail before a backend that is up is down; at least 1. Three: one lost packet, one
    /// long collection of garbage must not move every client.
    pub fall: u32,
    /// From the end of a probe to the next, ±10 % so that the probes of many backends do not march in step.
    pub every: Duration,
    /// For a whole probe, from the first packet to the answer. Less than `every`, or a hung backend is asked late.
    pub timeout: Duration,
    /// When the sessions' own experience takes a backend out.
    pub outlier: Outlier,
    /// How long a backend that has just come up gets less than its weight. `None`: it gets all at once.
    pub slow_start: Option<Duration>,
    /// A pool with less than this share of its backends up panics: it tries all of them, because the few would be
    /// overrun, and a check that fails this many is more likely wrong than right. 0 %: only with none up.
    pub panic_below: Percent,
}

/// What is asked of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection. A process that hangs still passes: the kernel accepts for it.
    Tcp,
    /// `GET` of this path (after the backend's base path; it may have a query); 200 to 399 is good.
    Http {
        /// Beginning with `/`.
        path: String,
    },
    /// An opening handshake; 101 is good.
    WebSocket {
        /// Beginning with `/`, after the backend's base path; it may have a query. `None`: `/`, or the base path.
        path: Option<String>,
        /// What is said once the connection is open.
        exchange: Option<Exchange>,
    },
}

/// One question over WebSocket and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Sent as one text message.
    pub send: String,
    /// What a message of the answer has to contain: a part of it is enough, as in HAProxy's `expect string`, because
    /// answers carry times and numbers. Messages without it are passed over: a server may greet first.
    pub expect: String,
}

/// When the outcomes of sessions' dials take a backend out, and for how long. The words are Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlier {
    /// Dials in a row that must fail oddly (5xx, nonsense, broken off) before the backend is ejected; at least 1.
    /// One that timed out is enough by itself: each further one costs a client as long.
    pub failures: u32,
    /// How long the first ejection lasts; each further one twice as long. Short, because a dial that fails is
    /// repeated elsewhere before the client sees anything: a try costs little.
    pub ejection_base: Duration,
    /// The longest ejection.
    pub ejection_max: Duration,
    /// The share of the pool that may be ejected at once, rounded down, but one backend at least (as with Envoy's
    /// `always_eject_one_host`); 0 % turns ejection off. What fails everywhere at once is rarely the backends'
    /// fault, and the few left would be overrun. Refused dials are no matter of statistics and do not count.
    pub ejected_share_max: Percent,
}

/// A share, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Default for Settings {
    fn default() -> Self {
        Self {
            probe: None,
            rise: 2,
            fall: 3,
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            outlier: Outlier::default(),
            slow_start: None,
            panic_below: Percent::ZERO,
        }
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            failures: 3,
            ejection_base: Duration::from_secs(1),
            ejection_max: Duration::from_secs(30),
            ejected_share_max: Percent::HALF,
        }
    }
}

impl Percent {
    /// None of it.
    pub const ZERO: Self = Self(0);
    /// Half of it.
    pub const HALF: Self = Self(50);
    /// All of it.
    pub const ALL: Self = Self(100);

    /// `None` beyond 100.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// 0 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// This share of `total`, rounded down.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        // Divided first where the product would not fit: no pool is that large.
        total.checked_mul(self.0.into()).map_or(total / 100 * usize::from(self.0), |product| product / 100)
    }

    /// Whether `part` is less than this share of `total`.
    #[must_use]
    pub fn exceeds(self, part: usize, total: usize) -> bool {
        part.saturating_mul(100) < total.saturating_mul(self.0.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_compared_exactly() {
        let share = |percent| Percent::new(percent).unwrap();
        assert_eq!([0, 33, 50, 100].map(|percent| share(percent).of(7)), [0, 2, 3, 7]);
        assert!(share(34).exceeds(1, 3) && !share(33).exceeds(1, 3));
        assert!(share(100).of(usize::MAX) > usize::MAX / 2);
        assert_eq!(Percent::new(101), None);
    }
}
