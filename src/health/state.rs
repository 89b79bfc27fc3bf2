//! Up, ejected, down, and when to look again.
//!
//! Two witnesses are heard. *Probes* ask the backend itself: `fall` failures in a row take it down, `rise` successes
//! bring it back. *Sessions* tell how their dials went: a refused one is certain, nobody listens, and takes the
//! backend down at once; a slow or odd one makes it an outlier, which is ejected for a time that doubles with each
//! repetition, if the pool can spare it. A probe that succeeds does not shorten an ejection (as Envoy does without
//! `successful_active_health_check_uneject_host`): the outlier is the backend that passes its probes and fails
//! sessions.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Pool, ProbeFault, Settings};

/// In a pool without a probe of its own: how soon a backend that went down is looked at, and how rarely at last.
const RECHECK_FIRST: Duration = Duration::from_secs(1);
const RECHECK_MAX: Duration = Duration::from_secs(30);

/// Steps in which the weight rises during a slow start: each is a snapshot to every shard.
const SLOW_START_STEPS: u32 = 10;

/// Longer than anybody waits; what is further off is taken for this, so that no setting overflows the clock.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What one dial, by a shard for a session, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered the handshake, with a 101 or a refusal of its own.
    Answered,
    /// It could not be reached: refused, unreachable. Certain at once.
    Refused,
    /// It did not answer in time. Each further try would cost a client as long: enough to eject it.
    TimedOut,
    /// It answered 5xx or nonsense, or broke off: perhaps to this one request only.
    Failed,
}

impl Outcome {
    /// The word for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
    }
}

/// What is thought of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not probed yet, though the pool has a probe: sessions are placed there, and the first probe decides.
    Unknown,
    /// Sessions are placed there.
    Up,
    /// Sessions failed there: none are placed until a probe succeeds after this moment.
    Ejected {
        /// The end of the ejection.
        until: Instant,
        /// What the sessions saw.
        why: Why,
    },
    /// Probes fail, or nobody listens.
    Down {
        /// The latest that was heard against it.
        why: Why,
    },
}

/// Why a backend is not up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// What became of a session's dial.
    Dial(Outcome),
    /// What was wrong with its answer to a probe.
    Probe(ProbeFault),
}

/// How much of its configured weight a backend gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Of 256.
    pub factor: u32,
    /// When it will be more; `None` once it has all.
    pub changes_at: Option<Instant>,
}

/// The health of one backend of a [`Pool`].
#[derive(Debug)]
pub struct Health {
    state: State,
    /// When it came into that state, or was thought up first.
    since: Instant,
    /// `None` only while it is up in a pool without a probe.
    probe_at: Option<Instant>,
    /// Dials in a row that failed oddly.
    dial_failures: u32,
    /// Probes in a row that speak against the state: failures while it is up or ejected, successes while it is down.
    contradictions: u32,
    /// Ejections not yet forgotten: how often the next one is doubled.
    ejections: u32,
    /// The wait before the next look at it, down in a pool without a probe.
    recheck: Duration,
}

impl Health {
    /// A backend enters the pool. It counts as up, and in a pool with a probe that is due at once.
    #[must_use]
    pub fn join(pool: &mut Pool, now: Instant) -> Self {
        pool.add();
        let has_probe = pool.settings().probe.is_some();
        Self {
            state: if has_probe { State::Unknown } else { State::Up },
            since: now,
            probe_at: has_probe.then_some(now),
            dial_failures: 0,
            contradictions: 0,
            ejections: 0,
            recheck: RECHECK_FIRST,
        }
    }

    /// It leaves the pool, which needs its place back: do not just drop it.
    pub fn leave(self, pool: &mut Pool) {
        if matches!(self.state, State::Ejected { .. }) {
            pool.give_place_back();
        }
        pool.remove();
    }

