//! What the arbiter must hold to: no backend above its limit, no ticket lost or answered twice, first come first served.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use selat::balance::{
    Arbiter, Ask, BackendId, BackendState, BackendView, Decision, Epoch, PoolView, Queue, ShardId, Snapshot,
    Ticket,
};

use super::balance::view;

const POOLS: usize = 2;

/// Backends of each pool: ids 0–2 and 10–12.
const IDS: [[u32; 3]; POOLS] = [[0, 1, 2], [10, 11, 12]];

/// Something that happens to an arbiter.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Ask {
        pool: usize,
        preferred: Option<u32>,
        tried: Vec<u32>,
    },
    /// Of one of the sessions that hold a place.
    Release(Index),
    /// Of one of those who wait.
    Cancel(Index),
    Pass(Duration),
    /// State and limit of each backend; those without have left.
    Snapshot(Vec<Option<(BackendState, Option<u32>)>>),
    /// The pools change places, or one is new.
    Reload {
        is_swapped: bool,
        is_second_new: bool,
        queue: Queue,
    },
}

pub(crate) fn queue() -> impl Strategy<Value = Queue> {
    (0usize..6, 1u64..5)
        .prop_map(|(sessions_max, seconds)| Queue { sessions_max, timeout: Duration::from_secs(seconds) })
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let state = select(vec![BackendState::Up, BackendState::Up, BackendState::Down, BackendState::Draining]);
    let backend = option::weighted(0.9, (state, option::weighted(0.9, 0u32..3)));
    let ask = (0..POOLS, option::of(0u32..3), vec(0u32..3, 0..2));
    prop_oneof![
        10 => ask.prop_map(|(pool, preferred, tried)| Op::Ask { pool, preferred, tried }),
        6 => any::<Index>().prop_map(Op::Release),
        1 => any::<Index>().prop_map(Op::Cancel),
        1 => (0u64..2500).prop_map(|millis| Op::Pass(Duration::from_millis(millis))),
        2 => vec(backend, 6).prop_map(Op::Snapshot),
        1 => (any::<bool>(), any::<bool>(), queue())
            .prop_map(|(is_swapped, is_second_new, queue)| Op::Reload { is_swapped, is_second_new, queue }),
    ]
}

/// What should be so.
struct World {
    arbiter: Arbiter,
    now: Instant,
    snapshot: Snapshot,
    queues: Vec<Queue>,
    /// Which of [`IDS`] each pool has.
    ids: Vec<usize>,
    /// Who waits, by order of asking: pool and backends tried.
    waiting: BTreeMap<u64, (usize, Vec<BackendId>, Instant)>,
    /// Who holds a place.
    placed: Vec<BackendId>,
    answered: HashSet<Ticket>,
    asked: u64,
}

/// Runs an arbiter through `ops`.
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
pub(crate) fn check(first: Queue, ops: &[Op]) {
    let mut world = World {
        arbiter: Arbiter::default(),
        now: Instant::now(),
        snapshot: Snapshot::default(),
        queues: vec![first; POOLS],
        ids: vec![0, 1],
        waiting: BTreeMap::new(),
        placed: Vec::new(),
        answered: HashSet::new(),
        asked: 0,
    };
    assert_eq!(world.arbiter.handle_pools(&[(first, None); POOLS]), []);
    world.tell(&[Some((BackendState::Up, Some(1))); 6]);
    for op in ops {
        world.step(op);
        world.check();
    }
    world.end();
}

impl World {
    fn step(&mut self, op: &Op) {
        match op {
            Op::Ask { pool, preferred, tried } => self.ask(*pool, *preferred, tried),
            Op::Release(index) if !self.placed.is_empty() => {
                let backend = self.placed.swap_remove(index.index(self.placed.len()));
                self.release(backend);
            }
            Op::Cancel(index) if !self.waiting.is_empty() => {
                let number = *self.waiting.keys().nth(index.index(self.waiting.len())).unwrap();
                assert!(self.arbiter.handle_cancel(ticket(number)));
                assert!(!self.arbiter.handle_cancel(ticket(number)), "cancelled twice");
                self.leave(number);
            }
            Op::Release(_) | Op::Cancel(_) => {}
            Op::Pass(time) => self.pass(*time),
            Op::Snapshot(states) => self.tell(states),
            Op::Reload { is_swapped, is_second_new, queue } => {
                self.reload(*is_swapped, *is_second_new, *queue)
            }
        }
    }

