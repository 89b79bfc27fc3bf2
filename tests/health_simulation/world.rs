//! One simulated pool: its backends as they are, and as they are thought to be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use selat::health::{
    Health, Outcome, Outlier, Percent, Pool, Probe, ProbeFault, Settings, State, is_panicking,
};

use super::oracle::{Oracle, Told, recovery_max};
use crate::seeds::Simulation;

/// After which a dial times out.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than a backend takes that is well.
const LATENCY_MAX: Duration = Duration::from_millis(50);

/// Virtual time of a pool: trouble, then everybody dead, then everybody well.
const TROUBLE: Duration = Duration::from_secs(600);

/// How a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Well,
    /// Nobody listens.
    Dead,
    /// The kernel accepts, nobody answers.
    Hanging,
    /// Fails sessions, passes probes.
    Outlier,
    /// This one time so, that time so.
    Flapping,
}

impl Mode {
    const ALL: [Self; 6] = [Self::Well, Self::Well, Self::Dead, Self::Hanging, Self::Outlier, Self::Flapping];
}

#[derive(Debug)]
enum Event {
    /// A client comes.
    Client,
    Dialled {
        slot: usize,
        name: u32,
        outcome: Outcome,
    },
    Probed {
        slot: usize,
        name: u32,
        result: Result<(), ProbeFault>,
    },
    /// A backend changes.
    Turn {
        slot: usize,
    },
    /// A backend is replaced by another.
    Replace {
        slot: usize,
    },
}

struct Backend {
    /// Told apart from the one that was in its place before.
    name: u32,
    health: Health,
    oracle: Oracle,
    mode: Mode,
    /// Since when it is in that mode.
    since: Instant,
    is_probing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Season {
    Trouble,
    AllDead,
    AllWell,
}

/// A pool, its clients, and the time.
pub(crate) struct World {
    rng: Rng,
    start: Instant,
    now: Instant,
    pool: Pool,
    backends: Vec<Backend>,
    events: BTreeMap<(Instant, u64), Event>,
    count: u64,
    names: u32,
    season: Season,
    client_every: Duration,
    trace: Vec<String>,
}

impl Simulation for World {
    fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let start = Instant::now();
        let mut rng = Rng::with_seed(seed);
        let settings = settings(&mut rng);
        let mut world = Self {
            pool: Pool::new(settings.clone()),
            backends: Vec::new(),
            events: BTreeMap::new(),
            count: 0,
            names: 0,
            season: Season::Trouble,
            client_every: Duration::from_millis(rng.u64(5..500)),
            trace: vec![format!("{settings:?}")],
            start,
            now: start,
            rng,
        };
        for slot in 0..world.rng.usize(1..10) {
            let backend = world.backend();
            world.backends.push(backend);
            let at = world.now + world.some(60_000);
            world.schedule(at, Event::Turn { slot });
        }
        world.schedule(start, Event::Client);
        world
    }

    /// Goes through the seasons.
    fn run(&mut self) {
        let latency = DIAL_TIMEOUT + LATENCY_MAX;
        let settled = recovery_max(self.pool.settings(), latency) + latency;
        self.run_until(self.start + TROUBLE);
        self.all_become(Season::AllDead, Mode::Dead);
        // A session a second or a probe finds each of them out.
        self.run_until(self.now + settled + Duration::from_secs(60));
        assert_eq!(self.up(), 0, "nobody is there");
        assert!(self.is_panicking());
        self.all_become(Season::AllWell, Mode::Well);
        self.run_until(self.now + settled);
        assert_eq!(self.up(), self.backends.len(), "everybody is well");
        assert!(!self.is_panicking());
        assert_eq!(self.pool.ejected(), 0);
        for backend in &self.backends {
            backend.oracle.check_calm(self.pool.settings(), self.now);
        }
    }

    fn trace(&self) -> &[String] {
        &self.trace
    }
}

impl World {
    fn run_until(&mut self, end: Instant) {
        loop {
            let due = self.backends.iter().filter(|backend| !backend.is_probing);
            let probe = due.filter_map(|backend| backend.health.probe_at()).min();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = probe.into_iter().chain(event).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if probe.is_some_and(|at| at <= self.now) {
                self.start_probes();
            } else if let Some((_, event)) = self.events.pop_first() {
                self.happen(event);
            }
            self.check();
        }
        self.now = end;
    }

