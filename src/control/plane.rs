//! What the control plane knows and does, apart from waiting for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::acme::{self, Acme};
use super::admin::{Ask as Errand, DrainReport, ReloadReport, UnknownBackend};
use super::books::{self, Books};
use super::changes::{changes, keep_tls};
use super::feeds;
use super::grants::{Grants, Rulings};
use super::overview::View;
use super::registry::Registry;
use super::reload::{Finished, Generation, Loaded, Reloads, Reply};
use super::signals::Signal;
use super::watchdog::Watchdog;
use super::{Outcome, Owner, Setup, now};
use crate::balance::{BackendId, ShardId, Ticket};
use crate::config::{Config, ListenAddress, Placement};
use crate::runtime::handover::Heirlooms;
use crate::runtime::mailbox::{Mailbox, Sender};
use crate::runtime::service::ServiceManager;
use crate::runtime::unix_now;
use crate::telemetry::{Overview, Phase};
use crate::wires::{Ask, Drain, Far, Insecure, Latecomers, Order, Report, Ruling, ToControl, ToShard};

/// The state of the control plane.
pub(super) struct Control {
    config: Arc<Config>,
    since: Instant,
    generation: Generation,
    pub(super) reloads: Reloads,
    pub(super) acme: Acme,
    pub(super) registry: Registry,
    grants: Grants,
    cores: Vec<usize>,
    shards: Vec<Sender<ToShard>>,
    /// Connections of each shard, as last reported, and whether that is still to be passed on.
    loads: Vec<u32>,
    loads_changed: bool,
    books: Books,
    /// Who waits for an overview until the shards have reported.
    looking: Vec<oneshot::Sender<Box<Overview>>>,
    /// Who waits to hear of a reload, likewise.
    reloaded: Vec<(Reply, ReloadReport)>,
    /// The order that waits until the shards have its challenges, likewise.
    publishing: Option<oneshot::Sender<()>>,
    phase: Phase,
    is_clean: bool,
    service: ServiceManager,
    watchdog: Option<Watchdog>,
    heirlooms: Heirlooms,
    passed_on: Vec<ListenAddress>,
    lines_lost: Box<dyn Fn() -> u64 + Send>,
}

impl Control {
    /// The control plane of a server that is starting, and what it is told by.
    pub(super) fn new(setup: Setup) -> (Self, Mailbox<ToControl>) {
        let Setup { config, owner, registry, snapshot, cores, shards, inbox, heirlooms, .. } = setup;
        let Owner { origin, signals, lines_lost } = owner;
        let service = signals.service_manager();
        let mut grants = Grants::default();
        // Nobody can be waiting yet.
        let _ = (grants.handle_config(&config), grants.handle_snapshot(&snapshot));
        let control = Self {
            since: now(),
            generation: Generation::first(origin.as_ref().and_then(|origin| origin.file.clone())),
            reloads: Reloads::new(origin, now()),
            acme: Acme::new(&config),
            watchdog: service.watchdog().map(|patience| Watchdog::new(patience, shards.len(), now())),
            loads: vec![0; shards.len()],
            loads_changed: false,
            books: Books::new(shards.len()),
            looking: Vec::new(),
            reloaded: Vec::new(),
            publishing: None,
            phase: Phase::Serving,
            is_clean: true,
            passed_on: Vec::new(),
            config,
            registry,
            grants,
            cores,
            shards,
            service,
            heirlooms,
            lines_lost,
        };
        (control, inbox)
    }

    pub(super) fn have_all_ended(&self) -> bool {
        self.books.have_all_ended()
    }

    /// The last word.
    pub(super) fn end(self) -> Outcome {
        let look = self.books.look(&self.registry);
        self.books.log_end(&look);
        Outcome { look, is_clean: self.is_clean, passed_on: self.passed_on }
    }

