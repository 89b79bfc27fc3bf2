//! What sessions have to do at a time, without an event. Empty unless they think or read slowly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::wire::ConnectionId;

/// What a session has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Send so many more messages.
    Send(u64),
    /// Read a little.
    Read,
}

/// When which session has to do what. In order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alarm {
    pub(crate) at: Instant,
    pub(crate) slot: usize,
    pub(crate) id: ConnectionId,
    pub(crate) task: Task,
}

/// All alarms of a thread.
#[derive(Debug, Default)]
pub(crate) struct Alarms(BinaryHeap<Reverse<Alarm>>);

impl Alarms {
    /// Sets one.
    pub(super) fn set(&mut self, alarm: Alarm) {
        self.0.push(Reverse(alarm));
    }

    /// When the next one is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(alarm)| alarm.at)
    }

    /// One that is due by `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<Alarm> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop().map(|Reverse(alarm)| alarm)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn rings_in_order_of_time_and_not_before() {
        let (mut alarms, now) = (Alarms::default(), clock::now());
        let alarm = |millis, slot| Alarm {
            at: now + Duration::from_millis(millis),
            slot,
            id: ConnectionId::new(0),
            task: Task::Read,
        };
        for (millis, slot) in [(3, 0), (1, 9), (2, 4)] {
            alarms.set(alarm(millis, slot));
        }
        assert_eq!(alarms.take(now), None);
        assert_eq!(alarms.next(), Some(now + Duration::from_millis(1)));
        let due = now + Duration::from_millis(2);
        let rung: Vec<_> = std::iter::from_fn(|| alarms.take(due)).collect();
        assert_eq!(rung, [alarm(1, 9), alarm(2, 4)]);
    }
}
