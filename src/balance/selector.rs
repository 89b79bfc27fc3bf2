//! One shard's choice of backend: its snapshot, its own sessions and what it saw itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BackendId, BackendView, ShardId, Snapshot};

/// How long a shard avoids a backend that failed it, without waiting for the control plane's word.
const LOCAL_EJECTION: Duration = Duration::from_secs(1);

/// Attempts a second that a shard makes on backends that are all held to be down. Below it a client gets a real
/// attempt (and 502 or 504), above it a quick 503: a dead pool is found alive soon, but not stormed.
const DESPERATE_PER_SECOND: u32 = 10;

/// How a backend is chosen among those that are up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// The one with the fewest sessions, over all shards; in turn among equals.
    LeastConnections,
}

/// What a shard knows of one backend beyond the snapshot.
#[derive(Debug, Clone, Copy, Default)]
struct Local {
    sessions: u32,
    avoid_until: Option<Instant>,
}

/// Chooses backends for one shard.
#[derive(Debug)]
pub struct Selector {
    policy: Policy,
    shard: ShardId,
    snapshot: Arc<Snapshot>,
    local: Vec<Local>,
    cursor: usize,
    desperate: Allowance,
}

impl Selector {
    /// A selector for `shard`, whose turn begins at another backend than its neighbours'.
    #[must_use]
    pub fn new(policy: Policy, shard: ShardId, snapshot: Arc<Snapshot>, now: Instant) -> Self {
        let local = vec![Local::default(); snapshot.backends.len()];
        let desperate = Allowance::new(DESPERATE_PER_SECOND, now);
        Self { policy, shard, snapshot, local, cursor: shard.index(), desperate }
    }

