//! Closed loop: as many messages in flight on every connection as were asked for, all the time.

use std::time::Duration;

use super::open_all;
use crate::cli::EchoArgs;
use crate::client::{Hears, Plan, Swarm, Then};
use crate::clock;
use crate::limits;
use crate::net::Sessions;
use crate::report::{Report, float, per_second};
use crate::watch::Watch;
use crate::wire::{STAMP_BYTES, wide};

/// How long answers may take at the end, before they count as lost.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs `selat-load echo`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn echo(args: &EchoArgs) -> anyhow::Result<Report> {
    let common = &args.common;
    limits::make_room(args.connections.into())?;
    let watch = Watch::new(&common.pids)?;
    let plan = Plan {
        size: args.size,
        in_flight: args.in_flight.into(),
        messages_max: 0,
        then: Then::Hold,
        hears: Hears::Answers,
    };
    let mut swarm = Swarm::new(common.dialer(Sessions::Full)?, plan, common.timeout)?;
    open_all(&mut swarm, args.connections, args.connect_rate)?;

    swarm.allow(u64::MAX);
    swarm.run(clock::now() + args.warmup, |swarm| swarm.alive() == 0)?;

    swarm.kit.tally.reset_times();
    let (before, answered_before) = (watch.read()?, swarm.kit.tally.answered);
    swarm.run(before.at() + args.duration, |swarm| swarm.alive() == 0)?;
    let cost = watch.since(&before)?;
    let messages = swarm.kit.tally.answered - answered_before;
    let round_trips = swarm.kit.tally.round_trips.clone();

    swarm.allow(0);
    swarm.run(clock::now() + DRAIN, |swarm| swarm.in_flight() == 0)?;
    swarm.kit.tally.faults.lost += swarm.in_flight();
    swarm.close()?;

    let mut report = Report::new("echo");
    report.count("connections", "connections", args.connections.into());
    report.count("size", "bytes a message", wide(args.size));
    report.count("in_flight", "in flight on each", args.in_flight.into());
    report.figure("seconds", "measured", cost.wall.as_secs_f64(), "s");
    report.count("messages", "messages", messages);
    report.figure("messages_per_second", "rate", per_second(messages, cost.wall), "messages/s");
    let megabytes = per_second(messages, cost.wall) * float(wide(args.size)) / 1e6;
    report.figure("megabytes_per_second", "payload, each way", megabytes, "MB/s");
    report.times("round_trip", "round trip", &round_trips);
    report.cost_per("message", messages, &cost);
    report.tls(&swarm.kit.tally);
    report.faults(&swarm.kit.tally.faults, &swarm.kit.tally.failures);
    if args.size < STAMP_BYTES {
        report.warn(format!("messages under {STAMP_BYTES} bytes carry no number: reordering cannot be seen"));
    }
    Ok(report)
}