    /// Whether new sessions may be placed there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Unknown | State::Up)
    }

    /// What is thought of it, and why.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// When the next probe is wanted. It stays due until [`Self::handle_probe`].
    #[must_use]
    pub fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// How much of its weight it gets: after it has come up, or into the pool, a tenth, rising to all of it over
    /// [`Settings::slow_start`].
    #[must_use]
    pub fn weight(&self, settings: &Settings, now: Instant) -> Weight {
        let full = Weight { factor: 256, changes_at: None };
        // The first tenth is given at once, the others one by one.
        let Some(step) = settings.slow_start.map(|whole| whole.min(FAR) / (SLOW_START_STEPS - 1)) else {
            return full;
        };
        let elapsed = now.saturating_duration_since(self.since);
        let risen = (1..SLOW_START_STEPS).take_while(|steps| step * *steps <= elapsed).count();
        let tenths = (1..=SLOW_START_STEPS).nth(risen).unwrap_or(SLOW_START_STEPS);
        if tenths == SLOW_START_STEPS || !self.is_up() {
            return full;
        }
        Weight { factor: 256 * tenths / SLOW_START_STEPS, changes_at: Some(later(self.since, step * tenths)) }
    }

    /// A shard reports a dial.
    pub fn handle_outcome(&mut self, outcome: Outcome, pool: &mut Pool, now: Instant) {
        match outcome {
            Outcome::Answered => self.handle_answered(pool, now),
            // Dials that began before it went down, or in desperation, tell nothing new.
            Outcome::Refused | Outcome::TimedOut | Outcome::Failed if !self.is_up() => {}
            Outcome::Refused => self.go_down(Why::Dial(outcome), pool, now),
            Outcome::TimedOut => self.eject(outcome, pool, now),
            Outcome::Failed => {
                self.dial_failures = self.dial_failures.saturating_add(1);
                if self.dial_failures >= pool.settings().outlier.failures {
                    self.eject(outcome, pool, now);
                }
            }
        }
    }

    /// A probe came back. `random` is any number, to put the next one out of step with other backends'.
    pub fn handle_probe(
        &mut self,
        result: Result<(), ProbeFault>,
        pool: &mut Pool,
        now: Instant,
        random: u32,
    ) {
        match result {
            Ok(()) => self.handle_success(pool, now),
            Err(fault) => self.handle_fault(fault, pool, now),
        }
        self.plan_probe(pool.settings(), now, random);
    }

    /// The pool's settings have changed.
    pub fn handle_settings(&mut self, pool: &Pool, now: Instant) {
        if pool.settings().probe.is_some() {
            // The new probe may see what the old one did not.
            self.probe_at = Some(now);
        } else if self.is_up() {
            self.state = State::Up;
            self.probe_at = None;
        }
    }

    fn handle_answered(&mut self, pool: &mut Pool, now: Instant) {
        self.dial_failures = 0;
        self.recheck = RECHECK_FIRST;
        // A session refutes what a session said, and a mere TCP connection; not a probe that the owner chose. Nor does
        // one end an ejection: it may have begun before, and outliers do answer now and then.
        if let State::Down { why } = &self.state
            && (matches!(why, Why::Dial(_)) || pool.settings().probe.is_none())
        {
            self.come_up(pool, now);
            self.probe_at = self.probe_at.filter(|_| pool.settings().probe.is_some());
        }
    }

    fn handle_success(&mut self, pool: &mut Pool, now: Instant) {
        match self.state {
            State::Unknown => {
                // Sessions have been placed there all the while: nothing begins.
                self.state = State::Up;
                self.contradictions = 0;
            }
            State::Up => self.contradictions = 0,
            State::Ejected { until, .. } => {
                self.contradictions = 0;
                if now >= until {
                    self.come_up(pool, now);
                }
            }
            State::Down { .. } => {
                self.contradictions = self.contradictions.saturating_add(1);
                let Settings { probe, rise, .. } = pool.settings();
                if probe.is_none() || self.contradictions >= *rise {
                    self.come_up(pool, now);
                }
            }
        }
    }

    fn handle_fault(&mut self, fault: ProbeFault, pool: &mut Pool, now: Instant) {
        let Settings { probe, fall, .. } = pool.settings();
        let (has_probe, fall) = (probe.is_some(), *fall);
        match &mut self.state {
            State::Down { why } => {
                *why = Why::Probe(fault);
                self.contradictions = 0;
            }
            State::Unknown => self.go_down(Why::Probe(fault), pool, now),
            // Nobody asked for it: it was on its way when a session succeeded.
            State::Up if !has_probe => {}
            State::Up | State::Ejected { .. } => {
                self.contradictions = self.contradictions.saturating_add(1);
                if self.contradictions >= fall || !has_probe {
                    self.go_down(Why::Probe(fault), pool, now);
                }
            }
        }
    }

    /// Says when the next probe is due, one having ended.
    fn plan_probe(&mut self, settings: &Settings, now: Instant, random: u32) {
        let regular = settings.probe.is_some().then(|| later(now, jittered(settings.every, random)));
        self.probe_at = match self.state {
            State::Unknown | State::Up => regular,
            // One is due when the ejection ends.
            State::Ejected { until, .. } if now < until => {
                Some(regular.map_or(until, |regular| regular.min(until)))
            }
            State::Ejected { .. } | State::Down { .. } => regular.or_else(|| Some(self.recheck_at(now))),
        };
    }

    fn recheck_at(&mut self, now: Instant) -> Instant {
        let at = now + self.recheck;
        self.recheck = (self.recheck * 2).min(RECHECK_MAX);
        at
    }

    fn come_up(&mut self, pool: &mut Pool, now: Instant) {
        self.change(State::Up, pool, now);
    }

    fn go_down(&mut self, why: Why, pool: &mut Pool, now: Instant) {
        let is_new = self.is_up();
        self.change(State::Down { why }, pool, now);
        if is_new && pool.settings().probe.is_none() {
            self.probe_at = Some(self.recheck_at(now));
        }
    }

    fn eject(&mut self, outcome: Outcome, pool: &mut Pool, now: Instant) {
        if !pool.take_place() {
            return;
        }
        let outlier = pool.settings().outlier;
        let lasting = |doublings| {
            let factor = 2_u32.saturating_pow(doublings);
            outlier.ejection_base.saturating_mul(factor).min(outlier.ejection_max).min(FAR)
        };
        // An ejection is forgotten after as long a time in service as it took.
        let mut healthy = now.saturating_duration_since(self.since);
        while let Some(last) = self.ejections.checked_sub(1)
            && let Some(left) = healthy.checked_sub(lasting(last))
        {
            (healthy, self.ejections) = (left, last);
        }
        let until = later(now, lasting(self.ejections));
        // Several of the longest count as one, or they would take long to be forgotten.
        if self.ejections.checked_sub(1).is_none_or(|last| lasting(last) < lasting(self.ejections)) {
            self.ejections += 1;
        }
        self.change(State::Ejected { until, why: Why::Dial(outcome) }, pool, now);
        self.probe_at = Some(self.probe_at.map_or(until, |at| at.min(until)));
    }

    /// Every transition; an ejection has its place by then.
    fn change(&mut self, state: State, pool: &mut Pool, now: Instant) {
        if matches!(self.state, State::Ejected { .. }) {
            pool.give_place_back();
        }
        self.state = state;
        self.since = now;
        self.dial_failures = 0;
        self.contradictions = 0;
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not probed yet"),
            Self::Up => f.write_str("up"),
            Self::Ejected { why, .. } => write!(f, "ejected: {why}"),
            Self::Down { why } => write!(f, "down: {why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(Outcome::Answered) => f.write_str("a session was answered"),
            Self::Dial(Outcome::Refused) => f.write_str("a session's connection was refused"),
            Self::Dial(Outcome::TimedOut) => f.write_str("a session's handshake timed out"),
            Self::Dial(Outcome::Failed) => f.write_str("sessions' handshakes failed"),
            Self::Probe(fault) => write!(f, "probe: {fault}"),
        }
    }
}

/// `every`, 10 % more or less.
fn jittered(every: Duration, random: u32) -> Duration {
    let every = every.min(FAR);
    every / 10 * 9 + (every / 5).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by.min(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests;
