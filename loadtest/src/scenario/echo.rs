//! Closed loop: as many messages in flight on every connection as were asked for, all the time.

use std::time::Duration;

use super::open_all;
use crate::cli::EchoArgs;
use crate::client::{Hears, Plan, Swarm, Then};
use crate::clock;
use crate::limits;
use crate::net::Sessions;
use crate::record::{Host, Latency, Record, Times, Unit};
use crate::watch::Watch;
use crate::wire::{STAMP_BYTES, wide};

/// How long answers may take at the end, before they count as lost.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs `selat-load echo`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn echo(args: &EchoArgs) -> anyhow::Result<Record> {
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

    let mut record = Record::begin("echo", Unit::Message, Host::here());
    record.set("connections", args.connections);
    record.set("size", args.size);
    record.set("in-flight", args.in_flight);
    record.answered(messages, wide(args.size), cost.wall);
    record.latency = Latency { corrected: None, uncorrected: Times::with_curve(&round_trips) };
    record.cost(&cost);
    record.tally(&swarm.kit.tally);
    if args.size < STAMP_BYTES {
        record.warn(format!("messages under {STAMP_BYTES} bytes carry no number: reordering cannot be seen"));
    }
    Ok(record)
}
