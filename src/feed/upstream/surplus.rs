//! What one of two lines has said and the other has not, yet.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages that are remembered; beyond, the oldest is forgotten, and published again if the other line brings it.
/// About 16 MiB in all.
const REMEMBERED_MAX: usize = 1 << 18;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that is to be replaced.
    Old,
    /// The one that replaces it.
    New,
}

/// A multiset of contents, by their hashes, each for a limited time. What one side has said twice more than the other is
/// in it twice. Never is the same content in it for both sides: it would be no surplus.
#[derive(Debug)]
pub(super) struct Surplus {
    entries: HashMap<u64, Entry>,
    /// What was put in, by time.
    order: VecDeque<(Instant, u64)>,
    lifetime: Duration,
}

#[derive(Debug)]
struct Entry {
    side: Side,
    /// So often more than the other side.
    count: u32,
    /// So many of its oldest places in the order are of what was taken out.
    taken: u32,
}

impl Surplus {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), lifetime }
    }

    /// `side` has said this, and the other one not.
    pub(super) fn put(&mut self, side: Side, content: u64, now: Instant) {
        if self.order.len() >= REMEMBERED_MAX {
            self.forget_oldest();
        }
        let entry = self.entries.entry(content).or_insert(Entry { side, count: 0, taken: 0 });
        entry.side = side;
        entry.count += 1;
        self.order.push_back((now, content));
    }

    /// The other side says what `side` has said: whether there was such a thing.
    pub(super) fn take(&mut self, side: Side, content: u64) -> bool {
        let entry = self.entries.get_mut(&content).filter(|entry| entry.side == side && entry.count > 0);
        let Some(entry) = entry else { return false };
        entry.count -= 1;
        entry.taken += 1;
        true
    }

    /// Forgets what was put in a lifetime ago.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > self.lifetime) {
            self.forget_oldest();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.lifetime);
    }

    fn forget_oldest(&mut self) {
        let Some((_, content)) = self.order.pop_front() else { return };
        let Some(entry) = self.entries.get_mut(&content) else { return };
        if entry.taken > 0 {
            entry.taken -= 1;
        } else {
            entry.count = entry.count.saturating_sub(1);
        }
        if (entry.count, entry.taken) == (0, 0) {
            self.entries.remove(&content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(5);

    fn surplus() -> (Surplus, Instant) {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let start = Instant::now();
        (Surplus::new(LIFETIME), start)
    }

    #[test]
    fn counts_how_often_each_side_is_ahead() {
        let (mut surplus, now) = surplus();
        surplus.put(Side::Old, 1, now);
        surplus.put(Side::Old, 1, now);
        assert!(!surplus.take(Side::New, 1));
        assert!(surplus.take(Side::Old, 1) && surplus.take(Side::Old, 1) && !surplus.take(Side::Old, 1));
        // Now the other one is ahead.
        surplus.put(Side::New, 1, now);
        assert!(!surplus.take(Side::Old, 1) && surplus.take(Side::New, 1));
    }

    #[test]
    fn forgets_each_in_its_time_and_in_the_end_all() {
        let (mut surplus, now) = surplus();
        surplus.put(Side::Old, 1, now);
        surplus.put(Side::Old, 1, now + LIFETIME / 2);
        surplus.put(Side::New, 2, now + LIFETIME / 2);
        assert!(surplus.take(Side::Old, 1), "the older one");
        surplus.forget(now + LIFETIME + Duration::from_nanos(1));
        assert!(surplus.take(Side::Old, 1), "the younger one is still there");
        surplus.put(Side::Old, 3, now + LIFETIME);
        surplus.forget(now + LIFETIME * 3 / 2 + Duration::from_nanos(1));
        assert!(!surplus.take(Side::New, 2));
        assert_eq!((surplus.entries.len(), surplus.order.len()), (1, 1));
    }

    #[test]
    fn a_flood_is_bounded() {
        let (mut surplus, now) = surplus();
        for content in 0..=u64::try_from(REMEMBERED_MAX).unwrap() {
            surplus.put(Side::Old, content, now);
        }
        assert_eq!((surplus.entries.len(), surplus.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(!surplus.take(Side::Old, 0) && surplus.take(Side::Old, 1));
    }
}
