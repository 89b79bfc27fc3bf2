//! What all clients of a shard know together of the backends of one dispatch, and which of them gets a message.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Balance;
use crate::balance::{BackendId, PeakEwma, Weight, mix, rendezvous_cost, scale, stable_hash, turn_length};
use crate::telemetry::DispatchCounters;

/// A backend that may get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub backend: BackendId,
    /// Its share.
    pub weight: Weight,
    /// What it takes part in rendezvous hashing by: the same in every process.
    pub identity: u64,
}

/// What a choice goes by, besides what the board knows.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'d> {
    /// What [`Balance::Hash`] found in the message.
    pub key: Option<&'d [u8]>,
    /// New for each choice.
    pub random: u64,
    /// The time.
    pub now: Instant,
}

/// The backends of one dispatch as a shard knows them: what they have yet to answer, and how fast they do.
#[derive(Debug, Default)]
pub struct Board {
    backends: BTreeMap<BackendId, Standing>,
    /// The turn that was taken last.
    clock: u128,
    /// What its dispatchers count.
    pub counters: DispatchCounters,
}

/// One backend.
#[derive(Debug, Default)]
struct Standing {
    /// Messages that it has yet to answer.
    outstanding: u32,
    /// Of its replies.
    time: Option<PeakEwma>,
    /// Its next turn on the board's clock; every policy lets equals take turns.
    turn: u128,
}

impl Standing {
    fn load(&self, weight: Weight) -> u64 {
        weight.load(self.outstanding)
    }

    /// Peak EWMA × (outstanding + 1) / weight, as in Finagle. One that was never measured is tried at once, but gets no
    /// second message before it has answered the first, unless all others are as slow.
    fn cost(&self, weight: Weight, now: Instant) -> f64 {
        let unknown = if self.outstanding == 0 { 0.0 } else { f64::MAX };
        let seconds = self.time.map_or(unknown, |time| time.seconds(now));
        seconds * ((f64::from(self.outstanding) + 1.0) / f64::from(weight.0.max(1)))
    }
}

impl Board {
    /// Chooses one of the eligible candidates, by index; `None` if there is none. All policies are fair among equals.
    pub fn pick(
        &mut self,
        balance: &Balance,
        candidates: &[Candidate],
        draw: Draw<'_>,
        is_eligible: impl Fn(&Candidate) -> bool,
    ) -> Option<usize> {
        self.welcome(candidates);
        let eligible = || candidates.iter().enumerate().filter(|(_, candidate)| is_eligible(candidate));
        let turn = |candidate: &Candidate| self.standing(candidate).map_or(0, |standing| standing.turn);
        let load = |candidate: &Candidate| {
            self.standing(candidate).map_or(0, |standing| standing.load(candidate.weight))
        };
        let chosen = match (balance, draw.key) {
            (Balance::Hash(_), Some(key)) => {
                let key = stable_hash(key);
                let cost =
                    |candidate: &Candidate| rendezvous_cost(key, candidate.identity, candidate.weight.0);
                eligible().min_by(|(_, one), (_, other)| cost(one).total_cmp(&cost(other)))
            }
            (Balance::RoundRobin | Balance::Hash(_), _) => {
                eligible().min_by_key(|(_, candidate)| turn(candidate))
            }
            (Balance::LeastOutstanding, _) => {
                eligible().min_by_key(|(_, candidate)| (load(candidate), turn(candidate)))
            }
            (Balance::PowerOfTwo, _) => {
                let count = eligible().count();
                let first = scale(draw.random >> 32, count);
                let step = 1 + scale(mix(draw.random) >> 32, count.saturating_sub(1));
                let second = (first + step).checked_rem(count).unwrap_or(first);
                let two = eligible().nth(first).into_iter().chain(eligible().nth(second));
                two.min_by_key(|(_, candidate)| load(candidate))
            }
            (Balance::Ewma, _) => {
                let cost = |candidate: &Candidate| {
                    self.standing(candidate).map_or(0.0, |standing| standing.cost(candidate.weight, draw.now))
                };
                eligible().min_by(|(_, one), (_, other)| {
                    cost(one).total_cmp(&cost(other)).then_with(|| turn(one).cmp(&turn(other)))
                })
            }
        };
        let (at, candidate) = chosen?;
        self.end_turn(candidate);
        Some(at)
    }

