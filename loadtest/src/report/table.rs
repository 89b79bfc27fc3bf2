//! The table for people: a label and a figure in each line, warnings below.

use std::fmt::Write;

use super::text::{percent, rounded};
use crate::record::{Cpu, Record, Times, Unit};

/// The lines, each with its end.
pub(super) fn table(record: &Record) -> String {
    let mut rows = Rows::default();
    for (option, value) in &record.settings {
        rows.add(option, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    rows.totals(record);
    rows.latency(record);
    rows.silence(record);
    rows.cost(record);
    for (what, count) in &record.counts {
        rows.add(what, count);
    }
    rows.faults(record);
    rows.written(&record.warnings)
}

#[derive(Default)]
struct Rows(Vec<(String, String)>);

impl Rows {
    fn add(&mut self, label: impl Into<String>, text: impl ToString) {
        self.0.push((label.into(), text.to_string()));
    }

    fn totals(&mut self, record: &Record) {
        let (totals, many) = (&record.totals, record.unit.many());
        self.add("measured", format!("{} s", rounded(record.seconds)));
        if let Some(intended) = totals.intended {
            self.add(format!("{many}, intended"), intended);
        }
        if let Some(sent) = totals.sent {
            self.add(format!("{many}, begun"), sent);
        }
        self.add(many, totals.answered);
        if record.unit != Unit::Connection {
            self.add("rate", format!("{} {many}/s", rounded(totals.per_second)));
        }
        if totals.payload_bytes > 0 {
            let megabytes = crate::wire::float(totals.payload_bytes) / 1e6 / record.seconds;
            self.add("payload, each way", format!("{} MB/s", rounded(megabytes)));
        }
    }

    fn latency(&mut self, record: &Record) {
        let uncorrected = if record.latency.corrected.is_some() { "latency, uncorrected" } else { "latency" };
        let all = [
            ("latency", &record.latency.corrected),
            (uncorrected, &record.latency.uncorrected),
            ("whole session", &record.session),
            ("first to last client", &record.spread),
        ];
        for (label, times) in all {
            if let Some(times) = times {
                self.times(label, times);
            }
        }
    }

    fn silence(&mut self, record: &Record) {
        if let Some(silence) = record.silence {
            self.add("longest silence", format!("{} ms", rounded(silence * 1e3)));
        }
    }

    fn times(&mut self, label: &str, times: &Times) {
        self.add(format!("{label}, timed"), times.samples);
        let percentiles = [
            ("p50", times.p50),
            ("p90", times.p90),
            ("p99", times.p99),
            ("p99.9", times.p999),
            ("max", times.max),
        ];
        for (name, micros) in percentiles {
            self.add(format!("{label}, {name}"), format!("{} µs", rounded(micros)));
        }
    }

    fn cost(&mut self, record: &Record) {
        let one = record.unit.one();
        let cpu = |cpu: &Cpu| {
            let each = cpu.us_per_unit.map(|micros| format!("{} µs a {one}, ", rounded(micros)));
            format!("{}{} of a core", each.unwrap_or_default(), percent(cpu.cores_busy))
        };
        for process in &record.cost.processes {
            let label = format!("{} ({})", process.name, process.pid);
            self.add(label, cpu(&process.cpu));
            if let Some(memory) = &process.memory {
                let (each, before, after) =
                    (memory.pss_kib_per_connection, memory.pss_kib_before, memory.pss_kib_after);
                let text = format!("{each:.2} KiB a connection ({before} KiB before, {after} KiB with all)");
                self.add("  memory", text);
            }
        }
        self.add("this client", cpu(&record.cost.generator));
        self.add("whole machine", cpu(&record.cost.machine));
    }

    fn faults(&mut self, record: &Record) {
        if let Some(tls) = &record.tls {
            self.add("TLS handshakes, full", tls.handshakes_full);
            self.add("TLS handshakes, resumed", tls.handshakes_resumed);
            for (suite, count) in &tls.suites {
                self.add(format!("  {suite}"), count);
            }
            self.add("ended without a close_notify", tls.truncated);
        }
        for (fault, count) in record.faults.named() {
            self.add(fault, count);
        }
        self.add("sessions failed", record.failed());
        for (reason, count) in &record.failures {
            self.add(format!("  {reason}"), count);
        }
        for (code, count) in &record.closes {
            self.add(format!("closed with code {code}"), count);
        }
        for (reason, count) in &record.refusals {
            self.add(format!("refused: {reason}"), count);
        }
    }

    fn written(&self, warnings: &[String]) -> String {
        let width = self.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (label, figure) in &self.0 {
            let _ = writeln!(text, "{label:<width$}  {figure}");
        }
        for warning in warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}
