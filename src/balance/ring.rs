//! The same backend for the same key among very many: multi-probe consistent hashing.
//!
//! Backends have points on a ring, as many as their weight says; a key has several probes, and goes to the backend
//! of the point that lies closest behind any of them (Appleton and O'Reilly, "Multi-probe consistent hashing",
//! 2015). As on any ring, keys move only from those that leave or lose weight and to those that join or gain it. The
//! probes even out the gaps: with 21 the fullest point has 5 % more than its share.

use super::hash::nth_hash;
use super::rendezvous::Entrant;

/// Probes of a key.
const PROBES: u64 = 21;

/// Points of a backend of weight 1.0: the steps in which weights count, and what evens out its share.
const POINTS: u32 = 8;

/// The points of all backends.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// By position: and whose it is, as an index into the backends.
    points: Vec<(u64, u32)>,
    /// For each of as many equal stretches as there are points, rounded up to a power of two: its first point.
    stretches: Vec<usize>,
    /// How far a position is shifted to get its stretch.
    shift: u32,
}

impl Ring {
    /// Has these backends on the ring instead of those `before`. Where few differ it is quick: the points of the
    /// others stay where they are, and sorting takes advantage of it.
    pub(super) fn updated(mut self, before: &[Entrant], after: &[Entrant]) -> Self {
        let is_new = |index: u32| {
            usize::try_from(index)
                .is_ok_and(|index| after.get(index).is_none_or(|new| before.get(index) != Some(new)))
        };
        self.points.retain(|(_, index)| !is_new(*index));
        for (index, entrant) in (0u32..).zip(after).filter(|(index, _)| is_new(*index)) {
            // None at all without weight, else at least one.
            let count = (u64::from(entrant.weight) * u64::from(POINTS)).div_ceil(256);
            self.points.extend((1..=count).map(|n| (nth_hash(entrant.identity, n), index)));
        }
        self.points.sort();
        self.find_stretches();
        self
    }

    fn find_stretches(&mut self) {
        let bits = self.points.len().next_power_of_two().max(2).ilog2();
        self.shift = u64::BITS - bits;
        self.stretches.clear();
        let mut first = 0;
        for stretch in 0..1u64 << bits {
            let rest = self.points.iter().skip(first);
            first += rest.take_while(|(position, _)| position >> self.shift < stretch).count();
            self.stretches.push(first);
        }
    }

    /// The eligible backend closest behind a probe of what has this hash.
    pub(super) fn pick(&self, hash: u64, is_eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for probe in (1..=PROBES).map(|n| nth_hash(hash, n)) {
            let (before, after) = self.points.split_at_checked(self.first_behind(probe)?)?;
            for (position, index) in after.iter().chain(before) {
                let distance = position.wrapping_sub(probe);
                if best.is_some_and(|(least, _)| least <= distance) {
                    break;
                }
                let index = usize::try_from(*index).ok()?;
                if is_eligible(index) {
                    best = Some((distance, index));
                    break;
                }
            }
            // The first probe goes round the whole ring if it must.
            best?;
        }
        best.map(|(_, index)| index)
    }

    /// Where the first point at or behind a position is.
    fn first_behind(&self, position: u64) -> Option<usize> {
        let first = *self.stretches.get(usize::try_from(position >> self.shift).ok()?)?;
        let rest = self.points.get(first..)?.iter();
        Some(first + rest.take_while(|(point, _)| *point < position).count())
    }
}
