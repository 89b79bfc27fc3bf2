//! Connections that are held and say nothing, to see what each costs the server.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Cast, open_all, record};
use crate::cli::IdleArgs;
use crate::client::{Plan, Swarm};
use crate::clock;
use crate::crew::{Part, Script};
use crate::net::Sessions;
use crate::record::{Record, Unit};
use crate::watch::Watch;

/// Runs `selat-load idle`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn idle(args: &IdleArgs) -> anyhow::Result<Record> {
    let plan = Plan { messages_max: 1, ..Plan::echo(args.size.clone()) };
    let script = args.common.script(Unit::Connection, Duration::ZERO, Some(args.held.duration));
    let script = Script { memory: true, ..script };
    let cast = Cast { sessions: args.connections, plan, tls: Sessions::Full };
    let part = |_| Idle { connections: args.connections, connect_rate: args.held.connect_rate };
    // What this is all about: better to know at once that it cannot be read.
    Watch::new(&args.common.pids)?.memory()?;
    let mut measured = cast.play(&args.common, &script, part)?;

    let mut record = record("idle", Unit::Connection, &mut measured);
    record.set("connections", args.connections);
    record.set("size", args.size.to_string());
    record.count("held", measured.whole.held);
    if let Some([before, after]) = &measured.memory {
        record.memory(before, after, args.connections.into());
    }
    Ok(record)
}

/// One thread's connections.
struct Idle {
    connections: u32,
    connect_rate: Option<f64>,
}

impl Part for Idle {
    fn prepare(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        open_all(swarm, self.connections, self.connect_rate)?;
        let share = swarm.share().of(self.connections);
        swarm.run(clock::now() + swarm.timeout(), |swarm| swarm.in_flight() == 0)?;
        let answered = swarm.kit.tally.answered;
        ensure!(
            answered == u64::from(share),
            "{answered} of {share} connections had their one message answered"
        );
        Ok(())
    }

    fn begin(&mut self, _: &mut Swarm, _: Instant) {}

    fn finish(&mut self, swarm: &mut Swarm, _: u64) -> anyhow::Result<()> {
        swarm.close()
    }
}
