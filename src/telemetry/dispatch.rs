//! What is counted of one dispatch.

use std::collections::BTreeMap;

use super::Histogram;

/// What happened with one dispatch. Totals, but for those that are called `now`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DispatchCounters {
    /// Messages that wait for a reply.
    pub outstanding_now: u64,
    /// Messages that backends got. One for all of three backends is three.
    pub sent: u64,
    /// Replies that answered a message.
    pub replies: u64,
    /// From the end of a message to the end of its reply, by the number of the backend's identity.
    pub reply_time: BTreeMap<u32, Histogram>,
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
    /// Replies that wait for those before them.
    pub reorder_now: u64,
    /// Their bytes.
    pub reorder_bytes_now: u64,
}

impl DispatchCounters {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        self.outstanding_now += other.outstanding_now;
        self.sent += other.sent;
        self.replies += other.replies;
        for (backend, time) in &other.reply_time {
            self.reply_time.entry(*backend).or_default().merge(time);
        }
        self.retries += other.retries;
        self.timeouts += other.timeouts;
        self.lost += other.lost;
        self.late += other.late;
        self.surplus += other.surplus;
        self.partial += other.partial;
        self.reorder_now += other.reorder_now;
        self.reorder_bytes_now += other.reorder_bytes_now;
    }
}
