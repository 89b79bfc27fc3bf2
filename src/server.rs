//! Puts a server together: asks the host, binds, resolves, starts the shards and the control plane, and waits.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::balance::{ShardId, Snapshot};
use crate::config::{self, Config, ListenAddress};
use crate::control::acme::{self, InvalidState};
use crate::control::admin::{Admin, InvalidToken, Token};
use crate::control::{self, Addresses, Outcome, Owner, Registry, Unresolved};
use crate::routing::ListenId;
use crate::runtime::executor::{self, Executor};
use crate::runtime::handover::{Handover, Heirlooms, Succession, Successor};
use crate::runtime::host::{Host, HostError};
use crate::runtime::inherit::Inheritance;
use crate::runtime::listener::{self, ListenError, SocketFile};
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
    /// The admin interface's token is none.
    #[error("[admin] token: {0}")]
    Token(#[from] InvalidToken),
    /// Certificates that are issued could not be kept.
    #[error("[listen] acme: {0}")]
    State(#[from] InvalidState),
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
    /// Where it listens, by [`ListenId`], with the ports that the kernel chose where none was asked for.
    pub addresses: Vec<ListenAddress>,
    /// Client connections that it takes: as many as it was told, or as the limit of open files allows.
    pub connections_max: u32,
    socket_files: Vec<(ListenAddress, SocketFile)>,
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
pub fn run(config: Config, owner: Owner) -> Result<Outcome, StartError> {
    start(config, owner)?.join()
}

/// Starts a server and returns as soon as it accepts connections.
///
/// # Errors
/// [`StartError`], having undone everything.
pub fn start(config: Config, owner: Owner) -> Result<Running, StartError> {
    let host = Host::check(&config)?;
    host.warnings.iter().for_each(|warning| warn!("{warning}"));
    acme::check_state(&config)?;
    let mut registry = Registry::new(host.cores.len());
    // The first configuration takes nothing away.
    let _ = registry.apply(&config, &resolve_all(&config)?, control::now());
    let admin = config.admin.as_ref().map(bind_admin).transpose()?;
    let service = owner.signals.service_manager();
    let mut inheritance = inheritance(service);
    let succession = Succession::begin(config.handover.as_deref(), &mut inheritance);
    let sockets = Sockets::bind(&config, host.cores.len(), &mut inheritance)?;
    inheritance.give_back();
    let Sockets { listeners, addresses, socket_files, heirlooms } = sockets;

    let config = Arc::new(config);
    let failed = |what| move |source| StartError::Thread { what, source };
    let (orders, inbox) = mailbox(TO_CONTROL_MAX).map_err(failed("the control plane"))?;
    let snapshot = registry.take_snapshot(control::now()).unwrap_or_default();
    let mut shards =
        Shards::new(&config, &host, orders.clone(), snapshot.clone()).map_err(failed("a shard"))?;
    for (core, listeners) in host.cores.iter().zip(listeners) {
        shards.start(*core, listeners).map_err(failed("a shard"))?;
    }
    let Shards { senders, executors, started, .. } = shards;
    wait_for_start(&started, executors.len()).map_err(failed("a shard"))?;

    let (control_started, started) = sync_channel(1);
    let setup = control::Setup {
        config,
        owner,
        registry,
        snapshot,
        cores: host.cores.clone(),
        shards: senders,
        inbox,
        admin,
        heirlooms: heirlooms.clone(),
        started: control_started,
    };
    let control = thread::Builder::new().name("selat-control".to_owned()).spawn(|| control::run(setup));
    let control = control.map_err(failed("the control plane"))?;
    wait_for_start(&started, 1).map_err(failed("the control plane"))?;
    let handover = succession.complete(&heirlooms, pass_on_by(orders.clone()));
    for address in &addresses {
        info!(%address, cores = ?host.cores, connections_max = host.connections_max, "listening");
    }
    service.ready(&format!(
        "listening at {}",
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    ));
    let connections_max = host.connections_max;
    Ok(Running { addresses, connections_max, socket_files, executors, control, orders, _handover: handover })
}

/// Where every backend is.
fn resolve_all(config: &Config) -> Result<Addresses, Unresolved> {
    let urls = config.pools.iter().flat_map(|pool| pool.backends.iter().map(|backend| &backend.url));
    urls.map(|url| Ok((url.clone(), control::resolve(url)?))).collect()
}

fn bind_admin(admin: &config::Admin) -> Result<Admin, StartError> {
    let token = admin.token.as_ref().map(|token| Token::new(token.expose())).transpose()?;
    let admin = Admin::bind(&admin.address, token)?;
    info!(address = %admin.address(), "admin interface");
    Ok(admin)
}

/// What the service manager passes to this process, if the server is what it runs.
fn inheritance(service: ServiceManager) -> Inheritance {
    match service {
        ServiceManager::Told => Inheritance::from_service_manager(),
        ServiceManager::Untold => Inheritance::default(),
    }
}

/// Orders the control plane to drain in favour of a successor; whether it will.
fn pass_on_by(orders: Sender<ToControl>) -> impl FnMut(Successor) -> bool + Send + 'static {
    move |Successor { pid, addresses }| {
        orders.send(ToControl::Order(Order::HandOver { successor: pid, addresses })).is_ok()
    }
}

/// The listening sockets of a configuration.
struct Sockets {
    /// Those of each shard.
    listeners: Vec<Vec<(ListenId, OwnedFd)>>,
    addresses: Vec<ListenAddress>,
    socket_files: Vec<(ListenAddress, SocketFile)>,
    /// What a successor may ask for. Whoever holds on to it keeps the sockets open.
    heirlooms: Heirlooms,
}

impl Sockets {
    fn bind(config: &Config, shards: usize, inheritance: &mut Inheritance) -> Result<Self, StartError> {
        let mut listeners: Vec<_> = (0..shards).map(|_| Vec::new()).collect();
        let (mut addresses, mut socket_files, mut heirlooms) = (Vec::new(), Vec::new(), Vec::new());
        for (id, listen) in (0..).map(ListenId).zip(&config.listeners) {
            let bound = listener::bind(Some(&listen.name), &listen.address, shards, inheritance)?;
            if bound.is_shared {
                let address = &bound.address;
                warn!(%address, "another program of this user listens here too; connections are spread over both");
            }
            if config.handover.is_some() {
                let failed = |source| StartError::Thread { what: "sharing the listeners", source };
                heirlooms.push(bound.heirloom().map_err(failed)?);
            }
            for (all, these) in listeners.iter_mut().zip(bound.listeners) {
                all.extend(these.into_iter().map(|socket| (id, socket)));
            }
            socket_files.extend(bound.socket_file.map(|file| (bound.address.clone(), file)));
            addresses.push(bound.address);
        }
        Ok(Self { listeners, addresses, socket_files, heirlooms: Arc::new(heirlooms) })
    }
}

impl Running {
    /// Where it listens first.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        self.addresses.first().expect("a configuration has a listener")
    }

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
        let is_ours = |address: &ListenAddress| !outcome.passed_on.contains(address);
        for (_, file) in self.socket_files.into_iter().filter(|(address, _)| is_ours(address)) {
            file.remove();
        }
        for executor in self.executors {
            executor.join().map_err(ended("a shard"))?;
        }
        Ok(outcome)
    }

    fn order(&self, order: Order) {
        // One that has ended takes none, and needs none; `join` says whether it ended well.
        let _ = self.orders.send(ToControl::Order(order));
    }
}

