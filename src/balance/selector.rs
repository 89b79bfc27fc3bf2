//! One shard's choice of backend in one pool: its snapshot, its own sessions and what it saw itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ranking::Ranking;
use super::rendezvous::Rendezvous;
use super::roster::{Roster, Slot};
use super::sampling::{Criterion, Sampling};
use super::turns::Turns;
use super::{BackendId, BackendView, Policy, PoolView, ShardId, Snapshot};

/// How long a shard avoids a backend that failed it, without waiting for the control plane's word.
const LOCAL_EJECTION: Duration = Duration::from_secs(1);

/// Attempts a second that a shard makes on backends that are all held to be down. Below it a client gets a real
/// attempt (and 502 or 504), above it a quick 503: a dead pool is found alive soon, but not stormed.
const DESPERATE_PER_SECOND: u32 = 10;

/// Chooses backends of one pool for one shard.
#[derive(Debug)]
pub struct Selector {
    pool: usize,
    snapshot: Arc<Snapshot>,
    roster: Roster,
    method: Method,
    desperate: Allowance,
    /// Whose turn it is in desperation.
    desperate_next: usize,
}

/// A policy, with the index that makes its choices quick.
#[derive(Debug)]
enum Method {
    Turns(Turns),
    Ranking(Ranking),
    Sampling(Sampling),
    /// And how sessions without a key are placed.
    Hash(Rendezvous, Turns),
}

impl Selector {
    /// A selector for the pool of this index in the configuration, on `shard`, whose turn begins at another
    /// backend than its neighbours'.
    #[must_use]
    pub fn new(policy: &Policy, shard: ShardId, pool: usize, snapshot: Arc<Snapshot>, now: Instant) -> Self {
        let method = match policy {
            Policy::RoundRobin | Policy::Weighted => Method::Turns(Turns::default()),
            Policy::LeastConnections => Method::Ranking(Ranking::default()),
            Policy::PowerOfTwo => Method::Sampling(Sampling::new(Criterion::Load)),
            Policy::Ewma => Method::Sampling(Sampling::new(Criterion::Handshakes)),
            Policy::Hash(_) => Method::Hash(Rendezvous::default(), Turns::default()),
        };
        let mut selector = Self {
            pool,
            snapshot,
            roster: Roster::new(shard),
            method,
            desperate: Allowance::new(DESPERATE_PER_SECOND, now),
            desperate_next: shard.index(),
        };
        selector.update();
        selector
    }

