//! The machine of one backend, transition by transition; what many of them do together is simulated in `tests/`.
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use super::*;
use crate::health::{Outlier, Percent, Probe};

const SECOND: Duration = Duration::from_secs(1);

/// A pool of `backends`, of which the first is under test, and its time.
struct World {
    pool: Pool,
    others: Vec<Health>,
    health: Health,
    now: Instant,
}

impl World {
    fn new(settings: Settings, backends: usize) -> Self {
        let (mut pool, now) = (Pool::new(settings), Instant::now());
        let health = Health::join(&mut pool, now);
        let others = (1..backends).map(|_| Health::join(&mut pool, now)).collect();
        Self { pool, others, health, now }
    }

    fn without_probe() -> Self {
        Self::new(Settings::default(), 2)
    }

    fn with_probe() -> Self {
        Self::new(Settings { probe: Some(Probe::Tcp), ..Settings::default() }, 2)
    }

    fn dial(&mut self, outcome: Outcome) -> bool {
        self.health.handle_outcome(outcome, &mut self.pool, self.now);
        self.health.is_up()
    }

    fn dials(&mut self, outcomes: &[Outcome]) -> bool {
        outcomes.iter().map(|outcome| self.dial(*outcome)).last().unwrap_or_else(|| self.health.is_up())
    }

    fn probe(&mut self, result: Result<(), ProbeFault>) -> bool {
        // The middle of the jitter: none.
        self.health.handle_probe(result, &mut self.pool, self.now, u32::MAX / 2);
        self.health.is_up()
    }

    /// Lets time pass until the next probe, and says how much.
    fn wait(&mut self) -> Duration {
        let at = self.health.probe_at().expect("a probe is wanted");
        let waited = at.saturating_duration_since(self.now);
        self.now += waited;
        // The jitter's middle is rounded.
        Duration::from_millis((waited.as_micros() + 500).div_euclid(1000).try_into().unwrap())
    }
}

fn fault() -> Result<(), ProbeFault> {
    Err(ProbeFault::Refused)
}

#[test]
fn a_refusal_takes_it_down_at_once_and_odd_failures_after_three_in_a_row() {
    use Outcome::{Answered, Failed, Refused};
    let mut world = World::without_probe();
    assert!(!world.dial(Refused));
    assert_eq!(*world.health.state(), State::Down { why: Why::Dial(Refused) });

    let mut world = World::without_probe();
    assert!(world.dials(&[Failed, Failed, Answered, Failed, Failed]));
    assert!(!world.dial(Failed));
    assert_eq!(world.health.state().to_string(), "ejected: sessions' handshakes failed");
}

#[test]
fn without_a_probe_of_its_own_a_tcp_connection_brings_it_back() {
    let mut world = World::without_probe();
    assert_eq!(*world.pool.probe(), Probe::Tcp);
    assert_eq!(world.health.probe_at(), None);
    world.dial(Outcome::Refused);
    assert_eq!(world.wait(), SECOND);
    assert!(world.probe(Ok(())));
    assert_eq!(world.health.probe_at(), None);
}

#[test]
fn without_a_probe_of_its_own_looks_back_off_until_a_session_succeeds() {
    let mut world = World::without_probe();
    world.dial(Outcome::Refused);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(world.wait(), SECOND * seconds);
        assert!(!world.probe(fault()));
    }
    world.wait();
    assert!(world.probe(Ok(())));
    world.dial(Outcome::Refused);
    assert_eq!(world.wait(), RECHECK_MAX);
    // Tried in desperation.
    assert!(world.dial(Outcome::Answered));
    assert_eq!(world.health.probe_at(), None);
    world.dial(Outcome::Refused);
    assert_eq!(world.wait(), RECHECK_FIRST);
}