/// The shards that have been started so far.
struct Shards<'s> {
    config: &'s Arc<Config>,
    control: Sender<ToControl>,
    snapshot: Arc<Snapshot>,
    connections_max: u32,
    shards: NonZeroU32,
    since: Instant,
    start_signal: SyncSender<()>,
    started: Receiver<()>,
    senders: Vec<Sender<ToShard>>,
    /// Of the shards that have not been started.
    mailboxes: VecDeque<Mailbox<ToShard>>,
    executors: Vec<Executor>,
}

impl<'s> Shards<'s> {
    fn new(
        config: &'s Arc<Config>,
        host: &Host,
        control: Sender<ToControl>,
        snapshot: Arc<Snapshot>,
    ) -> io::Result<Self> {
        let shards =
            u32::try_from(host.cores.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let (start_signal, started) = sync_channel(host.cores.len());
        let connections_max = host.connections_max.div_ceil(shards.get());
        let boxes: Vec<_> = host.cores.iter().map(|_| mailbox(TO_SHARD_MAX)).collect::<io::Result<_>>()?;
        let (senders, mailboxes) = boxes.into_iter().unzip();
        let executors = Vec::new();
        Ok(Self {
            config,
            control,
            snapshot,
            connections_max,
            shards,
            since: control::now(),
            start_signal,
            started,
            senders,
            mailboxes,
            executors,
        })
    }

    fn start(&mut self, core: usize, listeners: Vec<(ListenId, OwnedFd)>) -> io::Result<()> {
        let id = ShardId(u16::try_from(self.executors.len()).unwrap_or(u16::MAX));
        let Some(mailbox) = self.mailboxes.pop_front() else { return Ok(()) };
        let place = shard::Place {
            id,
            shards: self.shards,
            connections_max: self.connections_max,
            since: self.since,
            control: self.control.clone(),
            mailboxes: self.senders.clone(),
        };
        let (config, snapshot) = (self.config.clone(), self.snapshot.clone());
        let setup = shard::Setup { place, listeners, mailbox, config, snapshot };
        let signal = self.start_signal.clone();
        let executor = executor::spawn(&format!("selat-{}", id.0), core, move || {
            // The starter waits for it, unless it has given up.
            let _ = signal.send(());
            drop(signal);
            if let Err(error) = shard::run(setup) {
                tracing::error!(shard = id.0, %error, "a shard failed");
            }
        })?;
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
