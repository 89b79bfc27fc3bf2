//! What a reader must know to judge figures: where the instrument, the machine or a limit was what was measured.

use std::time::Duration;

use crate::crew::Measured;
use crate::record::{Unit, per_second};
use crate::wire::float;

/// The share of a core from which on a thread may be what limits a run.
const BUSY_MAX: f64 = 0.85;

/// The share of stolen time from which on figures are worth little.
const STOLEN_MAX: f64 = 0.01;

/// How late one in a hundred messages may leave by this program's fault.
const LAG_MAX: Duration = Duration::from_millis(1);

/// The share of what a rate asked for that may be left undone.
const SHORT_MAX: f64 = 0.01;

/// Errors of connecting that come of limits, each with its name to look for and its remedy.
const LIMITS: [(&str, &str); 3] = [
    ("Too many open files", "raise the limit of file descriptors (`ulimit -n`, LimitNOFILE= in systemd)"),
    ("Cannot assign requested address", "local ports ran out: widen net.ipv4.ip_local_port_range"),
    ("Resource temporarily unavailable", "the server's backlog was full: connect more slowly"),
];

/// The doubts about what was measured.
pub(super) fn doubts(unit: Unit, measured: &Measured) -> Vec<String> {
    let mut doubts = Vec::new();
    if measured.interrupted {
        doubts.push("interrupted: this is what there was until then".to_owned());
    }
    if measured.busiest > BUSY_MAX {
        doubts.push(format!(
            "a thread of this client was busy {:.0} % of the time: it may be what limits the rate, and the times \
             include its own",
            measured.busiest * 100.0
        ));
    }
    let lag = Duration::from_nanos(measured.tally.lag.value_at_quantile(0.99));
    if lag > LAG_MAX {
        let lag = lag.as_secs_f64() * 1e3;
        doubts.push(format!(
            "one in a hundred messages left {lag:.1} ms late or more because this client did not run in time; corrected \
             times include that"
        ));
    }
    if measured.cost.stolen > STOLEN_MAX {
        let stolen = measured.cost.stolen * 100.0;
        doubts.push(format!("{stolen:.1} % of the time was stolen by the hypervisor"));
    }
    let ended: Vec<_> = measured.cost.processes.iter().filter(|process| process.has_ended).collect();
    for process in &ended {
        doubts.push(format!(
            "process {} ({}) ended before the load did: its cost is what had been read of it by then",
            process.pid, process.name
        ));
    }
    if measured.memory.is_none() && ended.is_empty() {
        doubts.push("the memory of a watched process cannot be read; is it yours?".to_owned());
    }
    doubts.extend(saturation(unit, measured));
    for (error, remedy) in LIMITS {
        if measured.whole.failures.keys().any(|failure| failure.contains(error)) {
            doubts.push(format!("a limit bound this run ({error}): {remedy}"));
        }
    }
    doubts
}

/// Whether a server did less than it was asked to.
fn saturation(unit: Unit, measured: &Measured) -> Option<String> {
    let (tally, wall) = (&measured.tally, measured.wall);
    let done = match unit {
        Unit::Session => tally.completed,
        Unit::Message | Unit::Delivery | Unit::Connection => tally.answered,
    };
    let short = float(tally.intended) - float(done);
    // What was on its way at either end is no shortage.
    let is_short =
        short > float(tally.intended) * SHORT_MAX && short > per_second(tally.intended, wall) * 0.01;
    is_short.then(|| {
        format!(
            "saturated: {:.0} {}/s were due and {:.0} came back; the backlog grew to the end, and with it the corrected \
             times",
            per_second(tally.intended, wall),
            unit.many(),
            per_second(done, wall)
        )
    })
}
