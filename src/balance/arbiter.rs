//! Admission to pools whose backends have a limit: exact for the whole process, with a bounded queue.
//!
//! Lives on the control plane, where the asks of all shards come in one after another. A shard asks before it dials
//! and says when the session has ended, or never came to be; in between it holds one place on one backend.
//!
//! At any time nobody waits who could be let in: places are handed on as they become free, first come, first served.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::{BackendId, BackendView, PoolView, ShardId, Snapshot, Weight};

/// Who asks: a session to be, until it is let in, turned away or cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// The shard that gets the answer.
    pub shard: ShardId,
    /// Never used twice by a shard.
    pub number: u64,
}

/// How many may wait for a place in a pool, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Beyond: [`Decision::Full`]. Bounds memory, and the wait of whoever is last.
    pub sessions_max: usize,
    /// Then the ticket has expired.
    pub timeout: Duration,
}

/// What a session asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// A place in the pool of this index in the configuration,
    pub pool: usize,
    /// on this backend if there is room, else on the one with the fewest sessions for its weight,
    pub preferred: Option<BackendId>,
    /// but on none of these.
    pub tried: Vec<BackendId>,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The session has a place there, until [`Arbiter::handle_release`].
    Granted(BackendId),
    /// It waits: to be granted a place, to expire, or to be cancelled.
    Queued,
    /// So many wait already, or there is no backend worth waiting for.
    Full,
}

/// Knows who has a place, and who waits for one.
#[derive(Debug, Default)]
pub struct Arbiter {
    pools: Vec<Pool>,
    /// Where each backend stands in its pool.
    seats: HashMap<BackendId, (usize, usize)>,
    /// Places taken, on backends that have left their pool too.
    taken: HashMap<BackendId, u32>,
    /// Where each ticket waits: pool, and number in its line.
    waiting: HashMap<Ticket, (usize, u64)>,
    /// Numbers given out to those who wait; they rise over all pools.
    numbers: u64,
}

#[derive(Debug)]
struct Pool {
    queue: Queue,
    backends: Vec<Backend>,
    /// Who waits, in the order of arrival.
    line: BTreeMap<u64, Waiter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backend {
    id: BackendId,
    is_open: bool,
    weight: Weight,
    connections_max: Option<u32>,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    tried: Vec<BackendId>,
    since: Instant,
}

impl Arbiter {
    /// For a first start or a reload: the pools of the new configuration, by index, each with the index that it had
    /// before. Who waits for a pool that stays keeps its place in the line; the tickets of the others are returned,
    /// to be turned away. A new pool has no backends before the next [`Self::handle_snapshot`].
    #[must_use]
    pub fn handle_pools(&mut self, pools: &[(Queue, Option<usize>)]) -> Vec<Ticket> {
        let mut before: Vec<_> = std::mem::take(&mut self.pools).into_iter().map(Some).collect();
        let pool = |(queue, was): &(Queue, Option<usize>)| {
            let known = was.and_then(|was| before.get_mut(was)?.take());
            let (backends, line) = known.map(|pool| (pool.backends, pool.line)).unwrap_or_default();
            Pool { queue: *queue, backends, line }
        };
        self.pools = pools.iter().map(pool).collect();
        self.find_seats();
        self.waiting.clear();
        for (index, pool) in self.pools.iter().enumerate() {
            self.waiting.extend(pool.line.iter().map(|(number, waiter)| (waiter.ticket, (index, *number))));
        }
        before
            .into_iter()
            .flatten()
            .flat_map(|pool| pool.line.into_values())
            .map(|waiter| waiter.ticket)
            .collect()
    }

    /// Backends have come, gone or changed. Those who can be let in now are, in the order in which they came.
    /// Sessions beyond a limit that was lowered stay; the backend gets no new ones until it is below.
    #[must_use]
    pub fn handle_snapshot(&mut self, snapshot: &Snapshot) -> Vec<(Ticket, BackendId)> {
        let mut is_changed = false;
        for (pool, view) in self.pools.iter_mut().zip(&snapshot.pools) {
            let backends: Vec<_> = view.backends.iter().map(|backend| Backend::new(backend, view)).collect();
            is_changed |= backends != pool.backends;
            pool.backends = backends;
        }
        if !is_changed {
            return Vec::new();
        }
        self.find_seats();
        (0..self.pools.len()).flat_map(|pool| self.admit_all(pool)).collect()
    }

    /// These many sessions run on `backend` without having asked, because its pool had no limits when they began.
    /// They hold places from now on, and are released like all others.
    pub fn handle_adopted(&mut self, backend: BackendId, sessions: u32) {
        let taken = self.taken.entry(backend).or_default();
        *taken = taken.saturating_add(sessions);
    }

    /// A session asks for a place. If it has to wait, the answer comes with a release, a snapshot or in time.
    pub fn handle_ask(&mut self, ticket: Ticket, ask: Ask, now: Instant) -> Decision {
        let Ask { pool: pool_index, preferred, tried } = ask;
        let Some(pool) = self.pools.get_mut(pool_index) else { return Decision::Full };
        let has_room = |backend: &&Backend| backend.has_room(&self.taken) && !tried.contains(&backend.id);
        let seat = preferred.and_then(|id| self.seats.get(&id)).filter(|(pool, _)| *pool == pool_index);
        let preferred = seat.and_then(|(_, seat)| pool.backends.get(*seat)).filter(has_room);
        let least = || pool.backends.iter().filter(has_room).min_by_key(|backend| backend.load(&self.taken));
        if let Some(id) = preferred.or_else(least).map(|backend| backend.id) {
            *self.taken.entry(id).or_default() += 1;
            return Decision::Granted(id);
        }
        let is_worth_it = pool.backends.iter().any(|backend| backend.is_open && !tried.contains(&backend.id));
        if !is_worth_it || pool.line.len() >= pool.queue.sessions_max {
            return Decision::Full;
        }
        self.numbers += 1;
        pool.line.insert(self.numbers, Waiter { ticket, tried, since: now });
        self.waiting.insert(ticket, (pool_index, self.numbers));
        Decision::Queued
    }

