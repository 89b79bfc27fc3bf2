//! Which messages of a connection have been answered.

use serde::{Deserialize, Serialize};

use super::{ConnectionId, Stamp};

/// Missing messages remembered per connection, to tell a late answer from a second one. Beyond it, the oldest are
/// forgotten and stay counted as lost.
const MISSING_MAX: usize = 1024;

/// What a server got wrong. All of them zero, or the run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Never answered, although a later message was, or not before the drain at the end was over. Wraps below zero in a
    /// stretch of time in which more came late than went missing.
    pub(crate) lost: u64,
    /// Answered more than once.
    pub(crate) duplicated: u64,
    /// Answered after a later message.
    pub(crate) reordered: u64,
    /// Answered with other bytes or another length.
    pub(crate) corrupted: u64,
    /// Answered on a connection that had not asked.
    pub(crate) misrouted: u64,
}

impl Faults {
    /// That many more are lost.
    pub(crate) fn lose(&mut self, count: u64) {
        self.lost = self.lost.wrapping_add(count);
    }

    /// Adds others.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.lose(other.lost);
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.misrouted += other.misrouted;
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.named().iter().fold(0, |sum, (_, count)| sum.wrapping_add(*count))
    }

    /// Each with its name.
    pub(crate) fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupted", self.corrupted),
            ("misrouted", self.misrouted),
        ]
    }
}

/// One connection's messages: which are settled, that is answered or given up.
#[derive(Debug)]
pub(crate) struct Ledger {
    connection: ConnectionId,
    next: u64,
    missing: Vec<u64>,
}

impl Ledger {
    /// Nothing sent, nothing answered.
    pub(crate) fn new(connection: ConnectionId) -> Self {
        Self::beginning_at(0, connection)
    }

    /// As if all messages before `first` were settled.
    pub(crate) fn beginning_at(first: u64, connection: ConnectionId) -> Self {
        Self { connection, next: first, missing: Vec::new() }
    }

    /// Whose messages these are.
    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Messages that are no longer in flight: those before the next that is expected.
    pub(crate) fn settled(&self) -> u64 {
        self.next
    }

    /// An answer that carried no stamp, or none that can be believed: it can only be the next.
    pub(crate) fn handle_unstamped(&mut self, sent: u64, faults: &mut Faults) {
        if self.next < sent {
            self.next += 1;
        } else {
            faults.duplicated += 1;
        }
    }

    /// An answer with this stamp, while messages before `sent` had been sent.
    #[inline]
    pub(crate) fn handle(&mut self, stamp: Stamp, sent: u64, faults: &mut Faults) {
        if stamp == Stamp::new(self.connection, self.next) && self.next < sent {
            self.next += 1;
        } else {
            self.handle_out_of_order(stamp, sent, faults);
        }
    }

    #[cold]
    fn handle_out_of_order(&mut self, stamp: Stamp, sent: u64, faults: &mut Faults) {
        let number = stamp.number();
        if stamp.connection() != self.connection {
            faults.misrouted += 1;
        } else if number >= sent {
            faults.corrupted += 1;
        } else if number >= self.next {
            faults.lose(number - self.next);
            self.missing.extend((self.next..number).take(MISSING_MAX));
            self.missing.drain(..self.missing.len().saturating_sub(MISSING_MAX));
            self.next = number + 1;
        } else if let Some(place) = self.missing.iter().position(|&missing| missing == number) {
            self.missing.swap_remove(place);
            faults.lost = faults.lost.wrapping_sub(1);
            faults.reordered += 1;
        } else {
            faults.duplicated += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds answers with these numbers on connection 1, where ten messages had been sent.
    fn judged(numbers: &[u64]) -> (Faults, u64) {
        let connection = ConnectionId::new(1);
        let (mut ledger, mut faults) = (Ledger::new(connection), Faults::default());
        for &number in numbers {
            ledger.handle(Stamp::new(connection, number), 10, &mut faults);
        }
        (faults, ledger.settled())
    }

    #[test]
    fn tells_faults_apart() {
        let none = Faults::default();
        let rows: [(&[u64], Faults, u64); 6] = [
            (&[0, 1, 2, 3], none, 4),
            (&[0, 2, 3], Faults { lost: 1, ..none }, 4),
            (&[0, 1, 1, 2], Faults { duplicated: 1, ..none }, 3),
            (&[0, 2, 1, 3], Faults { reordered: 1, ..none }, 4),
            (&[0, 2, 1, 1, 3], Faults { reordered: 1, duplicated: 1, ..none }, 4),
            (&[0, 10], Faults { corrupted: 1, ..none }, 1),
        ];
        for (numbers, faults, settled) in rows {
            assert_eq!(judged(numbers), (faults, settled), "{numbers:?}");
        }
    }

    #[test]
    fn knows_an_answer_that_is_not_its_own() {
        let (mut ledger, mut faults) = (Ledger::new(ConnectionId::new(1)), Faults::default());
        ledger.handle(Stamp::new(ConnectionId::new(2), 0), 10, &mut faults);
        assert_eq!((faults.misrouted, ledger.settled()), (1, 0));
    }

    #[test]
    fn forgets_rather_than_grow() {
        let connection = ConnectionId::new(1);
        let (mut ledger, mut faults) = (Ledger::new(connection), Faults::default());
        ledger.handle(Stamp::new(connection, 1_000_000), u64::MAX, &mut faults);
        ledger.handle(Stamp::new(connection, 2_000_000), u64::MAX, &mut faults);
        assert_eq!(ledger.missing.len(), MISSING_MAX);
        assert_eq!(faults.lost, 1_999_999);
    }
}
