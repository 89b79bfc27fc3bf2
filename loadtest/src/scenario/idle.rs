//! Connections that are held and say nothing, to see what each costs the server.

use anyhow::ensure;

use super::open_all;
use crate::cli::IdleArgs;
use crate::client::{Plan, Swarm};
use crate::clock;
use crate::limits;
use crate::net::Sessions;
use crate::record::{Host, Record, Unit};
use crate::watch::Watch;
use crate::wire::wide;

/// Runs `selat-load idle`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn idle(args: &IdleArgs) -> anyhow::Result<Record> {
    let common = &args.common;
    let connections = u64::from(args.connections);
    limits::make_room(connections)?;
    let watch = Watch::new(&common.pids)?;
    let memory_before = watch.memory()?;

    let plan = Plan { messages_max: 1, ..Plan::echo(args.size.clone()) };
    let mut swarm = Swarm::new(common.dialer(Sessions::Full)?, plan, common.timeout)?;
    open_all(&mut swarm, args.connections, args.connect_rate)?;
    swarm.run(clock::now() + common.timeout, |swarm| swarm.in_flight() == 0)?;
    let answered = swarm.kit.tally.answered;
    ensure!(
        answered == connections,
        "{answered} of {connections} connections had their one message answered"
    );

    let before = watch.read()?;
    swarm.run(before.at() + args.duration, |swarm| swarm.alive() == 0)?;
    let cost = watch.since(&before)?;
    let memory = watch.memory()?;
    let held = swarm.alive();
    swarm.close()?;

    let mut record = Record::begin("idle", Unit::Connection, Host::here());
    record.set("connections", args.connections);
    record.set("size", args.size.to_string());
    record.count("held", wide(held));
    record.answered(connections, 0, cost.wall);
    record.cost(&cost);
    record.memory(&memory_before, &memory, connections);
    record.tally(&swarm.kit.tally);
    Ok(record)
}
