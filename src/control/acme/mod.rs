//! Automatic certificates (RFC 8555): when to order one, the order itself, and the proofs that it takes.
//!
//! A certificate that was issued is written to a file that the configuration names; that it has changed is noticed
//! like any other change of such a file, and puts it in force. One order is under way at a time: authorities count them.

mod exchange;
mod https;
mod proof;
mod schedule;
mod store;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub(super) use exchange::Publication;
use exchange::{Failure, covers};
use schedule::{Schedule, Validity};
pub use store::InvalidState;
use store::Store;

use crate::config::{AcmeSettings, Config};
use crate::telemetry::{AcmeOverview, OrderOverview};
use crate::tls::{Certificate, date};

/// Makes sure, before anything is served, that what will be issued can be kept.
///
/// # Errors
/// [`InvalidState`].
pub fn check_state(config: &Config) -> Result<(), InvalidState> {
    let settings = config.listeners.iter().filter_map(|listen| listen.acme.as_ref());
    settings.map(|acme| &acme.settings.state).try_for_each(|state| Store::open(state).map(drop))
}

/// Every certificate that is got automatically.
pub(super) struct Acme {
    jobs: Vec<Job>,
    order: Option<Order>,
    issued: u64,
    failed: u64,
    last: Option<Last>,
}

/// One certificate; of several listeners, if they ask for the same.
struct Job {
    settings: Arc<AcmeSettings>,
    schedule: Schedule,
}

/// The order under way; ended when dropped.
struct Order {
    settings: Arc<AcmeSettings>,
    task: JoinHandle<Result<Certificate, Failure>>,
    publications: mpsc::Receiver<Publication>,
}

/// What came of the latest order.
struct Last {
    at: Instant,
    name: String,
    error: Option<String>,
}

/// What the order under way has come to.
pub(super) enum Event {
    /// The shards have to take these challenges.
    Publish(Publication),
    /// It is over, and so are its challenges.
    Ended(Result<Certificate, Failure>),
}

impl Acme {
    pub(super) fn new(config: &Config) -> Self {
        let mut acme = Self { jobs: Vec::new(), order: None, issued: 0, failed: 0, last: None };
        acme.handle_config(config);
        acme
    }

    /// Another configuration. What goes on as before keeps its schedule; an order that nobody asks for any more ends.
    /// Whether one did.
    pub(super) fn handle_config(&mut self, config: &Config) -> bool {
        let mut former = std::mem::take(&mut self.jobs);
        for acme in config.listeners.iter().filter_map(|listen| listen.acme.as_ref()) {
            if self.jobs.iter().any(|job| job.settings == acme.settings) {
                continue;
            }
            let known = former.iter().position(|job| job.settings == acme.settings);
            let mut job = known.map_or_else(
                || Job {
                    settings: acme.settings.clone(),
                    schedule: Schedule::new(acme.settings.renew_before),
                },
                |at| former.swap_remove(at),
            );
            let fit = acme.certificate.as_ref().filter(|certificate| covers(certificate, &acme.settings));
            job.schedule.set_validity(fit.map(Validity::of));
            self.jobs.push(job);
        }
        let is_wanted = |order: &Order| self.jobs.iter().any(|job| job.settings == order.settings);
        !self.order.as_ref().is_none_or(is_wanted) && self.abandon("the configuration has changed")
    }

    /// Orders nothing any more.
    pub(super) fn stop(&mut self) {
        self.jobs.clear();
        self.abandon("selat is ending; the next to start orders it anew");
    }

    /// Begins what is due; `today` is the time since 1970.
    pub(super) fn keep_time(&mut self, now: Instant, today: Duration) {
        if self.order.is_some() {
            return;
        }
        let Some(job) = self.jobs.iter().find(|job| job.schedule.is_due(now, today)) else { return };
        let (sender, publications) = mpsc::channel(1);
        let settings = job.settings.clone();
        let task = tokio::spawn(exchange::order(settings.clone(), sender));
        self.order = Some(Order { settings, task, publications });
    }

    /// What the order under way comes to next; never, while there is none.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(super) async fn next(&mut self) -> Event {
        let Some(order) = &mut self.order else { return pending().await };
        tokio::select! {
            biased;
            Some(publication) = order.publications.recv() => Event::Publish(publication),
            result = &mut order.task => Event::Ended(result.unwrap_or(Err(Failure::Panicked))),
        }
    }

    /// The order under way is over; `chance` is between 0 and 1.
    pub(super) fn handle_ended(&mut self, result: Result<Certificate, Failure>, now: Instant, chance: f64) {
        let Some(order) = self.order.take() else { return };
        let settings = &order.settings;
        let Some(job) = self.jobs.iter_mut().find(|job| job.settings == *settings) else { return };
        let (name, domains) = (settings.name().to_owned(), &settings.domains);
        let error = match result {
            Ok(certificate) => {
                job.schedule.handle_issued(now, Validity::of(&certificate));
                self.issued += 1;
                let expires = date(certificate.expires_at());
                info!(?domains, expires, "a certificate has been issued");
                None
            }
            Err(failure) => {
                let retry_in = job.schedule.handle_failed(now, failure.retry_after(), chance);
                self.failed += 1;
                let retry_in = Duration::from_secs(retry_in.as_secs());
                warn!(?domains, error = %failure, ?retry_in, "no certificate has been issued");
                Some(failure.to_string())
            }
        };
        self.last = Some(Last { at: now, name, error });
    }

    pub(super) fn overview(&self, now: Instant) -> AcmeOverview {
        let last = |last: &Last| OrderOverview {
            name: last.name.clone(),
            seconds_ago: now.saturating_duration_since(last.at).as_secs_f64(),
            error: last.error.clone(),
        };
        AcmeOverview { issued: self.issued, failed: self.failed, last_order: self.last.as_ref().map(last) }
    }

    fn abandon(&mut self, why: &str) -> bool {
        let Some(order) = self.order.take() else { return false };
        info!(domains = ?order.settings.domains, why, "the order of a certificate is given up");
        true
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.task.abort();
    }
}
