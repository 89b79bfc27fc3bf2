//! What must be true of one backend's health, from what it was told: kept by counting, not by a machine of states.

use std::time::{Duration, Instant};

use selat::health::{Health, Outcome, Settings, State};

/// The waits of a pool without a probe, as documented.
const RECHECK_FIRST: Duration = Duration::from_secs(1);
const RECHECK_MAX: Duration = Duration::from_secs(30);

/// What a backend's health was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Dial(Outcome),
    Probe { is_good: bool },
}

/// What it was told since the last transition, and what it made of that.
#[derive(Debug)]
pub(crate) struct Oracle {
    before: State,
    since: Instant,
    joined: Instant,
    was_probed: bool,
    failed_dials: u32,
    failed_probes: u32,
    good_probes: u32,
    /// How long the last ejection was to last.
    last_ejection: Option<Duration>,
    /// Times it stopped being up, and times that a session's answer, not a probe, brought it back.
    pub(crate) falls: u32,
    pub(crate) answered_back: u32,
}

impl Oracle {
    pub(crate) fn new(health: &Health, now: Instant) -> Self {
        Self {
            before: health.state().clone(),
            since: now,
            joined: now,
            was_probed: false,
            failed_dials: 0,
            failed_probes: 0,
            good_probes: 0,
            last_ejection: None,
            falls: 0,
            answered_back: 0,
        }
    }

    /// Judges what `health` made of what it has just been told.
    pub(crate) fn judge(&mut self, told: Told, health: &Health, settings: &Settings, now: Instant) {
        match told {
            Told::Dial(Outcome::Answered) => self.failed_dials = 0,
            Told::Dial(Outcome::Failed) => self.failed_dials += 1,
            Told::Dial(Outcome::Refused | Outcome::TimedOut) => {}
            Told::Probe { is_good: true } => {
                (self.good_probes, self.failed_probes) = (self.good_probes + 1, 0)
            }
            Told::Probe { is_good: false } => {
                (self.good_probes, self.failed_probes) = (0, self.failed_probes + 1)
            }
        }
        let after = health.state().clone();
        assert_eq!(health.is_up(), matches!(after, State::Unknown | State::Up));
        let kinds = [&self.before, &after].map(std::mem::discriminant);
        if kinds[0] == kinds[1] {
            self.must_have_stayed(told, settings);
        } else {
            self.check_transition(told, &after, settings, now);
            self.falls += u32::from(!health.is_up() && matches!(self.before, State::Unknown | State::Up));
            // The first good probe of one that was taken for up: nothing begins.
            if self.before != State::Unknown || after != State::Up {
                (self.since, self.failed_dials) = (now, 0);
            }
            (self.failed_probes, self.good_probes) = (0, 0);
        }
        assert_eq!(health.since(), self.since);
        self.was_probed |= matches!(told, Told::Probe { .. });
        self.before = after;
        self.check_probe_at(told, health, settings, now);
    }

    /// That what it did is what it was told to.
    fn check_transition(&mut self, told: Told, after: &State, settings: &Settings, now: Instant) {
        let Settings { probe, rise, fall, outlier, .. } = settings;
        let is_reason = match (&self.before, after, told) {
            (State::Unknown, State::Up, Told::Probe { is_good }) => is_good,
            (State::Unknown | State::Up, State::Down { .. }, Told::Dial(outcome)) => {
                outcome == Outcome::Refused
            }
            (State::Unknown, State::Down { .. }, Told::Probe { is_good }) => !is_good && !self.was_probed,
            (State::Up, State::Down { .. }, Told::Probe { .. }) => {
                probe.is_some() && self.failed_probes >= *fall
            }
            (State::Ejected { .. }, State::Down { .. }, Told::Probe { is_good }) => {
                !is_good && (probe.is_none() || self.failed_probes >= *fall)
            }
            (State::Unknown | State::Up, State::Ejected { until, .. }, Told::Dial(outcome)) => {
                self.check_ejection(*until - now, settings, now);
                outcome == Outcome::TimedOut
                    || outcome == Outcome::Failed && self.failed_dials >= outlier.failures
            }
            (State::Ejected { until, .. }, State::Up, Told::Probe { is_good }) => is_good && *until <= now,
            (State::Down { .. }, State::Up, Told::Probe { is_good }) => {
                is_good && (probe.is_none() || self.good_probes >= *rise)
            }
            (State::Down { .. }, State::Up, Told::Dial(outcome)) => {
                self.answered_back += 1;
                outcome == Outcome::Answered
            }
            (before, after, told) => panic!("{before:?} became {after:?} by {told:?}"),
        };
        assert!(is_reason, "{:?} became {after:?} by {told:?}: {self:?}", self.before);
    }

