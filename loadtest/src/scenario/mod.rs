//! What the measuring commands do with a crew.

mod doubts;
mod echo;
mod feed;
mod idle;
mod storm;

pub(crate) use echo::echo;
pub(crate) use feed::feed;
pub(crate) use idle::idle;
pub(crate) use storm::storm;

use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::thread::sched_getaffinity;

use crate::cli::CommonArgs;
use crate::client::{Plan, Share, Swarm};
use crate::clock;
use crate::crew::{Measured, Part, Role, Script, measure};
use crate::limits;
use crate::net::Sessions;
use crate::record::{Host, Record, Unit};
use crate::watch::Watch;
use crate::wire::float;

/// Sessions that may be opening at the same time where no rate is asked for; keeps within any listener's backlog.
const OPENING_MAX: u32 = 128;

/// Sessions for each of which, at least, one more thread is worth while.
const SESSIONS_A_THREAD: u32 = 32;

/// Cores of a machine, at most: what the kernel lists them in.
const CORES_MAX: usize = 1024;

/// The sessions of a run, dealt out to threads.
struct Cast {
    /// Sessions at a time.
    sessions: u32,
    plan: Plan,
    tls: Sessions,
}

impl Cast {
    /// Measures them by `script`, each thread with a part that `part` makes of its share.
    ///
    /// # Errors
    /// Nothing could be measured.
    fn play<P: Part>(
        self,
        common: &CommonArgs,
        script: &Script,
        part: impl Fn(Share) -> P,
    ) -> anyhow::Result<Measured> {
        limits::make_room(self.sessions.into())?;
        limits::expect_ports(self.sessions.into(), &common.target)?;
        let (watch, cores) = (Watch::new(&common.pids)?, common.cores(self.sessions)?);
        let (stride, timeout) = (u32::try_from(cores.len())?, common.timeout);
        let plan = Plan { asks: common.asks(), ..self.plan };
        let role = |(first, core)| {
            let (share, plan) = (Share { first, stride }, plan.clone());
            let dialer = common.dialer(self.tls)?;
            let swarm = Box::new(move |bell| Swarm::new(dialer, plan, share, timeout, &bell));
            Ok(Role { part: part(share), swarm, core })
        };
        let roles = (0..).zip(cores).map(role).collect::<anyhow::Result<Vec<Role<P>>>>()?;
        measure(roles, watch, script)
    }
}

impl CommonArgs {
    /// The threads for `sessions` at a time, each with the core that it is pinned to, if it is to one.
    ///
    /// # Errors
    /// This process may not run on a core that was named.
    fn cores(&self, sessions: u32) -> anyhow::Result<Vec<Option<usize>>> {
        let allowed = sched_getaffinity(None)?;
        let sessions = usize::try_from(sessions)?.max(1);
        if let Some(core) = self.cores.iter().find(|core| **core >= CORES_MAX || !allowed.is_set(**core)) {
            anyhow::bail!("--cores: this process may not run on core {core}");
        }
        if !self.cores.is_empty() {
            return Ok(self.cores.iter().copied().map(Some).take(sessions).collect());
        }
        let worth_while = sessions.div_ceil(usize::try_from(SESSIONS_A_THREAD)?);
        let usual = worth_while.min(usize::try_from(allowed.count())?);
        let threads = self.threads.map_or(Ok(usual), usize::try_from)?;
        Ok(vec![None; threads.clamp(1, sessions)])
    }

    /// A script by which `unit`s are counted.
    fn script(&self, unit: Unit, warmup: Duration, duration: Option<Duration>) -> Script {
        Script {
            unit,
            warmup,
            duration,
            slice: self.interval,
            progress: self.progress,
            memory: false,
            followers: 0,
        }
    }
}

/// The part of a record that all commands have.
fn record(command: &str, unit: Unit, measured: &mut Measured) -> Record {
    let mut record = Record::begin(command, unit, Host::here());
    record.set("threads", measured.threads);
    let answered = match unit {
        Unit::Message | Unit::Delivery => measured.tally.answered,
        Unit::Session => measured.tally.completed,
        Unit::Connection => measured.whole.opened,
    };
    record.answered(answered, 0, measured.wall);
    record.totals.payload_bytes = measured.tally.bytes;
    record.cost(&measured.cost);
    record.tally(&measured.whole);
    record.intervals = std::mem::take(&mut measured.intervals);
    record.warnings.extend(doubts::doubts(unit, measured));
    record
}

/// Opens sessions until a swarm has its share of `connections`, and none is opening any more.
///
/// # Errors
/// One of them failed: figures for fewer connections than asked for would mislead.
fn open_all(swarm: &mut Swarm, connections: u32, rate: Option<f64>) -> anyhow::Result<()> {
    let (began, share) = (clock::now(), swarm.share().of(connections));
    let mut now = began;
    while swarm.begun() < share || swarm.opening() > 0 {
        while swarm.begun() < share && may_open(swarm, rate, began, now) {
            swarm.open(now)?;
        }
        now = swarm.turn(now, next_opening(swarm, rate, began, now))?;
        if let Some(failure) = swarm.first_failure() {
            anyhow::bail!(
                "after {} of {connections} connections had opened, one did not: {failure}",
                swarm.alive() - usize::try_from(swarm.opening())?
            );
        }
        ensure!(!swarm.is_called(), "interrupted before anything was measured");
    }
    Ok(())
}

fn may_open(swarm: &Swarm, rate: Option<f64>, began: Instant, now: Instant) -> bool {
    match rate {
        Some(_) => next_opening(swarm, rate, began, now) <= now,
        None => swarm.opening() < OPENING_MAX / swarm.share().stride.min(OPENING_MAX),
    }
}

/// When the next session is due; without a rate, events will tell.
fn next_opening(swarm: &Swarm, rate: Option<f64>, began: Instant, now: Instant) -> Instant {
    let serial = float(swarm.share().serial(swarm.begun()).into());
    let due = rate.and_then(|rate| Duration::try_from_secs_f64(serial / rate).ok());
    due.map_or(now + Duration::from_secs(1), |due| began + due)
}
