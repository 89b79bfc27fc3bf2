//! What comparing targets yields: plain data, and the medians and ratios that follow from it.
//!
//! Figures of a pass are those of [`crate::record::Record`] that targets are compared by; a pass that failed has none.

mod figures;
mod gather;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use figures::{added, median};

use crate::record::{Interval, Run, Unit};

/// Targets, measured in turn, scenario by scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// What is compared, in a line.
    pub(crate) title: String,
    /// What was run, where and when.
    pub(crate) run: Run,
    /// The commit that the scenario file is of; empty where it is of none.
    pub(crate) commit: String,
    /// The target whose ratios to the others are shown; none are where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// The cores that targets had, as the kernel lists them. Everything else had the others.
    pub(crate) cores: String,
    /// How often each target was measured in each scenario.
    pub(crate) pairs: u64,
    /// How long each time.
    pub(crate) seconds: f64,
    /// What was measured, in the order of the file.
    pub(crate) targets: Vec<About>,
    /// With what, in the order of the file.
    pub(crate) scenarios: Vec<Scenario>,
    /// What a reader must know to judge the figures.
    pub(crate) warnings: Vec<String>,
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) name: String,
    /// What it says of itself.
    pub(crate) version: String,
    /// Whether it is there to judge the others by, and no competitor: a relay, or no proxy at all.
    pub(crate) is_control: bool,
}

/// One workload, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) title: String,
    /// What targets are compared by.
    pub(crate) metric: Metric,
    /// What is counted and timed.
    pub(crate) unit: Unit,
    /// The load, as it was told to the first target.
    pub(crate) command_line: Vec<String>,
    /// The greatest ratio of the subject to each of these targets that is aimed at; [`BEST`] is the best of them.
    pub(crate) at_most: BTreeMap<String, f64>,
    /// The greatest figure of the subject itself that is aimed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) most: Option<f64>,
    /// Whether something is broken on purpose, so that faults are what is measured.
    #[serde(default)]
    pub(crate) is_broken: bool,
    /// What each target is measured against, where that is itself under another load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<Base>,
    /// For each target.
    pub(crate) results: Vec<Measured>,
}

/// What of a scenario a target is measured against, instead of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) title: String,
    /// What the ratio to it should be.
    pub(crate) within: Bound,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What the cheapest of all that the subject competes with is called.
pub(crate) const BEST: &str = "best";

/// One target in one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) target: String,
    pub(crate) passes: Vec<Pass>,
    /// Of the base, pass by pass; empty where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) base: Vec<Pass>,
    /// Latency by quantile, of the pass in the middle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curve: Vec<(f64, f64)>,
}

/// What targets are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Metric {
    /// CPU of the target for each unit, in microseconds.
    Cpu,
    /// Memory for each connection, in KiB.
    Memory,
    /// Units a second.
    Rate,
    /// Latency, in microseconds.
    P50,
    P99,
    P999,
    /// From the first to the last follower, in microseconds.
    SpreadP99,
    /// The longest time in which nothing was answered, in seconds.
    Silence,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Pass {
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Why the figures are worth less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disturbance: Option<String>,
    /// Units a second.
    pub(crate) rate: f64,
    /// CPU of the target's processes for each unit, in microseconds, and their cores' worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<f64>,
    pub(crate) cores_busy: f64,
    /// The same of the generator, and of what stands behind the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generator: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<f64>,
    /// Memory of the target for each connection, in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kib: Option<f64>,
    /// Latency in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Percentiles>,
    /// From the first to the last follower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<Percentiles>,
    /// The longest time in which nothing was answered, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) silence: Option<f64>,
    /// What the server got wrong, and sessions that failed.
    pub(crate) faults: u64,
    pub(crate) failed: u64,
    /// The share of all CPUs' time that was stolen, from 0 to 1.
    pub(crate) stolen: f64,
    /// Cores' worth of time that went to anything else on the machine, the kernel's own threads included.
    pub(crate) foreign: f64,
    /// It in slices, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) intervals: Vec<Interval>,
}

/// Microseconds by percentile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}
