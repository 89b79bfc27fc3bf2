//! How a record comes to be: from what a run was, counted and cost.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{
    Costs, Cpu, Host, Latency, Memory, Process, Record, Run, Tls, Totals, Unit, VERSION, per, per_second,
};
use crate::client::Tally;
use crate::watch::Cost;
use crate::wire::{Faults, float};

impl Run {
    /// What runs here and now.
    pub(crate) fn begin(host: Host) -> Self {
        let mut command_line: Vec<String> = std::env::args().collect();
        // Where this program lies says nothing to those who read its results elsewhere.
        if let Some(program) = command_line.first_mut()
            && let Some(name) = Path::new(program).file_name()
        {
            *program = name.to_string_lossy().into_owned();
        }
        Self {
            command_line,
            version: VERSION.to_owned(),
            started_at: humantime::format_rfc3339_seconds(crate::clock::date()).to_string(),
            host,
        }
    }
}

impl Record {
    /// A record of `command`, in which `unit`s are counted, and nothing has happened.
    pub(crate) fn begin(command: &str, unit: Unit, host: Host) -> Self {
        Self {
            command: command.to_owned(),
            run: Run::begin(host),
            settings: BTreeMap::new(),
            unit,
            seconds: 0.0,
            totals: Totals::default(),
            latency: Latency::default(),
            session: None,
            spread: None,
            silence: None,
            cost: Costs::default(),
            faults: Faults::default(),
            failures: BTreeMap::new(),
            closes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            tls: None,
            counts: BTreeMap::new(),
            intervals: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What was asked for.
    pub(crate) fn set(&mut self, option: &str, value: impl Into<Value>) {
        self.settings.insert(option.to_owned(), value.into());
    }

    /// What else was counted.
    pub(crate) fn count(&mut self, what: &str, count: u64) {
        self.counts.insert(what.to_owned(), count);
    }

    /// `answered` units within `wall`, of `payload` bytes each.
    pub(crate) fn answered(&mut self, answered: u64, payload: u64, wall: Duration) {
        self.seconds = wall.as_secs_f64();
        self.totals.answered = answered;
        self.totals.per_second = per_second(answered, wall);
        self.totals.payload_bytes = answered.saturating_mul(payload);
    }

    /// What that cost, for each unit unless they are connections.
    pub(crate) fn cost(&mut self, cost: &Cost) {
        let counted = (self.unit != Unit::Connection).then_some(self.totals.answered);
        let cpu = |time: Duration| Cpu {
            us_per_unit: counted.map(|count| per(time.as_secs_f64() * 1e6, count)),
            cores_busy: time.as_secs_f64() / cost.wall.as_secs_f64().max(f64::MIN_POSITIVE),
        };
        let processes = cost.processes.iter().map(|process| Process {
            pid: process.pid,
            name: process.name.clone(),
            cpu: cpu(process.cpu),
            has_ended: process.has_ended,
            memory: None,
        });
        let (generator, machine) = (cpu(cost.own), cpu(cost.machine));
        self.cost = Costs { processes: processes.collect(), generator, machine, stolen: cost.stolen };
    }

    /// How the memory of each watched process grew with `connections`, in KiB; after [`Self::cost`].
    pub(crate) fn memory(&mut self, before: &[u64], after: &[u64], connections: u64) {
        let grown = before.iter().zip(after);
        for (process, (&before, &after)) in self.cost.processes.iter_mut().zip(grown) {
            process.memory = Some(Memory {
                pss_kib_before: before,
                pss_kib_after: after,
                pss_kib_per_connection: per(float(after) - float(before), connections),
            });
        }
    }

    /// What went wrong and what TLS came to, over the whole run.
    pub(crate) fn tally(&mut self, tally: &Tally) {
        self.faults = tally.faults;
        self.failures.clone_from(&tally.failures);
        self.closes.clone_from(&tally.closes);
        self.refusals.clone_from(&tally.refusals);
        self.tls = (!tally.suites.is_empty()).then(|| Tls {
            handshakes_full: tally.handshakes_full,
            handshakes_resumed: tally.handshakes_resumed,
            suites: tally.suites.clone(),
            truncated: tally.truncated,
        });
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}
