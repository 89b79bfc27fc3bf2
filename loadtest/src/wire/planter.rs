//! Faults to plant, so that it can be seen whether an instrument finds them.

use std::fmt;

/// What to do wrong: each with every so-manieth message that is heard, over all connections; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faulting {
    /// Do not answer it.
    pub(crate) drop: u64,
    /// Answer it twice.
    pub(crate) duplicate: u64,
    /// Answer it after the next of its connection.
    pub(crate) swap: u64,
    /// Change a bit of the answer.
    pub(crate) corrupt: u64,
    /// Also send the latest message of another connection.
    pub(crate) misroute: u64,
    /// Close instead of answering.
    pub(crate) close: u64,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Answer,
    Drop,
    Duplicate,
    Swap,
    /// Change this byte of it, counted around.
    Corrupt {
        /// Which.
        at: u64,
    },
    Misroute,
    Close,
}

/// How often each was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Planted {
    pub(crate) heard: u64,
    pub(crate) dropped: u64,
    pub(crate) duplicated: u64,
    pub(crate) swapped: u64,
    pub(crate) corrupted: u64,
    pub(crate) misrouted: u64,
    pub(crate) closed: u64,
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { heard, dropped, duplicated, swapped, corrupted, misrouted, closed } = self;
        writeln!(f, "heard {heard}\ndropped {dropped}\nduplicated {duplicated}\nswapped {swapped}")?;
        write!(f, "corrupted {corrupted}\nmisrouted {misrouted}\nclosed {closed}")
    }
}

/// Bytes of a message after which the next is changed one byte further on. A prime, so that all bytes have their turn.
const CORRUPT_STEP: u64 = 7;

impl Faulting {
    /// What to do with the `number`-th message, counted from 1. Of several faults that are due, the first.
    pub(crate) fn deed(&self, number: u64) -> Deed {
        let deeds = [
            (self.drop, Deed::Drop),
            (self.duplicate, Deed::Duplicate),
            (self.swap, Deed::Swap),
            (
                self.corrupt,
                Deed::Corrupt { at: number.checked_div(self.corrupt).unwrap_or(0) * CORRUPT_STEP },
            ),
            (self.misroute, Deed::Misroute),
            (self.close, Deed::Close),
        ];
        let due = deeds.into_iter().find(|(every, _)| *every > 0 && number.is_multiple_of(*every));
        due.map_or(Deed::Answer, |(_, deed)| deed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_so_manieth_message_is_done_wrong() {
        let faulting = Faulting { drop: 10, corrupt: 4, ..Faulting::default() };
        let deeds: Vec<Deed> = (1..=40).map(|number| faulting.deed(number)).collect();
        let count = |wanted: fn(&Deed) -> bool| deeds.iter().filter(|deed| wanted(deed)).count();
        assert_eq!(count(|deed| *deed == Deed::Drop), 4);
        // Twice both were due.
        assert_eq!(count(|deed| matches!(deed, Deed::Corrupt { .. })), 8);
        assert_eq!(count(|deed| *deed == Deed::Answer), 28);
        assert_eq!(deeds[7], Deed::Corrupt { at: 14 });
    }
}
