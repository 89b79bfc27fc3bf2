//! What was found, as a table for people and as one JSON object for machines.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::client::Tally;
use crate::watch::{Cost, ProcessCost};
use crate::wire::Faults;

/// How to print a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}

/// Whether the server did what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did.
    Clean,
    /// Something was lost, changed or refused.
    Faults,
}

/// The share of a core from which on the generator may be what limits a run.
const OWN_BUSY_MAX: f64 = 0.9;

/// The share of stolen time from which on figures are worth little.
const STOLEN_MAX: f64 = 0.01;

/// Figures in the order in which they were added. Every figure stands in both outputs.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<(String, String)>,
    json: Map<String, Value>,
    warnings: Vec<String>,
    verdict: Verdict,
}

impl Report {
    /// An empty report on `command`.
    pub(crate) fn new(command: &str) -> Self {
        let json = Map::from_iter([("command".to_owned(), json!(command))]);
        Self { rows: Vec::new(), json, warnings: Vec::new(), verdict: Verdict::Clean }
    }

    /// Whether the server did what it should.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Adds a count.
    pub(crate) fn count(&mut self, key: &str, label: &str, count: u64) {
        self.add(key, label, json!(count), count.to_string());
    }

    /// Adds a figure with its unit.
    pub(crate) fn figure(&mut self, key: &str, label: &str, figure: f64, unit: &str) {
        self.add(key, label, json!(figure), format!("{} {unit}", rounded(figure)));
    }

