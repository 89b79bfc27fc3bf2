//! Sessions that connect, upgrade, echo one message and close: one after the other, or so many a second.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Cast, record};
use crate::cli::StormArgs;
use crate::client::{Plan, Share, Swarm, Then};
use crate::clock;
use crate::crew::Part;
use crate::net::{Sessions, Transport};
use crate::record::{Record, Times, Unit};
use crate::wire::{Schedule, wide};

/// Failures after which a storm without one success is given up, by a thread.
const FAILURES_MAX: u64 = 1000;

/// How long to wait for events before asking again whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// Sessions at a time where a rate was asked for and no number of them.
const CONCURRENCY_MAX: u32 = 1024;

/// Sessions at a time where no rate was asked for either.
const CONCURRENCY: u32 = 64;

/// Runs `selat-load storm`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn storm(args: &StormArgs) -> anyhow::Result<Record> {
    ensure!(
        !args.handshake_only || args.common.target.transport == Transport::Tls,
        "--handshake-only is for TLS: the target must be wss://…"
    );
    let usual = if args.per_second.is_some() { CONCURRENCY_MAX } else { CONCURRENCY };
    let concurrency = args.concurrency.unwrap_or(usual);
    let then = if args.handshake_only { Then::Leave } else { Then::Close };
    let plan = Plan { messages_max: 1, then, ..Plan::echo(args.size.clone()) };
    let tls = if args.resume { Sessions::Resumed } else { Sessions::Full };
    let warmup = if args.count.is_some() { Duration::ZERO } else { args.warmup };
    let duration = args.count.is_none().then_some(args.duration);
    let script = args.common.script(Unit::Session, warmup, duration);
    let part = |share: Share| {
        let count = args.count.unwrap_or(u64::MAX);
        let stride = u64::from(share.stride);
        Storm {
            concurrency: share.of(concurrency).into(),
            sessions_max: count.saturating_sub(share.first.into()).div_ceil(stride),
            schedule: args.per_second.map(|rate| Schedule::new(rate, Duration::ZERO)),
            began: clock::now(),
            due: 0,
        }
    };
    let mut measured = Cast { sessions: concurrency, plan, tls }.play(&args.common, &script, part)?;

    let mut record = record("storm", Unit::Session, &mut measured);
    let tally = &measured.tally;
    record.set("concurrency", concurrency);
    record.set("size", args.size.to_string());
    record.totals.sent = Some(tally.begun);
    record.latency.uncorrected = Times::with_curve(&tally.round_trips);
    record.session = Times::with_curve(&tally.sessions);
    if let Some(rate) = args.per_second {
        record.set("per-second", rate);
        record.totals.intended = Some(tally.intended);
    }
    Ok(record)
}

/// One thread's sessions, which are kept at a number, or begun when they are due.
struct Storm {
    concurrency: u64,
    sessions_max: u64,
    schedule: Option<Schedule>,
    began: Instant,
    /// Sessions that have been due.
    due: u64,
}

impl Storm {
    /// When the `index`-th session of this thread is due.
    fn due_at(&self, index: u64, share: Share, now: Instant) -> Instant {
        let Some(schedule) = self.schedule else { return now };
        let serial = index.saturating_mul(share.stride.into()).saturating_add(share.first.into());
        self.began.checked_add(schedule.due(serial)).unwrap_or(now + PATIENCE)
    }
}

impl Part for Storm {
    fn prepare(&mut self, _: &mut Swarm) -> anyhow::Result<()> {
        Ok(())
    }

    fn begin(&mut self, _: &mut Swarm, at: Instant) {
        self.began = at;
    }

    fn act(&mut self, swarm: &mut Swarm, now: Instant) -> anyhow::Result<Instant> {
        let share = swarm.share();
        if self.schedule.is_some() {
            while self.due < self.sessions_max && self.due_at(self.due, share, now) <= now {
                self.due += 1;
                swarm.kit.tally.intended += 1;
            }
        } else {
            self.due = self.sessions_max;
        }
        while wide(swarm.alive()) < self.concurrency && u64::from(swarm.begun()) < self.due {
            swarm.open(self.due_at(swarm.begun().into(), share, now))?;
            ensure!(
                swarm.completed() > 0 || swarm.failed() < FAILURES_MAX,
                "{FAILURES_MAX} sessions failed and none succeeded, the first: {}",
                swarm.first_failure().unwrap_or_default()
            );
        }
        let next = self.due_at(self.due, share, now + PATIENCE);
        Ok(next.clamp(now, now + PATIENCE))
    }

    fn is_idle(&self, swarm: &Swarm) -> bool {
        swarm.alive() == 0 && u64::from(swarm.begun()) >= self.sessions_max
    }

    fn finish(&mut self, swarm: &mut Swarm, _: u64) -> anyhow::Result<()> {
        swarm.run(clock::now() + swarm.timeout(), |swarm| swarm.alive() == 0)?;
        Ok(())
    }
}