    /// A session on `backend` has ended, or never came to be. Its place goes to the first in the line that has not
    /// tried that backend, if the backend is still open and below its limit.
    #[must_use]
    pub fn handle_release(&mut self, backend: BackendId) -> Option<(Ticket, BackendId)> {
        if let Some(taken) = self.taken.get_mut(&backend) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.taken.remove(&backend);
            }
        }
        let (pool, seat) = *self.seats.get(&backend)?;
        self.admit(pool, seat).map(|ticket| (ticket, backend))
    }

    /// A session no longer waits. Whether it did: if not, it has been granted a place, and must release it.
    pub fn handle_cancel(&mut self, ticket: Ticket) -> bool {
        let Some((pool, number)) = self.waiting.remove(&ticket) else { return false };
        self.pools.get_mut(pool).is_some_and(|pool| pool.line.remove(&number).is_some())
    }

    /// The tickets that have expired by `now`, each returned once.
    #[must_use]
    pub fn handle_time(&mut self, now: Instant) -> Vec<Ticket> {
        let mut expired = Vec::new();
        for pool in &mut self.pools {
            while let Some(first) = pool.line.first_entry()
                && first.get().since + pool.queue.timeout <= now
            {
                expired.push(first.remove().ticket);
            }
        }
        for ticket in &expired {
            self.waiting.remove(ticket);
        }
        expired
    }

    /// When the next ticket expires; `None` while nobody waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // All in a line have the same timeout: the first in it is the first to expire.
        let firsts = self.pools.iter().filter_map(|pool| {
            pool.line.first_key_value().map(|(_, first)| first.since + pool.queue.timeout)
        });
        firsts.min()
    }

    /// How many wait for a place in the pool of this index.
    #[must_use]
    pub fn waiting(&self, pool: usize) -> usize {
        self.pools.get(pool).map_or(0, |pool| pool.line.len())
    }

    /// Places taken on `backend`.
    #[must_use]
    pub fn sessions(&self, backend: BackendId) -> u32 {
        self.taken.get(&backend).copied().unwrap_or(0)
    }

    fn find_seats(&mut self) {
        self.seats.clear();
        for (pool_index, pool) in self.pools.iter().enumerate() {
            let ids = pool.backends.iter().enumerate();
            self.seats.extend(ids.map(|(seat, backend)| (backend.id, (pool_index, seat))));
        }
    }

    /// Lets in everyone in the line of a pool for whom there is room, each where there is most.
    fn admit_all(&mut self, pool: usize) -> Vec<(Ticket, BackendId)> {
        let Some(Pool { backends, line, .. }) = self.pools.get_mut(pool) else { return Vec::new() };
        let taken = &mut self.taken;
        let seats = backends.iter().enumerate().filter(|(_, backend)| backend.has_room(taken));
        let mut open: BTreeSet<_> = seats.map(|(seat, backend)| (backend.load(taken), seat)).collect();
        let mut granted = Vec::new();
        line.retain(|_, waiter| {
            let is_wanted = |id| !waiter.tried.contains(&id);
            let mut wanted = open.iter().filter_map(|entry| Some((*entry, backends.get(entry.1)?)));
            let Some((entry, backend)) = wanted.find(|(_, backend)| is_wanted(backend.id)) else {
                return true;
            };
            open.remove(&entry);
            *taken.entry(backend.id).or_default() += 1;
            if backend.has_room(taken) {
                open.insert((backend.load(taken), entry.1));
            }
            granted.push((waiter.ticket, backend.id));
            false
        });
        for (ticket, _) in &granted {
            self.waiting.remove(ticket);
        }
        granted
    }

    /// Lets the first in the line that may in on this backend, if there is room.
    fn admit(&mut self, pool: usize, seat: usize) -> Option<Ticket> {
        let pool = self.pools.get_mut(pool)?;
        let backend = pool.backends.get(seat).filter(|backend| backend.has_room(&self.taken))?;
        let mut line = pool.line.iter();
        let number = *line.find(|(_, waiter)| !waiter.tried.contains(&backend.id))?.0;
        let ticket = pool.line.remove(&number)?.ticket;
        *self.taken.entry(backend.id).or_default() += 1;
        self.waiting.remove(&ticket);
        Some(ticket)
    }
}

impl Backend {
    fn new(view: &BackendView, pool: &PoolView) -> Self {
        let is_open = view.is_open(pool.is_panicking);
        let BackendView { id, weight, connections_max, .. } = *view;
        Self { id, is_open, weight, connections_max }
    }

    fn has_room(&self, taken: &HashMap<BackendId, u32>) -> bool {
        let taken = taken.get(&self.id).copied().unwrap_or(0);
        self.is_open && self.connections_max.is_none_or(|max| taken < max)
    }

    fn load(&self, taken: &HashMap<BackendId, u32>) -> u64 {
        self.weight.load(taken.get(&self.id).copied().unwrap_or(0))
    }
}
