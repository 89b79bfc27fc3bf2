//! The shards' counters, who waits to see them, and the log lines made of them.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tracing::info;

use super::registry::Registry;
use crate::balance::{BackendId, ShardId};
use crate::telemetry::{BackendCounters, Counters};
use crate::wires::{End, Look, Report, SessionRecord};

/// Owners that may wait for a look at once; beyond, the newest goes unanswered.
const WAITING_MAX: usize = 64;

pub(super) struct Books {
    shards: Vec<Shard>,
    waiting: Vec<SyncSender<Look>>,
    wants_summary: bool,
}

/// What is known of one shard.
#[derive(Default)]
struct Shard {
    /// Its latest counters.
    counters: Counters,
    backends: Vec<(BackendId, BackendCounters)>,
    busy: Duration,
    has_ended: bool,
    /// Whether its report is still out.
    is_due: bool,
}

impl Books {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            waiting: Vec::new(),
            wants_summary: false,
        }
    }

    pub(super) fn have_all_ended(&self) -> bool {
        self.shards.iter().all(|shard| shard.has_ended)
    }

    pub(super) fn has_ended(&self, shard: usize) -> bool {
        self.shards.get(shard).is_none_or(|shard| shard.has_ended)
    }

    pub(super) fn answer_with_next_look(&mut self, reply: SyncSender<Look>) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(reply);
        }
        self.expect_reports();
    }

    pub(super) fn summarise_with_next_look(&mut self) {
        self.wants_summary = true;
        self.expect_reports();
    }

    /// Every shard is asked for its report.
    pub(super) fn expect_reports(&mut self) {
        for shard in &mut self.shards {
            shard.is_due = !shard.has_ended;
        }
    }

    /// A report has come; whether it was the last of those expected.
    pub(super) fn handle_report(&mut self, report: Report, registry: &Registry) -> bool {
        if let Some(shard) = self.shards.get_mut(report.shard.index()) {
            shard.counters = report.counters;
            shard.backends = report.backends;
            shard.busy = report.busy;
            shard.is_due = false;
        }
        if self.shards.iter().any(|shard| shard.is_due) {
            return false;
        }
        let look = self.look(registry);
        if std::mem::take(&mut self.wants_summary) {
            self.log_summary(&look);
        }
        for reply in self.waiting.drain(..) {
            // Who asked may have lost patience.
            let _ = reply.try_send(look.clone());
        }
        true
    }

    pub(super) fn handle_ended(&mut self, shard: ShardId) {
        if let Some(shard) = self.shards.get_mut(shard.index()) {
            shard.has_ended = true;
        }
    }

    pub(super) fn look(&self, registry: &Registry) -> Look {
        Look { counters: self.counters(), backends_up: registry.up(), backends: registry.count() }
    }

    /// Of all shards.
    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.shards.iter().for_each(|shard| counters.merge(&shard.counters));
        counters
    }

    /// Of each shard, with the processor time that it has taken.
    pub(super) fn shards(&self) -> impl Iterator<Item = (&Counters, Duration)> {
        self.shards.iter().map(|shard| (&shard.counters, shard.busy))
    }

    /// Of all shards, by backend.
    pub(super) fn backends(&self) -> HashMap<BackendId, BackendCounters> {
        let mut backends: HashMap<_, BackendCounters> = HashMap::new();
        for (id, counters) in self.shards.iter().flat_map(|shard| &shard.backends) {
            backends.entry(*id).or_default().merge(counters);
        }
        backends
    }

    /// What has happened, and how the shards shared it.
    pub(super) fn log_summary(&self, look: &Look) {
        for (number, shard) in self.shards.iter().enumerate() {
            log_counters(&format!("shard {number}"), &shard.counters);
        }
        log_counters("all shards", &look.counters);
        info!(backends_up = look.backends_up, backends = look.backends, "backends");
    }

    /// The last word: how many sessions ended how.
    pub(super) fn log_end(&self, look: &Look) {
        self.log_summary(look);
        let counters = &look.counters;
        let ended = |why| counters.ended_total(why);
        info!(
            sessions = counters.sessions().total,
            closed = ended("closed"),
            vanished = ended("vanished"),
            truncated = ended("truncated"),
            violation = ended("violation"),
            idle = ended("idle"),
            drained = ended("drained"),
            retired = ended("retired"),
            cut = ended("cut"),
            faults = counters.faults,
            "ended"
        );
    }
}

/// The access log: a line for a session, or for a request that came to none.
pub(super) fn log_record(record: &SessionRecord, backend: Option<&str>) {
    let route = record.route.as_deref();
    let SessionRecord { client, path, identity, from_client, from_backend, .. } = record;
    let (cause, is_cut) = match record.end {
        End::Session { cause, is_cut } => (cause, is_cut),
        End::Refused(refused) => {
            let (status, reason) = (refused.status, refused.reason);
            if status < 400 {
                return info!(target: "session", client, route, path, identity, status, reason, "request answered");
            }
            return info!(target: "session", client, route, path, identity, status, reason, "request refused");
        }
    };
    info!(
        target: "session",
        client,
        route,
        path,
        identity,
        backend = backend.unwrap_or("selat"),
        duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
        bytes_from_client = from_client.bytes,
        messages_from_client = from_client.messages,
        bytes_from_backend = from_backend.bytes,
        messages_from_backend = from_backend.messages,
        code = cause.and_then(|cause| cause.code).map(|code| code.get()),
        ended_by = cause.map_or("proxy", |cause| cause.side.name()),
        why = cause.map_or("cut", |cause| cause.why.name()),
        cut = is_cut,
        "session ended"
    );
}

fn log_counters(of: &str, counters: &Counters) {
    let sessions = counters.sessions();
    info!(
        of,
        accepted = counters.accepted,
        handed_over = counters.handed_over,
        refused = counters.refused_total(),
        sessions_now = sessions.now,
        sessions = sessions.total,
        dials = counters.dials,
        dials_failed = counters.dials_failed,
        messages_from_clients = sessions.from_clients.messages,
        messages_from_backends = sessions.from_backends.messages,
        bytes_from_clients = sessions.from_clients.bytes,
        bytes_from_backends = sessions.from_backends.bytes,
        accept_failures = counters.accept_failures,
        lines_dropped = counters.lines_dropped,
        "counters"
    );
}