    pub(super) fn handle(&mut self, message: ToControl) {
        match message {
            ToControl::Dialled { backend, outcome } => self.registry.handle_outcome(backend, outcome, now()),
            ToControl::Load { shard, connections, sessions } => {
                self.registry.handle_sessions(shard, &sessions);
                self.handle_load(shard, connections);
            }
            ToControl::Session(record) => {
                let backend = record.backend.and_then(|id| self.registry.name(id));
                books::log_record(&record, backend.as_deref());
            }
            ToControl::Insecure(insecure) => self.handle_insecure(*insecure),
            ToControl::Source(news) => feeds::log(&news),
            ToControl::Ask(ticket, ask) => self.handle_ask(ticket, *ask),
            ToControl::Release(release) => {
                let ruling = self.grants.handle_release(release);
                self.tell_rulings(ruling);
            }
            ToControl::Adopted(sessions) => self.grants.handle_adopted(&sessions),
            ToControl::Report(report) => {
                self.rest_assured(|watchdog| watchdog.handle_answer(report.shard.index()));
                self.handle_report(*report);
            }
            ToControl::Ended(report) => self.handle_ended(*report),
            ToControl::Order(Order::Drain) => self.drain(),
            ToControl::Order(Order::HandOver { successor, addresses }) => {
                self.hand_over(successor, addresses);
            }
            ToControl::Order(Order::Cut) => self.cut(),
            ToControl::Order(Order::Look(reply)) => {
                self.books.answer_with_next_look(reply);
                self.tell_all(|| ToShard::Report);
            }
        }
    }

    fn handle_insecure(&self, Insecure { with, error }: Insecure) {
        match with {
            Far::Client(client) => debug!(client, error, "no TLS session"),
            Far::Backend(backend) => {
                let backend = self.registry.name(backend);
                warn!(backend = backend.as_deref(), error, "no TLS session");
            }
        }
    }

