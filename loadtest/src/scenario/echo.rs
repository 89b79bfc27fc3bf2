//! Messages and their echoes: at a rate, or as many in flight as were asked for, all the time.

use std::time::Duration;

use super::open_all;
use crate::cli::EchoArgs;
use crate::client::{Pace, Plan, Swarm};
use crate::clock;
use crate::limits;
use crate::net::Sessions;
use crate::record::{Host, Latency, Record, Times, Unit};
use crate::watch::Watch;
use crate::wire::{Kind, Schedule, Turns};

/// How long answers may take at the end, before they count as lost.
const DRAIN: Duration = Duration::from_secs(5);

/// Messages in flight on each connection where a rate was asked for and no number of them.
const IN_FLIGHT_MAX: u32 = 1024;

/// Runs `selat-load echo`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn echo(args: &EchoArgs) -> anyhow::Result<Record> {
    let common = &args.common;
    limits::make_room(args.connections.into())?;
    let watch = Watch::new(&common.pids)?;
    let in_flight = args.in_flight.unwrap_or(if args.rate.is_some() { IN_FLIGHT_MAX } else { 1 });
    let plan = Plan {
        kind: if args.text { Kind::Text } else { Kind::Binary },
        in_flight: in_flight.into(),
        is_paced: args.rate.is_some(),
        messages_max: 0,
        ..Plan::echo(args.size.clone())
    };
    let stamp_bytes = plan.kind.stamp_bytes();
    let mut swarm = Swarm::new(common.dialer(Sessions::Full)?, plan, common.timeout)?;
    open_all(&mut swarm, args.connections, args.connect_rate)?;

    if let Some(rate) = args.rate {
        let schedule = Schedule::new(rate, Duration::ZERO);
        swarm.kit.pace = Some(Pace::new(Turns::new(schedule, (0, 1), args.connections), clock::now()));
    }
    swarm.allow(u64::MAX);
    swarm.run(clock::now() + args.warmup, |swarm| swarm.alive() == 0)?;

    swarm.kit.tally.reset_times();
    let (before, answered_before) = (watch.read()?, swarm.kit.tally.answered);
    let (intended_before, sent_before) = (swarm.kit.tally.intended, swarm.kit.tally.sent);
    let bytes_before = swarm.kit.tally.bytes;
    swarm.run(before.at() + args.duration, |swarm| swarm.alive() == 0)?;
    let cost = watch.since(&before)?;
    let messages = swarm.kit.tally.answered - answered_before;
    let (intended, sent) = (swarm.kit.tally.intended - intended_before, swarm.kit.tally.sent - sent_before);
    let bytes = swarm.kit.tally.bytes - bytes_before;
    let (corrected, round_trips) = (swarm.kit.tally.corrected.clone(), swarm.kit.tally.round_trips.clone());

    swarm.allow(0);
    swarm.run(clock::now() + DRAIN, |swarm| swarm.in_flight() == 0)?;
    swarm.kit.tally.faults.lost += swarm.in_flight();
    swarm.close()?;

    let mut record = Record::begin("echo", Unit::Message, Host::here());
    record.set("connections", args.connections);
    record.set("size", args.size.to_string());
    record.set("in-flight", in_flight);
    record.answered(messages, 0, cost.wall);
    record.totals.payload_bytes = bytes;
    record.totals.intended = args.rate.is_some().then_some(intended);
    record.totals.sent = Some(sent);
    record.latency =
        Latency { corrected: Times::with_curve(&corrected), uncorrected: Times::with_curve(&round_trips) };
    record.cost(&cost);
    record.tally(&swarm.kit.tally);
    if args.size.smallest() < stamp_bytes {
        record.warn(format!("messages under {stamp_bytes} bytes carry no number: reordering cannot be seen"));
    }
    Ok(record)
}
