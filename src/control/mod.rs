//! The control plane: one thread, tokio's current-thread runtime, the only room that knows it.
//!
//! Hears what the shards saw, judges the backends' health, tells every shard; writes the logs; takes signals and
//! the owner's orders; and ends when all shards have. See `docs/adr/0005-two-planes.md`.

mod backends;
mod books;
mod probe;
mod signals;
mod watchdog;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

pub use backends::Backends;
pub use probe::{Unresolved, resolve};
pub use signals::Signals;

use crate::config::{Config, ListenAddress};
use crate::runtime::handover::Heirlooms;
use crate::runtime::mailbox::{Mailbox, Sender};
use crate::runtime::service::ServiceManager;
use crate::wires::{Drain, Latecomers, Look, Order, ToControl, ToShard};
use books::Books;
use probe::Probes;
use watchdog::Watchdog;

/// How often the control plane looks for what it is not woken for: session records, good news.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the control plane is given at its start.
pub struct Setup {
    /// What to do.
    pub config: Arc<Config>,
    /// The backends as the shards know them at the start.
    pub backends: Backends,
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
    backends: Backends,
    shards: Vec<Sender<ToShard>>,
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
    runtime.block_on(serve(setup))
}

/// The control plane's loop.
///
/// # Cancel safety
/// Not to be cancelled: it is the thread's only future.
async fn serve(setup: Setup) -> io::Result<Outcome> {
    let Setup { config, backends, shards, inbox, signals, heirlooms, started } = setup;
    let service = signals.service_manager();
    let mut signals = signals.listen()?;
    // The starter waits for it, unless it has given up.
    let _ = started.send(());
    drop(started);
    let mut probes = Probes::new(config.timeouts.connect);
    let inbox = watch(inbox)?;
    let books = Books::new(&config, shards.len());
    let watchdog = service.watchdog().map(|patience| Watchdog::new(patience, shards.len(), now()));
    let mut control = Control {
        config,
        backends,
        shards,
        books,
        phase: Phase::Serving,
        is_clean: true,
        service,
        watchdog,
        heirlooms,
        passed_on: Vec::new(),
    };
    while !control.books.have_all_ended() {
        let wake_at = now() + LOOK_EVERY;
        let wake_at = control.backends.next_probe().map_or(wake_at, |probe| probe.min(wake_at));
        let wake_at = control.watchdog.as_ref().map_or(wake_at, |watchdog| watchdog.next().min(wake_at));
        tokio::select! {
            bell = inbox.readable() => bell?.clear_ready(),
            signal = signals.next() => control.handle_signal(signal),
            (backend, probed) = probes.next() => control.backends.handle_probe(backend, probed, now()),
            () = sleep_until(wake_at.into()) => {}
        }
        inbox.get_ref().hush();
        while let Some(message) = inbox.get_ref().take() {
            control.handle(message);
        }
        for backend in control.backends.take_due_probes(now()) {
            probes.start(backend, control.config.backends.get(backend.index()).cloned());
        }
        control.publish();
        control.watch();
    }
    let look = control.look();
    control.books.log_end(&look);
    Ok(Outcome { look, is_clean: control.is_clean, passed_on: control.passed_on })
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; a mailbox's never does"
)]
fn watch(inbox: Mailbox<ToControl>) -> io::Result<AsyncFd<Mailbox<ToControl>>> {
    AsyncFd::new(inbox)
}

/// The control plane's clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Control {
    fn handle(&mut self, message: ToControl) {
        match message {
            ToControl::Dialled { backend, outcome } => self.backends.handle_outcome(backend, outcome, now()),
            ToControl::Sessions { shard, counts } => self.backends.handle_sessions(shard, &counts),
            ToControl::Session(record) => self.books.log_session(&record),
            ToControl::Report(report) => {
                self.rest_assured(|watchdog| watchdog.handle_answer(report.shard.index()));
                self.books.handle_report(*report, self.backends.up());
            }
            ToControl::Ended(report) => self.handle_ended(*report),
            ToControl::Order(Order::Drain) => self.drain(),
            ToControl::Order(Order::HandOver { successor, addresses }) => {
                self.hand_over(successor, addresses)
            }
            ToControl::Order(Order::Cut) => self.cut(),
            ToControl::Order(Order::Look(reply)) => {
                self.books.answer_with_next_look(reply);
                self.tell_all(&ToShard::Report);
            }
        }
    }

    fn handle_signal(&mut self, signal: signals::Signal) {
        match signal {
            signals::Signal::Terminate if self.phase == Phase::Serving => self.drain(),
            signals::Signal::Terminate => self.cut(),
            signals::Signal::Summarise => {
                self.books.summarise_with_next_look();
                self.tell_all(&ToShard::Report);
            }
        }
    }

    fn handle_ended(&mut self, report: crate::wires::Report) {
        if self.phase == Phase::Serving {
            error!(shard = report.shard.0, "a shard ended unasked; the others drain, then selat ends");
            self.is_clean = false;
            self.drain();
        }
        self.rest_assured(|watchdog| watchdog.handle_ended(report.shard.index()));
        self.books.handle_ended(report, self.backends.up());
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
        self.tell_all(&ToShard::Drain(Drain { window, deadline, latecomers }));
    }

    fn cut(&mut self) {
        if self.phase == Phase::Serving {
            self.service.stopping("cutting every session");
        }
        self.phase = Phase::Draining;
        self.heirlooms = Heirlooms::default();
        info!("cutting every session");
        self.tell_all(&ToShard::Cut);
    }

    /// Asks the shards whether they are well, if it is time to.
    fn watch(&mut self) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now())) {
            self.tell_all(&ToShard::Report);
        }
    }

    /// Tells the service manager that all is well, if this was the last answer to that question.
    fn rest_assured(&mut self, handle: impl FnOnce(&mut Watchdog) -> bool) {
        if self.watchdog.as_mut().is_some_and(handle) {
            self.service.alive();
        }
    }

    fn publish(&mut self) {
        if let Some(snapshot) = self.backends.take_snapshot() {
            self.tell_all(&ToShard::Snapshot(snapshot));
        }
    }

    fn tell_all(&self, message: &ToShard) {
        for (shard, sender) in self.shards.iter().enumerate() {
            if sender.send(message.clone()).is_err() && !self.books.has_ended(shard) {
                warn!(shard, "a shard does not take its orders");
            }
        }
    }

    fn look(&self) -> Look {
        self.books.look(self.backends.up())
    }
}
