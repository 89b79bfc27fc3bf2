//! What every choice of backend must hold to, whatever the snapshots, failures and sessions before it.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use selat::balance::{
    BackendId, BackendState, BackendView, Epoch, HashBy, Policy, PoolView, Selector, ShardId, Snapshot,
    Weight,
};

/// How long a shard avoids a backend that failed it.
const EJECTION: Duration = Duration::from_secs(1);

/// Something that happens to a selector.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Snapshot(PoolView),
    /// Picks, having tried these, and places a session there.
    Pick {
        tried: Vec<BackendId>,
        key: Option<Vec<u8>>,
        random: u64,
    },
    /// Ends one of the sessions.
    Close(prop::sample::Index),
    Fail(BackendId),
    Handshake(BackendId, Duration),
    Pass(Duration),
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    select(vec![
        Policy::RoundRobin,
        Policy::Weighted,
        Policy::LeastConnections,
        Policy::PowerOfTwo,
        Policy::Ewma,
        Policy::Hash(HashBy::Ip),
    ])
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let id = || (0u32..8).prop_map(BackendId);
    let pick = (vec(id(), 0..3), option::of(vec(any::<u8>(), 0..4)), any::<u64>());
    prop_oneof![
        2 => pool().prop_map(Op::Snapshot),
        8 => pick.prop_map(|(tried, key, random)| Op::Pick { tried, key, random }),
        3 => any::<prop::sample::Index>().prop_map(Op::Close),
        1 => id().prop_map(Op::Fail),
        1 => (id(), 0u64..2000).prop_map(|(id, millis)| Op::Handshake(id, Duration::from_millis(millis))),
        1 => (0u64..1500).prop_map(|millis| Op::Pass(Duration::from_millis(millis))),
    ]
}

/// Some of eight backends in any order and state.
pub(crate) fn pool() -> impl Strategy<Value = PoolView> {
    let state = select(vec![BackendState::Up, BackendState::Up, BackendState::Down, BackendState::Draining]);
    let weight = prop_oneof![Just(0u32), Just(256), Just(256), 1u32..2000];
    let backend = (state, weight, option::of(0u32..4), vec(0u32..3, 2));
    let ids = subsequence((0u32..8).collect::<Vec<_>>(), 0..=8).prop_shuffle();
    (ids, vec(backend, 8), any::<bool>()).prop_map(|(ids, backends, is_panicking)| {
        let views = ids.iter().zip(backends).map(|(id, (state, weight, connections_max, sessions))| {
            BackendView { state, connections_max, sessions, ..view(*id, weight) }
        });
        PoolView { backends: views.collect(), is_panicking }
    })
}

/// The same without limits and out of panic.
pub(crate) fn unlimited(mut pool: PoolView) -> PoolView {
    pool.backends.iter_mut().for_each(|view| view.connections_max = None);
    PoolView { is_panicking: false, ..pool }
}

/// A backend that is up, without limit or sessions.
pub(crate) fn view(id: u32, weight: u32) -> BackendView {
    BackendView {
        id: BackendId(id),
        spec: 0,
        address: SocketAddr::from((Ipv4Addr::from_bits(0x0A00_0000 + id), 9001)),
        state: BackendState::Up,
        weight: Weight(weight),
        connections_max: None,
        sessions: vec![0, 0],
    }
}

pub(crate) fn snapshot(epoch: u64, pool: PoolView) -> Arc<Snapshot> {
    Arc::new(Snapshot { epoch: Epoch(epoch), pools: vec![pool] })
}