    /// A backend got a message that it is to answer.
    pub fn handle_sent(&mut self, backend: BackendId) {
        self.backends.entry(backend).or_default().outstanding += 1;
        self.counters.outstanding_now += 1;
    }

    /// It answered one, so long after it got it.
    pub fn handle_reply(&mut self, backend: BackendId, took: Duration, now: Instant) {
        self.counters.replies += 1;
        self.counters.reply_time.entry(backend.0).or_default().record(took);
        self.handle_known(backend, took, now);
        self.handle_forgotten(backend);
    }

    /// It takes at least so long for one.
    pub fn handle_known(&mut self, backend: BackendId, took: Duration, now: Instant) {
        if let Some(standing) = self.backends.get_mut(&backend) {
            match &mut standing.time {
                Some(time) => time.observe(took, now),
                None => standing.time = Some(PeakEwma::new(took, now)),
            }
        }
    }

    /// It is not expected to answer one of them any more.
    pub fn handle_forgotten(&mut self, backend: BackendId) {
        if let Some(standing) = self.backends.get_mut(&backend).filter(|standing| standing.outstanding > 0) {
            standing.outstanding -= 1;
            self.counters.outstanding_now = self.counters.outstanding_now.saturating_sub(1);
        }
    }

    /// Messages that a backend has yet to answer.
    #[must_use]
    pub fn outstanding(&self, backend: BackendId) -> u32 {
        self.backends.get(&backend).map_or(0, |standing| standing.outstanding)
    }

    /// Forgets backends that are gone and have nothing to answer.
    pub fn forget(&mut self, is_gone: impl Fn(BackendId) -> bool) {
        self.backends.retain(|id, standing| standing.outstanding > 0 || !is_gone(*id));
        // Names that keep changing addresses would make the books grow, and nobody is shown what is gone.
        self.counters.reply_time.retain(|id, _| !is_gone(BackendId(*id)));
    }

    fn standing(&self, candidate: &Candidate) -> Option<&Standing> {
        self.backends.get(&candidate.backend)
    }

