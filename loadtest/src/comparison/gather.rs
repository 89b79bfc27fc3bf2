//! How a pass comes to be: from the record of its load.

use super::{Metric, Pass, Percentiles};
use crate::record::{Process, Record, Times, Unit};

/// The share of time that the hypervisor may give to somebody else.
const STOLEN_MAX: f64 = 0.01;

/// Cores' worth of time that other programs and the kernel's own threads may take.
const FOREIGN_MAX: f64 = 0.05;

/// The same where connections come and go: they leave the kernel work that it does in nobody's name.
const FOREIGN_MAX_SESSIONS: f64 = 0.12;

impl Pass {
    /// A measurement that came to nothing.
    pub(crate) fn failed(error: impl ToString) -> Self {
        Self { error: Some(error.to_string()), ..Self::default() }
    }

    /// What `record` says of a target, whose processes are the first `own` of those that were watched.
    pub(crate) fn of(record: &Record, own: usize) -> Self {
        let (target, backend) = record.cost.processes.split_at_checked(own).unwrap_or_default();
        if let Some(process) = target.iter().find(|process| process.has_ended) {
            return Self::failed(format!("{} ended before the load did", process.name));
        }
        let watched: f64 = record.cost.processes.iter().map(|process| process.cpu.cores_busy).sum();
        let foreign = record.cost.machine.cores_busy - watched - record.cost.generator.cores_busy;
        let mut pass = Self {
            error: None,
            disturbance: None,
            rate: record.totals.per_second,
            cpu: cpu(target),
            cores_busy: target.iter().map(|process| process.cpu.cores_busy).sum(),
            generator: record.cost.generator.us_per_unit,
            backend: cpu(backend),
            kib: sum(target.iter().map(|process| Some(process.memory?.pss_kib_per_connection))),
            latency: record.latency.felt().map(percentiles),
            spread: record.spread.as_ref().map(percentiles),
            silence: record.silence,
            faults: record.faults.total() + record.failed(),
            failed: record.failed(),
            stolen: record.cost.stolen,
            foreign,
            intervals: record.intervals.clone(),
        };
        let foreign_max = match record.unit {
            // Memory does not depend on who else is busy.
            Unit::Connection => return pass,
            Unit::Session => FOREIGN_MAX_SESSIONS,
            Unit::Message | Unit::Delivery => FOREIGN_MAX,
        };
        if record.cost.stolen > STOLEN_MAX {
            pass.disturbance = Some(format!("{:.1} % of the time was stolen", record.cost.stolen * 100.0));
        } else if foreign > foreign_max {
            pass.disturbance = Some(format!("other programs used {:.0} % of a core", foreign * 100.0));
        }
        pass
    }
}

impl Pass {
    /// Gives up what time was stolen from: other disturbances only mark it.
    pub(crate) fn settle(&mut self) {
        if self.stolen > STOLEN_MAX
            && let Some(disturbance) = self.disturbance.take()
        {
            *self = Self::failed(disturbance);
        }
    }
}

/// The CPU time for each unit of all these; none where there are none.
fn cpu(processes: &[Process]) -> Option<f64> {
    sum(processes.iter().map(|process| process.cpu.us_per_unit))
}

fn sum(figures: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    figures.reduce(|sum, figure| Some(sum? + figure?)).flatten()
}

fn percentiles(times: &Times) -> Percentiles {
    Percentiles { p50: times.p50, p99: times.p99, p999: times.p999 }
}

impl Metric {
    /// Its unit, for `unit`s.
    pub(crate) fn measure(self, unit: Unit) -> String {
        match self {
            Self::Cpu | Self::P50 | Self::P99 | Self::P999 | Self::SpreadP99 => "µs".to_owned(),
            Self::Memory => "KiB".to_owned(),
            Self::Rate => format!("{}/s", unit.many()),
            Self::Silence => "s".to_owned(),
        }
    }
}