    fn start_probes(&mut self) {
        for slot in 0..self.backends.len() {
            let Backend { health, is_probing, mode, name, .. } = &mut self.backends[slot];
            if *is_probing || health.probe_at().is_none_or(|at| at > self.now) {
                continue;
            }
            *is_probing = true;
            let (mode, name) = (*mode, *name);
            let (took, result) = self.answer_to_probe(mode);
            self.schedule(self.now + took, Event::Probed { slot, name, result });
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client => {
                self.dial();
                let at = self.now + self.client_every;
                self.schedule(at, Event::Client);
            }
            Event::Dialled { slot, name, outcome } => {
                self.tell(slot, name, Told::Dial(outcome), |health, pool, now, _| {
                    health.handle_outcome(outcome, pool, now);
                });
            }
            Event::Probed { slot, name, result } => {
                let told = Told::Probe { is_good: result.is_ok() };
                self.tell(slot, name, told, |health, pool, now, random| {
                    health.handle_probe(result, pool, now, random);
                });
            }
            Event::Turn { slot } if self.season == Season::Trouble => {
                let mode = *self.rng.choice(&Mode::ALL).unwrap();
                self.become_(slot, mode);
                let at = self.now + self.some(120_000);
                let next = if self.rng.u8(..8) == 0 { Event::Replace { slot } } else { Event::Turn { slot } };
                self.schedule(at, next);
            }
            Event::Replace { slot } if self.season == Season::Trouble => {
                let backend = self.backend();
                self.trace(format!("{} is replaced by {}", self.backends[slot].name, backend.name));
                std::mem::replace(&mut self.backends[slot], backend).health.leave(&mut self.pool);
                self.schedule(self.now, Event::Turn { slot });
            }
            Event::Turn { .. } | Event::Replace { .. } => {}
        }
    }

    /// Tells one backend's health something, unless the backend is gone, and has it judged.
    fn tell(
        &mut self,
        slot: usize,
        name: u32,
        told: Told,
        tell: impl FnOnce(&mut Health, &mut Pool, Instant, u32),
    ) {
        let (random, ejected) = (self.rng.u32(..), self.pool.ejected());
        let Backend { health, oracle, is_probing, name: current, .. } = &mut self.backends[slot];
        if *current != name {
            return;
        }
        *is_probing &= !matches!(told, Told::Probe { .. });
        let before = health.state().to_string();
        tell(health, &mut self.pool, self.now, random);
        oracle.judge(told, health, self.pool.settings(), self.now);
        let (after, is_up) = (health.state().to_string(), health.is_up());
        if before != after {
            self.trace(format!("{name} is {after}"));
        }
        let places = self.places();
        assert!(self.pool.ejected() <= ejected.max(places), "one too many is ejected");
        if told == Told::Dial(Outcome::TimedOut) && ejected < places {
            assert!(!is_up, "there was a place for it");
        }
    }

    /// A client is placed on a backend that is up, or on any in a panic.
    fn dial(&mut self) {
        let panics = self.is_panicking();
        let allowed = |slot: &usize| panics || self.backends[*slot].health.is_up();
        let slots: Vec<_> = (0..self.backends.len()).filter(allowed).collect();
        let slot = *self.rng.choice(&slots).expect("a pool that does not panic has somebody up");
        let Backend { mode, name, .. } = self.backends[slot];
        let (took, outcome) = self.answer_to_dial(mode);
        self.schedule(self.now + took, Event::Dialled { slot, name, outcome });
    }

    fn answer_to_dial(&mut self, mode: Mode) -> (Duration, Outcome) {
        match mode {
            Mode::Well => (self.latency(), Outcome::Answered),
            Mode::Dead => (self.latency(), Outcome::Refused),
            Mode::Hanging => (DIAL_TIMEOUT, Outcome::TimedOut),
            Mode::Outlier => (self.latency(), Outcome::Failed),
            Mode::Flapping => {
                let mode = self.rng.choice([Mode::Well, Mode::Dead, Mode::Hanging, Mode::Outlier]).unwrap();
                self.answer_to_dial(mode)
            }
        }
    }