    /// Takes a newer snapshot; an older one is ignored.
    pub fn handle_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        if snapshot.epoch > self.snapshot.epoch {
            self.snapshot = snapshot;
        }
    }

    /// A dial failed in a way that the next one would too.
    pub fn handle_failure(&mut self, backend: BackendId, now: Instant) {
        if let Some(local) = self.local.get_mut(backend.index()) {
            local.avoid_until = Some(now + LOCAL_EJECTION);
        }
    }

    /// A session was placed on `backend`: counted from the choice on, so that a burst spreads.
    pub fn handle_opened(&mut self, backend: BackendId) {
        if let Some(local) = self.local.get_mut(backend.index()) {
            local.sessions += 1;
        }
    }

    /// A session left `backend`, or never came to be.
    pub fn handle_closed(&mut self, backend: BackendId) {
        if let Some(local) = self.local.get_mut(backend.index()) {
            local.sessions = local.sessions.saturating_sub(1);
        }
    }

    /// This shard's sessions on each backend, by [`BackendId`].
    #[must_use]
    pub fn sessions(&self) -> Vec<u32> {
        self.local.iter().map(|local| local.sessions).collect()
    }

    /// Where `backend` can be reached.
    #[must_use]
    pub fn view(&self, backend: BackendId) -> Option<&BackendView> {
        self.snapshot.backends.get(backend.index())
    }

    /// The backend for a session that has `tried` these already; `None` if there is none to try now.
    ///
    /// When every backend is down the pool panics open: it tries one all the same, a bounded number of times a
    /// second.
    pub fn pick(&mut self, tried: &[BackendId], now: Instant) -> Option<BackendId> {
        let is_untried = |id: &BackendId| !tried.contains(id);
        let eligible = self.choose(|this, id| is_untried(&id) && this.is_eligible(id, now));
        if eligible.is_some() || !tried.is_empty() {
            return eligible;
        }
        if self.desperate.take(now) { self.choose(|_, id| is_untried(&id)) } else { None }
    }

    fn is_eligible(&self, id: BackendId, now: Instant) -> bool {
        let avoided =
            self.local.get(id.index()).and_then(|local| local.avoid_until).is_some_and(|until| now < until);
        !avoided && self.view(id).is_some_and(|view| view.is_up)
    }

    /// The policy's choice among those that `allows` lets through, beginning at the cursor.
    fn choose(&mut self, allows: impl Fn(&Self, BackendId) -> bool) -> Option<BackendId> {
        let count = self.local.len();
        let in_turn = (0..count).map(|step| (self.cursor + step) % count);
        let mut candidates = in_turn
            .filter_map(|index| Some(BackendId(u16::try_from(index).ok()?)))
            .filter(|id| allows(self, *id));
        let chosen = match self.policy {
            Policy::RoundRobin => candidates.next(),
            Policy::LeastConnections => candidates.min_by_key(|id| self.load(*id)),
        }?;
        self.cursor = (chosen.index() + 1) % count;
        Some(chosen)
    }

    /// Sessions of the whole process on a backend: this shard's as of now, the others' as last reported.
    fn load(&self, id: BackendId) -> u32 {
        let own = self.local.get(id.index()).map_or(0, |local| local.sessions);
        let reported = self.view(id).map_or(&[][..], |view| &view.sessions);
        let others = reported.iter().enumerate().filter(|(shard, _)| *shard != self.shard.index());
        others.map(|(_, sessions)| sessions).sum::<u32>() + own
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;
    use crate::balance::Epoch;

    fn snapshot(epoch: u64, up: &[bool]) -> Arc<Snapshot> {
        let view = |is_up: &bool| BackendView { is_up: *is_up, addresses: Vec::new(), sessions: vec![0, 0] };
        Arc::new(Snapshot { epoch: Epoch(epoch), backends: up.iter().map(view).collect() })
    }

    fn selector(policy: Policy, up: &[bool], now: Instant) -> Selector {
        Selector::new(policy, ShardId(0), snapshot(1, up), now)
    }

    #[test]
    fn round_robin_gives_each_backend_that_is_up_its_turn() {
        let now = Instant::now();
        let mut selector = selector(Policy::RoundRobin, &[true, false, true], now);
        let picks: Vec<_> = (0..4).filter_map(|_| selector.pick(&[], now)).map(|id| id.0).collect();
        assert_eq!(picks, [0, 2, 0, 2]);
    }

    #[test]
    fn least_connections_counts_the_sessions_of_all_shards() {
        let now = Instant::now();
        let mut selector = selector(Policy::LeastConnections, &[true, true], now);
        let mut newer = Snapshot::clone(&snapshot(2, &[true, true]));
        newer.backends[0].sessions = vec![99, 2];
        selector.handle_snapshot(Arc::new(newer));
        for expected in [1, 1, 0, 1] {
            let id = selector.pick(&[], now).unwrap();
            assert_eq!(id.0, expected);
            selector.handle_opened(id);
        }
    }

    #[test]
    fn a_failed_backend_is_avoided_at_once_and_tried_again_later() {
        let now = Instant::now();
        let mut selector = selector(Policy::RoundRobin, &[true, true], now);
        selector.handle_failure(BackendId(0), now);
        assert_eq!(selector.pick(&[], now), Some(BackendId(1)));
        assert_eq!(selector.pick(&[BackendId(1)], now), None);
        let later = now + LOCAL_EJECTION;
        assert_eq!(selector.pick(&[BackendId(1)], later), Some(BackendId(0)));
    }

    #[test]
    fn a_dead_pool_is_tried_but_not_stormed() {
        let now = Instant::now();
        let mut selector = selector(Policy::RoundRobin, &[false, false], now);
        let tries = |selector: &mut Selector, at| (0..1000).filter_map(|_| selector.pick(&[], at)).count();
        assert_eq!(tries(&mut selector, now), 10);
        assert_eq!(tries(&mut selector, now + Duration::from_secs(1)), 10);
    }

    #[test]
    fn an_older_snapshot_is_ignored() {
        let now = Instant::now();
        let mut selector = selector(Policy::RoundRobin, &[true], now);
        selector.handle_snapshot(snapshot(3, &[false]));
        selector.handle_snapshot(snapshot(2, &[true]));
        assert!(!selector.is_eligible(BackendId(0), now));
    }
}