/// All up, with these weights; ids in order.
pub(crate) fn all_up(weights: &[u32]) -> PoolView {
    let backends = (0..).zip(weights).map(|(id, weight)| view(id, *weight)).collect();
    PoolView { backends, is_panicking: false }
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
pub(crate) fn selector(policy: &Policy, pool: PoolView) -> (Selector, Instant) {
    let now = Instant::now();
    (Selector::new(policy, ShardId(0), 0, snapshot(1, pool), now), now)
}

/// What a shard should know.
struct Model {
    pool: PoolView,
    avoided: HashMap<BackendId, Instant>,
    /// Failed and not in the pool all the time since: may be avoided or not.
    forgettable: HashMap<BackendId, Instant>,
    sessions: HashMap<BackendId, u32>,
}

impl Model {
    fn load(&self, view: &BackendView) -> u32 {
        view.sessions[1] + self.sessions.get(&view.id).copied().unwrap_or(0)
    }

    fn is_full(&self, view: &BackendView) -> bool {
        view.connections_max.is_some_and(|max| self.load(view) >= max)
    }

    fn is_avoided(&self, id: BackendId, now: Instant) -> bool {
        self.avoided.get(&id).is_some_and(|until| now < *until)
    }

    fn is_eligible(&self, view: &BackendView, now: Instant) -> bool {
        let is_well = match view.state {
            BackendState::Up => true,
            BackendState::Down => self.pool.is_panicking,
            BackendState::Draining => false,
        };
        is_well && view.weight.0 > 0 && !self.is_full(view) && !self.is_avoided(view.id, now)
    }

    /// An eligible backend is found if there is one, and none that is not but in desperation.
    fn check(&self, picked: Option<BackendId>, tried: &[BackendId], now: Instant) {
        let backends = &self.pool.backends;
        let eligible = |view: &&BackendView| self.is_eligible(view, now) && !tried.contains(&view.id);
        let is_certain =
            |view: &&BackendView| self.forgettable.get(&view.id).is_none_or(|until| now >= *until);
        let certain = backends.iter().filter(eligible).find(is_certain);
        let Some(picked) = picked else {
            assert_eq!(certain, None, "missed");
            return;
        };
        let view = backends.iter().find(|view| view.id == picked).expect("it is in the snapshot");
        if certain.is_some() {
            assert!(eligible(&view), "{view:?} was not eligible");
        } else if !eligible(&view) {
            assert!(tried.is_empty(), "desperate twice for one session");
            assert!(
                view.state != BackendState::Draining && view.weight.0 > 0 && !self.is_full(view),
                "{view:?}"
            );
        }
    }
}

/// Runs a selector against a model of what it should know.
pub(crate) fn check(policy: &Policy, pool: PoolView, ops: &[Op]) {
    let (mut selector, mut now) = selector(policy, pool.clone());
    let mut model =
        Model { pool, avoided: HashMap::new(), forgettable: HashMap::new(), sessions: HashMap::new() };
    let mut placed = Vec::new();
    for (op, epoch) in ops.iter().zip(2..) {
        match op {
            Op::Snapshot(pool) => {
                selector.handle_snapshot(snapshot(epoch, pool.clone()));
                let is_known = |id: &BackendId| pool.backends.iter().any(|view| view.id == *id);
                let leaving: Vec<_> = model.avoided.keys().copied().filter(|id| !is_known(id)).collect();
                for id in leaving {
                    let until = model.avoided.remove(&id).unwrap();
                    model.forgettable.insert(id, until);
                }
                model.pool = pool.clone();
            }
            Op::Pick { tried, key, random } => {
                let picked = selector.pick(tried, key.as_deref(), *random, now);
                model.check(picked, tried, now);
                if let Some(id) = picked {
                    if *policy == Policy::LeastConnections {
                        least_of(&model, id, tried, now);
                    }
                    selector.handle_opened(id);
                    *model.sessions.entry(id).or_default() += 1;
                    placed.push(id);
                }
            }
            Op::Close(index) if !placed.is_empty() => {
                let id = placed.swap_remove(index.index(placed.len()));
                selector.handle_closed(id);
                let left = model.sessions.get_mut(&id).unwrap();
                *left -= 1;
                if *left == 0 {
                    model.sessions.remove(&id);
                }
            }
            Op::Close(_) => {}
            Op::Fail(id) => {
                selector.handle_failure(*id, now);
                let is_known = model.pool.backends.iter().any(|view| view.id == *id);
                let avoided = if is_known { &mut model.avoided } else { &mut model.forgettable };
                avoided.insert(*id, now + EJECTION);
            }
            Op::Handshake(id, took) => selector.handle_handshake(*id, *took, now),
            Op::Pass(time) => now += *time,
        }
        let sessions: HashMap<_, _> = selector.sessions().into_iter().collect();
        assert_eq!(sessions, model.sessions);
    }
}

/// No other eligible backend would have been less loaded.
fn least_of(model: &Model, picked: BackendId, tried: &[BackendId], now: Instant) {
    let load = |view: &BackendView| (f64::from(model.load(view)) + 1.0) / f64::from(view.weight.0);
    let picked = model.pool.backends.iter().find(|view| view.id == picked).unwrap();
    let eligible =
        model.pool.backends.iter().filter(|view| model.is_eligible(view, now) && !tried.contains(&view.id));
    let eligible = eligible.filter(|view| model.forgettable.get(&view.id).is_none_or(|until| now >= *until));
    for other in eligible {
        assert!(load(picked) <= load(other) * 1.000_001, "{picked:?} before {other:?}");
    }
}

/// Over a cycle each backend gets exactly its share, and at no time is any far from it.
pub(crate) fn check_turns(weights: &[u32], cycles: usize) {
    let (mut selector, now) = selector(&Policy::Weighted, all_up(weights));
    let gcd = weights.iter().copied().reduce(gcd).unwrap();
    let total: u32 = weights.iter().sum();
    let mut counts = vec![0u32; weights.len()];
    let bound = f64::from(u32::try_from(weights.len()).unwrap()) / 2.0;
    for cycle in 1..=u32::try_from(cycles).unwrap() {
        for turn in 1..=total / gcd {
            let picked = selector.pick(&[], None, 0, now).unwrap();
            counts[usize::try_from(picked.0).unwrap()] += 1;
            let so_far = f64::from((cycle - 1) * (total / gcd) + turn);
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(*weight) / f64::from(total);
                assert!((f64::from(*count) - so_far * share).abs() <= 1.5 + bound * share, "{counts:?}");
            }
        }
        let due: Vec<_> = weights.iter().map(|weight| weight / gcd * cycle).collect();
        assert_eq!(counts, due);
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Sessions on each of so many equal backends after a hundred times as many were placed.
pub(crate) fn placed(policy: &Policy, backends: u32, seed: u64) -> Vec<u32> {
    let (mut selector, now) = selector(policy, all_up(&vec![256; usize::try_from(backends).unwrap()]));
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..backends * 100 {
        let picked = selector.pick(&[], None, random.u64(..), now).unwrap();
        selector.handle_opened(picked);
    }
    let sessions: HashMap<_, _> = selector.sessions().into_iter().collect();
    (0..backends).map(|id| sessions.get(&BackendId(id)).copied().unwrap_or(0)).collect()
}

/// The owner of each of so many keys.
pub(crate) fn owners(selector: &mut Selector, keys: u32, now: Instant) -> Vec<Option<BackendId>> {
    (0..keys).map(|key| selector.pick(&[], Some(&key.to_le_bytes()), 0, now)).collect()
}

/// How many of so many keys each backend owns.
pub(crate) fn owned(weights: &[u32], keys: u32) -> Vec<usize> {
    let (mut selector, now) = selector(&Policy::Hash(HashBy::Ip), all_up(weights));
    let owners = owners(&mut selector, keys, now);
    let mut owned = vec![0; weights.len()];
    owners.into_iter().flatten().for_each(|id| owned[usize::try_from(id.0).unwrap()] += 1);
    owned
}

/// Each backend owns its share of the keys, within six standard deviations.
pub(crate) fn check_shares(weights: &[u32], keys: u32) {
    let total: u32 = weights.iter().sum();
    for (count, weight) in owned(weights, keys).into_iter().zip(weights) {
        assert_near_share(count, keys, f64::from(*weight) / f64::from(total));
    }
}

fn assert_near_share(count: usize, of: u32, share: f64) {
    let (count, of) = (f64::from(u32::try_from(count).unwrap()), f64::from(of));
    let deviation = (of * share * (1.0 - share)).sqrt();
    assert!((count - of * share).abs() <= 6.0 * deviation + 1.0, "{count} of {of} keys is not {share}");
}

/// From one pool to another, keys move only from backends that left or lost weight, or to those that came or gained.
/// A selector that has seen the change and one that has not agree. Where nobody is open nobody owns a key: what is
/// tried in desperation is tried in turn.
pub(crate) fn check_movement(before: &PoolView, after: &PoolView, keys: u32) {
    let is_desperate = |pool: &PoolView| !pool.backends.iter().any(|view| view.is_open(pool.is_panicking));
    if is_desperate(before) || is_desperate(after) {
        return;
    }
    let policy = Policy::Hash(HashBy::Ip);
    let (mut selector, now) = selector(&policy, before.clone());
    let old = owners(&mut selector, keys, now);
    selector.handle_snapshot(snapshot(2, after.clone()));
    let new = owners(&mut selector, keys, now);
    let mut fresh = Selector::new(&policy, ShardId(3), 0, snapshot(1, after.clone()), now);
    assert_eq!(owners(&mut fresh, keys, now), new, "what was remembered is wrong");

    let weight = |pool: &PoolView, id: BackendId| {
        let view = pool.backends.iter().find(|view| view.id == id && view.state == BackendState::Up);
        view.map_or(0, |view| view.weight.0)
    };
    let ids: HashSet<_> = before.backends.iter().chain(&after.backends).map(|view| view.id).collect();
    let lost: HashSet<_> = ids.iter().filter(|id| weight(before, **id) > weight(after, **id)).collect();
    let gained: HashSet<_> = ids.iter().filter(|id| weight(before, **id) < weight(after, **id)).collect();
    let is_in =
        |set: &HashSet<&BackendId>, id: &Option<BackendId>| id.as_ref().is_none_or(|id| set.contains(id));
    for (old, new) in old.iter().zip(&new).filter(|(old, new)| old != new) {
        assert!(is_in(&lost, old) || is_in(&gained, new), "from {old:?} to {new:?}");
    }
}

/// A backend that joins takes its share of the keys, and from all the others alike.
pub(crate) fn check_joiner(weights: &[u32], joiner: u32, keys: u32) {
    let (mut selector, now) = selector(&Policy::Hash(HashBy::Ip), all_up(weights));
    let old = owners(&mut selector, keys, now);
    let all = [weights, &[joiner]].concat();
    selector.handle_snapshot(snapshot(2, all_up(&all)));
    let new = owners(&mut selector, keys, now);
    let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count();
    assert_near_share(moved, keys, f64::from(joiner) / f64::from(all.iter().sum::<u32>()));
}
