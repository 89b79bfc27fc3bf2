//! The control plane: one thread, tokio's current-thread runtime, the only room that knows it.
//!
//! Hears what the shards saw, judges the backends' health, tells every shard; rules on what the whole process has
//! only so many of; writes the logs; takes signals and the owner's orders; and ends when all shards have. See
//! `docs/adr/0005-two-planes.md`.

pub mod admin;
mod books;
mod errands;
mod grants;
mod probe;
mod registry;
mod resolve;
mod signals;
mod watchdog;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

pub use probe::probe;
pub use registry::{Addresses, Registry};
pub use resolve::{Difference, Unresolved, resolve, resolve_all};
pub use signals::Signals;

use crate::balance::{BackendId, ShardId, Ticket};
use crate::config::{Config, Placement};
use crate::runtime::mailbox::{Mailbox, Sender};
use crate::wires::{Ask, Drain, Look, Order, Report, Ruling, ToControl, ToShard};
use books::Books;
use grants::{Grants, Rulings};
use probe::Probes;
use registry::LineId;
use resolve::Resolver;

/// How often the control plane looks for what it is not woken for: session records, good news.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the control plane is given at its start.
pub struct Setup {
    /// What to do.
    pub config: Arc<Config>,
    /// The backends as the shards know them at the start.
    pub registry: Registry,
    /// To each shard, by its number.
    pub shards: Vec<Sender<ToShard>>,
    /// From all of them, and from the owner.
    pub inbox: Mailbox<ToControl>,
    /// Whether signals to the process are ours.
    pub signals: Signals,
    /// Held for a successor for as long as connections are accepted.
    pub heirlooms: Heirlooms,
    /// Told when signals are heard.
    pub started: SyncSender<()>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Outcome {
    /// The last look at it.
    pub look: Look,
    /// Whether it was asked to end and every shard did so by itself.
    pub is_clean: bool,
    /// Where a successor listens now.
    pub passed_on: Vec<ListenAddress>,
}

/// Whether the server is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
}

struct Control {
    config: Arc<Config>,
    registry: Registry,
    grants: Grants,
    shards: Vec<Sender<ToShard>>,
    /// Connections of each shard, as last reported, and whether that has been passed on.
    loads: Vec<u32>,
    loads_changed: bool,
    books: Books,
    phase: Phase,
    is_clean: bool,
    service: ServiceManager,
    watchdog: Option<Watchdog>,
    heirlooms: Heirlooms,
    passed_on: Vec<ListenAddress>,
}

/// Runs the control plane until every shard has ended.
///
/// # Errors
/// When tokio or the signal handlers cannot start.
pub fn run(setup: Setup) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(setup));
    // A lookup may be under way that the system's resolver has not given up yet: nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// The control plane's loop.
///
/// # Cancel safety
/// Not to be cancelled: it is the thread's only future.
async fn serve(setup: Setup) -> io::Result<Outcome> {
    let Setup { config, registry, shards, inbox, signals, started } = setup;
    let mut signals = signals.listen()?;
    // The starter waits for it, unless it has given up.
    let _ = started.send(());
    drop(started);
    let inbox = watch(inbox)?;
    let mut control = Control::new(config, registry, shards);
    let mut outside = Outside { probes: Probes::new(), resolver: Resolver::new() };
    while !control.books.have_all_ended() {
        outside.plan(&mut control.registry);
        let wake_at = control.wake_at(&outside);
        tokio::select! {
            bell = inbox.readable() => bell?.clear_ready(),
            signal = signals.next() => control.handle_signal(signal),
            (backend, result) = outside.probes.next() => {
                control.registry.handle_probe(backend, result.map(drop), now());
            }
            (line, resolved) = outside.resolver.next() => control.registry.handle_resolved(line, resolved, now()),
            () = sleep_until(wake_at.into()) => {}
        }
        inbox.get_ref().hush();
        while let Some(message) = inbox.get_ref().take() {
            control.handle(message);
        }
        control.keep_time();
        control.publish();
        control.watch();
    }
    let look = control.look();
    control.books.log_end(&look);
    Ok(Outcome { look, is_clean: control.is_clean, passed_on: control.passed_on })
}

/// What is asked outside of the process.
struct Outside {
    probes: Probes<BackendId>,
    resolver: Resolver<LineId>,
}