    /// Adds percentiles of times in nanoseconds, as microseconds.
    pub(crate) fn times(&mut self, key: &str, label: &str, times: &Histogram<u64>) {
        self.count(&format!("{key}_samples"), &format!("{label}, timed"), times.len());
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            let micros = Duration::from_nanos(times.value_at_quantile(quantile)).as_secs_f64() * 1e6;
            self.figure(&format!("{key}_us_{name}"), &format!("{label}, {name}"), micros, "µs");
        }
    }

    /// Adds what `count` of something cost: `unit` is "message" or "session".
    pub(crate) fn cost_per(&mut self, unit: &str, count: u64, cost: &Cost) {
        let key = format!("cpu_us_per_{unit}");
        let each = |cpu: Duration| per(cpu.as_secs_f64() * 1e6, count);
        self.cost(cost, |process| {
            let text = format!("{} µs a {unit}", rounded(each(process.cpu)));
            (text, Map::from_iter([(key.clone(), json!(each(process.cpu)))]))
        });
        self.figure(&format!("client_{key}"), &format!("this client, CPU a {unit}"), each(cost.own), "µs");
        self.figure(
            &format!("machine_{key}"),
            &format!("whole machine, CPU a {unit}"),
            each(cost.machine),
            "µs",
        );
    }

    /// Adds how the memory of a process grew, from `before` to `after` in KiB of its proportional share, with
    /// `connections`.
    pub(crate) fn memory(&mut self, pid: u32, [before, after]: [u64; 2], connections: u64) {
        let each = per(float(after) - float(before), connections);
        let text = format!("{each:.2} KiB a connection ({before} KiB before, {after} KiB with all)");
        self.row(format!("memory of {pid}"), text);
        let row = json!({
            "pid": pid, "pss_kib_before": before, "pss_kib_after": after, "pss_kib_per_connection": each,
        });
        match self.json.get_mut("memory") {
            Some(Value::Array(rows)) => rows.push(row),
            Some(_) | None => self.insert("memory", json!([row])),
        }
    }

    /// Adds how busy everything was, with what `of_process` says of each process.
    pub(crate) fn cost(
        &mut self,
        cost: &Cost,
        of_process: impl Fn(&ProcessCost) -> (String, Map<String, Value>),
    ) {
        let mut processes = Vec::new();
        for process in &cost.processes {
            let cores = busy(process.cpu, cost.wall);
            let (text, mut json) = of_process(process);
            self.row(
                format!("{} ({})", process.name, process.pid),
                format!("{text}, {} of a core", percent(cores)),
            );
            json.insert("pid".to_owned(), json!(process.pid));
            json.insert("name".to_owned(), json!(process.name));
            json.insert("cores_busy".to_owned(), json!(cores));
            processes.push(Value::Object(json));
        }
        self.insert("processes", processes.into());
        let own = busy(cost.own, cost.wall);
        self.insert("client_cores_busy", json!(own));
        self.insert("machine_cores_busy", json!(busy(cost.machine, cost.wall)));
        self.insert("stolen", json!(cost.stolen));
        if own > OWN_BUSY_MAX {
            self.warn(format!("this client used {} of a core: it may be what limits the rate", percent(own)));
        }
        if cost.stolen > STOLEN_MAX {
            self.warn(format!("{} of the time was stolen by the hypervisor", percent(cost.stolen)));
        }
    }

    /// Adds what TLS came to, over the whole run, where it was spoken.
    pub(crate) fn tls(&mut self, tally: &Tally) {
        if tally.suites.is_empty() {
            return;
        }
        self.count("handshakes_full", "TLS handshakes, full", tally.handshakes_full);
        self.count("handshakes_resumed", "TLS handshakes, resumed", tally.handshakes_resumed);
        for (suite, count) in &tally.suites {
            self.row(format!("  {suite}"), count.to_string());
        }
        self.insert("suites", json!(tally.suites));
        self.count("truncated", "ended without a close_notify", tally.truncated);
    }

    /// Adds what went wrong; anything at all makes the verdict.
    pub(crate) fn faults(&mut self, faults: &Faults, failures: &BTreeMap<String, u64>) {
        self.count("lost", "lost", faults.lost);
        self.count("duplicated", "duplicated", faults.duplicated);
        self.count("reordered", "reordered", faults.reordered);
        self.count("corrupted", "corrupted", faults.corrupted);
        self.count("misrouted", "misrouted", faults.misrouted);
        self.count("failed", "sessions failed", failures.values().sum());
        for (failure, count) in failures {
            self.rows.push((format!("  {failure}"), count.to_string()));
        }
        self.json.insert("failures".to_owned(), json!(failures));
        if faults.total() > 0 || !failures.is_empty() {
            self.verdict = Verdict::Faults;
        }
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Adds a line of the table that stands in the JSON in another form.
    pub(crate) fn row(&mut self, label: String, text: String) {
        self.rows.push((label, text));
    }

    /// Adds a value of the JSON that stands in the table in another form.
    pub(crate) fn insert(&mut self, key: &str, value: Value) {
        self.json.insert(key.to_owned(), value);
    }

    fn add(&mut self, key: &str, label: &str, value: Value, text: String) {
        self.insert(key, value);
        self.row(label.to_owned(), text);
    }

    /// Prints everything to standard output.
    pub(crate) fn print(&self, output: Output) {
        match output {
            Output::Json => {
                let mut json = self.json.clone();
                json.insert("warnings".to_owned(), json!(self.warnings));
                println!("{}", Value::Object(json));
            }
            Output::Table => {
                let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
                for (label, text) in &self.rows {
                    println!("{label:<width$}  {text}");
                }
                for warning in &self.warnings {
                    println!("warning: {warning}");
                }
            }
        }
    }
}

/// `amount` for each of `count`; zero where there are none.
pub(crate) fn per(amount: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { amount / float(count) }
}

/// How many `count` are a second.
pub(crate) fn per_second(count: u64, wall: Duration) -> f64 {
    float(count) / wall.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// The number as a float, to 53 bits.
pub(crate) fn float(count: u64) -> f64 {
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(count >> u32::BITS).unwrap_or(u32::MAX);
    f64::from(high) * (f64::from(u32::MAX) + 1.0) + f64::from(low)
}

fn busy(cpu: Duration, wall: Duration) -> f64 {
    cpu.as_secs_f64() / wall.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Three or more significant digits.
fn rounded(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.3}"),
        10.0..1000.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_floats_of_large_counts() {
        for (count, expected) in
            [(0, 0.0), (1, 1.0), (u64::from(u32::MAX), 4_294_967_295.0), (1 << 40, 1.099_511_627_776e12)]
        {
            assert!((float(count) - expected).abs() < 0.5);
        }
    }

    #[test]
    fn any_fault_makes_the_verdict() {
        let mut report = Report::new("echo");
        report.faults(&Faults::default(), &BTreeMap::new());
        assert_eq!(report.verdict(), Verdict::Clean);
        report.faults(&Faults { misrouted: 1, ..Faults::default() }, &BTreeMap::new());
        assert_eq!(report.verdict(), Verdict::Faults);
    }
}
