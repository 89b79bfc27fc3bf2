//! What processes cost, read from `/proc` around the stretch of time that is measured.

mod proc;

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::clock;
use proc::Machine;

/// The processes that are watched, beside this one and the whole machine.
#[derive(Debug)]
pub(crate) struct Watch {
    processes: Vec<Watched>,
}

/// One of them, as it was seen last.
#[derive(Debug)]
struct Watched {
    pid: u32,
    name: String,
    cpu: Duration,
    has_ended: bool,
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
    /// Whether it has ended by now, and its last reading is what counts.
    pub(crate) has_ended: bool,
}

impl Watch {
    /// Watches these processes.
    ///
    /// # Errors
    /// One of them does not exist.
    pub(crate) fn new(pids: &[u32]) -> anyhow::Result<Self> {
        let watched = |&pid: &u32| {
            let name = proc::name(pid)
                .with_context(|| format!("no process {pid}; --pid wants that of a running server"))?;
            Ok(Watched { pid, name, cpu: Duration::ZERO, has_ended: false })
        };
        Ok(Self { processes: pids.iter().map(watched).collect::<anyhow::Result<_>>()? })
    }

    /// Reads everything now. Of a process that has ended, what was read last stands.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(crate) fn read(&mut self) -> anyhow::Result<Reading> {
        for process in &mut self.processes {
            match proc::cpu(process.pid) {
                // Its number may be somebody else's by now.
                Ok(cpu) if !process.has_ended => process.cpu = cpu,
                Ok(_) | Err(_) => process.has_ended = true,
            }
        }
        let processes = self.processes.iter().map(|process| process.cpu).collect();
        let own = proc::cpu(std::process::id()).context("cannot read my own CPU time")?;
        Ok(Reading { processes, own, machine: proc::machine()?, at: clock::now() })
    }

    /// What the time from `before` to `after` cost.
    pub(crate) fn between(&self, before: &Reading, after: &Reading) -> Cost {
        let pairs = self.processes.iter().zip(after.processes.iter().zip(&before.processes));
        let processes = pairs.map(|(process, (after, before))| ProcessCost {
            pid: process.pid,
            name: process.name.clone(),
            cpu: after.saturating_sub(*before),
            has_ended: process.has_ended,
        });
        Cost {
            wall: after.at.duration_since(before.at),
            processes: processes.collect(),
            own: after.own.saturating_sub(before.own),
            machine: after.machine.busy_since(&before.machine),
            stolen: after.machine.stolen_since(&before.machine),
        }
    }

    /// The memory of each watched process: KiB of its proportional share (PSS).
    ///
    /// # Errors
    /// A process has ended, or is somebody else's.
    pub(crate) fn memory(&self) -> anyhow::Result<Vec<u64>> {
        let memory = |process: &Watched| {
            let pid = process.pid;
            proc::pss_kib(pid)
                .with_context(|| format!("cannot read the memory of process {pid}; is it yours?"))
        };
        self.processes.iter().map(memory).collect()
    }
}