    /// That it did not miss what it was told. Ejection is the pool's to refuse, and judged there.
    fn must_have_stayed(&self, told: Told, settings: &Settings) {
        let Settings { probe, rise, fall, .. } = settings;
        let had_to_change = match (&self.before, told) {
            (State::Unknown | State::Up, Told::Dial(outcome)) => outcome == Outcome::Refused,
            (State::Unknown, Told::Probe { .. }) => true,
            (State::Up, Told::Probe { .. }) => probe.is_some() && self.failed_probes >= *fall,
            (State::Ejected { .. }, Told::Probe { .. }) => self.failed_probes >= *fall,
            (State::Down { .. }, Told::Probe { is_good }) => {
                is_good && (probe.is_none() || self.good_probes >= *rise)
            }
            (State::Ejected { .. } | State::Down { .. }, Told::Dial(_)) => false,
        };
        assert!(!had_to_change, "still {:?} after {told:?}: {self:?}", self.before);
    }

    /// That an ejection doubles the last one, unless there has been as long a time in service.
    fn check_ejection(&mut self, length: Duration, settings: &Settings, now: Instant) {
        let outlier = settings.outlier;
        let first = outlier.ejection_base.min(outlier.ejection_max);
        let service = now - self.since;
        match self.last_ejection {
            None => assert_eq!(length, first),
            Some(last) if service < last => assert_eq!(length, (last * 2).min(outlier.ejection_max)),
            Some(last) => assert!(first <= length && length <= last, "{length:?} after {last:?}"),
        }
        self.last_ejection = Some(length);
    }

    /// That it will be looked at again, neither soon nor late.
    fn check_probe_at(&self, told: Told, health: &Health, settings: &Settings, now: Instant) {
        let wait = health.probe_at().map(|at| at.saturating_duration_since(now));
        let every_max = settings.every * 11 / 10;
        match (&self.before, &settings.probe) {
            (State::Unknown | State::Up, None) => assert_eq!(wait, None),
            (State::Ejected { until, .. }, None) => assert_eq!(health.probe_at(), Some(*until)),
            (State::Down { .. }, None) => assert!(wait.unwrap() <= RECHECK_MAX),
            (State::Ejected { until, .. }, Some(_)) if now < *until => {
                assert!(health.probe_at().unwrap() <= *until && wait.unwrap() <= every_max);
            }
            (State::Unknown | State::Up | State::Ejected { .. } | State::Down { .. }, Some(_)) => {
                assert!(wait.unwrap() <= every_max);
            }
        }
        if matches!(told, Told::Probe { .. })
            && let Some(wait) = wait
            && !matches!(self.before, State::Ejected { .. })
        {
            let soonest = if settings.probe.is_some() { settings.every * 9 / 10 } else { RECHECK_FIRST };
            // A duration's tenths are rounded.
            assert!(wait + Duration::from_micros(1) >= soonest, "again after {wait:?}");
        }
    }

    /// That it did not go up and down more often than waits allow: each fall but those that sessions refuted is
    /// followed by the shortest of them.
    pub(crate) fn check_calm(&self, settings: &Settings, now: Instant) {
        let outlier = settings.outlier;
        let shortest = outlier.ejection_base.min(outlier.ejection_max).min(match settings.probe {
            None => RECHECK_FIRST,
            // The first success may be due at once.
            Some(_) => settings.every * 9 / 10 * (settings.rise - 1).max(1),
        });
        let falls = self.falls - self.answered_back.min(self.falls);
        let time = now - self.joined;
        let most = time.as_millis() / shortest.as_millis() + 1;
        assert!(u128::from(falls) <= most, "{falls} falls in {time:?}, {shortest:?} apart");
    }
}

/// How long a backend may be kept out that is well, from its last failure on.
pub(crate) fn recovery_max(settings: &Settings, latency: Duration) -> Duration {
    let ejection = settings.outlier.ejection_max;
    match settings.probe {
        None => ejection.max(RECHECK_MAX) + latency * 2,
        Some(_) => {
            let round = settings.every * 11 / 10 + settings.timeout + latency;
            ejection.max(round * settings.rise) + round * 2
        }
    }
}
