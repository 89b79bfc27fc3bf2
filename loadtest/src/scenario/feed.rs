//! Followers of one feed: does everything reach everybody, how late, how evenly, and what does it cost.

use std::time::Duration;

use anyhow::Context;

use super::open_all;
use crate::cli::FeedArgs;
use crate::client::{Following, Habit, Plan, Swarm};
use crate::clock;
use crate::limits;
use crate::net::Sessions;
use crate::record::{Host, Latency, Record, Times, Unit};
use crate::watch::Watch;
use crate::wire::wide;

/// How long ticks that some follower has had may take to the others at the end, before they count as lost.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs `selat-load feed`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn feed(args: &FeedArgs) -> anyhow::Result<Record> {
    let common = &args.common;
    limits::make_room(args.clients.into())?;
    let watch = Watch::new(&common.pids)?;
    let memory_before = watch.memory()?;
    let plan = Plan::follow(args.stuck);
    let readers = wide((0..args.clients).filter(|&serial| plan.habit(serial) == Habit::Reads).count());
    let mut swarm = Swarm::new(common.dialer(Sessions::Full)?, plan, common.timeout)?;
    swarm.kit.following = Some(Following::new(readers)?);
    open_all(&mut swarm, args.clients, args.connect_rate)?;

    swarm.run(clock::now() + args.warmup, |swarm| swarm.alive() == 0)?;
    let memory = watch.memory()?;
    following(&mut swarm)?.reset_times();
    let (first, delivered_before) = (following(&mut swarm)?.end(), swarm.kit.tally.answered);
    let before = watch.read()?;
    swarm.run(before.at() + args.duration, |swarm| swarm.alive() == 0)?;
    let cost = watch.since(&before)?;
    let deliveries = swarm.kit.tally.answered - delivered_before;
    let seen = following(&mut swarm)?;
    let (end, latency, spread) = (seen.end(), seen.latency.clone(), seen.spread.clone());
    anyhow::ensure!(
        deliveries > 0,
        "no tick came within {}: is `selat-load serve ticker` the source of this feed?",
        humantime::format_duration(args.duration)
    );

    swarm.run(clock::now() + DRAIN, |swarm| swarm.behind(end) == 0)?;
    swarm.kit.tally.faults.lost += swarm.behind(end);
    let held = swarm.alive();
    swarm.close()?;

    let mut record = Record::begin("feed", Unit::Delivery, Host::here());
    record.set("clients", args.clients);
    record.set("stuck", format!("{}%", args.stuck));
    record.count("readers", readers);
    record.count("evicted", swarm.kit.tally.evicted);
    record.count("held", wide(held));
    record.count("ticks", end - first);
    record.answered(deliveries, 0, cost.wall);
    record.latency = Latency { corrected: None, uncorrected: Times::with_curve(&latency) };
    record.spread = Times::with_curve(&spread);
    record.cost(&cost);
    record.memory(&memory_before, &memory, args.clients.into());
    if args.allow_loss {
        record.count("skipped", std::mem::take(&mut swarm.kit.tally.faults.lost));
    }
    record.tally(&swarm.kit.tally);
    Ok(record)
}

fn following(swarm: &mut Swarm) -> anyhow::Result<&mut Following> {
    swarm.kit.following.as_mut().context("nobody follows")
}
