//! What a shard knows of each backend of its pool: the snapshot's word, and what it saw itself.
//!
//! Kept by [`BackendId`], so that it survives snapshots in which backends come, go and move.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ewma::PeakEwma;
use super::hash::stable_hash;
use super::{BackendId, BackendState, BackendView, PoolView, ShardId, Weight};

/// One backend.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: BackendId,
    pub(super) state: BackendState,
    pub(super) weight: Weight,
    /// Whether the snapshot lets new sessions in: its state allows it, and it has a weight.
    pub(super) is_open: bool,
    /// From its address: the same in every process and on every machine.
    pub(super) identity: u64,
    connections_max: Option<u32>,
    /// Sessions on the other shards, as last reported.
    others: u32,
    /// Sessions on this one, as of now.
    own: u32,
    avoid_until: Option<Instant>,
    handshakes: Option<PeakEwma>,
    /// Its place in the order of turns, for the policies that keep one.
    pub(super) turn: Option<u128>,
}

impl Slot {
    fn new(id: BackendId, identity: u64) -> Self {
        Self {
            id,
            state: BackendState::Down,
            weight: Weight::ZERO,
            is_open: false,
            identity,
            connections_max: None,
            others: 0,
            own: 0,
            avoid_until: None,
            handshakes: None,
            turn: None,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections_max.is_some_and(|max| self.sessions() >= max)
    }

    pub(super) fn is_avoided(&self, now: Instant) -> bool {
        self.avoid_until.is_some_and(|until| now < until)
    }

    /// Open, not full and not avoided.
    pub(super) fn is_eligible(&self, now: Instant) -> bool {
        self.is_open && !self.is_full() && !self.is_avoided(now)
    }

    /// Whether it may be tried in desperation: whatever its health is, but not against an order or a limit.
    pub(super) fn is_last_resort(&self) -> bool {
        self.state != BackendState::Draining && self.weight > Weight::ZERO && !self.is_full()
    }

    /// Sessions of the whole process: this shard's as of now, the others' as last reported.
    fn sessions(&self) -> u32 {
        self.others.saturating_add(self.own)
    }

    /// How loaded it would be with one session more.
    pub(super) fn load(&self) -> u64 {
        self.weight.load(self.sessions())
    }

    /// [`Self::load`] as a fraction.
    pub(super) fn load_ratio(&self) -> f64 {
        (f64::from(self.sessions()) + 1.0) / f64::from(self.weight.0.max(1))
    }

    /// Peak EWMA of the handshake times, in seconds; `None` before the first.
    pub(super) fn handshake_seconds(&self, now: Instant) -> Option<f64> {
        self.handshakes.map(|average| average.seconds(now))
    }

    fn update(&mut self, view: &BackendView, shard: ShardId, is_panicking: bool) {
        let others = view.sessions.iter().enumerate().filter(|(index, _)| *index != shard.index());
        self.others = others.fold(0, |sum, (_, sessions)| sum.saturating_add(*sessions));
        self.connections_max = view.connections_max;
        self.state = view.state;
        self.weight = view.weight;
        self.is_open = view.is_open(is_panicking);
    }
}

/// All backends of a pool, and those that have left it but still have sessions here.
#[derive(Debug)]
pub(super) struct Roster {
    shard: ShardId,
    /// Those of the snapshot in its order, then those that have left.
    slots: Vec<Slot>,
    /// How many are in the snapshot.
    present: usize,
    by_id: HashMap<BackendId, usize>,
}

impl Roster {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, slots: Vec::new(), present: 0, by_id: HashMap::new() }
    }

    /// Takes over what a snapshot says. Whether that changed which backends are open, or their weights.
    pub(super) fn update(&mut self, pool: &PoolView) -> bool {
        let ids = pool.backends.iter().map(|view| view.id);
        let mut is_reshaped = !self.present().iter().map(|slot| slot.id).eq(ids);
        if is_reshaped {
            self.reseat(pool);
        }
        for (slot, view) in self.slots.iter_mut().zip(&pool.backends) {
            let before = (slot.is_open, slot.weight);
            slot.update(view, self.shard, pool.is_panicking);
            is_reshaped |= before != (slot.is_open, slot.weight);
        }
        is_reshaped
    }

    /// Puts the slots into the order of `pool`, with new ones for those that have come.
    fn reseat(&mut self, pool: &PoolView) {
        let mut known: HashMap<_, _> = self.slots.drain(..).map(|slot| (slot.id, slot)).collect();
        let identities = identities(pool.backends.iter().map(|view| view.address));
        let seats = pool.backends.iter().zip(identities);
        let mut slots: Vec<_> = seats
            .map(|(view, identity)| {
                let slot = known.remove(&view.id).unwrap_or_else(|| Slot::new(view.id, identity));
                Slot { identity, ..slot }
            })
            .collect();
        self.present = slots.len();
        let departed = known.into_values().filter(|slot| slot.own > 0);
        slots.extend(departed.map(|slot| Slot { is_open: false, weight: Weight::ZERO, turn: None, ..slot }));
        self.by_id = slots.iter().enumerate().map(|(index, slot)| (slot.id, index)).collect();
        self.slots = slots;
    }

    /// The backends of the snapshot, in its order.
    pub(super) fn present(&self) -> &[Slot] {
        self.slots.get(..self.present).unwrap_or_default()
    }

    pub(super) fn present_mut(&mut self) -> &mut [Slot] {
        self.slots.get_mut(..self.present).unwrap_or_default()
    }

    /// A backend of the snapshot, by its place there.
    pub(super) fn get(&self, index: usize) -> Option<&Slot> {
        self.present().get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Slot> {
        self.present_mut().get_mut(index)
    }

    /// Where `id` is among [`Self::present`]; beyond them if it has left.
    pub(super) fn index(&self, id: BackendId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// A place's rank among equals. Each shard begins at another place than its neighbours.
    pub(super) fn rank(&self, index: usize) -> usize {
        let first = self.shard.index().checked_rem(self.present).unwrap_or(0);
        if index < first { index + self.present - first } else { index - first }
    }

    /// The place of this rank.
    pub(super) fn at_rank(&self, rank: usize) -> usize {
        (rank + self.shard.index()).checked_rem(self.present).unwrap_or(0)
    }

    pub(super) fn handle_failure(&mut self, id: BackendId, until: Instant) {
        self.with(id, |slot| slot.avoid_until = Some(until));
    }

    pub(super) fn handle_handshake(&mut self, id: BackendId, took: Duration, now: Instant) {
        self.with(id, |slot| match &mut slot.handshakes {
            Some(average) => average.observe(took, now),
            None => slot.handshakes = Some(PeakEwma::new(took, now)),
        });
    }

    pub(super) fn handle_opened(&mut self, id: BackendId) {
        self.with(id, |slot| slot.own += 1);
    }

    pub(super) fn handle_closed(&mut self, id: BackendId) {
        self.with(id, |slot| slot.own = slot.own.saturating_sub(1));
    }

    /// This shard's sessions, without the backends that have none.
    pub(super) fn sessions(&self) -> Vec<(BackendId, u32)> {
        let busy = self.slots.iter().filter(|slot| slot.own > 0);
        busy.map(|slot| (slot.id, slot.own)).collect()
    }

    fn with(&mut self, id: BackendId, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.index(id).and_then(|index| self.slots.get_mut(index)) {
            change(slot);
        }
    }
}

/// A lasting number for each address. Where one address stands several times, each time counts as another.
fn identities(addresses: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = u64> {
    let mut seen: HashMap<SocketAddr, u32> = HashMap::new();
    addresses.map(move |address| {
        let times = seen.entry(address).or_default();
        *times += 1;
        stable_hash(format!("{address} {times}").as_bytes())
    })
}