    pub(super) fn handle_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Terminate if self.phase == Phase::Serving => self.drain(),
            Signal::Terminate => self.cut(),
            Signal::Reload => self.reload(None),
            Signal::Summarise => {
                self.books.summarise_with_next_look();
                self.tell_all(|| ToShard::Report);
            }
        }
    }

    /// Somebody asks through the admin interface. Who did so may have lost patience.
    pub(super) fn handle_admin(&mut self, errand: Errand) {
        match errand {
            Errand::Overview(reply) => {
                self.looking.push(reply);
                self.ask_for_reports();
            }
            Errand::Config(reply) => drop(reply.send(self.config.render().to_owned())),
            Errand::Drain { backend, reply } => drop(reply.send(self.set_draining(&backend, true))),
            Errand::Undrain { backend, reply } => drop(reply.send(self.set_draining(&backend, false))),
            Errand::Reload(reply) => self.reload(Some(reply)),
            Errand::Shutdown(reply) => {
                self.drain();
                let _ = reply.send(());
            }
        }
    }

    /// A reload has been prepared, or has failed.
    pub(super) fn handle_reload(&mut self, finished: Finished) {
        let Finished { result, replies } = finished;
        // Nothing is applied, nor is the service manager told of readiness, once it all goes down.
        let result = self.may_reload().and(result).map(|(loaded, addresses)| {
            let Loaded { mut config, warnings, .. } = loaded;
            warnings.iter().for_each(|warning| warn!("{warning}"));
            keep_tls(&self.config, &mut config);
            let changes = changes(&self.config, &config);
            let gone = self.registry.apply(&config, &addresses, now());
            self.adopt(Arc::new(config), &gone);
            self.generation.handle_applied(changes, now())
        });
        match &result {
            Ok(report) => info!(generation = report.generation, changes = ?report.changes, "reloaded"),
            Err(error) => self.reload_failed(error),
        }
        self.serving();
        match result {
            Ok(report) => {
                // They hear of it when the shards, having reported, have it in force.
                self.reloaded.extend(replies.into_iter().map(|reply| (reply, report.clone())));
                self.ask_for_reports();
            }
            Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
        }
    }

    /// The order of a certificate goes on.
    pub(super) fn handle_acme(&mut self, event: acme::Event) {
        match event {
            acme::Event::Publish(acme::Publication { challenges, taken }) => {
                self.tell_all(|| ToShard::Challenges(challenges.clone()));
                self.publishing = Some(taken);
                self.ask_for_reports();
            }
            acme::Event::Ended(result) => {
                self.acme.handle_ended(result, now(), fastrand::f64());
                self.withdraw_challenges();
            }
        }
    }

    /// No order is under way any more.
    fn withdraw_challenges(&mut self) {
        self.publishing = None;
        let none = Arc::default();
        self.tell_all(|| ToShard::Challenges(Arc::clone(&none)));
    }

    /// Asks every shard for its report; whoever waits for that is answered with the last.
    fn ask_for_reports(&mut self) {
        self.books.expect_reports();
        self.tell_all(|| ToShard::Report);
    }

    /// Puts another configuration in force, whose pools the registry has.
    fn adopt(&mut self, config: Arc<Config>, gone: &[BackendId]) {
        let rulings = self.grants.handle_config(&config);
        self.tell_rulings(rulings);
        if self.acme.handle_config(&config) {
            self.withdraw_challenges();
        }
        self.config = config;
        if let Some(snapshot) = self.registry.take_snapshot(now()) {
            let rulings = self.grants.handle_snapshot(&snapshot);
            self.tell_all(|| ToShard::Config(self.config.clone(), snapshot.clone()));
            self.tell_rulings(rulings);
        }
        self.retire(gone);
    }

    /// Reads the configuration again; `reply`, if there is one, hears what comes of it.
    fn reload(&mut self, reply: Option<Reply>) {
        if let Err(refusal) = self.may_reload() {
            warn!("not reloaded: {refusal}");
            return drop(reply.map(|reply| reply.send(Err(refusal))));
        }
        self.service.reloading();
        match self.reloads.begin(&self.config) {
            Ok(()) => self.reloads.tell(reply),
            Err(error) => {
                self.reload_failed(&error);
                self.serving();
                drop(reply.map(|reply| reply.send(Err(error))));
            }
        }
    }

    /// Whether this is a moment to reload; nothing is known of the file yet.
    fn may_reload(&self) -> Result<(), String> {
        if self.phase == Phase::Draining {
            return Err("selat is shutting down and takes no new configuration".to_owned());
        }
        if self.reloads.is_under_way() {
            return Err("a reload is under way; try again when it is done".to_owned());
        }
        Ok(())
    }

    fn reload_failed(&mut self, error: &str) {
        for line in error.lines() {
            warn!("not reloaded: {line}");
        }
        self.generation.handle_failed(error.to_owned(), now());
    }

    /// Tells the service manager that a reload is over.
    fn serving(&self) {
        if self.phase == Phase::Serving {
            self.service.ready("serving");
        }
    }

    fn set_draining(&mut self, name: &str, is_draining: bool) -> Result<DrainReport, UnknownBackend> {
        let meant = self.registry.set_draining(name, is_draining);
        if meant.is_empty() {
            return Err(UnknownBackend { asked: name.to_owned(), known: self.registry.names() });
        }
        let (ids, backends): (Vec<_>, Vec<_>) = meant.into_iter().unzip();
        let counters = self.books.backends();
        let sessions = ids.iter().filter_map(|id| counters.get(id)).map(|backend| backend.sessions.now).sum();
        info!(?backends, is_draining, "by order");
        if is_draining {
            // First nothing new, then the old: else a client that comes back at once is placed there again.
            self.publish();
            self.retire(&ids);
        }
        Ok(DrainReport { backends, sessions })
    }

    /// Sends the sessions on these backends away.
    fn retire(&self, backends: &[BackendId]) {
        if !backends.is_empty() {
            let backends: Arc<[BackendId]> = backends.into();
            self.tell_all(|| ToShard::Retire(backends.clone()));
        }
    }

    fn handle_ask(&mut self, ticket: Ticket, ask: Ask) {
        let ruling = self.grants.handle_ask(ticket, ask, now());
        self.tell_rulings(ruling.map(|ruling| (ticket, ruling)));
    }

    fn handle_load(&mut self, shard: ShardId, connections: u32) {
        if let Some(load) = self.loads.get_mut(shard.index()) {
            *load = connections;
            // Though it be as before: a shard that has given away connections counts them until it hears better.
            self.loads_changed = true;
        }
    }

    fn handle_report(&mut self, report: Report) {
        if self.books.handle_report(report, &self.registry) {
            let overview = self.overview();
            for reply in self.looking.drain(..) {
                drop(reply.send(Box::new(overview.clone())));
            }
            for (reply, report) in self.reloaded.drain(..) {
                drop(reply.send(Ok(report)));
            }
            if let Some(taken) = self.publishing.take() {
                // The order may have ended by now.
                let _ = taken.send(());
            }
        }
    }

    fn handle_ended(&mut self, report: Report) {
        if self.phase == Phase::Serving {
            error!(shard = report.shard.0, "a shard ended unasked; the others drain, then selat ends");
            self.is_clean = false;
            self.drain();
        }
        self.rest_assured(|watchdog| watchdog.handle_ended(report.shard.index()));
        self.books.handle_ended(report.shard);
        self.handle_report(report);
    }

    fn drain(&mut self) {
        info!(window = ?self.config.timeouts.drain_window, "draining: each session gets a Close 1001; a second signal cuts at once");
        self.service.stopping("draining: each session gets its Close");
        self.begin_drain(Latecomers::Refused);
    }

    /// Drains in favour of a successor. To the service manager that is no stop: the service goes on, as its process.
    fn hand_over(&mut self, successor: u32, addresses: Vec<ListenAddress>) {
        self.passed_on = addresses;
        self.service.main_pid(successor);
        // It hears of the successor's health from now on, not of ours.
        self.service = ServiceManager::Untold;
        self.watchdog = None;
        if self.phase == Phase::Serving {
            info!(window = ?self.config.timeouts.drain_window, successor, "handed over; draining: each session gets a Close 1001; a signal cuts at once");
            self.begin_drain(Latecomers::Served);
        }
    }

    fn begin_drain(&mut self, latecomers: Latecomers) {
        self.phase = Phase::Draining;
        self.acme.stop();
        self.heirlooms = Heirlooms::default();
        let window = self.config.timeouts.drain_window;
        let deadline = now() + window + self.config.timeouts.close;
        self.tell_all(|| ToShard::Drain(Drain { window, deadline, latecomers }));
    }

    fn cut(&mut self) {
        if self.phase == Phase::Serving {
            self.service.stopping("cutting every session");
        }
        self.phase = Phase::Draining;
        self.acme.stop();
        self.heirlooms = Heirlooms::default();
        info!("cutting every session");
        self.tell_all(|| ToShard::Cut);
    }

    /// What is due by now.
    pub(super) fn keep_time(&mut self) {
        if self.grants.deadline().is_some_and(|at| at <= now()) {
            let rulings = self.grants.handle_time(now());
            self.tell_rulings(rulings);
        }
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now())) {
            self.tell_all(|| ToShard::Report);
        }
        if self.phase == Phase::Serving {
            self.acme.keep_time(now(), Duration::from_secs(unix_now()));
        }
        if self.reloads.has_changed_files(now()) {
            info!("a file that the configuration names has changed: reloading");
            self.reload(None);
        }
    }

    /// When something is due without anything being heard.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let watchdog = self.watchdog.as_ref().map(Watchdog::next);
        [self.registry.wake_at(), self.grants.deadline(), watchdog].into_iter().flatten().min()
    }

    /// Tells the service manager that all is well, if this was the last answer to that question.
    fn rest_assured(&mut self, handle: impl FnOnce(&mut Watchdog) -> bool) {
        if self.watchdog.as_mut().is_some_and(handle) {
            self.service.alive();
        }
    }

    /// Tells the shards what has changed.
    pub(super) fn publish(&mut self) {
        if let Some(snapshot) = self.registry.take_snapshot(now()) {
            let rulings: Rulings = self.grants.handle_snapshot(&snapshot);
            self.tell_all(|| ToShard::Snapshot(snapshot.clone()));
            self.tell_rulings(rulings);
        }
        if self.config.placement == Placement::Balanced && std::mem::take(&mut self.loads_changed) {
            let loads: Arc<[u32]> = self.loads.as_slice().into();
            self.tell_all(|| ToShard::Loads(loads.clone()));
        }
    }

    fn tell_rulings(&self, rulings: impl IntoIterator<Item = (Ticket, Ruling)>) {
        for (ticket, ruling) in rulings {
            self.tell(ticket.shard, ToShard::Ruling(ticket, ruling));
        }
    }

    fn tell_all(&self, message: impl Fn() -> ToShard) {
        (0..).map(ShardId).zip(&self.shards).for_each(|(shard, _)| self.tell(shard, message()));
    }

    fn tell(&self, shard: ShardId, message: ToShard) {
        let is_told = self.shards.get(shard.index()).is_some_and(|sender| sender.send(message).is_ok());
        if !is_told && !self.books.has_ended(shard.index()) {
            warn!(shard = shard.0, "a shard does not take its orders");
        }
    }

    fn overview(&self) -> Overview {
        let Self { config, since, phase, generation, cores, registry, grants, books, acme, .. } = self;
        let lines_lost = (self.lines_lost)();
        let view = View {
            config,
            since: *since,
            phase: *phase,
            generation,
            cores,
            registry,
            grants,
            books,
            acme,
            lines_lost,
        };
        view.overview(now())
    }
}
