//! Messages and their echoes: at a rate, or as many in flight as were asked for, all the time.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Cast, open_all, record};
use crate::cli::EchoArgs;
use crate::client::{Pace, Plan, Share, Swarm};
use crate::clock;
use crate::crew::Part;
use crate::net::Sessions;
use crate::record::{Record, Times, Unit};
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
    let in_flight = args.in_flight.unwrap_or(if args.rate.is_some() { IN_FLIGHT_MAX } else { 1 });
    let plan = Plan {
        kind: if args.text { Kind::Text } else { Kind::Binary },
        in_flight: in_flight.into(),
        is_paced: args.rate.is_some(),
        think: args.think,
        reconnects: args.reconnect,
        slow_from: Some(args.connections),
        messages_max: 0,
        ..Plan::echo(args.size.clone())
    };
    let stamp_bytes = plan.kind.stamp_bytes();
    let rise = if args.rate.is_some() { args.ramp } else { Duration::ZERO };
    let script = args.common.script(Unit::Message, rise + args.warmup, Some(args.held.duration));
    let sessions = args.connections.checked_add(args.slow).context("more connections than can be counted")?;
    let connect_rate = match args.ramp.as_secs_f64() {
        0.0 => args.held.connect_rate,
        ramp => args.held.connect_rate.or(Some(f64::from(sessions) / ramp)),
    };
    let cast = Cast { sessions, plan, tls: Sessions::Full };
    let part = |share: Share| {
        let schedule = args.rate.map(|rate| Schedule::new(rate, rise));
        // A thread may have none but slow connections.
        let schedule = schedule.filter(|_| share.first < args.connections);
        let turns =
            schedule.map(|schedule| Turns::new(schedule, (share.first, share.stride), args.connections));
        Echo { connections: sessions, connect_rate, turns }
    };
    let mut measured = cast.play(&args.common, &script, part)?;

    let mut record = record("echo", Unit::Message, &mut measured);
    let tally = &measured.tally;
    record.set("connections", args.connections);
    record.set("size", args.size.to_string());
    record.set("in-flight", in_flight);
    if args.slow > 0 {
        record.set("slow", args.slow);
    }
    if let Some(think) = args.think {
        record.set("think", humantime::format_duration(think).to_string());
    }
    record.totals.sent = Some(tally.sent);
    // One that thinks, or waits until it is due, is silent of its own will.
    record.silence =
        (args.rate.is_none() && args.think.is_none()).then_some(measured.whole.silence.as_secs_f64());
    record.latency.uncorrected = Times::with_curve(&tally.round_trips);
    if let Some(rate) = args.rate {
        record.set("rate", rate);
        record.totals.intended = Some(tally.intended);
        record.latency.corrected = Times::with_curve(&tally.corrected);
    }
    if let Some(memory) = &measured.memory {
        let [before, after] = memory;
        record.memory(before, after, sessions.into());
    }
    if args.size.smallest() < stamp_bytes {
        record.warn(format!("messages under {stamp_bytes} bytes carry no number: reordering cannot be seen"));
    }
    Ok(record)
}

/// One thread's connections.
struct Echo {
    connections: u32,
    connect_rate: Option<f64>,
    turns: Option<Turns>,
}

impl Part for Echo {
    fn prepare(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        open_all(swarm, self.connections, self.connect_rate)
    }

    fn begin(&mut self, swarm: &mut Swarm, at: Instant) {
        swarm.kit.pace = self.turns.map(|turns| Pace::new(turns, at));
        swarm.allow(u64::MAX);
    }

    fn finish(&mut self, swarm: &mut Swarm, _: u64) -> anyhow::Result<()> {
        swarm.settle();
        swarm.kit.pace = None;
        swarm.allow(0);
        swarm.run(clock::now() + DRAIN, |swarm| swarm.in_flight() == 0)?;
        let lost = swarm.in_flight();
        swarm.kit.tally.faults.lose(lost);
        swarm.close()
    }
}
