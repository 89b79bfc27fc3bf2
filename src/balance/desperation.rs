//! What is left when every backend is down: trying one all the same, a bounded number of times a second.

use std::time::{Duration, Instant};

use super::BackendId;
use super::roster::Roster;

/// Attempts a second that a shard makes on backends that are all held to be down. Below it a client gets a real
/// attempt (and 502 or 504), above it a quick 503: a dead pool is found alive soon, but not stormed.
const PER_SECOND: u32 = 10;

/// Attempts that may still be made, and on whom.
#[derive(Debug)]
pub(super) struct Desperation {
    /// Of the second that began at `since`.
    left: u32,
    since: Instant,
    /// The rank of whoever is next.
    next: usize,
}

impl Desperation {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: PER_SECOND, since: now, next: 0 }
    }

    /// The next in turn, whatever its health. Nobody where some are well but full: they will have room.
    pub(super) fn pick(&mut self, roster: &Roster, now: Instant) -> Option<BackendId> {
        let present = roster.present();
        if present.iter().any(|slot| slot.is_open && !slot.is_avoided(now)) {
            return None;
        }
        let mut ranks = (0..present.len()).map(|step| (self.next + step) % present.len());
        let (rank, slot) = ranks.find_map(|rank| {
            let slot = roster.get(roster.at_rank(rank)).filter(|slot| slot.is_last_resort())?;
            Some((rank, slot))
        })?;
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = PER_SECOND;
        }
        self.left = self.left.checked_sub(1)?;
        self.next = rank + 1;
        Some(slot.id)
    }
}
