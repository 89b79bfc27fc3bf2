//! Followers of one feed: does everything reach everybody, how late, how evenly, and what does it cost.

use std::time::Duration;

use anyhow::Context;

use super::open_all;
use crate::cli::FeedArgs;
use crate::client::{Following, Habit, Plan, Swarm};
use crate::clock;
use crate::limits;
use crate::net::Sessions;
use crate::report::{Report, per_second};
use crate::watch::Watch;
use crate::wire::wide;

/// How long ticks that some follower has had may take to the others at the end, before they count as lost.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs `selat-load feed`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn feed(args: &FeedArgs) -> anyhow::Result<Report> {
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

    let mut report = Report::new("feed");
    report.count("clients", "clients", args.clients.into());
    report.count("readers", "clients that read", readers);
    report.count("evicted", "others, seen to be dropped", swarm.kit.tally.evicted);
    report.count("held", "still open at the end", wide(held));
    report.figure("seconds", "measured", cost.wall.as_secs_f64(), "s");
    report.count("ticks", "ticks", end - first);
    report.count("deliveries", "deliveries", deliveries);
    report.figure("deliveries_per_second", "rate", per_second(deliveries, cost.wall), "deliveries/s");
    report.times("latency", "source to client", &latency);
    report.times("spread", "first to last client", &spread);
    report.cost_per("delivery", deliveries, &cost);
    for (&pid, (before, after)) in common.pids.iter().zip(memory_before.into_iter().zip(memory)) {
        report.memory(pid, [before, after], args.clients.into());
    }
    report.tls(&swarm.kit.tally);
    if args.allow_loss {
        report.count("skipped", "left out", swarm.kit.tally.faults.lost);
        swarm.kit.tally.faults.lost = 0;
    }
    report.faults(&swarm.kit.tally.faults, &swarm.kit.tally.failures);
    Ok(report)
}

fn following(swarm: &mut Swarm) -> anyhow::Result<&mut Following> {
    swarm.kit.following.as_mut().context("nobody follows")
}
