//! Counters of one shard, and their sum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Payload-bearing traffic in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes on the wire, headers included.
    pub bytes: u64,
    /// Data messages that ended.
    pub messages: u64,
}

impl Traffic {
    /// Counts `bytes` more, in which `messages` messages ended.
    pub fn add(&mut self, bytes: usize, messages: u64) {
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.messages += messages;
    }

    fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.messages += other.messages;
    }
}

/// What happened on a shard since it started. Totals, but for `sessions_now`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Sessions open at this moment.
    pub sessions_now: u64,
    /// Sessions that got their 101.
    pub sessions: u64,
    /// Requests answered without one, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Dials that led to a handshake.
    pub dials: u64,
    /// Dials that did not, so that another backend was tried.
    pub dials_failed: u64,
    /// From clients to backends.
    pub from_clients: Traffic,
    /// From backends to clients.
    pub from_backends: Traffic,
    /// Sessions that ended with a closing handshake.
    pub ended_closed: u64,
    /// Sessions whose client or backend vanished without one.
    pub ended_vanished: u64,
    /// Sessions ended for a breach of the protocol or of a limit.
    pub ended_violation: u64,
    /// Sessions ended for want of traffic.
    pub ended_idle: u64,
    /// Sessions closed because the proxy went down, both peers having answered in time.
    pub ended_drained: u64,
    /// Sessions cut because they did not end in time.
    pub ended_cut: u64,
    /// Sessions ended by a fault inside selat.
    pub faults: u64,
    /// Accepts that failed for want of a resource.
    pub accept_failures: u64,
    /// Log lines lost because the control plane could not keep up.
    pub lines_dropped: u64,
}

impl Counters {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.sessions_now += other.sessions_now;
        self.sessions += other.sessions;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        self.dials += other.dials;
        self.dials_failed += other.dials_failed;
        self.from_clients.merge(other.from_clients);
        self.from_backends.merge(other.from_backends);
        self.ended_closed += other.ended_closed;
        self.ended_vanished += other.ended_vanished;
        self.ended_violation += other.ended_violation;
        self.ended_idle += other.ended_idle;
        self.ended_drained += other.ended_drained;
        self.ended_cut += other.ended_cut;
        self.faults += other.faults;
        self.accept_failures += other.accept_failures;
        self.lines_dropped += other.lines_dropped;
    }

    /// Requests answered without a 101, whatever the status.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Data messages forwarded, both ways.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.from_clients.messages + self.from_backends.messages
    }
}