    fn answer_to_probe(&mut self, mode: Mode) -> (Duration, Result<(), ProbeFault>) {
        let timeout = self.pool.settings().timeout;
        match (mode, self.pool.probe()) {
            (Mode::Dead, _) => (self.latency(), Err(ProbeFault::Refused)),
            (Mode::Hanging, Probe::Http { .. } | Probe::WebSocket { .. }) => {
                (timeout, Err(ProbeFault::AnswerTimedOut { after: timeout }))
            }
            (Mode::Well | Mode::Outlier, _) | (Mode::Hanging, Probe::Tcp) => (self.latency(), Ok(())),
            (Mode::Flapping, _) => {
                let mode = self.rng.choice([Mode::Well, Mode::Dead, Mode::Hanging]).unwrap();
                self.answer_to_probe(mode)
            }
        }
    }

    /// What must be true at every moment.
    fn check(&self) {
        let settings = self.pool.settings();
        let is_ejected = |backend: &&Backend| matches!(backend.health.state(), State::Ejected { .. });
        assert_eq!(self.pool.ejected(), self.backends.iter().filter(is_ejected).count());
        assert_eq!(self.pool.backends(), self.backends.len());
        let share = self.up() * 100 / self.backends.len();
        let is_due = self.up() == 0 || share < usize::from(settings.panic_below.get());
        assert_eq!(self.is_panicking(), is_due, "{} of {}", self.up(), self.backends.len());
        let latency = DIAL_TIMEOUT + LATENCY_MAX;
        let out_max = recovery_max(settings, latency) + latency;
        for Backend { name, health, mode, since, .. } in &self.backends {
            let is_overdue = *mode == Mode::Well && self.now - *since > out_max;
            assert!(health.is_up() || !is_overdue, "{name} has been well for long: {}", health.state());
            let weight = health.weight(settings, self.now);
            assert!((25..=256).contains(&weight.factor));
            assert!(weight.changes_at.is_none_or(|at| self.now < at && weight.factor < 256));
        }
    }

    fn is_panicking(&self) -> bool {
        is_panicking(self.up(), self.backends.len(), self.pool.settings())
    }

    fn up(&self) -> usize {
        self.backends.iter().filter(|backend| backend.health.is_up()).count()
    }

    /// Backends that may be ejected at once, as documented.
    fn places(&self) -> usize {
        let percent = usize::from(self.pool.settings().outlier.ejected_share_max.get());
        if percent == 0 { 0 } else { (self.backends.len() * percent / 100).max(1) }
    }

    fn backend(&mut self) -> Backend {
        let health = Health::join(&mut self.pool, self.now);
        let oracle = Oracle::new(&health, self.now);
        self.names += 1;
        let name = self.names;
        Backend { name, health, oracle, mode: Mode::Well, since: self.now, is_probing: false }
    }

    fn all_become(&mut self, season: Season, mode: Mode) {
        self.season = season;
        (0..self.backends.len()).for_each(|slot| self.become_(slot, mode));
    }

    fn become_(&mut self, slot: usize, mode: Mode) {
        let backend = &mut self.backends[slot];
        if backend.mode != mode {
            (backend.mode, backend.since) = (mode, self.now);
            let line = format!("{} becomes {mode:?}", backend.name);
            self.trace(line);
        }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn some(&mut self, millis_max: u64) -> Duration {
        Duration::from_millis(self.rng.u64(1..millis_max))
    }

    fn latency(&mut self) -> Duration {
        self.some(50)
    }

    fn trace(&mut self, what: String) {
        self.trace.push(format!("{:>12?} {what}", self.now - self.start));
    }
}

fn settings(rng: &mut Rng) -> Settings {
    let path = || "/health".to_owned();
    let probes = [
        None,
        Some(Probe::Tcp),
        Some(Probe::Http { path: path() }),
        Some(Probe::WebSocket { path: Some(path()), exchange: None }),
    ];
    let ejection_base = Duration::from_millis(rng.u64(100..5_000));
    let percents = [0, 10, 50, 100].map(|percent| Percent::new(percent).unwrap());
    Settings {
        probe: rng.choice(probes).unwrap(),
        rise: rng.u32(1..4),
        fall: rng.u32(1..4),
        every: Duration::from_millis(rng.u64(500..10_000)),
        timeout: Duration::from_millis(rng.u64(100..3_000)),
        slow_start: rng.bool().then(|| Duration::from_millis(rng.u64(0..60_000))),
        panic_below: rng.choice(percents).unwrap(),
        outlier: Outlier {
            failures: rng.u32(1..6),
            ejection_base,
            ejection_max: ejection_base * rng.u32(1..40),
            ejected_share_max: rng.choice(percents).unwrap(),
        },
    }
}