    fn ask(&mut self, pool: usize, preferred: Option<u32>, tried: &[u32]) {
        self.asked += 1;
        let id = |place: &u32| BackendId(IDS[self.ids[pool]][usize::try_from(*place).unwrap()]);
        let (preferred, tried): (_, Vec<_>) = (preferred.as_ref().map(id), tried.iter().map(id).collect());
        let wanted = |view: &BackendView| self.has_room(view) && !tried.contains(&view.id);
        let free: Vec<_> = self.backends(pool).filter(|view| wanted(view)).map(|view| view.id).collect();
        let is_open = self.backends(pool).any(|view| is_open(view) && !tried.contains(&view.id));
        let waiting = self.waiting.values().filter(|(of, ..)| *of == pool).count();
        let ask = Ask { pool, preferred, tried: tried.clone() };
        let decision = self.arbiter.handle_ask(ticket(self.asked), ask, self.now);
        match decision {
            Decision::Granted(backend) => {
                assert!(free.contains(&backend), "{backend:?} has no room");
                assert!(preferred.is_none_or(|wanted| backend == wanted || !free.contains(&wanted)));
                self.answer(self.asked);
                self.placed.push(backend);
            }
            Decision::Queued => {
                assert!(free.is_empty() && is_open && waiting < self.queues[pool].sessions_max);
                self.waiting.insert(self.asked, (pool, tried, self.now));
            }
            Decision::Full => {
                assert!(free.is_empty() && (!is_open || waiting >= self.queues[pool].sessions_max));
                self.answer(self.asked);
            }
        }
    }

    fn release(&mut self, backend: BackendId) {
        let granted = self.arbiter.handle_release(backend);
        let pool = (0..POOLS).find(|pool| self.backends(*pool).any(|view| view.id == backend));
        let mut line = self.waiting.iter();
        let first = line.find(|(_, (of, tried, _))| Some(*of) == pool && !tried.contains(&backend));
        let has_room = pool
            .is_some_and(|pool| self.backends(pool).any(|view| view.id == backend && self.has_room(view)));
        let due = first.filter(|_| has_room).map(|(number, _)| (ticket(*number), backend));
        assert_eq!(granted, due, "first come, first served");
        granted.into_iter().for_each(|grant| self.grant(grant));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let deadline =
            |(pool, _, since): &(usize, Vec<BackendId>, Instant)| *since + self.queues[*pool].timeout;
        assert_eq!(self.arbiter.deadline(), self.waiting.values().map(deadline).min());
        let due: HashSet<_> =
            self.waiting.iter().filter(|(_, waiter)| deadline(waiter) <= self.now).map(|(n, _)| *n).collect();
        let expired = self.arbiter.handle_time(self.now);
        assert_eq!(expired.len(), due.len());
        for ticket in expired {
            assert!(due.contains(&ticket.number));
            self.leave(ticket.number);
        }
    }

    fn tell(&mut self, states: &[Option<(BackendState, Option<u32>)>]) {
        let view = |(id, state): (&u32, &Option<(BackendState, Option<u32>)>)| {
            state.map(|(state, connections_max)| BackendView { state, connections_max, ..view(*id, 256) })
        };
        let pool = |ids: &usize| {
            let backends = IDS[*ids].iter().zip(&states[ids * 3..]).filter_map(view).collect();
            PoolView { backends, is_panicking: false }
        };
        self.snapshot = Snapshot { epoch: Epoch(1), pools: self.ids.iter().map(pool).collect() };
        let mut last = HashMap::new();
        for grant in self.arbiter.handle_snapshot(&self.snapshot) {
            let pool = self.waiting[&grant.0.number].0;
            let before = last.insert(pool, grant.0.number);
            assert!(before.is_none_or(|before| before < grant.0.number), "first come, first served");
            self.grant(grant);
        }
    }

