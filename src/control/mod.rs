//! The control plane: one thread, tokio's current-thread runtime, the only room that knows it.
//!
//! Hears what the shards saw, judges the backends' health, tells every shard; rules on what the whole process has
//! only so many of; writes the logs; takes signals and the owner's orders; and ends when all shards have. See
//! `docs/adr/0005-two-planes.md`.

pub mod acme;
pub mod admin;
mod books;
mod changes;
mod errands;
mod feeds;
mod grants;
mod overview;
mod plane;
mod probe;
mod registry;
mod reload;
mod resolve;
mod signals;
mod watchdog;

use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

pub use probe::Question;
pub use registry::{Addresses, Registry};
pub use reload::{Loaded, Origin};
pub use resolve::{Difference, Unresolved, resolve, resolve_all};
pub use signals::Signals;

use crate::balance::{BackendId, Snapshot};
use crate::config::{Config, ListenAddress};
use crate::runtime::handover::Heirlooms;
use crate::runtime::mailbox::{Mailbox, Sender};
use crate::wires::{Look, ToControl, ToShard};
use admin::{ASKS_MAX, Admin, Ask};
use plane::Control;
use probe::Probes;
use registry::LineId;
use resolve::Resolver;

/// How often the control plane looks for what it is not woken for: session records, good news.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a server gets from the program that runs it, beside a configuration.
pub struct Owner {
    /// Where the configuration came from, and will again with a reload; `None` where there is no such place.
    pub origin: Option<Origin>,
    /// Whether signals to the process are the server's.
    pub signals: Signals,
    /// Log lines lost so far because they could not be written fast enough.
    pub lines_lost: Box<dyn Fn() -> u64 + Send>,
}

impl Owner {
    /// One that has nothing to reload, and no log.
    #[must_use]
    pub fn plain(signals: Signals) -> Self {
        Self { origin: None, signals, lines_lost: Box::new(|| 0) }
    }
}

/// What the control plane is given at its start.
pub struct Setup {
    /// What to do.
    pub config: Arc<Config>,
    /// Who runs it.
    pub owner: Owner,
    /// The backends.
    pub registry: Registry,
    /// What the shards are told of them at the start.
    pub snapshot: Arc<Snapshot>,
    /// The core of each shard, by its number.
    pub cores: Vec<usize>,
    /// To each shard, by its number.
    pub shards: Vec<Sender<ToShard>>,
    /// From all of them, and from the owner.
    pub inbox: Mailbox<ToControl>,
    /// Where people and scrapers ask.
    pub admin: Option<Admin>,
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
async fn serve(mut setup: Setup) -> io::Result<Outcome> {
    let mut signals = setup.owner.signals.listen()?;
    // The starter waits for it, unless it has given up.
    let _ = setup.started.send(());
    let (asks_sender, mut asks) = mpsc::channel(ASKS_MAX);
    let admin = serve_admin(setup.admin.take(), asks_sender);
    tokio::pin!(admin);
    let (mut control, inbox) = Control::new(setup);
    let inbox = watch(inbox)?;
    let mut outside = Outside { probes: Probes::new(), resolver: Resolver::new() };
    while !control.have_all_ended() {
        outside.plan(&mut control.registry);
        let wake_at =
            control.wake_at().into_iter().chain(outside.wake_at()).fold(now() + LOOK_EVERY, Instant::min);
        tokio::select! {
            bell = inbox.readable() => bell?.clear_ready(),
            signal = signals.next() => control.handle_signal(signal),
            Some(ask) = asks.recv() => control.handle_admin(ask),
            () = &mut admin => {}
            finished = control.reloads.next() => control.handle_reload(finished),
            event = control.acme.next() => control.handle_acme(event),
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
    }
    Ok(control.end())
}

/// Serves the admin interface, for ever; without one, waits as long.
///
/// # Cancel safety
/// Dropping it closes every connection.
async fn serve_admin(admin: Option<Admin>, asks: mpsc::Sender<Ask>) {
    if let Some(admin) = admin
        && let Err(error) = admin.serve(asks).await
    {
        tracing::error!(%error, "the admin interface has failed");
    }
    pending().await
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
        if registry.take_lines_changed() {
            for (line, url, every) in registry.lines() {
                self.resolver.watch(line, url, every, now());
            }
            let lines: HashSet<_> = registry.lines().map(|(line, ..)| line).collect();
            self.resolver.retain(|line| lines.contains(&line));
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
