//! Which processes run where: targets on cores of their own, everything else on the others.

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Cores, as numbers in rising order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cores(Vec<usize>);

impl Cores {
    /// Those of a list like `0-3,6`.
    ///
    /// # Errors
    /// It is none, or names some that are not `allowed`.
    pub(super) fn parse(list: &str, allowed: &Self) -> anyhow::Result<Self> {
        let part = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?)
        };
        let parts: Option<Vec<_>> = list.split(',').map(part).collect();
        let parts = parts.with_context(|| format!("cores {list:?}: write for instance 1 or 0-3,6"))?;
        let mut cores: Vec<usize> = parts.into_iter().flatten().take(CpuSet::MAX_CPU + 1).collect();
        cores.sort_unstable();
        cores.dedup();
        ensure!(
            !cores.is_empty() && cores.iter().all(|core| allowed.0.contains(core)),
            "cores {list:?}: this process may use {allowed}"
        );
        Ok(Self(cores))
    }

    /// Those that this thread may use.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(super) fn allowed() -> anyhow::Result<Self> {
        let set = sched_getaffinity(None).context("cannot read which cores are allowed")?;
        Ok(Self((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()))
    }

    /// Those of these that are not among `others`; none where that leaves nothing.
    pub(super) fn without(&self, others: &Self) -> Option<Self> {
        let left: Vec<usize> = self.0.iter().copied().filter(|core| !others.0.contains(core)).collect();
        (!left.is_empty()).then_some(Self(left))
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Has this thread, and whatever it starts from now on, run on these.
    ///
    /// # Errors
    /// The kernel does not want it.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let mut set = CpuSet::new();
        for core in &self.0 {
            set.set(*core);
        }
        sched_setaffinity(None, &set).with_context(|| format!("cannot run on cores {self}"))
    }
}

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cores: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&cores.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_within_what_is_allowed() {
        let allowed = Cores::allowed().unwrap();
        assert_eq!(Cores::parse(&allowed.to_string(), &allowed).unwrap(), allowed);
        for list in ["", "x", "1-", "0-99999", "-1"] {
            assert!(Cores::parse(list, &allowed).is_err(), "{list:?}");
        }
        assert_eq!(allowed.without(&allowed), None);
    }
}
