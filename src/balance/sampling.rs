//! Two at random, the better one: close to the best of all for the price of two looks.
//!
//! Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (1996).

use std::time::Instant;

use super::roster::{Roster, Slot};

/// What makes one of two backends the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Criterion {
    /// Fewer sessions for its weight.
    Load,
    /// Less of peak EWMA of handshake time × (sessions + 1) / weight, as in Finagle's `PeakEwma`. While one of
    /// the two has not been measured yet, load alone: it should be neither shunned nor swamped.
    Handshakes,
}

/// The open backends, by their places in the snapshot.
#[derive(Debug)]
pub(super) struct Sampling {
    criterion: Criterion,
    open: Vec<usize>,
}

impl Sampling {
    pub(super) fn new(criterion: Criterion) -> Self {
        Self { criterion, open: Vec::new() }
    }

    /// Begins anew with what is open.
    pub(super) fn rebuild(&mut self, roster: &Roster) {
        let slots = roster.present().iter().enumerate();
        self.open = slots.filter(|(_, slot)| slot.is_open).map(|(index, _)| index).collect();
    }

    /// The better of two eligible backends that `random` points at, or the only one.
    pub(super) fn pick(
        &self,
        roster: &Roster,
        random: u64,
        now: Instant,
        is_eligible: impl Fn(&Slot) -> bool,
    ) -> Option<usize> {
        let len = self.open.len();
        // The first eligible from a position on, and where it stands.
        let find = |from: usize, is_wanted: &dyn Fn(usize) -> bool| {
            let mut positions = (from..len).chain(0..from.min(len)).filter(|position| is_wanted(*position));
            positions.find_map(|position| {
                let index = *self.open.get(position)?;
                let slot = roster.get(index).filter(|slot| is_eligible(slot))?;
                Some((position, index, slot))
            })
        };
        let (high, low) = (random >> 32, random & u64::from(u32::MAX));
        let (position, index, first) = find(scale(high, len), &|_| true)?;
        // Any of the others alike: by its distance from the first.
        let other = (position + 1 + scale(low, len - 1)) % len;
        let is_second_better = |second: &Slot| self.is_better(second, first, now);
        match find(other, &|candidate| candidate != position) {
            Some((_, second_index, second)) if is_second_better(second) => Some(second_index),
            Some(_) | None => Some(index),
        }
    }

    fn is_better(&self, one: &Slot, other: &Slot, now: Instant) -> bool {
        let loads = one.load().cmp(&other.load());
        let times = one.handshake_seconds(now).zip(other.handshake_seconds(now));
        match (self.criterion, times) {
            (Criterion::Handshakes, Some((one_seconds, other_seconds))) => {
                one_seconds * one.load_ratio() < other_seconds * other.load_ratio()
            }
            (Criterion::Handshakes, None) | (Criterion::Load, _) => loads.is_lt(),
        }
    }
}

/// Takes 32 random bits to an index below `len`.
pub(crate) fn scale(random: u64, len: usize) -> usize {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    usize::try_from((random * len) >> 32).unwrap_or(0)
}
