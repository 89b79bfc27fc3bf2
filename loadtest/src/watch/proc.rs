//! The files of `/proc` that count CPU time and memory.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use nix::time::{clock_getcpuclockid, clock_gettime};

/// The clock tick of `/proc/stat`: `USER_HZ` is 100 on every Linux that runs this.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of the whole machine since it booted, in ticks.
#[derive(Debug)]
pub(crate) struct Machine {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl Machine {
    /// CPU time spent on anything since `before`.
    pub(crate) fn busy_since(&self, before: &Self) -> Duration {
        TICK * u32::try_from(self.busy.saturating_sub(before.busy)).unwrap_or(u32::MAX)
    }

    /// The share of time stolen since `before`, from 0 to 1.
    pub(crate) fn stolen_since(&self, before: &Self) -> f64 {
        let ticks = |after: u64, before: u64| u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
        let all = ticks(self.all, before.all).max(1);
        f64::from(ticks(self.stolen, before.stolen)) / f64::from(all)
    }
}

/// The machine's CPU time, from the first line of `/proc/stat`.
pub(crate) fn machine() -> anyhow::Result<Machine> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    parse_machine(&stat).context("/proc/stat does not begin with the time of all CPUs")
}

/// Fields: user, nice, system, idle, iowait, irq, softirq, steal; user includes guests.
fn parse_machine(stat: &str) -> Option<Machine> {
    let mut fields =
        stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || fields.next()?.ok();
    let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
    let (iowait, irq, softirq, stolen) = (next()?, next()?, next()?, next()?);
    let busy = user + nice + system + irq + softirq;
    Some(Machine { busy, stolen, all: busy + idle + iowait + stolen })
}

/// The CPU time of a process in nanoseconds, with that of its threads that have ended: the process's CPU clock,
/// which needs no sum over threads that come and go.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).context("not a process id")?);
    let no_clock = || format!("process {pid} has no CPU clock; does it run?");
    let clock = clock_getcpuclockid(pid).with_context(no_clock)?;
    Ok(clock_gettime(clock).with_context(no_clock)?.into())
}

/// The name of a process.
pub(crate) fn name(pid: u32) -> anyhow::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end().to_owned())
}

/// The proportional set size of a process, in KiB.
pub(crate) fn pss_kib(pid: u32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    parse_pss_kib(&rollup).context("smaps_rollup has no line `Pss: … kB`")
}

fn parse_pss_kib(rollup: &str) -> Option<u64> {
    let value = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_itself() {
        let own = std::process::id();
        assert!(cpu(own).unwrap() > Duration::ZERO);
        assert!(pss_kib(own).unwrap() > 0);
        assert!(name(own).is_ok());
    }

    #[test]
    fn reads_the_time_of_all_cpus() {
        let before = parse_machine("cpu  100 0 50 1000 10 1 2 0 0 0\ncpu0 1 2 3\n").unwrap();
        let after = parse_machine("cpu  150 0 60 1030 10 1 2 10 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(after.busy_since(&before), Duration::from_millis(600));
        assert!((after.stolen_since(&before) - 0.1).abs() < 1e-9);
        assert!(parse_machine("cpu0 1 2 3").is_none());
    }

    #[test]
    fn reads_the_proportional_set_size() {
        let rollup = "5581a-7ffd r [rollup]\nRss:  1800 kB\nPss:   884 kB\nPss_Dirty: 96 kB\n";
        assert_eq!(parse_pss_kib(rollup), Some(884));
    }
}
