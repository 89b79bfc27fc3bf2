//! Puts a server together: asks the host, binds, resolves, starts the shards and the control plane, and waits.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{info, warn};

use crate::balance::{ShardId, Snapshot};
use crate::config::{Config, ListenAddress};
use crate::control::{self, Backends, Outcome, Signals, Unresolved};
use crate::runtime::executor::{self, Executor};
use crate::runtime::handover::{Handover, Heirlooms, Succession, Successor};
use crate::runtime::host::{Host, HostError};
use crate::runtime::inherit::Inheritance;
use crate::runtime::listener::{self, Bound, ListenError, SocketFile};
use crate::runtime::mailbox::{Mailbox, Sender, mailbox};
use crate::runtime::service::ServiceManager;
use crate::shard;
use crate::wires::{Look, Order, ToControl, ToShard};

/// Messages that wait for the control plane: session records of a tenth of a second, at any rate a shard can reach.
const TO_CONTROL_MAX: usize = 16 * 1024;

/// Messages that wait for a shard, which takes them in every pass.
const TO_SHARD_MAX: usize = 256;

/// How long the shards may take to start, and a running server to say how it is.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine does not allow it.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A backend's name leads nowhere.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// An executor or the control plane did not start, or did not end well.
    #[error("{what} failed: {source}")]
    Thread {
        /// Which.
        what: &'static str,
        /// What was said.
        source: io::Error,
    },
}

/// A server that is up.
pub struct Running {
    /// Where it listens, with the port that the kernel chose if none was asked for.
    pub address: ListenAddress,
    socket_file: Option<SocketFile>,
    executors: Vec<Executor>,
    control: JoinHandle<io::Result<Outcome>>,
    orders: Sender<ToControl>,
    /// Where a successor may ask; closed when the server ends.
    _handover: Option<Handover>,
}

/// Runs a server until a signal ends it.
///
/// # Errors
/// [`StartError`]; once it is up, it ends with an [`Outcome`].
pub fn run(config: Config) -> Result<Outcome, StartError> {
    start(config, Signals::Handled)?.join()
}

/// Starts a server and returns as soon as it accepts connections.
///
/// # Errors
/// [`StartError`], having undone everything.
pub fn start(config: Config, signals: Signals) -> Result<Running, StartError> {
    let host = Host::check(&config)?;
    host.warnings.iter().for_each(|warning| warn!("{warning}"));
    let backends = config.backends.iter().map(|backend| Ok((backend.clone(), control::resolve(backend)?)));
    let mut backends = Backends::new(backends.collect::<Result<_, Unresolved>>()?, host.cores.len());
    let service = signals.service_manager();
    let mut inheritance = inheritance(service);
    let succession = Succession::begin(config.handover.as_deref(), &mut inheritance);
    let bound = listener::bind(None, &config.listen, host.cores.len(), &mut inheritance)?;
    inheritance.give_back();
    let heirlooms = heirlooms(&config, &[&bound])?;
    let Bound { listeners, address, is_shared, socket_file, .. } = bound;
    if is_shared {
        warn!(%address, "another program of this user listens here too; connections are spread over both");
    }

    let config = Arc::new(config);
    let failed = |what| move |source| StartError::Thread { what, source };
    let (orders, inbox) = mailbox(TO_CONTROL_MAX).map_err(failed("the control plane"))?;
    let snapshot = backends.take_snapshot().unwrap_or_else(|| Arc::new(Snapshot::default()));
    let mut shards = Shards::new(&config, &host, orders.clone(), snapshot);
    for (core, listeners) in host.cores.iter().zip(listeners) {
        shards.start(*core, listeners).map_err(failed("a shard"))?;
    }
    let Shards { senders, executors, started, .. } = shards;
    wait_for_start(&started, executors.len()).map_err(failed("a shard"))?;

    let (control_started, started) = sync_channel(1);
    let setup = control::Setup {
        config,
        backends,
        shards: senders,
        inbox,
        signals,
        heirlooms: heirlooms.clone(),
        started: control_started,
    };
    let control = thread::Builder::new().name("selat-control".to_owned()).spawn(|| control::run(setup));
    let control = control.map_err(failed("the control plane"))?;
    wait_for_start(&started, 1).map_err(failed("the control plane"))?;
    let handover = succession.complete(&heirlooms, pass_on_by(orders.clone()));
    info!(%address, cores = ?host.cores, connections_max = host.connections_max, "listening");
    service.ready(&format!("listening at {address}"));
    Ok(Running { address, socket_file, executors, control, orders, _handover: handover })
}

