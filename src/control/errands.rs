//! Recurring work outside: when each piece is due, so many under way at once, their results one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::time::Instant;

use tokio::task::{self, JoinSet};

/// Errands, each named by a key, of which a bounded number is under way.
///
/// An errand must end by itself: one that is forgotten is not interrupted, so that the bound holds whatever happens.
pub(super) struct Errands<K, T> {
    tasks: JoinSet<T>,
    in_flight_max: usize,
    /// Those not under way, the earliest first.
    due: BTreeSet<(Instant, K)>,
    phases: BTreeMap<K, Phase>,
    /// Those under way; without those that were forgotten.
    running: BTreeMap<task::Id, K>,
}

enum Phase {
    Due(Instant),
    Running(task::Id),
}

impl<K: Copy + Ord, T: Send + 'static> Errands<K, T> {
    /// At most this many under way at once; what is due beyond that waits, the longest overdue goes first.
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            in_flight_max,
            due: BTreeSet::new(),
            phases: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// Says when an errand is due. One that is under way goes on, and has to be planned again when it has ended;
    /// `None` forgets it.
    pub(super) fn plan(&mut self, key: K, at: Option<Instant>) {
        match (at, self.phases.get(&key)) {
            (Some(_), Some(Phase::Running(_))) => {}
            (Some(at), Some(Phase::Due(before))) if at == *before => {}
            (Some(at), Some(Phase::Due(_)) | None) => {
                self.forget(key);
                self.due.insert((at, key));
                self.phases.insert(key, Phase::Due(at));
            }
            (None, _) => self.forget(key),
        }
    }

    /// Plans it no more; should it be under way, nobody hears its result.
    pub(super) fn forget(&mut self, key: K) {
        match self.phases.remove(&key) {
            Some(Phase::Due(at)) => {
                self.due.remove(&(at, key));
            }
            Some(Phase::Running(id)) => {
                self.running.remove(&id);
            }
            None => {}
        }
    }

    /// When [`Self::start_due`] has something to do; `None` while nothing is planned or no more can be under way.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let has_room = self.tasks.len() < self.in_flight_max;
        self.due.first().filter(|_| has_room).map(|(at, _)| *at)
    }

    /// Starts what is due; an errand for which `errand` has nothing is forgotten.
    pub(super) fn start_due<F>(&mut self, now: Instant, mut errand: impl FnMut(K) -> Option<F>)
    where
        F: Future<Output = T> + Send + 'static,
    {
        while self.wake_at().is_some_and(|at| at <= now)
            && let Some((_, key)) = self.due.pop_first()
        {
            self.phases.remove(&key);
            if let Some(errand) = errand(key) {
                let id = self.tasks.spawn(errand).id();
                self.phases.insert(key, Phase::Running(id));
                self.running.insert(id, key);
            }
        }
    }

    /// The next result, `None` if the errand panicked; never, while nothing is under way.
    ///
    /// # Cancel safety
    /// Safe: a result that was not returned is still there.
    pub(super) async fn next(&mut self) -> (K, Option<T>) {
        loop {
            let (id, result) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, result))) => (id, Some(result)),
                Some(Err(error)) => (error.id(), None),
                None => pending().await,
            };
            if let Some(key) = self.running.remove(&id) {
                self.phases.remove(&key);
                return (key, result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Starts what is due as errands that end with their key; which those were.
    fn start(errands: &mut Errands<u16, u16>, at: Instant) -> Vec<u16> {
        let mut started = Vec::new();
        errands.start_due(at, |key| {
            started.push(key);
            Some(async move { key })
        });
        started
    }

    #[tokio::test]
    async fn the_longest_overdue_go_first_and_the_rest_wait_for_room() {
        let (mut errands, begin) = (Errands::new(2), now());
        let second = Duration::from_secs(1);
        for (key, seconds) in [(1, 3), (2, 1), (3, 2), (4, 9)] {
            errands.plan(key, Some(begin + second * seconds));
        }
        assert_eq!(errands.wake_at(), Some(begin + second));
        assert!(start(&mut errands, begin).is_empty());
        assert_eq!(start(&mut errands, begin + second * 5), [2, 3]);
        assert_eq!(errands.wake_at(), None, "two are under way");
        let (key, result) = errands.next().await;
        assert_eq!(result, Some(key));
        assert_eq!(errands.wake_at(), Some(begin + second * 3));
        assert_eq!(start(&mut errands, begin + second * 5), [1]);
    }

    #[tokio::test]
    async fn one_under_way_is_not_started_again_until_it_has_ended() {
        let (mut errands, at) = (Errands::new(2), now());
        errands.plan(1, Some(at));
        assert_eq!(start(&mut errands, at), [1]);
        errands.plan(1, Some(at));
        assert!(start(&mut errands, at).is_empty());
        errands.next().await;
        assert!(start(&mut errands, at).is_empty());
        errands.plan(1, Some(at));
        errands.plan(1, None);
        assert!(start(&mut errands, at).is_empty());
        errands.plan(1, Some(at + Duration::from_secs(1)));
        errands.plan(1, Some(at));
        assert_eq!(start(&mut errands, at), [1]);
    }

    #[tokio::test]
    async fn the_result_of_a_forgotten_errand_is_not_taken_for_its_successors() {
        let (mut errands, at) = (Errands::new(2), now());
        let (release, held) = oneshot::channel();
        let mut held = Some(held);
        errands.plan(1, Some(at));
        errands.start_due(at, |_| held.take().map(|held| async { held.await.unwrap_or(0) }));
        errands.forget(1);
        errands.plan(1, Some(at));
        let (second_release, second_held) = oneshot::channel();
        let mut second_held = Some(second_held);
        errands.start_due(at, |_| second_held.take().map(|held| async { held.await.unwrap_or(0) }));
        assert_eq!(errands.wake_at(), None);
        release.send(7).unwrap();
        // It ends before the second does, and would be heard first.
        task::yield_now().await;
        second_release.send(8).unwrap();
        assert_eq!(errands.next().await, (1, Some(8)));
    }

    #[tokio::test]
    async fn one_that_panics_says_so() {
        let (mut errands, at) = (Errands::<u16, u16>::new(1), now());
        errands.plan(1, Some(at));
        errands.start_due(at, |_| Some(async { panic!("as the test wants") }));
        assert_eq!(errands.next().await, (1, None));
    }
}
