//! The books of one session: counters while it lasts, one log record at its end.

use std::net::SocketAddr;
use std::time::Instant;

use super::Shard;
use crate::balance::BackendId;
use crate::session::{Peer, Tunnel, Why};
use crate::telemetry::Counters;
use crate::wires::{SessionRecord, ToControl};

/// When a session began, and with whom.
pub(super) struct Ledger {
    client: Option<SocketAddr>,
    since: Instant,
}

impl Ledger {
    /// Opens the books of a session that has its 101.
    pub(super) fn open(shard: &Shard, client: Option<SocketAddr>) -> Self {
        shard.count(|counters| {
            counters.sessions += 1;
            counters.sessions_now += 1;
        });
        Self { client, since: shard.now() }
    }

    /// Counts what was forwarded.
    #[inline]
    pub(super) fn count(&self, shard: &Shard, from: Peer, bytes: usize, messages: u64) {
        shard.count(|counters| match from {
            Peer::Client => counters.from_clients.add(bytes, messages),
            Peer::Backend => counters.from_backends.add(bytes, messages),
        });
    }

    /// Closes the books of a pool session.
    pub(super) fn close(&self, shard: &Shard, tunnel: &Tunnel, backend: BackendId) {
        self.finish(
            shard,
            SessionRecord {
                client: self.client_name(),
                backend: Some(backend),
                duration: shard.now().saturating_duration_since(self.since),
                from_client: tunnel.traffic(Peer::Client),
                from_backend: tunnel.traffic(Peer::Backend),
                cause: tunnel.cause(),
                is_cut: tunnel.is_cut(),
            },
        );
    }

    /// Counts how the session ended, and sends its record off to be logged.
    pub(super) fn finish(&self, shard: &Shard, record: SessionRecord) {
        let why = record.cause.map(|cause| cause.why);
        let is_cut = record.is_cut;
        shard.count(|counters| {
            counters.sessions_now = counters.sessions_now.saturating_sub(1);
            *ended(counters, why, is_cut) += 1;
        });
        // Not woken for this: the control plane looks often enough, and a shard waits for no log.
        if shard.control.post(ToControl::Session(Box::new(record))).is_err() {
            shard.count(|counters| counters.lines_dropped += 1);
        }
    }

    /// The client's address for the log.
    pub(super) fn client_name(&self) -> String {
        self.client.map_or_else(|| "unix".to_owned(), |address| address.to_string())
    }

    /// When the session began.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

fn ended(counters: &mut Counters, why: Option<Why>, is_cut: bool) -> &mut u64 {
    match why {
        Some(Why::Fault) => &mut counters.faults,
        _ if is_cut => &mut counters.ended_cut,
        Some(Why::Closed) => &mut counters.ended_closed,
        Some(Why::Vanished) | None => &mut counters.ended_vanished,
        Some(Why::Violation(_)) => &mut counters.ended_violation,
        Some(Why::Idle) => &mut counters.ended_idle,
        Some(Why::Expired) => &mut counters.ended_expired,
        Some(Why::RateLimited) => &mut counters.ended_rate_limited,
        Some(Why::PingTimeout) => &mut counters.ended_ping_timeout,
        Some(Why::Retired) => &mut counters.ended_retired,
        Some(Why::Drained) => &mut counters.ended_drained,
    }
}
