//! One dispatch at one moment, as it is shown: what clients wait for, what was answered, and how fast by whom.

use serde::{Deserialize, Serialize};

use super::{DispatchCounters, HistogramView};

/// One dispatch. What its backends are like otherwise stands with the pool `dispatch.NAME`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DispatchOverview {
    /// As the configuration calls it.
    pub name: String,
    /// Messages that wait for a reply now.
    pub outstanding: u64,
    /// Messages that backends got: one for all of three is three.
    pub sent: u64,
    /// Replies that answered a message.
    pub replies: u64,
    /// Messages that were sent anew, their backend lost.
    pub retries: u64,
    /// Messages without a reply in time.
    pub timeouts: u64,
    /// Messages without a reply that were lost with their backend.
    pub lost: u64,
    /// Replies that nobody waited for any more.
    pub late: u64,
    /// Replies that were not wanted: others were enough.
    pub surplus: u64,
    /// Answers made of fewer replies than were asked for.
    pub partial: u64,
    /// Replies that wait now for those before them.
    pub reordering: u64,
    /// Their bytes.
    pub reordering_bytes: u64,
    /// Each address of each backend.
    pub backends: Vec<Replier>,
}

/// One address of one backend of a dispatch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Replier {
    /// Its URL, as the configuration has it. With the address it is unique in its dispatch.
    pub name: String,
    /// Where it points, `host:port`.
    pub address: String,
    /// From the end of a message to the end of its reply.
    pub reply_seconds: HistogramView,
}

impl DispatchOverview {
    /// What was counted of the dispatch `name`. Of its backends there are the numbers by which they are counted, their
    /// names and their addresses; those that have left it are not shown any more.
    #[must_use]
    pub fn new(
        name: &str,
        backends: impl IntoIterator<Item = (u32, String, String)>,
        counters: &DispatchCounters,
    ) -> Self {
        let unused = super::Histogram::default();
        let replier = |(id, name, address)| Replier {
            name,
            address,
            reply_seconds: counters.reply_time.get(&id).unwrap_or(&unused).into(),
        };
        Self {
            name: name.to_owned(),
            outstanding: counters.outstanding_now,
            sent: counters.sent,
            replies: counters.replies,
            retries: counters.retries,
            timeouts: counters.timeouts,
            lost: counters.lost,
            late: counters.late,
            surplus: counters.surplus,
            partial: counters.partial,
            reordering: counters.reorder_now,
            reordering_bytes: counters.reorder_bytes_now,
            backends: backends.into_iter().map(replier).collect(),
        }
    }

    /// Messages that got no reply, late or lost.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.timeouts.saturating_add(self.lost)
    }

    /// From the end of a message to the end of its reply, from whichever backend.
    #[must_use]
    pub fn reply_seconds(&self) -> HistogramView {
        self.backends.iter().fold(HistogramView::default(), |all, backend| all.plus(&backend.reply_seconds))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn backends_are_shown_by_name_and_those_that_have_left_are_not() {
        let mut counters = DispatchCounters { timeouts: 2, lost: 3, ..DispatchCounters::default() };
        for (id, replies) in [(1, 2), (2, 5), (7, 9)] {
            let histogram = counters.reply_time.entry(id).or_default();
            (0..replies).for_each(|_| histogram.record(Duration::from_millis(1)));
        }
        let backend = |id: u32| (id, format!("ws://b{id}:80"), format!("10.0.0.{id}:80"));
        let overview = DispatchOverview::new("work", [1, 2, 3].map(backend), &counters);
        let counts = overview.backends.iter().map(|backend| (&*backend.name, backend.reply_seconds.count()));
        assert!(counts.eq([("ws://b1:80", 2), ("ws://b2:80", 5), ("ws://b3:80", 0)]));
        assert_eq!((overview.reply_seconds().count(), overview.unanswered()), (7, 5));
    }
}
