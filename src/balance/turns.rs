//! Backends in turn, each as often as its weight says: weighted round robin by earliest deadline first.
//!
//! A backend of weight `w` has its turns at `(k + 1/2) / w` on a virtual clock that each choice moves on to the
//! turn chosen (Webster's method). Over a cycle each gets exactly its share, spread out evenly, and equal weights
//! go strictly in turn. nginx's smooth weighted round robin does as well but looks at every backend for each
//! choice; this one, a heap as in Envoy, at the logarithm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Weight;
use super::roster::{Roster, Slot};

/// The whole of the virtual clock's unit; a turn's length is this divided by the weight. So fine that rounding
/// does not show, with room for more turns than a process will ever have.
const UNIT: u128 = 1 << 64;

/// Whose turn is next.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Open backends that are not known to be full: turn, and rank among equals.
    queue: BinaryHeap<Reverse<(u128, usize)>>,
    clock: u128,
}

impl Turns {
    /// Begins anew with what is open, each keeping its turn.
    pub(super) fn rebuild(&mut self, roster: &mut Roster) {
        self.queue.clear();
        for index in 0..roster.present().len() {
            let Some(slot) = roster.get_mut(index) else { break };
            let kept = slot.turn.take();
            if slot.is_open && !slot.is_full() {
                // Whose weight has grown need not wait as long as it would have with the old.
                let latest = self.clock + length(slot);
                let turn = kept.map_or(self.clock + length(slot) / 2, |turn| turn.min(latest));
                slot.turn = Some(turn);
                self.queue.push(Reverse((turn, roster.rank(index))));
            }
        }
    }

    /// Lets a backend in again that was full.
    pub(super) fn refresh(&mut self, roster: &mut Roster, index: usize) {
        let rank = roster.rank(index);
        let Some(slot) = roster.get_mut(index) else { return };
        if slot.turn.is_none() && slot.is_open && !slot.is_full() {
            let turn = self.clock + length(slot) / 2;
            slot.turn = Some(turn);
            self.queue.push(Reverse((turn, rank)));
        }
    }

    /// Lets all in again that were full.
    pub(super) fn refresh_all(&mut self, roster: &mut Roster) {
        (0..roster.present().len()).for_each(|index| self.refresh(roster, index));
    }

    /// The next in turn that is eligible. Those passed over lose this turn; they save up none.
    pub(super) fn pick(&mut self, roster: &mut Roster, is_eligible: impl Fn(&Slot) -> bool) -> Option<usize> {
        let mut passed = Vec::new();
        let mut chosen = None;
        while let Some(Reverse((turn, rank))) = self.queue.pop() {
            let index = roster.at_rank(rank);
            let Some(slot) = roster.get_mut(index) else { continue };
            if slot.is_full() {
                slot.turn = None;
                continue;
            }
            passed.push((index, rank));
            if is_eligible(slot) {
                self.clock = turn;
                chosen = Some(index);
                break;
            }
        }
        for (index, rank) in passed {
            if let Some(slot) = roster.get_mut(index) {
                let turn = self.clock + length(slot);
                slot.turn = Some(turn);
                self.queue.push(Reverse((turn, rank)));
            }
        }
        chosen
    }
}

fn length(slot: &Slot) -> u128 {
    turn_length(slot.weight)
}

/// From one turn of a backend of this weight to its next.
pub(crate) fn turn_length(weight: Weight) -> u128 {
    UNIT / u128::from(weight.0.max(1))
}
