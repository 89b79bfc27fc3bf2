//! The same backend for the same key: weighted rendezvous hashing.
//!
//! For a key each backend has the cost `-ln(u) / w`, where `u` is the hash of key and backend in (0, 1] and `w`
//! its weight; the least cost wins (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005). When
//! a backend leaves, only its keys move; when one joins or gains weight, keys move only to it. Backends are hashed
//! by address, not by their place in a list.
//!
//! That looks at every backend. Pools too large for it use a [`Ring`], which shares out less evenly but moves no
//! more keys. A pool that grows or shrinks past the bound between the two gives most keys another backend, once.

use super::hash::{mix, stable_hash};
use super::ring::Ring;
use super::roster::{Roster, Slot};

/// Backends up to which looking at every one takes less than a microsecond.
const RENDEZVOUS_MAX: usize = 256;

/// A backend as it takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entrant {
    pub(super) identity: u64,
    pub(super) weight: u32,
}

/// Who takes part.
#[derive(Debug, Default)]
pub(super) struct Rendezvous {
    /// By place in the snapshot. Those that are down take part: their keys are lent out, not given away.
    entrants: Vec<Entrant>,
    /// Of large pools.
    ring: Option<Ring>,
}

impl Rendezvous {
    /// Takes over who is there and with what weight.
    pub(super) fn rebuild(&mut self, roster: &Roster) {
        let entrant = |slot: &Slot| Entrant { identity: slot.identity, weight: slot.weight.0 };
        let entrants: Vec<_> = roster.present().iter().map(entrant).collect();
        if entrants != self.entrants {
            let before = if self.ring.is_some() { self.entrants.as_slice() } else { &[] };
            let is_large = entrants.len() > RENDEZVOUS_MAX;
            let ring = is_large.then(|| self.ring.take().unwrap_or_default());
            self.ring = ring.map(|ring| ring.updated(before, &entrants));
            self.entrants = entrants;
        }
    }

    /// The eligible backend that this key belongs to.
    pub(super) fn pick(
        &self,
        roster: &Roster,
        key: &[u8],
        is_eligible: impl Fn(&Slot) -> bool,
    ) -> Option<usize> {
        let hash = stable_hash(key);
        let is_eligible = |index: usize| roster.get(index).is_some_and(&is_eligible);
        match &self.ring {
            Some(ring) => ring.pick(hash, is_eligible),
            None => self.least_cost(hash, is_eligible),
        }
    }

    fn least_cost(&self, key: u64, is_eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(f64, u64, usize)> = None;
        for (index, Entrant { identity, weight }) in self.entrants.iter().enumerate() {
            let u = fraction(key ^ identity);
            let weight = f64::from(*weight);
            // -ln(u) ≥ 1 - u: most need no logarithm.
            if best.is_some_and(|(least, ..)| 1.0 - u > least * weight) {
                continue;
            }
            let cost = -u.ln() / weight;
            let is_less = best.is_none_or(|(least, other, _)| (cost, *identity) < (least, other));
            if is_less && is_eligible(index) {
                best = Some((cost, *identity, index));
            }
        }
        best.map(|(.., index)| index)
    }
}

/// What the backend of this identity and weight costs the key of this hash; the least has it.
pub(crate) fn rendezvous_cost(key: u64, identity: u64, weight: u32) -> f64 {
    -fraction(key ^ identity).ln() / f64::from(weight)
}

/// A number in (0, 1]: 52 bits of hash as the fraction of one in [1, 2).
fn fraction(hash: u64) -> f64 {
    2.0 - f64::from_bits((mix(hash) >> 12) | 1.0f64.to_bits())
}
