//! Sessions that connect, upgrade, echo one message and close, one after the other.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::cli::StormArgs;
use crate::client::{Plan, Swarm, Tally, Then};
use crate::clock;
use crate::limits;
use crate::net::{Sessions, Transport};
use crate::record::{Host, Latency, Record, Times, Unit};
use crate::watch::Watch;

/// Failures after which a storm without one success is given up.
const FAILURES_MAX: u64 = 1000;

/// How long to wait for events before asking again whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// Runs `selat-load storm`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn storm(args: &StormArgs) -> anyhow::Result<Record> {
    let common = &args.common;
    limits::make_room(args.concurrency.into())?;
    let watch = Watch::new(&common.pids)?;
    ensure!(
        !args.handshake_only || common.target.transport == Transport::Tls,
        "--handshake-only is for TLS: the target must be wss://…"
    );
    let then = if args.handshake_only { Then::Leave } else { Then::Close };
    let plan = Plan { messages_max: 1, then, ..Plan::echo(args.size.clone()) };
    let sessions = if args.resume { Sessions::Resumed } else { Sessions::Full };
    let mut storm = Storm {
        swarm: Swarm::new(common.dialer(sessions)?, plan, common.timeout)?,
        concurrency: usize::try_from(args.concurrency)?,
        sessions_max: args.count.unwrap_or(u64::MAX),
    };

    if args.count.is_none() {
        let until = clock::now() + args.warmup;
        storm.run(|now, _| now < until)?;
    }
    storm.swarm.kit.tally.reset_times();
    let (before, completed_before) = (watch.read()?, storm.swarm.kit.tally.completed);
    match args.count {
        Some(count) => storm.run(|_, tally| tally.completed + tally.failed() < count)?,
        None => storm.run(|now, _| now < before.at() + args.duration)?,
    }
    let cost = watch.since(&before)?;
    let sessions = storm.swarm.kit.tally.completed - completed_before;
    let session_times = storm.swarm.kit.tally.sessions.clone();
    let round_trips = storm.swarm.kit.tally.round_trips.clone();

    let swarm = &mut storm.swarm;
    swarm.run(clock::now() + common.timeout, |swarm| swarm.alive() == 0)?;

    let mut record = Record::begin("storm", Unit::Session, Host::here());
    record.set("concurrency", args.concurrency);
    record.set("size", args.size.to_string());
    record.answered(sessions, 0, cost.wall);
    record.latency = Latency { corrected: None, uncorrected: Times::with_curve(&round_trips) };
    record.session = Times::with_curve(&session_times);
    record.cost(&cost);
    record.tally(&swarm.kit.tally);
    Ok(record)
}

/// A swarm that is kept at a number of sessions.
struct Storm {
    swarm: Swarm,
    concurrency: usize,
    sessions_max: u64,
}

impl Storm {
    /// Goes on while `more` says so.
    fn run(&mut self, more: impl Fn(Instant, &Tally) -> bool) -> anyhow::Result<()> {
        let mut now = clock::now();
        while more(now, &self.swarm.kit.tally) {
            while self.swarm.alive() < self.concurrency && u64::from(self.swarm.begun()) < self.sessions_max {
                self.swarm.open()?;
                self.give_up_on_a_dead_server()?;
            }
            now = self.swarm.turn(now, now + PATIENCE)?;
        }
        Ok(())
    }

    fn give_up_on_a_dead_server(&self) -> anyhow::Result<()> {
        let tally = &self.swarm.kit.tally;
        let failure = tally.failures.keys().next().map_or("", String::as_str);
        ensure!(
            tally.completed > 0 || tally.failed() < FAILURES_MAX,
            "{FAILURES_MAX} sessions failed and none succeeded, the first: {failure}"
        );
        Ok(())
    }
}
