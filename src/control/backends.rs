//! What the control plane knows of the backends, and the snapshots it makes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use crate::balance::{BackendId, BackendView, Epoch, ShardId, Snapshot};
use crate::config::BackendUrl;
use crate::health::{Health, Outcome, Pool, ProbeFault, Settings};

use super::probe::Question;
use super::resolve::{Difference, Unresolved};

/// All backends of the pool.
pub struct Backends {
    pool: Pool,
    entries: Vec<Entry>,
    epoch: Epoch,
    /// Whether something has changed since the last snapshot.
    is_stale: bool,
}

struct Entry {
    url: BackendUrl,
    addresses: Vec<SocketAddr>,
    health: Health,
    /// By [`ShardId`].
    sessions: Vec<u32>,
    /// Probes so far: each asks the next address.
    probes: usize,
}

impl Backends {
    /// Backends that are all up, at these addresses, on this many shards.
    #[must_use]
    pub fn new(backends: Vec<(BackendUrl, Vec<SocketAddr>)>, shards: usize, now: Instant) -> Self {
        let mut pool = Pool::new(Settings::default());
        let entry = |(url, addresses)| Entry {
            url,
            addresses,
            health: Health::join(&mut pool, now),
            sessions: vec![0; shards],
            probes: 0,
        };
        let entries = backends.into_iter().map(entry).collect();
        Self { pool, entries, epoch: Epoch(0), is_stale: true }
    }

    /// How many new sessions may be placed on.
    #[must_use]
    pub fn up(&self) -> usize {
        self.entries.iter().filter(|entry| entry.health.is_up()).count()
    }

    /// A new snapshot, if anything has changed since the last.
    pub fn take_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        if !std::mem::take(&mut self.is_stale) {
            return None;
        }
        self.epoch.0 += 1;
        let view = |entry: &Entry| BackendView {
            is_up: entry.health.is_up(),
            addresses: entry.addresses.clone(),
            sessions: entry.sessions.clone(),
        };
        Some(Arc::new(Snapshot { epoch: self.epoch, backends: self.entries.iter().map(view).collect() }))
    }

    pub(super) fn handle_outcome(&mut self, backend: BackendId, outcome: Outcome, now: Instant) {
        self.change(backend, |entry, pool| entry.health.handle_outcome(outcome, pool, now));
    }

    pub(super) fn handle_sessions(&mut self, shard: ShardId, counts: &[u32]) {
        for (entry, count) in self.entries.iter_mut().zip(counts) {
            if let Some(sessions) = entry.sessions.get_mut(shard.index())
                && *sessions != *count
            {
                *sessions = *count;
                self.is_stale = true;
            }
        }
    }

    pub(super) fn handle_probe(&mut self, backend: BackendId, result: Result<(), ProbeFault>, now: Instant) {
        let random = fastrand::u32(..);
        self.change(backend, |entry, pool| entry.health.handle_probe(result, pool, now, random));
    }

    pub(super) fn handle_resolved(
        &mut self,
        backend: BackendId,
        resolved: Result<Vec<SocketAddr>, Unresolved>,
    ) {
        let Some(entry) = self.entries.get_mut(backend.index()) else { return };
        match resolved {
            Ok(addresses) if Difference::between(&entry.addresses, &addresses).is_empty() => {}
            Ok(addresses) => {
                info!(backend = %entry.url, ?addresses, "backend has moved");
                entry.addresses = addresses;
                self.is_stale = true;
            }
            Err(error) => warn!(%error, "the backend keeps its addresses"),
        }
    }

    /// Every backend, and when its probe is wanted.
    pub(super) fn probe_times(&self) -> impl Iterator<Item = (BackendId, Option<Instant>)> {
        (0..).map(BackendId).zip(self.entries.iter().map(|entry| entry.health.probe_at()))
    }

    /// What to ask a backend.
    pub(super) fn question(&mut self, backend: BackendId) -> Option<Question> {
        let entry = self.entries.get_mut(backend.index())?;
        entry.probes = entry.probes.wrapping_add(1);
        let address = *entry.addresses.iter().cycle().nth(entry.probes % entry.addresses.len().max(1))?;
        let (probe, timeout) = (self.pool.probe().clone(), self.pool.settings().timeout);
        Some(Question { address, url: entry.url.clone(), probe, timeout })
    }

    /// Changes one backend, and says so if that took it up or down.
    fn change(&mut self, backend: BackendId, change: impl FnOnce(&mut Entry, &mut Pool)) {
        let Some(entry) = self.entries.get_mut(backend.index()) else { return };
        let was_up = entry.health.is_up();
        change(entry, &mut self.pool);
        let is_up = entry.health.is_up();
        self.is_stale |= was_up != is_up;
        let state = entry.health.state();
        match (was_up, is_up) {
            (true, false) => {
                warn!(backend = %entry.url, %state, "backend is down; new sessions go elsewhere")
            }
            (false, true) => info!(backend = %entry.url, "backend is up again"),
            (true, true) | (false, false) => {}
        }
    }
}