    /// Gives those that are new a turn: half of one from now, as Webster's method has it.
    fn welcome(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            let turn = self.clock + turn_length(candidate.weight) / 2;
            let new = || Standing { turn, ..Standing::default() };
            self.backends.entry(candidate.backend).or_insert_with(new);
        }
    }

    /// One that was passed over keeps its turn, but saves up none.
    fn end_turn(&mut self, candidate: &Candidate) {
        if let Some(standing) = self.backends.get_mut(&candidate.backend) {
            self.clock = self.clock.max(standing.turn);
            standing.turn = self.clock + turn_length(candidate.weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Pointer;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        Instant::now()
    }

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let candidate = |(id, weight): (u32, &u32)| Candidate {
            backend: BackendId(id),
            weight: Weight(weight * 256),
            identity: stable_hash(&id.to_be_bytes()),
        };
        (0..).zip(weights).map(candidate).collect()
    }

    fn draw(random: u64, now: Instant) -> Draw<'static> {
        Draw { key: None, random, now }
    }

    /// How often each is chosen; each choice is to be answered, and is not.
    fn shares(balance: &Balance, candidates: &[Candidate], times: u64) -> Vec<u64> {
        let (mut board, now) = (Board::default(), now());
        let mut shares = vec![0; candidates.len()];
        for random in 0..times {
            let at = board.pick(balance, candidates, draw(mix(random), now), |_| true).unwrap();
            board.handle_sent(candidates[at].backend);
            shares[at] += 1;
        }
        shares
    }

    #[test]
    fn gives_by_weight() {
        let candidates = candidates(&[1, 3, 4]);
        for balance in [Balance::RoundRobin, Balance::LeastOutstanding] {
            assert_eq!(shares(&balance, &candidates, 80), [10, 30, 40], "{balance:?}");
        }
        let two = shares(&Balance::PowerOfTwo, &candidates, 80);
        assert!((8..=12).contains(&two[0]) && (26..=34).contains(&two[1]), "{two:?}");
    }

    #[test]
    fn equals_take_turns() {
        let candidates = candidates(&[1, 1, 1]);
        for balance in [Balance::RoundRobin, Balance::LeastOutstanding, Balance::Ewma] {
            let (mut board, now) = (Board::default(), now());
            let mut picks = Vec::new();
            for _ in 0..6 {
                picks.push(board.pick(&balance, &candidates, draw(0, now), |_| true).unwrap());
            }
            assert_eq!(picks, [0, 1, 2, 0, 1, 2], "{balance:?}");
        }
    }

    #[test]
    fn who_could_not_have_a_turn_gets_one_and_not_all_that_it_missed() {
        let candidates = candidates(&[1, 1]);
        let (mut board, now) = (Board::default(), now());
        let balance = Balance::RoundRobin;
        for _ in 0..100 {
            assert_eq!(board.pick(&balance, &candidates, draw(0, now), |one| one.backend.0 == 0), Some(0));
        }
        let picks: Vec<_> =
            (0..5).filter_map(|_| board.pick(&balance, &candidates, draw(0, now), |_| true)).collect();
        assert_eq!(picks.iter().filter(|at| **at == 1).count(), 3, "{picks:?}");
        assert_eq!(board.pick(&balance, &candidates, draw(0, now), |_| false), None);
        assert_eq!(board.pick(&Balance::PowerOfTwo, &[], draw(0, now), |_| true), None);
    }

    #[test]
    fn two_at_random_are_two_and_the_less_loaded_wins() {
        let candidates = candidates(&[1, 1]);
        let (mut board, now) = (Board::default(), now());
        board.handle_sent(BackendId(0));
        for random in [0, 1, u64::MAX, 1 << 63, 1 << 31, 0x1234_5678_9ABC_DEF0] {
            assert_eq!(board.pick(&Balance::PowerOfTwo, &candidates, draw(random, now), |_| true), Some(1));
        }
    }

    #[test]
    fn the_faster_is_chosen_until_it_has_more_to_do_than_that_is_worth() {
        let candidates = candidates(&[1, 1]);
        let (mut board, now) = (Board::default(), now());
        for (id, millis) in [(0, 50), (1, 10)] {
            board.handle_sent(BackendId(id));
            board.handle_reply(BackendId(id), Duration::from_millis(millis), now);
        }
        let mut picks = Vec::new();
        for _ in 0..7 {
            let at = board.pick(&Balance::Ewma, &candidates, draw(0, now), |_| true).unwrap();
            board.handle_sent(candidates[at].backend);
            picks.push(at);
        }
        assert_eq!(picks.iter().filter(|at| **at == 0).count(), 1, "{picks:?}");
        assert_eq!(board.counters.replies, 2);
        assert_eq!(board.counters.outstanding_now, 7);
    }

    #[test]
    fn a_key_stays_with_its_backend_and_only_its_own_keys_move() {
        let candidates = candidates(&[1, 1, 1, 1]);
        let balance = Balance::Hash(Pointer::new("/user").unwrap());
        let (mut board, now) = (Board::default(), now());
        let mut owner = |key: u32, without: Option<u32>| {
            let key = key.to_be_bytes();
            let draw = Draw { key: Some(&key), random: 0, now };
            board.pick(&balance, &candidates, draw, |one| Some(one.backend.0) != without).unwrap()
        };
        let owners: Vec<_> = (0..200).map(|key| owner(key, None)).collect();
        for at in 0..4 {
            assert!((30..=70).contains(&owners.iter().filter(|owner| **owner == at).count()));
        }
        for (key, before) in (0..200).zip(&owners) {
            let after = owner(key, Some(2));
            assert!(after == *before || *before == 2);
            assert_ne!(after, 2);
        }
    }

    #[test]
    fn forgets_who_is_gone_once_it_owes_nothing() {
        let mut board = Board::default();
        board.handle_sent(BackendId(7));
        board.forget(|_| true);
        assert_eq!(board.outstanding(BackendId(7)), 1);
        board.handle_forgotten(BackendId(7));
        board.handle_forgotten(BackendId(7));
        assert_eq!(board.counters.outstanding_now, 0);
        board.forget(|_| true);
        assert!(board.backends.is_empty());
    }

    #[test]
    fn what_is_counted_of_a_backend_goes_with_it() {
        let (mut board, now) = (Board::default(), now());
        for backend in [1, 2].map(BackendId) {
            board.handle_sent(backend);
            board.handle_reply(backend, Duration::from_millis(1), now);
        }
        board.forget(|backend| backend == BackendId(1));
        assert!(board.counters.reply_time.keys().eq(&[2]));
        assert_eq!(board.counters.replies, 2, "totals never fall");
    }
}