#[test]
fn with_a_probe_it_counts_as_up_until_the_first_result_which_decides() {
    let mut world = World::with_probe();
    assert_eq!((world.health.is_up(), world.health.state()), (true, &State::Unknown));
    assert_eq!(world.wait(), Duration::ZERO);
    assert!(world.probe(Ok(())));
    assert_eq!(*world.health.state(), State::Up);

    let mut world = World::with_probe();
    assert!(!world.probe(fault()));
    assert_eq!(world.health.state().to_string(), "down: probe: connection refused");
}

#[test]
fn with_a_probe_three_failures_in_a_row_take_it_down_and_two_successes_bring_it_back() {
    let mut world = World::with_probe();
    world.probe(Ok(()));
    for result in [fault(), fault(), Ok(()), fault(), fault()] {
        assert_eq!(world.wait(), SECOND * 5);
        assert!(world.probe(result));
    }
    assert!(!world.probe(fault()));
    for result in [Ok(()), fault(), Ok(())] {
        assert_eq!(world.wait(), SECOND * 5);
        assert!(!world.probe(result));
    }
    assert!(world.probe(Ok(())));
}

#[test]
fn probes_are_a_tenth_early_or_late_at_most() {
    for (random, millis) in [(0, 4_500), (u32::MAX, 5_500)] {
        let mut world = World::with_probe();
        world.health.handle_probe(Ok(()), &mut world.pool, world.now, random);
        assert_eq!(world.wait(), Duration::from_millis(millis));
    }
}

#[test]
fn a_probe_that_succeeds_ends_an_ejection_only_when_its_time_is_over() {
    for mut world in [World::without_probe(), World::with_probe()] {
        world.dial(Outcome::TimedOut);
        assert_eq!(world.pool.ejected(), 1);
        // One that was under way.
        assert!(!world.probe(Ok(())));
        assert_eq!(world.wait(), SECOND);
        assert!(world.probe(Ok(())));
        assert_eq!(world.pool.ejected(), 0);
    }
}

#[test]
fn an_ejected_backend_that_fails_its_probe_is_down_and_no_longer_ejected() {
    let mut world = World::without_probe();
    world.dial(Outcome::TimedOut);
    world.wait();
    assert!(!world.probe(fault()));
    assert_eq!(
        (world.health.state().to_string(), world.pool.ejected()),
        ("down: probe: connection refused".to_owned(), 0)
    );
    assert_eq!(world.wait(), RECHECK_FIRST);

    let mut world = World::with_probe();
    world.dial(Outcome::TimedOut);
    for ejected in [1, 1, 0] {
        world.wait();
        assert!(!world.probe(fault()));
        assert_eq!(world.pool.ejected(), ejected);
    }
}

#[test]
fn ejections_double_and_are_forgotten_after_as_long_in_service() {
    let mut world = World::without_probe();
    let mut eject = |healthy: u32| {
        world.now += SECOND * healthy;
        assert!(!world.dial(Outcome::TimedOut));
        let waited = world.wait();
        assert!(world.probe(Ok(())));
        waited.as_secs()
    };
    assert_eq!([0, 0, 0, 0, 0, 0, 0].map(&mut eject), [1, 2, 4, 8, 16, 30, 30]);
    // Not as long in service: the same. As long: forgotten, and the next is as long as that was.
    assert_eq!([29, 30, 30 + 16, 15, 30 + 16 + 8].map(&mut eject), [30, 30, 16, 30, 8]);
    assert_eq!(eject(1_000_000), 1);
}

#[test]
fn a_pool_ejects_no_more_than_its_share_but_refusals_are_not_counted() {
    let mut world = World::new(Settings::default(), 4);
    for other in &mut world.others[..2] {
        other.handle_outcome(Outcome::TimedOut, &mut world.pool, world.now);
        assert!(!other.is_up());
    }
    assert!(world.dials(&[Outcome::TimedOut, Outcome::Failed, Outcome::Failed, Outcome::Failed]));
    // A place becomes free: the next failure is one too many already.
    world.others.remove(0).leave(&mut world.pool);
    world.pool.add();
    assert!(!world.dial(Outcome::Failed));
    let mut last = world.others.remove(1);
    last.handle_outcome(Outcome::Refused, &mut world.pool, world.now);
    assert_eq!((last.is_up(), world.pool.ejected()), (false, 2));
}

