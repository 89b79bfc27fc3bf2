//! One shard's choice of backend in one pool: its snapshot, its own sessions and what it saw itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desperation::Desperation;
use super::ranking::Ranking;
use super::rendezvous::Rendezvous;
use super::roster::{Roster, Slot};
use super::sampling::{Criterion, Sampling};
use super::turns::Turns;
use super::{BackendId, BackendView, Policy, PoolView, ShardId, Snapshot, Weight};

/// How long a shard avoids a backend that failed it, without waiting for the control plane's word.
const LOCAL_EJECTION: Duration = Duration::from_secs(1);

/// Chooses backends of one pool for one shard.
#[derive(Debug)]
pub struct Selector {
    pool: usize,
    snapshot: Arc<Snapshot>,
    roster: Roster,
    method: Method,
    desperation: Desperation,
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
        let mut selector =
            Self { pool, snapshot, roster: Roster::new(shard), method, desperation: Desperation::new(now) };
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

    /// What the snapshot says of the pool's backends.
    #[must_use]
    pub fn views(&self) -> &[BackendView] {
        self.snapshot.pools.get(self.pool).map_or(&[], |pool| &pool.backends)
    }

    /// The backends that may have more to do, each with its weight and its identity: a number that is the same in every
    /// process and on every machine.
    pub fn open(&self) -> impl Iterator<Item = (BackendId, Weight, u64)> {
        let open = self.roster.present().iter().filter(|slot| slot.is_open);
        open.map(|slot| (slot.id, slot.weight, slot.identity))
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
        self.desperation.pick(&self.roster, now)
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;
    use crate::balance::{BackendState, Epoch, HashBy, Weight};

    const A: BackendId = BackendId(0);
    const B: BackendId = BackendId(1);
    const C: BackendId = BackendId(2);

    fn view(id: BackendId) -> BackendView {
        BackendView {
            id,
            spec: 0,
            address: ([10, 0, 0, 1], u16::try_from(9000 + id.0).unwrap()).into(),
            state: BackendState::Up,
            weight: Weight::ONE,
            connections_max: None,
            sessions: vec![0, 0],
        }
    }

    fn in_state(id: BackendId, state: BackendState) -> BackendView {
        BackendView { state, ..view(id) }
    }

    fn snapshot(epoch: u64, backends: &[BackendView]) -> Arc<Snapshot> {
        let pools = vec![PoolView { backends: backends.to_vec(), is_panicking: false }];
        Arc::new(Snapshot { epoch: Epoch(epoch), pools })
    }

    /// Chooses among these, on the first of two shards.
    fn selector(policy: &Policy, backends: &[BackendView]) -> (Selector, Instant) {
        let now = Instant::now();
        (Selector::new(policy, ShardId(0), 0, snapshot(1, backends), now), now)
    }

    fn picks(selector: &mut Selector, count: usize, now: Instant) -> Vec<BackendId> {
        (0..count).filter_map(|_| selector.pick(&[], None, 0, now)).collect()
    }

    #[test]
    fn round_robin_gives_each_backend_that_is_up_its_turn() {
        let backends = [view(A), in_state(B, BackendState::Down), view(C)];
        let (mut selector, now) = selector(&Policy::RoundRobin, &backends);
        assert_eq!(picks(&mut selector, 4, now), [A, C, A, C]);
    }

    #[test]
    fn shards_begin_at_different_backends() {
        for policy in [Policy::RoundRobin, Policy::LeastConnections] {
            let now = Instant::now();
            let backends = [view(A), view(B), view(C)];
            let first = |shard| {
                Selector::new(&policy, ShardId(shard), 0, snapshot(1, &backends), now).pick(&[], None, 0, now)
            };
            assert_eq!([first(0), first(1), first(2), first(3)], [Some(A), Some(B), Some(C), Some(A)]);
        }
    }

    #[test]
    fn turns_are_spread_by_weight() {
        let backends = [BackendView { weight: Weight(3 * 256), ..view(A) }, view(B)];
        let (mut selector, now) = selector(&Policy::Weighted, &backends);
        assert_eq!(picks(&mut selector, 8, now), [A, A, B, A, A, A, B, A]);
    }

    #[test]
    fn a_backend_that_comes_back_gets_no_more_than_its_turns() {
        let (mut selector, now) = selector(&Policy::RoundRobin, &[view(A), view(B)]);
        let full = BackendView { connections_max: Some(0), ..view(B) };
        let down = in_state(B, BackendState::Down);
        for (epoch, absent) in [(2, full), (4, down)] {
            selector.handle_snapshot(snapshot(epoch, &[view(A), absent]));
            assert_eq!(picks(&mut selector, 5, now), [A; 5]);
            selector.handle_snapshot(snapshot(epoch + 1, &[view(A), view(B)]));
            let picked = picks(&mut selector, 6, now);
            assert_eq!(picked.iter().filter(|id| **id == B).count(), 3, "{picked:?}");
        }
    }

    #[test]
    fn turns_that_were_passed_over_are_lost() {
        let backends = [view(A), BackendView { weight: Weight(4 * 256), ..view(B) }];
        let (mut selector, now) = selector(&Policy::RoundRobin, &backends);
        selector.handle_failure(B, now);
        assert_eq!(picks(&mut selector, 100, now), [A; 100]);
        let picked = picks(&mut selector, 10, now + LOCAL_EJECTION);
        assert_eq!(picked.iter().filter(|id| **id == B).count(), 8, "{picked:?}");
    }

    #[test]
    fn a_backend_whose_weight_grows_need_not_wait_for_the_old_ones_turn() {
        let slow = BackendView { weight: Weight(1), ..view(B) };
        let (mut selector, now) = selector(&Policy::RoundRobin, &[view(A), slow]);
        picks(&mut selector, 300, now);
        selector.handle_snapshot(snapshot(2, &[view(A), view(B)]));
        assert!(picks(&mut selector, 3, now).contains(&B));
    }

    #[test]
    fn least_connections_counts_the_sessions_of_all_shards() {
        let (mut selector, now) = selector(&Policy::LeastConnections, &[view(A), view(B)]);
        // What a snapshot says of this shard itself is out of date.
        let busy = BackendView { sessions: vec![99, 2], ..view(A) };
        selector.handle_snapshot(snapshot(2, &[busy, view(B)]));
        for expected in [B, B, A, B] {
            let id = selector.pick(&[], None, 0, now).unwrap();
            assert_eq!(id, expected);
            selector.handle_opened(id);
        }
    }

    #[test]
    fn least_connections_gives_by_weight() {
        let backends = [view(A), BackendView { weight: Weight(3 * 256), ..view(B) }];
        let (mut selector, now) = selector(&Policy::LeastConnections, &backends);
        for _ in 0..40 {
            let id = selector.pick(&[], None, 0, now).unwrap();
            selector.handle_opened(id);
        }
        assert_eq!(selector.sessions(), [(A, 10), (B, 30)]);
    }

    #[test]
    fn the_less_loaded_of_two_is_picked_whatever_the_numbers_drawn() {
        let backends = [BackendView { sessions: vec![0, 5], ..view(A) }, view(B)];
        let (mut selector, now) = selector(&Policy::PowerOfTwo, &backends);
        for random in [0, 1 << 63, u64::MAX, 1 << 31] {
            assert_eq!(selector.pick(&[], None, random, now), Some(B));
        }
        let heavy = BackendView { weight: Weight(10 * 256), ..backends[0].clone() };
        selector.handle_snapshot(snapshot(2, &[heavy, view(B)]));
        assert_eq!(selector.pick(&[], None, 0, now), Some(A));
    }

    #[test]
    fn the_faster_of_two_is_picked_unless_its_sessions_outweigh_that() {
        let (mut selector, now) = selector(&Policy::Ewma, &[view(A), view(B)]);
        selector.handle_opened(B);
        assert_eq!(selector.pick(&[], None, 0, now), Some(A), "by load while unmeasured");
        selector.handle_handshake(A, Duration::from_millis(50), now);
        selector.handle_handshake(B, Duration::from_millis(10), now);
        assert_eq!(selector.pick(&[], None, 0, now), Some(B));
        (0..5).for_each(|_| selector.handle_opened(B));
        assert_eq!(selector.pick(&[], None, 0, now), Some(A));
    }

    #[test]
    fn a_key_stays_with_its_backend_and_who_has_none_goes_in_turn() {
        let backends = [view(A), view(B), view(C)];
        let (mut selector, now) = selector(&Policy::Hash(HashBy::Ip), &backends);
        let owner = selector.pick(&[], Some(b"alice"), 0, now).unwrap();
        assert_eq!(picks(&mut selector, 3, now), [A, B, C]);
        selector.handle_failure(owner, now);
        let substitute = selector.pick(&[], Some(b"alice"), 0, now);
        assert_ne!(substitute, Some(owner));
        assert_eq!(selector.pick(&[owner], Some(b"alice"), 0, now), substitute);
        assert_eq!(selector.pick(&[], Some(b"alice"), 0, now + LOCAL_EJECTION), Some(owner));
    }

    /// A mapping that changed between versions would move every client at an upgrade.
    #[test]
    fn keys_belong_where_they_always_did() {
        let backends: Vec<_> = (0..300).map(|id| view(BackendId(id))).collect();
        for (count, expected) in [(8, [2, 0, 5, 6]), (300, [98, 113, 210, 74])] {
            let (mut selector, now) = selector(&Policy::Hash(HashBy::Ip), &backends[..count]);
            let mut owner = |key: &[u8]| selector.pick(&[], Some(key), 0, now).unwrap().0;
            assert_eq!([owner(b""), owner(b"alice"), owner(b"bob"), owner(&[10, 0, 0, 1])], expected);
        }
    }

    #[test]
    fn a_failed_backend_is_avoided_at_once_and_tried_again_later() {
        let (mut selector, now) = selector(&Policy::RoundRobin, &[view(A), view(B)]);
        selector.handle_failure(A, now);
        assert_eq!(selector.pick(&[], None, 0, now), Some(B));
        assert_eq!(selector.pick(&[B], None, 0, now), None);
        assert_eq!(selector.pick(&[B], None, 0, now + LOCAL_EJECTION), Some(A));
    }

    #[test]
    fn a_dead_pool_is_tried_but_not_stormed() {
        let dead = [in_state(A, BackendState::Down), in_state(B, BackendState::Down)];
        let (mut selector, now) = selector(&Policy::PowerOfTwo, &dead);
        assert_eq!(picks(&mut selector, 1000, now), [A, B, A, B, A, B, A, B, A, B]);
        assert_eq!(picks(&mut selector, 1000, now + Duration::from_secs(1)).len(), 10);
    }

    #[test]
    fn a_full_pool_is_not_dead() {
        let full = BackendView { connections_max: Some(2), sessions: vec![0, 1], ..view(A) };
        for policy in [Policy::RoundRobin, Policy::LeastConnections, Policy::Ewma] {
            let (mut selector, now) = selector(&policy, &[full.clone(), in_state(B, BackendState::Down)]);
            assert_eq!(selector.pick(&[], None, 0, now), Some(A));
            selector.handle_opened(A);
            assert_eq!(selector.pick(&[], None, 0, now), None);
            selector.handle_closed(A);
            assert_eq!(selector.pick(&[], None, 0, now), Some(A));
        }
    }

    #[test]
    fn a_panicking_pool_ignores_health_but_no_orders() {
        let backends = [view(A), in_state(B, BackendState::Down), in_state(C, BackendState::Draining)];
        let (mut selector, now) = selector(&Policy::RoundRobin, &backends);
        let pools = vec![PoolView { backends: backends.to_vec(), is_panicking: true }];
        selector.handle_snapshot(Arc::new(Snapshot { epoch: Epoch(2), pools }));
        let picked = picks(&mut selector, 20, now);
        assert!(picked.contains(&A) && picked.contains(&B) && !picked.contains(&C));
    }

    #[test]
    fn what_a_shard_knows_follows_a_backend_through_reloads() {
        let (mut selector, now) = selector(&Policy::LeastConnections, &[view(A), view(B)]);
        selector.handle_opened(A);
        selector.handle_opened(A);
        selector.handle_failure(B, now);
        selector.handle_snapshot(snapshot(2, &[view(C), view(B)]));
        assert_eq!(selector.sessions(), [(A, 2)], "its sessions are still there");
        assert_eq!(selector.view(A), None);
        assert_eq!(picks(&mut selector, 2, now), [C, C], "the failed one is still avoided");
        selector.handle_closed(A);
        selector.handle_snapshot(snapshot(3, &[view(B), view(C), view(A)]));
        selector.handle_opened(C);
        selector.handle_opened(C);
        assert_eq!(picks(&mut selector, 1, now), [A], "one session against two");
    }

    #[test]
    fn an_older_snapshot_is_ignored() {
        let (mut selector, now) = selector(&Policy::RoundRobin, &[view(A), view(B)]);
        selector.handle_snapshot(snapshot(3, &[view(A)]));
        selector.handle_snapshot(snapshot(2, &[view(B)]));
        assert_eq!(picks(&mut selector, 2, now), [A, A]);
    }

    #[test]
    fn a_pool_that_is_gone_has_no_backends() {
        let (mut selector, now) = selector(&Policy::Hash(HashBy::Path), &[view(A)]);
        selector.handle_opened(A);
        selector.handle_snapshot(Arc::new(Snapshot { epoch: Epoch(2), pools: Vec::new() }));
        assert_eq!(selector.pick(&[], Some(b"/"), 0, now), None);
        assert_eq!(selector.pick(&[], None, 0, now), None);
        assert_eq!(selector.sessions(), [(A, 1)]);
    }
}
