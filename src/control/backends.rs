//! What the control plane knows of the backends, and the snapshots it makes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use crate::balance::{BackendId, BackendView, Epoch, ShardId, Snapshot};
use crate::config::BackendUrl;
use crate::health::{Health, Outcome};

use super::probe::Probed;

/// All backends of the pool.
pub struct Backends {
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
    is_probing: bool,
}

impl Backends {
    /// Backends that are all up, at these addresses, on this many shards.
    #[must_use]
    pub fn new(backends: Vec<(BackendUrl, Vec<SocketAddr>)>, shards: usize) -> Self {
        let entry = |(url, addresses)| Entry {
            url,
            addresses,
            health: Health::default(),
            sessions: vec![0; shards],
            is_probing: false,
        };
        Self { entries: backends.into_iter().map(entry).collect(), epoch: Epoch(0), is_stale: true }
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
        self.change(backend, |entry| entry.health.handle_outcome(outcome, now));
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

    pub(super) fn handle_probe(&mut self, backend: BackendId, probed: Probed, now: Instant) {
        self.change(backend, |entry| {
            entry.is_probing = false;
            entry.health.handle_probe(probed.is_reachable, now);
            if !probed.addresses.is_empty() {
                entry.addresses = probed.addresses;
            }
        });
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.entries
            .iter()
            .filter(|entry| !entry.is_probing)
            .filter_map(|entry| entry.health.probe_at())
            .min()
    }

    /// The backends to probe now.
    pub(super) fn take_due_probes(&mut self, now: Instant) -> Vec<BackendId> {
        let mut due = Vec::new();
        for (index, entry) in (0..).zip(&mut self.entries) {
            if !entry.is_probing && entry.health.probe_at().is_some_and(|at| at <= now) {
                entry.is_probing = true;
                due.push(BackendId(index));
            }
        }
        due
    }

    /// Changes one backend, and says so if that took it up or down.
    fn change(&mut self, backend: BackendId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(backend.index()) else { return };
        let (was_up, addresses) = (entry.health.is_up(), entry.addresses.clone());
        change(entry);
        let is_up = entry.health.is_up();
        self.is_stale |= was_up != is_up || addresses != entry.addresses;
        match (was_up, is_up) {
            (true, false) => warn!(backend = %entry.url, "backend is down; new sessions go elsewhere"),
            (false, true) => info!(backend = %entry.url, "backend is up again"),
            (true, true) | (false, false) => {}
        }
    }
}