    fn reload(&mut self, is_swapped: bool, is_second_new: bool, queue: Queue) {
        let order = if is_swapped { [1, 0] } else { [0, 1] };
        let second = (!is_second_new).then_some(order[1]);
        let pools = [(self.queues[order[0]], Some(order[0])), (queue, second)];
        for ticket in self.arbiter.handle_pools(&pools) {
            assert!(is_second_new && self.waiting[&ticket.number].0 == order[1]);
            self.leave(ticket.number);
        }
        self.queues = pools.map(|(queue, _)| queue).to_vec();
        self.ids = order.map(|was| self.ids[was]).to_vec();
        for (pool, ..) in self.waiting.values_mut() {
            *pool = order[*pool];
        }
        let old = std::mem::take(&mut self.snapshot.pools);
        self.snapshot.pools = order.map(|was| old[was].clone()).to_vec();
        if is_second_new {
            assert!(self.waiting.values().all(|(pool, ..)| *pool != 1));
        }
        let snapshot = self.snapshot.clone();
        assert_eq!(self.arbiter.handle_snapshot(&snapshot), [], "they could have been let in before");
    }

    fn grant(&mut self, (ticket, backend): (Ticket, BackendId)) {
        let (pool, tried, _) = &self.waiting[&ticket.number];
        assert!(!tried.contains(&backend));
        let view = self.backends(*pool).find(|view| view.id == backend).expect("it is in that pool");
        assert!(self.has_room(view), "{view:?}");
        self.leave(ticket.number);
        self.placed.push(backend);
    }

    /// A ticket no longer waits.
    fn leave(&mut self, number: u64) {
        assert!(self.waiting.remove(&number).is_some(), "ticket {number} did not wait");
        self.answer(number);
    }

    fn answer(&mut self, number: u64) {
        assert!(self.answered.insert(ticket(number)), "ticket {number} was answered twice");
    }

    fn check(&self) {
        for pool in 0..POOLS {
            let waiting = self.waiting.values().filter(|(of, ..)| *of == pool);
            assert_eq!(self.arbiter.waiting(pool), waiting.count());
            for view in self.backends(pool).filter(|view| self.has_room(view)) {
                let mut waiting = self.waiting.values().filter(|(of, ..)| *of == pool);
                assert!(waiting.all(|(_, tried, _)| tried.contains(&view.id)), "{view:?} is wasted");
            }
        }
        for id in IDS.iter().flatten() {
            assert_eq!(self.arbiter.sessions(BackendId(*id)), self.on(BackendId(*id)));
        }
        let all: HashSet<_> = (1..=self.asked).map(ticket).collect();
        let known = self.answered.iter().copied().chain(self.waiting.keys().map(|number| ticket(*number)));
        assert_eq!(known.collect::<HashSet<_>>(), all, "a ticket was lost");
    }

    /// Everybody goes home.
    fn end(&mut self) {
        self.pass(Duration::from_secs(3600));
        while let Some(backend) = self.placed.pop() {
            self.release(backend);
        }
        self.check();
        assert_eq!(self.arbiter.deadline(), None);
        assert_eq!(self.waiting.len(), 0);
    }

    fn backends(&self, pool: usize) -> impl Iterator<Item = &BackendView> {
        self.snapshot.pools.get(pool).into_iter().flat_map(|pool| &pool.backends)
    }

    fn on(&self, backend: BackendId) -> u32 {
        self.placed.iter().filter(|placed| **placed == backend).count().try_into().unwrap()
    }

    fn has_room(&self, view: &BackendView) -> bool {
        is_open(view) && view.connections_max.is_none_or(|max| self.on(view.id) < max)
    }
}

fn is_open(view: &BackendView) -> bool {
    view.state == BackendState::Up
}

fn ticket(number: u64) -> Ticket {
    Ticket { shard: ShardId(0), number }
}
