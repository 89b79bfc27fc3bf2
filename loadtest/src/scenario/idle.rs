//! Connections that are held and say nothing, to see what each costs the server.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Map, json};

use super::open_all;
use crate::cli::IdleArgs;
use crate::client::{Hears, Plan, Swarm, Then};
use crate::clock;
use crate::limits;
use crate::net::Sessions;
use crate::report::{Report, float, per};
use crate::watch::Watch;
use crate::wire::wide;

/// Runs `selat-load idle`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn idle(args: &IdleArgs) -> anyhow::Result<Report> {
    let common = &args.common;
    let connections = u64::from(args.connections);
    limits::make_room(connections)?;
    let watch = Watch::new(&common.pids)?;
    let memory_before = watch.memory()?;

    let plan =
        Plan { size: args.size, in_flight: 1, messages_max: 1, then: Then::Hold, hears: Hears::Answers };
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

    let mut report = Report::new("idle");
    report.count("connections", "connections", connections);
    report.count("held", "still open at the end", wide(held));
    report.figure("seconds", "held", cost.wall.as_secs_f64(), "s");
    let grown: BTreeMap<_, _> = common.pids.iter().zip(memory_before.iter().zip(memory)).collect();
    report.cost(&cost, |process| {
        let (before, idle) = grown.get(&process.pid).map_or((0, 0), |&(&before, idle)| (before, idle));
        let each = per(float(idle) - float(before), connections);
        let text = format!("{each:.2} KiB a connection ({before} KiB before, {idle} KiB idle)");
        let pairs = [("pss_kib_before", json!(before)), ("pss_kib_idle", json!(idle))];
        let mut json = Map::from_iter(pairs.map(|(key, value)| (key.to_owned(), value)));
        json.insert("pss_kib_per_connection".to_owned(), json!(each));
        (text, json)
    });
    report.tls(&swarm.kit.tally);
    report.faults(&swarm.kit.tally.faults, &swarm.kit.tally.failures);
    Ok(report)
}