    /// Takes a newer snapshot; an older one is ignored. What this shard knows of a backend stays with its id,
    /// wherever the snapshot has it now.
    pub fn handle_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        if snapshot.epoch > self.snapshot.epoch {
            self.snapshot = snapshot;
            self.update();
        }
    }

    /// A dial failed in a way that the next one would too: the backend is avoided for a second.
    pub fn handle_failure(&mut self, backend: BackendId, now: Instant) {
        self.roster.handle_failure(backend, now + LOCAL_EJECTION);
    }

    /// A backend took this long from the dial to the end of its handshake.
    pub fn handle_handshake(&mut self, backend: BackendId, took: Duration, now: Instant) {
        self.roster.handle_handshake(backend, took, now);
    }

    /// A session was placed on `backend`: counted from the choice on, so that a burst spreads.
    pub fn handle_opened(&mut self, backend: BackendId) {
        self.roster.handle_opened(backend);
        let Some(index) = self.roster.index(backend) else { return };
        if let Method::Ranking(ranking) = &mut self.method {
            ranking.end_turn(&mut self.roster, index);
        }
        self.method.refresh(&mut self.roster, index);
    }

    /// A session left `backend`, or never came to be.
    pub fn handle_closed(&mut self, backend: BackendId) {
        self.roster.handle_closed(backend);
        let Some(index) = self.roster.index(backend) else { return };
        self.method.refresh(&mut self.roster, index);
    }

    /// This shard's sessions, those on backends that have left the pool included; backends without are left out.
    #[must_use]
    pub fn sessions(&self) -> Vec<(BackendId, u32)> {
        self.roster.sessions()
    }

    /// What the snapshot says of `backend`; `None` if it has left the pool.
    #[must_use]
    pub fn view(&self, backend: BackendId) -> Option<&BackendView> {
        self.snapshot.pools.get(self.pool)?.backends.get(self.roster.index(backend)?)
    }

    /// The backend for a session that has `tried` these already; `None` if there is none to try now. `key` is what
    /// [`Policy::Hash`] goes by, if the request has one; `random` is new for every call.
    ///
    /// When every backend is down the pool panics open: it tries one all the same, a bounded number of times a
    /// second. Backends that are draining, have no weight or are full are never chosen.
    pub fn pick(
        &mut self,
        tried: &[BackendId],
        key: Option<&[u8]>,
        random: u64,
        now: Instant,
    ) -> Option<BackendId> {
        let is_eligible = |slot: &Slot| slot.is_eligible(now) && !tried.contains(&slot.id);
        let roster = &mut self.roster;
        let chosen = match (&mut self.method, key) {
            (Method::Hash(rendezvous, _), Some(key)) => rendezvous.pick(roster, key, is_eligible),
            (Method::Turns(turns) | Method::Hash(_, turns), _) => turns.pick(roster, is_eligible),
            (Method::Ranking(ranking), _) => ranking.pick(roster, is_eligible),
            (Method::Sampling(sampling), _) => sampling.pick(roster, random, now, is_eligible),
        };
        let chosen = chosen.and_then(|index| self.roster.get(index)).map(|slot| slot.id);
        if chosen.is_some() || !tried.is_empty() {
            return chosen;
        }
        self.pick_desperately(now)
    }

    /// The next in turn, whatever its health. Not where some are well but full: they will have room.
    fn pick_desperately(&mut self, now: Instant) -> Option<BackendId> {
        let present = self.roster.present();
        if present.iter().any(|slot| slot.is_open && !slot.is_avoided(now)) {
            return None;
        }
        let mut slots = present.iter().enumerate().cycle().skip(self.desperate_next % present.len().max(1));
        let (index, slot) = slots.by_ref().take(present.len()).find(|(_, slot)| slot.is_last_resort())?;
        self.desperate.take(now).then(|| {
            self.desperate_next = index + 1;
            slot.id
        })
    }

    fn update(&mut self) {
        let Some(pool) = self.snapshot.pools.get(self.pool) else {
            // The pool is gone; its sessions are still counted.
            self.roster.update(&PoolView::default());
            return self.method.rebuild(&mut self.roster);
        };
        if self.roster.update(pool) {
            self.method.rebuild(&mut self.roster);
        } else {
            self.method.refresh_all(&mut self.roster);
        }
    }
}

impl Method {
    /// Other backends are open than before, or with other weights.
    fn rebuild(&mut self, roster: &mut Roster) {
        match self {
            Self::Turns(turns) => turns.rebuild(roster),
            Self::Ranking(ranking) => ranking.rebuild(roster),
            Self::Sampling(sampling) => sampling.rebuild(roster),
            Self::Hash(rendezvous, turns) => {
                rendezvous.rebuild(roster);
                turns.rebuild(roster);
            }
        }
    }

    /// Sessions and limits are other than before.
    fn refresh_all(&mut self, roster: &mut Roster) {
        match self {
            Self::Turns(turns) | Self::Hash(_, turns) => turns.refresh_all(roster),
            Self::Ranking(ranking) => ranking.refresh_all(roster),
            Self::Sampling(_) => {}
        }
    }

    /// One backend's sessions are other than before.
    fn refresh(&mut self, roster: &mut Roster, index: usize) {
        match self {
            Self::Turns(turns) | Self::Hash(_, turns) => turns.refresh(roster, index),
            Self::Ranking(ranking) => ranking.refresh(roster, index),
            Self::Sampling(_) => {}
        }
    }
}

/// A token bucket of one second's worth.
#[derive(Debug)]
struct Allowance {
    per_second: u32,
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, left: per_second, since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.per_second;
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}
