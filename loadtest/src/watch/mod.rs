//! What processes cost, read from `/proc` around the stretch of time that is measured.

mod proc;

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::clock;
use proc::Machine;

/// The processes that are watched, beside this one and the whole machine.
#[derive(Debug)]
pub(crate) struct Watch {
    pids: Vec<u32>,
}

/// One reading of everything.
#[derive(Debug)]
pub(crate) struct Reading {
    at: Instant,
    processes: Vec<Duration>,
    own: Duration,
    machine: Machine,
}

/// What happened between two readings.
#[derive(Debug)]
pub(crate) struct Cost {
    /// How long it was.
    pub(crate) wall: Duration,
    /// CPU time of each watched process, in the order given.
    pub(crate) processes: Vec<ProcessCost>,
    /// CPU time of this process.
    pub(crate) own: Duration,
    /// CPU time of everything on the machine, in ticks of 10 ms.
    pub(crate) machine: Duration,
    /// The share of all CPUs' time that the hypervisor gave to somebody else.
    pub(crate) stolen: f64,
}

/// What one process cost.
#[derive(Debug)]
pub(crate) struct ProcessCost {
    /// Which process.
    pub(crate) pid: u32,
    /// The name of its program, as the kernel cuts it.
    pub(crate) name: String,
    /// CPU time of all its threads, those that ended meanwhile included.
    pub(crate) cpu: Duration,
}

impl Watch {
    /// Watches these processes.
    ///
    /// # Errors
    /// One of them does not exist.
    pub(crate) fn new(pids: &[u32]) -> anyhow::Result<Self> {
        for &pid in pids {
            proc::name(pid)
                .with_context(|| format!("no process {pid}; --pid wants that of a running server"))?;
        }
        Ok(Self { pids: pids.to_vec() })
    }

    /// Reads everything now.
    ///
    /// # Errors
    /// A process has ended.
    pub(crate) fn read(&self) -> anyhow::Result<Reading> {
        let cpu = |&pid: &u32| proc::cpu(pid).with_context(|| format!("process {pid} is gone"));
        let processes = self.pids.iter().map(cpu).collect::<anyhow::Result<_>>()?;
        let own = proc::cpu(std::process::id()).context("cannot read my own CPU time")?;
        Ok(Reading { processes, own, machine: proc::machine()?, at: clock::now() })
    }

    /// What the time from `before` to `after` cost.
    ///
    /// # Errors
    /// A process has ended.
    pub(crate) fn between(&self, before: &Reading, after: &Reading) -> anyhow::Result<Cost> {
        let pairs = self.pids.iter().zip(after.processes.iter().zip(&before.processes));
        let processes = pairs.map(|(&pid, (after, before))| {
            Ok(ProcessCost { pid, name: proc::name(pid)?, cpu: after.saturating_sub(*before) })
        });
        Ok(Cost {
            wall: after.at.duration_since(before.at),
            processes: processes.collect::<anyhow::Result<_>>()?,
            own: after.own.saturating_sub(before.own),
            machine: after.machine.busy_since(&before.machine),
            stolen: after.machine.stolen_since(&before.machine),
        })
    }

    /// The memory of each watched process: KiB of its proportional share (PSS).
    ///
    /// # Errors
    /// A process has ended, or is somebody else's.
    pub(crate) fn memory(&self) -> anyhow::Result<Vec<u64>> {
        let memory = |&pid: &u32| {
            proc::pss_kib(pid)
                .with_context(|| format!("cannot read the memory of process {pid}; is it yours?"))
        };
        self.pids.iter().map(memory).collect()
    }
}
