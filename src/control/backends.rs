//! What the control plane knows of the backends, and the snapshots it makes of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use crate::balance::{BackendId, BackendState, BackendView, Epoch, PoolView, ShardId, Snapshot, Weight};
use crate::config::BackendUrl;
use crate::health::{Health, Outcome};

/// All backends of the pool: every address of every line. One's [`BackendId`] is its place here.
pub struct Backends {
    entries: Vec<Entry>,
    epoch: Epoch,
    /// Whether something has changed since the last snapshot.
    is_stale: bool,
}

struct Entry {
    url: BackendUrl,
    spec: usize,
    address: SocketAddr,
    health: Health,
    /// By [`ShardId`].
    sessions: Vec<u32>,
    is_probing: bool,
}

impl Backends {
    /// Backends that are all up, at these addresses, on this many shards.
    #[must_use]
    pub fn new(backends: Vec<(BackendUrl, Vec<SocketAddr>)>, shards: usize) -> Self {
        let entries = |(spec, (url, addresses)): (usize, (BackendUrl, Vec<SocketAddr>))| {
            addresses.into_iter().map(move |address| Entry {
                url: url.clone(),
                spec,
                address,
                health: Health::default(),
                sessions: vec![0; shards],
                is_probing: false,
            })
        };
        let entries = backends.into_iter().enumerate().flat_map(entries).collect();
        Self { entries, epoch: Epoch(0), is_stale: true }
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
        let view = |(id, entry): (u32, &Entry)| BackendView {
            id: BackendId(id),
            spec: entry.spec,
            address: entry.address,
            state: if entry.health.is_up() { BackendState::Up } else { BackendState::Down },
            weight: Weight::ONE,
            connections_max: None,
            sessions: entry.sessions.clone(),
        };
        let backends = (0..).zip(&self.entries).map(view).collect();
        let pools = vec![PoolView { backends, is_panicking: false }];
        Some(Arc::new(Snapshot { epoch: self.epoch, pools }))
    }

    pub(super) fn handle_outcome(&mut self, backend: BackendId, outcome: Outcome, now: Instant) {
        self.change(backend, |entry| entry.health.handle_outcome(outcome, now));
    }

    pub(super) fn handle_sessions(&mut self, shard: ShardId, counts: &[(BackendId, u32)]) {
        let counts: HashMap<_, _> = counts.iter().copied().collect();
        for (id, entry) in (0..).zip(&mut self.entries) {
            let count = counts.get(&BackendId(id)).copied().unwrap_or(0);
            if let Some(sessions) = entry.sessions.get_mut(shard.index())
                && *sessions != count
            {
                *sessions = count;
                self.is_stale = true;
            }
        }
    }

    pub(super) fn handle_probe(&mut self, backend: BackendId, is_reachable: bool, now: Instant) {
        self.change(backend, |entry| {
            entry.is_probing = false;
            entry.health.handle_probe(is_reachable, now);
        });
    }

    /// Where `backend` is.
    pub(super) fn address(&self, backend: BackendId) -> Option<SocketAddr> {
        self.entry(backend).map(|entry| entry.address)
    }

    /// How the configuration calls `backend`.
    pub(super) fn url(&self, backend: BackendId) -> Option<&BackendUrl> {
        self.entry(backend).map(|entry| &entry.url)
    }

    fn entry(&self, backend: BackendId) -> Option<&Entry> {
        self.entries.get(usize::try_from(backend.0).ok()?)
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
        let entry = usize::try_from(backend.0).ok().and_then(|index| self.entries.get_mut(index));
        let Some(entry) = entry else { return };
        let was_up = entry.health.is_up();
        change(entry);
        let is_up = entry.health.is_up();
        self.is_stale |= was_up != is_up;
        match (was_up, is_up) {
            (true, false) => warn!(backend = %entry.url, "backend is down; new sessions go elsewhere"),
            (false, true) => info!(backend = %entry.url, "backend is up again"),
            (true, true) | (false, false) => {}
        }
    }
}
