//! What a run yields: plain data, of which the table, the JSON and the page are made. Knows neither socket nor clock.
//!
//! Times are microseconds, memory is KiB of the proportional share (PSS), CPU is cores' worth unless it is for each
//! unit, and everything that stands beside a [`Unit`] counts those. What was not measured is absent, not zero.

mod gather;
mod times;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use times::{Latency, Times, per, per_second};

use crate::wire::Faults;

/// This program's version, and the commit it was built of.
pub(crate) const VERSION: &str = env!("VERSION");

/// Whether the server did what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did.
    Clean,
    /// Something was lost, changed or refused.
    Faults,
}

/// One run, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The command: `echo`, `feed`, `storm` or `idle`.
    pub(crate) command: String,
    /// What was run, where and when.
    pub(crate) run: Run,
    /// What was asked for, by the names of the options: `connections`, `size`, …
    pub(crate) settings: BTreeMap<String, Value>,
    /// What is counted.
    pub(crate) unit: Unit,
    /// How long it was measured.
    pub(crate) seconds: f64,
    /// How much there was of it.
    pub(crate) totals: Totals,
    /// How long units took.
    pub(crate) latency: Latency,
    /// From connecting to the end of TCP, of sessions that completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Times>,
    /// From the first to the last follower's having a tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<Times>,
    /// The longest time, in seconds, that a client went without an answer; the connections that it opened anew are one
    /// client's. Absent where clients may have had nothing to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) silence: Option<f64>,
    /// What it cost.
    pub(crate) cost: Costs,
    /// What the server got wrong.
    pub(crate) faults: Faults,
    /// Sessions that failed, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Sessions that the server closed, by code; `none` where it gave none.
    #[serde(default)]
    pub(crate) closes: BTreeMap<String, u64>,
    /// Upgrades that the server refused, by status or by what was wrong with the answer.
    #[serde(default)]
    pub(crate) refusals: BTreeMap<String, u64>,
    /// What TLS came to, where it was spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
    /// What else was counted, by what it is: `held`, `readers`, …
    pub(crate) counts: BTreeMap<String, u64>,
    /// The run in slices, in order of time.
    #[serde(default)]
    pub(crate) intervals: Vec<Interval>,
    /// What a reader must know to judge the figures.
    pub(crate) warnings: Vec<String>,
}

/// What was run, where and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The command line, word for word.
    pub(crate) command_line: Vec<String>,
    /// This program's version, and the commit it was built of.
    pub(crate) version: String,
    /// When it began, as RFC 3339 has it.
    pub(crate) started_at: String,
    /// The machine.
    pub(crate) host: Host,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The model of its processors.
    pub(crate) cpu: String,
    /// Processors of the machine.
    pub(crate) cores: u64,
    /// Those of them that this process may run on, as the kernel lists them: `0-3,6`.
    pub(crate) cores_allowed: String,
    /// How TCP controls congestion unless it is told otherwise.
    pub(crate) tcp_congestion_control: String,
}

/// What is counted and timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// A message and its answer.
    Message,
    /// A session from connecting to the end of TCP.
    Session,
    /// A tick that reached one follower.
    Delivery,
    /// A connection that was held.
    Connection,
}

/// How much there was.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Units that were to begin by a rate; absent in a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intended: Option<u64>,
    /// Units begun; absent where others begin them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<u64>,
    /// Units that came to their end.
    pub(crate) answered: u64,
    /// Those a second.
    pub(crate) per_second: f64,
    /// Payload of those, one way.
    pub(crate) payload_bytes: u64,
}

/// What a run cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Costs {
    /// Each watched process, in the order in which they were given.
    pub(crate) processes: Vec<Process>,
    /// This process.
    pub(crate) generator: Cpu,
    /// Everything that ran, the kernel's own threads included.
    pub(crate) machine: Cpu,
    /// The share of all CPUs' time that the hypervisor gave to somebody else, from 0 to 1.
    pub(crate) stolen: f64,
}

/// CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Cpu {
    /// Microseconds for each unit; absent where nothing is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) us_per_unit: Option<f64>,
    /// Cores' worth of time.
    pub(crate) cores_busy: f64,
}

/// What one process cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its program, as the kernel cuts the name.
    pub(crate) name: String,
    pub(crate) cpu: Cpu,
    /// Whether it ended before the load did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) has_ended: bool,
    /// Its memory, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
}

/// How the memory of a process grew.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Before the first connection.
    pub(crate) pss_kib_before: u64,
    /// With all of them.
    pub(crate) pss_kib_after: u64,
    /// What each added.
    pub(crate) pss_kib_per_connection: f64,
}

/// What TLS came to, over the whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tls {
    pub(crate) handshakes_full: u64,
    pub(crate) handshakes_resumed: u64,
    /// Both, by version, cipher suite and key exchange.
    pub(crate) suites: BTreeMap<String, u64>,
    /// Completed sessions whose end TLS did not announce with close_notify.
    pub(crate) truncated: u64,
}

/// A slice of the measured time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// Seconds from the beginning of what is measured to that of this slice.
    pub(crate) at: f64,
    /// How long it is.
    pub(crate) seconds: f64,
    /// Units that were to begin by a rate; absent in a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intended: Option<u64>,
    /// Units begun; absent where others begin them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<u64>,
    /// Units that came to their end.
    pub(crate) answered: u64,
    /// Faults and failures.
    pub(crate) errors: u64,
    /// How long those took that came to their end, without curves.
    pub(crate) latency: Latency,
    /// Cores' worth of time of each watched process, in the order of [`Costs::processes`].
    pub(crate) processes_busy: Vec<f64>,
    /// Memory of each, where that is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pss_kib: Vec<u64>,
    /// Cores' worth of time of this process.
    pub(crate) generator_busy: f64,
    /// The share of all CPUs' time that was stolen, from 0 to 1.
    pub(crate) stolen: f64,
}

impl Record {
    /// Whether the server did what it should.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.faults.total() > 0 || !self.failures.is_empty() { Verdict::Faults } else { Verdict::Clean }
    }

    /// Sessions that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Unit {
    /// What one is called.
    pub(crate) fn one(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Session => "session",
            Self::Delivery => "delivery",
            Self::Connection => "connection",
        }
    }

    /// What many are called.
    pub(crate) fn many(self) -> &'static str {
        match self {
            Self::Message => "messages",
            Self::Session => "sessions",
            Self::Delivery => "deliveries",
            Self::Connection => "connections",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_fault_makes_the_verdict() {
        let mut record = Record::begin("echo", Unit::Message, Host::unknown());
        assert_eq!(record.verdict(), Verdict::Clean);
        record.faults.misrouted = 1;
        assert_eq!(record.verdict(), Verdict::Faults);
        record.faults.misrouted = 0;
        record.failures.insert("could not connect".to_owned(), 1);
        assert_eq!(record.verdict(), Verdict::Faults);
    }
}
