//! The same backend for the same key: weighted rendezvous hashing.
//!
//! For a key each backend has the cost `-ln(u) / w`, where `u` is the hash of key and backend in (0, 1] and `w`
//! its weight; the least cost wins (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005). When
//! a backend leaves, only its keys move; when one joins or gains weight, keys move only to it. Backends are hashed
//! by address, so that every shard, process and machine agrees.
//!
//! Keys are first hashed to one of 2^20 buckets. In pools so large that comparing all backends takes long, a
//! bucket's winner is remembered until the backends or their weights change.

use super::roster::{Roster, Slot};

/// Buckets; each backend has a hundred even where there are 10,000.
const BUCKET_BITS: u32 = 20;

/// Backends up to which comparing them all takes less than a microsecond and nothing is remembered.
const COMPARED_MAX: usize = 256;

/// A bucket whose winner is not remembered.
const UNKNOWN: u32 = u32::MAX;

/// A backend as it takes part.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Entrant {
    identity: u64,
    weight_inverse: f64,
}

/// Who takes part, and the winners found so far.
#[derive(Debug, Default)]
pub(super) struct Rendezvous {
    /// By place in the snapshot. Those that are down take part: their buckets are lent out, not given away.
    entrants: Vec<Entrant>,
    /// By bucket: its winner's place in the snapshot. Empty in pools that need no memory.
    winners: Vec<u32>,
}

impl Rendezvous {
    /// Takes over who is there and with what weight.
    pub(super) fn rebuild(&mut self, roster: &Roster) {
        let entrant = |slot: &Slot| Entrant {
            identity: slot.identity,
            weight_inverse: f64::from(slot.weight.0).recip(),
        };
        let entrants: Vec<_> = roster.present().iter().map(entrant).collect();
        if entrants != self.entrants {
            self.entrants = entrants;
            self.winners.clear();
            if self.entrants.len() > COMPARED_MAX {
                self.winners.resize(1 << BUCKET_BITS, UNKNOWN);
            }
        }
    }

    /// The eligible backend with the least cost for this key.
    pub(super) fn pick(
        &mut self,
        roster: &Roster,
        key: &[u8],
        is_eligible: impl Fn(&Slot) -> bool,
    ) -> Option<usize> {
        let bucket = stable_hash(key) >> (u64::BITS - BUCKET_BITS);
        let is_eligible = |index: usize| roster.get(index).is_some_and(&is_eligible);
        let winner = self.winner(bucket)?;
        if is_eligible(winner) { Some(winner) } else { self.best(bucket, is_eligible) }
    }

    /// The winner among all who take part, remembered if need be.
    fn winner(&mut self, bucket: u64) -> Option<usize> {
        let place = usize::try_from(bucket).unwrap_or(usize::MAX);
        match self.winners.get(place) {
            Some(&winner) if winner != UNKNOWN => usize::try_from(winner).ok(),
            Some(_) | None => {
                let winner = self.best(bucket, |_| true)?;
                if let Some(remembered) = self.winners.get_mut(place) {
                    *remembered = u32::try_from(winner).unwrap_or(UNKNOWN);
                }
                Some(winner)
            }
        }
    }

    fn best(&self, bucket: u64, is_eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(f64, u64, usize)> = None;
        for (index, entrant) in self.entrants.iter().enumerate() {
            // In (0, 1]: 52 bits of hash as the fraction of a number in [1, 2).
            let hash = mix(bucket ^ entrant.identity);
            let u = 2.0 - f64::from_bits((hash >> 12) | 1.0f64.to_bits());
            let bar = best.map_or(f64::INFINITY, |(cost, ..)| cost);
            // -ln(u) ≥ 1 - u: most need no logarithm.
            if (1.0 - u) * entrant.weight_inverse > bar {
                continue;
            }
            let cost = -u.ln() * entrant.weight_inverse;
            let is_less = best.is_none_or(|(least, identity, _)| {
                cost < least || (cost == least && entrant.identity < identity)
            });
            if cost.is_finite() && is_less && is_eligible(index) {
                best = Some((cost, entrant.identity, index));
            }
        }
        best.map(|(.., index)| index)
    }
}

/// FNV-1a, then mixed: the same for ever, unlike the standard library's hashes.
pub(super) fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    mix(bytes.iter().fold(0xCBF2_9CE4_8422_2325, fnv))
}

/// Spreads every bit over all others: the finalizer of `SplitMix64` (Steele, Lea and Flood, 2014).
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