/// What the service manager passes to this process, if the server is what it runs.
fn inheritance(service: ServiceManager) -> Inheritance {
    match service {
        ServiceManager::Told => Inheritance::from_service_manager(),
        ServiceManager::Untold => Inheritance::default(),
    }
}

/// What a successor may ask for. Whoever holds on to it keeps the listening sockets open.
fn heirlooms(config: &Config, bound: &[&Bound]) -> Result<Heirlooms, StartError> {
    if config.handover.is_none() {
        return Ok(Heirlooms::default());
    }
    let heirlooms = bound.iter().map(|bound| bound.heirloom()).collect::<io::Result<_>>();
    heirlooms.map(Arc::new).map_err(|source| StartError::Thread { what: "sharing the listeners", source })
}

/// Orders the control plane to drain in favour of a successor; whether it will.
fn pass_on_by(orders: Sender<ToControl>) -> impl FnMut(Successor) -> bool + Send + 'static {
    move |Successor { pid, addresses }| {
        orders.send(ToControl::Order(Order::HandOver { successor: pid, addresses })).is_ok()
    }
}

impl Running {
    /// Asks it to drain and end.
    pub fn drain(&self) {
        self.order(Order::Drain);
    }

    /// Asks it to end at once.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Whether it has ended, so that [`Self::join`] will not wait long.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.control.is_finished()
    }

    /// How it is; `None` if it does not say.
    #[must_use]
    pub fn look(&self) -> Option<Look> {
        let (reply, answer) = sync_channel(1);
        self.order(Order::Look(reply));
        answer.recv_timeout(LOOK_TIMEOUT).ok()
    }

    /// Waits for it to end.
    ///
    /// # Errors
    /// When a thread of it did not end well.
    pub fn join(self) -> Result<Outcome, StartError> {
        let ended = |what| move |source| StartError::Thread { what, source };
        let panicked = || io::Error::other("it panicked; please report this");
        let outcome =
            self.control.join().unwrap_or_else(|_| Err(panicked())).map_err(ended("the control plane"))?;
        if let Some(socket_file) = self.socket_file.filter(|_| !outcome.passed_on.contains(&self.address)) {
            socket_file.remove();
        }
        for executor in self.executors {
            executor.join().map_err(ended("a shard"))?;
        }
        Ok(outcome)
    }

    fn order(&self, order: Order) {
        if self.orders.send(ToControl::Order(order)).is_err() {
            warn!("the control plane does not take orders");
        }
    }
}

/// The shards that have been started so far.
struct Shards<'s> {
    config: &'s Arc<Config>,
    control: Sender<ToControl>,
    snapshot: Arc<Snapshot>,
    connections_max: u32,
    start_signal: SyncSender<()>,
    started: Receiver<()>,
    senders: Vec<Sender<ToShard>>,
    executors: Vec<Executor>,
}

impl<'s> Shards<'s> {
    fn new(
        config: &'s Arc<Config>,
        host: &Host,
        control: Sender<ToControl>,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        let count = u32::try_from(host.cores.len()).unwrap_or(u32::MAX);
        let (start_signal, started) = sync_channel(host.cores.len());
        let connections_max = host.connections_max.div_ceil(count);
        let (senders, executors) = (Vec::new(), Vec::new());
        Self { config, control, snapshot, connections_max, start_signal, started, senders, executors }
    }

    fn start(&mut self, core: usize, listeners: Vec<std::os::fd::OwnedFd>) -> io::Result<()> {
        let id = ShardId(u16::try_from(self.executors.len()).unwrap_or(u16::MAX));
        let (sender, inbox): (_, Mailbox<ToShard>) = mailbox(TO_SHARD_MAX)?;
        let place = shard::Place {
            id,
            config: self.config.clone(),
            connections_max: self.connections_max,
            control: self.control.clone(),
        };
        let setup = shard::Setup { place, listeners, mailbox: inbox, snapshot: self.snapshot.clone() };
        let signal = self.start_signal.clone();
        let executor = executor::spawn(&format!("selat-{}", id.0), core, move || {
            // The starter waits for it, unless it has given up.
            let _ = signal.send(());
            drop(signal);
            if let Err(error) = shard::run(setup) {
                tracing::error!(shard = id.0, %error, "a shard failed");
            }
        })?;
        self.senders.push(sender);
        self.executors.push(executor);
        Ok(())
    }
}

/// Waits until `count` threads run. One that cannot start drops its end of the channel.
fn wait_for_start(started: &Receiver<()>, count: usize) -> io::Result<()> {
    for _ in 0..count {
        started
            .recv_timeout(START_TIMEOUT)
            .map_err(|_| io::Error::other("it did not start; is locked memory or io_uring short?"))?;
    }
    Ok(())
}
