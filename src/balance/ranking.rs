//! Open backends by load, the least first: an index that makes a choice among thousands as cheap as among two.

use std::collections::BTreeSet;

use super::roster::{Roster, Slot};

/// A backend's place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    load: u64,
    /// When it last got a session: equals take turns.
    turn: u128,
    rank: usize,
}

/// The order.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    order: BTreeSet<Place>,
    /// Each backend's place, as it stands in the order; `None` for those that are closed or full.
    places: Vec<Option<Place>>,
    turns: u128,
}

impl Ranking {
    /// Begins anew with what is open and has room.
    pub(super) fn rebuild(&mut self, roster: &Roster) {
        let slots = roster.present().iter().enumerate();
        self.places = slots.map(|(index, slot)| place(slot, roster.rank(index))).collect();
        self.order = self.places.iter().copied().flatten().collect();
    }

    /// Puts a backend where it belongs now.
    pub(super) fn refresh(&mut self, roster: &Roster, index: usize) {
        let (Some(slot), Some(current)) = (roster.get(index), self.places.get_mut(index)) else { return };
        let wanted = place(slot, roster.rank(index));
        if *current != wanted {
            current.take().map(|place| self.order.remove(&place));
            wanted.map(|place| self.order.insert(place));
            *current = wanted;
        }
    }

    /// Puts all where they belong now. Where many have moved, sorting anew is quicker than moving each.
    pub(super) fn refresh_all(&mut self, roster: &Roster) {
        let slots = roster.present().iter().enumerate().zip(&self.places);
        let has_moved = |((index, slot), current): ((usize, &Slot), &Option<Place>)| {
            (*current != place(slot, roster.rank(index))).then_some(index)
        };
        let moved: Vec<_> = slots.filter_map(has_moved).collect();
        if moved.len() > self.places.len() / 8 {
            self.rebuild(roster);
        } else {
            moved.into_iter().for_each(|index| self.refresh(roster, index));
        }
    }

    /// Has a backend wait behind its equals: it has just got a session.
    pub(super) fn end_turn(&mut self, roster: &mut Roster, index: usize) {
        self.turns += 1;
        if let Some(slot) = roster.get_mut(index) {
            slot.turn = Some(self.turns);
        }
    }

    /// The least loaded that is eligible.
    pub(super) fn pick(&self, roster: &Roster, is_eligible: impl Fn(&Slot) -> bool) -> Option<usize> {
        let mut indexes = self.order.iter().map(|place| roster.at_rank(place.rank));
        indexes.find(|index| roster.get(*index).is_some_and(&is_eligible))
    }
}

fn place(slot: &Slot, rank: usize) -> Option<Place> {
    let is_listed = slot.is_open && !slot.is_full();
    is_listed.then(|| Place { load: slot.load(), turn: slot.turn.unwrap_or(0), rank })
}