#[test]
fn a_share_of_nothing_turns_ejection_off() {
    let outlier = Outlier { ejected_share_max: Percent::ZERO, ..Outlier::default() };
    let mut world = World::new(Settings { outlier, ..Settings::default() }, 2);
    assert!(world.dials(&[Outcome::TimedOut, Outcome::Failed, Outcome::Failed, Outcome::Failed]));
    assert!(!world.dial(Outcome::Refused));
}

#[test]
fn a_session_refutes_a_refusal_but_not_a_probe_that_was_configured() {
    let mut world = World::with_probe();
    world.probe(Ok(()));
    world.dial(Outcome::Refused);
    assert!(world.dial(Outcome::Answered));
    assert!(world.health.probe_at().is_some(), "it is still probed");

    let mut world = World::with_probe();
    world.probe(fault());
    assert!(!world.dial(Outcome::Answered));
}

#[test]
fn dials_that_fail_while_it_is_not_up_tell_nothing_new() {
    for first in [Outcome::Refused, Outcome::TimedOut] {
        let mut world = World::without_probe();
        world.dial(first);
        let (state, probe_at) = (world.health.state().clone(), world.health.probe_at());
        world.dials(&[Outcome::Failed, Outcome::Refused, Outcome::TimedOut]);
        assert_eq!((world.health.state(), world.health.probe_at()), (&state, probe_at));
    }
}

#[test]
fn a_slow_start_raises_the_weight_from_a_tenth_to_all() {
    let settings = Settings { slow_start: Some(SECOND * 9), ..Settings::default() };
    let mut world = World::new(settings.clone(), 2);
    world.dial(Outcome::Refused);
    world.wait();
    world.probe(Ok(()));
    let since = world.now;
    for tenths in 1..10_u32 {
        let weight = world.health.weight(&settings, world.now);
        assert_eq!(weight.factor, 256 * tenths / 10);
        assert_eq!(weight.changes_at, Some(since + SECOND * tenths));
        let just_before = since + SECOND * tenths - Duration::from_nanos(1);
        assert_eq!(world.health.weight(&settings, just_before), weight);
        world.now = since + SECOND * tenths;
    }
    let full = Weight { factor: 256, changes_at: None };
    assert_eq!(world.health.weight(&settings, world.now), full);
    assert_eq!(world.health.weight(&Settings::default(), since), full, "no slow start");
}

#[test]
fn new_settings_begin_and_end_probing() {
    let mut world = World::without_probe();
    let probing = Settings { probe: Some(Probe::Tcp), ..Settings::default() };
    world.pool.set_settings(probing);
    world.health.handle_settings(&world.pool, world.now);
    assert_eq!((world.health.state(), world.health.probe_at()), (&State::Up, Some(world.now)));
    world.pool.set_settings(Settings::default());
    world.health.handle_settings(&world.pool, world.now);
    assert_eq!(world.health.probe_at(), None);

    let mut world = World::with_probe();
    world.probe(fault());
    world.pool.set_settings(Settings::default());
    world.health.handle_settings(&world.pool, world.now);
    world.wait();
    assert!(world.probe(Ok(())), "one success is enough now");
    assert_eq!(world.health.probe_at(), None);
}

#[test]
fn settings_beyond_all_reason_overflow_nothing() {
    let outlier = Outlier { ejection_base: Duration::MAX, ejection_max: Duration::MAX, ..Outlier::default() };
    let settings = Settings {
        probe: Some(Probe::Tcp),
        every: Duration::MAX,
        slow_start: Some(Duration::MAX),
        outlier,
        ..Settings::default()
    };
    let mut world = World::new(settings.clone(), 1);
    world.probe(Ok(()));
    assert!(world.health.weight(&settings, world.now).changes_at > Some(world.now));
    world.dial(Outcome::TimedOut);
    assert!(!world.probe(Ok(())));
}
