//! The shards' counters, who waits to see them, and the log lines made of them.

use std::sync::mpsc::SyncSender;

use tracing::info;

use super::Backends;
use crate::config::Config;
use crate::telemetry::Counters;
use crate::wires::{Look, Report, SessionRecord};

/// Owners that may wait for a look at once; beyond, the newest goes unanswered.
const WAITING_MAX: usize = 64;

pub(super) struct Books {
    backends: usize,
    /// The latest counters of each shard.
    counters: Vec<Counters>,
    has_ended: Vec<bool>,
    /// Shards whose report is still out.
    reports_due: Vec<bool>,
    waiting: Vec<SyncSender<Look>>,
    wants_summary: bool,
}

impl Books {
    pub(super) fn new(config: &Config, shards: usize) -> Self {
        Self {
            backends: config.backends.len(),
            counters: vec![Counters::default(); shards],
            has_ended: vec![false; shards],
            reports_due: vec![false; shards],
            waiting: Vec::new(),
            wants_summary: false,
        }
    }

    pub(super) fn have_all_ended(&self) -> bool {
        self.has_ended.iter().all(|has_ended| *has_ended)
    }

    pub(super) fn has_ended(&self, shard: usize) -> bool {
        self.has_ended.get(shard).copied().unwrap_or(true)
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

    pub(super) fn handle_report(&mut self, report: Report, backends_up: usize) {
        let shard = report.shard.index();
        if let (Some(counters), Some(due)) = (self.counters.get_mut(shard), self.reports_due.get_mut(shard)) {
            *counters = report.counters;
            *due = false;
        }
        if self.reports_due.iter().any(|due| *due) {
            return;
        }
        let look = self.look(backends_up);
        if std::mem::take(&mut self.wants_summary) {
            self.log_summary(&look);
        }
        for reply in self.waiting.drain(..) {
            // Who asked may have lost patience.
            let _ = reply.try_send(look.clone());
        }
    }

    pub(super) fn handle_ended(&mut self, report: Report, backends_up: usize) {
        if let Some(has_ended) = self.has_ended.get_mut(report.shard.index()) {
            *has_ended = true;
        }
        self.handle_report(report, backends_up);
    }

    pub(super) fn look(&self, backends_up: usize) -> Look {
        let mut counters = Counters::default();
        self.counters.iter().for_each(|shard| counters.merge(shard));
        Look { counters, backends_up }
    }

    pub(super) fn log_session(&self, record: &SessionRecord, backends: &Backends) {
        let cause = record.cause;
        let url = record.backend.and_then(|id| backends.url(id));
        info!(
            target: "session",
            client = record.client,
            backend = url.map_or_else(|| "selat".to_owned(), ToString::to_string),
            duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
            bytes_from_client = record.from_client.bytes,
            messages_from_client = record.from_client.messages,
            bytes_from_backend = record.from_backend.bytes,
            messages_from_backend = record.from_backend.messages,
            code = cause.and_then(|cause| cause.code).map(|code| code.get()),
            ended_by = cause.map_or("proxy", |cause| cause.side.name()),
            why = cause.map_or("cut", |cause| cause.why.name()),
            cut = record.is_cut,
            "session ended"
        );
    }

    /// What has happened, and how the shards shared it.
    pub(super) fn log_summary(&self, look: &Look) {
        for (shard, counters) in self.counters.iter().enumerate() {
            log_counters(&format!("shard {shard}"), counters);
        }
        log_counters("all shards", &look.counters);
        info!(backends_up = look.backends_up, backends = self.backends, "backends");
    }

    /// The last word: how many sessions ended how.
    pub(super) fn log_end(&self, look: &Look) {
        self.log_summary(look);
        let counters = &look.counters;
        info!(
            sessions = counters.sessions,
            closed = counters.ended_closed,
            vanished = counters.ended_vanished,
            violation = counters.ended_violation,
            idle = counters.ended_idle,
            drained = counters.ended_drained,
            cut = counters.ended_cut,
            faults = counters.faults,
            "ended"
        );
    }

    fn expect_reports(&mut self) {
        for (due, has_ended) in self.reports_due.iter_mut().zip(&self.has_ended) {
            *due = !has_ended;
        }
    }
}

fn log_counters(of: &str, counters: &Counters) {
    info!(
        of,
        accepted = counters.accepted,
        refused = counters.refused_total(),
        sessions_now = counters.sessions_now,
        sessions = counters.sessions,
        dials = counters.dials,
        dials_failed = counters.dials_failed,
        messages_from_clients = counters.from_clients.messages,
        messages_from_backends = counters.from_backends.messages,
        bytes_from_clients = counters.from_clients.bytes,
        bytes_from_backends = counters.from_backends.bytes,
        accept_failures = counters.accept_failures,
        lines_dropped = counters.lines_dropped,
        "counters"
    );
}