impl Outside {
    /// Starts what is due, for the backends as they are now.
    fn plan(&mut self, registry: &mut Registry) {
        for (backend, at) in registry.take_replanned() {
            self.probes.plan(backend, at);
        }
        for (line, url, every) in registry.lines() {
            self.resolver.watch(line, url, every, now());
        }
        self.probes.start_due(now(), |backend| registry.question(backend));
        self.resolver.start_due(now(), |line| registry.url(line));
    }

    fn wake_at(&self) -> Option<Instant> {
        [self.probes.wake_at(), self.resolver.wake_at()].into_iter().flatten().min()
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; a mailbox's never does"
)]
fn watch(inbox: Mailbox<ToControl>) -> io::Result<AsyncFd<Mailbox<ToControl>>> {
    AsyncFd::new(inbox)
}

/// The control plane's clock.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Control {
    fn new(config: Arc<Config>, registry: Registry, shards: Vec<Sender<ToShard>>) -> Self {
        let mut grants = Grants::default();
        // Nobody can be waiting yet.
        let _ = grants.handle_config(&config);
        let loads = vec![0; shards.len()];
        let books = Books::new(shards.len());
        let phase = Phase::Serving;
        Self { config, registry, grants, shards, loads, loads_changed: false, books, phase, is_clean: true }
    }

    fn handle(&mut self, message: ToControl) {
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
            ToControl::Ask(ticket, ask) => self.handle_ask(ticket, *ask),
            ToControl::Release(release) => {
                let ruling = self.grants.handle_release(release);
                self.tell_rulings(ruling);
            }
            ToControl::Report(report) => {
                self.books.handle_report(*report, &self.registry);
            }
            ToControl::Ended(report) => self.handle_ended(*report),
            ToControl::Order(Order::Drain) => self.drain(),
            ToControl::Order(Order::HandOver { successor, addresses }) => {
                self.hand_over(successor, addresses)
            }
            ToControl::Order(Order::Cut) => self.cut(),
            ToControl::Order(Order::Look(reply)) => {
                self.books.answer_with_next_look(reply);
                self.tell_all(|| ToShard::Report);
            }
        }
    }

    fn handle_ask(&mut self, ticket: Ticket, ask: Ask) {
        let ruling = self.grants.handle_ask(ticket, ask, now());
        self.tell_rulings(ruling.map(|ruling| (ticket, ruling)));
    }

    fn handle_load(&mut self, shard: ShardId, connections: u32) {
        if let Some(load) = self.loads.get_mut(shard.index()) {
            self.loads_changed |= *load != connections;
            *load = connections;
        }
    }

    fn handle_signal(&mut self, signal: signals::Signal) {
        match signal {
            signals::Signal::Terminate if self.phase == Phase::Serving => self.drain(),
            signals::Signal::Terminate => self.cut(),
            signals::Signal::Summarise => {
                self.books.summarise_with_next_look();
                self.tell_all(|| ToShard::Report);
            }
        }
    }

    fn handle_ended(&mut self, report: Report) {
        if self.phase == Phase::Serving {
            error!(shard = report.shard.0, "a shard ended unasked; the others drain, then selat ends");
            self.is_clean = false;
            self.drain();
        }
        self.books.handle_ended(report, &self.registry);
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
        self.heirlooms = Heirlooms::default();
        let window = self.config.timeouts.drain_window;
        let deadline = now() + window + self.config.timeouts.close;
        self.tell_all(|| ToShard::Drain(Drain { window, deadline }));
    }

    fn cut(&mut self) {
        if self.phase == Phase::Serving {
            self.service.stopping("cutting every session");
        }
        self.phase = Phase::Draining;
        self.heirlooms = Heirlooms::default();
        info!("cutting every session");
        self.tell_all(|| ToShard::Cut);
    }

    fn keep_time(&mut self) {
        if self.grants.deadline().is_some_and(|at| at <= now()) {
            let rulings = self.grants.handle_time(now());
            self.tell_rulings(rulings);
        }
    }

    /// When something is due without anything being heard.
    fn wake_at(&self, outside: &Outside) -> Instant {
        let look_at = now() + LOOK_EVERY;
        let due = [outside.wake_at(), self.registry.wake_at(), self.grants.deadline()];
        due.into_iter().flatten().fold(look_at, Instant::min)
    }

    /// Tells the shards what has changed.
    fn publish(&mut self) {
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

    fn look(&self) -> Look {
        self.books.look(&self.registry)
    }
}
