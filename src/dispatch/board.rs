//! What all clients of a shard know together of the backends of one dispatch, and which of them gets a message.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Balance;
use crate::balance::{BackendId, Weight};
use crate::telemetry::DispatchCounters;

/// A backend that may get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub backend: BackendId,
    /// Its share.
    pub weight: Weight,
}

/// The backends of one dispatch as a shard knows them: what they have yet to answer, and how fast they do.
#[derive(Debug, Default)]
pub struct Board {
    backends: BTreeMap<BackendId, Standing>,
    /// What its dispatchers count.
    pub counters: DispatchCounters,
}

/// One backend.
#[derive(Debug, Default)]
struct Standing {
    /// Messages that wait for its reply.
    outstanding: u32,
}

impl Board {
    /// Chooses one of the candidates, by index; `None` if there are none. `key` is what [`Balance::Hash`] found in the
    /// message, `random` is drawn anew each time. All policies are fair among equals.
    pub fn pick(
        &mut self,
        balance: &Balance,
        candidates: &[Candidate],
        key: Option<&[u8]>,
        (random, now): (u64, Instant),
    ) -> Option<usize> {
        let _ = (balance, key, random, now);
        candidates
            .iter()
            .enumerate()
            .min_by_key(|(_, candidate)| self.outstanding(candidate.backend))
            .map(|(at, _)| at)
    }

    /// A backend got a message that it is to answer.
    pub fn handle_sent(&mut self, backend: BackendId) {
        self.backends.entry(backend).or_default().outstanding += 1;
        self.counters.outstanding_now += 1;
    }

    /// It answered one, so long after it got it.
    pub fn handle_reply(&mut self, backend: BackendId, took: Duration, now: Instant) {
        let _ = (took, now);
        self.handle_given_up(backend);
    }

    /// It will not answer one of them, or nobody waits for that any more.
    pub fn handle_given_up(&mut self, backend: BackendId) {
        if let Some(standing) = self.backends.get_mut(&backend) {
            standing.outstanding = standing.outstanding.saturating_sub(1);
            self.counters.outstanding_now = self.counters.outstanding_now.saturating_sub(1);
        }
    }

    /// Messages that wait for a backend's reply.
    #[must_use]
    pub fn outstanding(&self, backend: BackendId) -> u32 {
        self.backends.get(&backend).map_or(0, |standing| standing.outstanding)
    }

    /// Forgets backends that are gone and have nothing to answer.
    pub fn forget(&mut self, is_gone: impl Fn(BackendId) -> bool) {
        self.backends.retain(|id, standing| standing.outstanding > 0 || !is_gone(*id));
    }
}
