//! One data core: accepts, upgrades, dials and pumps. Glue between the pure rooms and [`crate::runtime`].
//!
//! Everything here lives on one thread and is shared by `Rc`; no borrow is ever held across an await.

mod acceptor;
mod admit;
mod arrive;
mod books;
mod challenge;
mod dial;
mod dispatch;
mod feed;
mod lane;
mod orders;
mod permit;
mod place;
mod placement;
mod plan;
mod pump;
mod record;
mod refuse;
mod respond;
mod sample;
mod serve;
mod upgrade;
mod visitor;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::balance::{ShardId, Snapshot};
use crate::config::{Config, Placement};
use crate::protocol::frame::{MaskKey, Scanner};
use crate::routing::ListenId;
use crate::runtime::mailbox::{Mailbox, Sender};
use crate::runtime::tls::Workspace;
use crate::runtime::{Driver, Stop, Stream};
use crate::session::Random;
use crate::wires::{Challenges, Drain, Latecomers, ToControl, ToShard};
use acceptor::Neighbours;
use books::Books;
use permit::Desk;
use plan::Plan;
use sample::Sampler;

/// Bytes read at once. Measured: 16 KiB messages cost 40 % less with 128–256 KiB than with 64.
const SCRATCH_BYTES: usize = 256 * 1024;

/// What a shard is given at its start.
pub struct Setup {
    /// Its place in the server.
    pub place: Place,
    /// Its own listening sockets.
    pub listeners: Vec<(ListenId, OwnedFd)>,
    /// Orders from the control plane.
    pub mailbox: Mailbox<ToShard>,
    /// What to do.
    pub config: Arc<Config>,
    /// The backends as they stood at the start.
    pub snapshot: Arc<Snapshot>,
}

/// A shard's place in the server.
pub struct Place {
    /// Its number.
    pub id: ShardId,
    /// How many there are.
    pub shards: NonZeroU32,
    /// Connections it may hold; beyond: 503.
    pub connections_max: u32,
    /// What all shards count the time from at which they report what they hold.
    pub since: Instant,
    /// Reports to the control plane.
    pub control: Sender<ToControl>,
    /// Every shard's mailbox, by [`ShardId`].
    pub mailboxes: Vec<Sender<ToShard>>,
}

/// One shard's state, shared by its tasks.
struct Shard {
    id: ShardId,
    driver: Driver,
    /// Read into by whoever is being polled, never across an await; with room for what a scan left over.
    scratch: RefCell<Vec<u8>>,
    /// For those who speak TLS, likewise.
    workspace: Workspace,
    plan: RefCell<Rc<Plan>>,
    books: RefCell<Books>,
    since: Instant,
    control: Sender<ToControl>,
    /// Of all shards, by [`ShardId`].
    mailboxes: Vec<Sender<ToShard>>,
    neighbours: Neighbours,
    /// Feeds that this shard owns and has not closed.
    sources: Cell<usize>,
    desk: Desk,
    connections_max: u32,
    /// Listening sockets that are still accepted from.
    acceptors: Cell<usize>,
    /// Accepted connections that are still open.
    connections: Cell<u32>,
    /// Refused connections beyond the limit that are being told so.
    overflowing: Cell<u32>,
    /// Whether the counts of sessions and connections have changed since they were last reported.
    has_changed: Cell<bool>,
    /// What authorities are answered by.
    challenges: RefCell<Arc<Challenges>>,
    drain: Cell<Option<Drain>>,
    is_cut: Cell<bool>,
    random: RefCell<fastrand::Rng>,
    sampler: Sampler,
}

/// Runs a shard until it is told to end and its sessions have.
///
/// # Errors
/// When the kernel refuses what a shard cannot do without.
pub fn run(setup: Setup) -> io::Result<()> {
    let driver = Driver::new()?;
    let Setup { place, listeners, mailbox, config, snapshot } = setup;
    let shard = Rc::new(Shard::new(driver.clone(), place, config, &snapshot));
    // Whatever ends this thread, the control plane must hear of it.
    let _farewell = Farewell(shard.clone());
    driver.spawn(orders::run(shard.clone(), mailbox));
    shard.acceptors.set(listeners.len());
    for (id, listener) in listeners {
        driver.spawn(acceptor::run(shard.clone(), id, listener));
    }
    shard.start_feeds();
    match driver.run() {
        Stop::Asked => Ok(()),
        Stop::Failed(error) => Err(error),
    }
}

struct Farewell(Rc<Shard>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.control.send_last(ToControl::Ended(Box::new(self.0.report())));
    }
}

impl Shard {
    fn new(driver: Driver, place: Place, config: Arc<Config>, snapshot: &Arc<Snapshot>) -> Self {
        let Place { id, shards, connections_max, since, control, mailboxes } = place;
        let neighbours = match config.placement {
            Placement::Kernel => Vec::new(),
            Placement::Balanced => mailboxes.clone(),
        };
        let place = plan::Place { shard: id, shards };
        let mut books = Books::default();
        let plan = Plan::first(config, snapshot, &mut books, place, &driver);
        Self {
            id,
            scratch: RefCell::new(vec![0; SCRATCH_BYTES + Scanner::KEEP_BYTES_MAX]),
            workspace: Workspace::new(),
            plan: RefCell::new(Rc::new(plan)),
            books: RefCell::new(books),
            since,
            control,
            mailboxes,
            neighbours: Neighbours::new(neighbours),
            sources: Cell::new(0),
            desk: Desk::default(),
            connections_max,
            acceptors: Cell::new(0),
            connections: Cell::new(0),
            overflowing: Cell::new(0),
            has_changed: Cell::new(false),
            challenges: RefCell::default(),
            drain: Cell::new(None),
            is_cut: Cell::new(false),
            random: RefCell::new(fastrand::Rng::new()),
            sampler: Sampler::default(),
            driver,
        }
    }

    fn now(&self) -> Instant {
        self.driver.now()
    }

    /// The configuration in force. Sessions keep the one they began with.
    fn plan(&self) -> Rc<Plan> {
        self.plan.borrow().clone()
    }

    /// Starts what the feeds of the configuration in force need.
    fn start_feeds(self: &Rc<Self>) {
        self.plan().feeds().iter().for_each(|feed| feed.start(self));
    }

    fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// Whether clients that have yet to finish their request are sent away.
    fn refuses_latecomers(&self) -> bool {
        self.drain.get().is_some_and(|drain| drain.latecomers == Latecomers::Refused)
    }

    /// Ends the shard if it drains, accepts nobody any more and has nobody left, nor anything that others need.
    fn stop_if_drained(&self) {
        let is_empty = self.acceptors.get() == 0 && self.connections.get() == 0 && self.sources.get() == 0;
        if self.is_draining() && is_empty {
            self.driver.stop();
        }
    }

    /// Appends to `bytes` what `socket` has, as soon as it has something; 0 at the end of its stream.
    ///
    /// # Cancel safety
    /// Safe: what was read is in `bytes`.
    async fn read_more(&self, socket: &Stream, bytes: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|_| {
            let mut scratch = self.scratch.borrow_mut();
            match socket.try_read(&mut scratch) {
                Ok(None) => Poll::Pending,
                Ok(Some(len)) => {
                    bytes.extend_from_slice(scratch.get(..len).unwrap_or_default());
                    Poll::Ready(Ok(len))
                }
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// What a frame of our own needs of chance: an unpredictable masking key (RFC 6455 §10.3), and a nonce.
    fn random(&self) -> Random {
        let mut random = self.random.borrow_mut();
        Random { key: MaskKey(random.u32(..).to_ne_bytes()), nonce: random.u64(..) }
    }

    /// Where in a drain's window a session that is asked now should close.
    fn drain_at(&self, window: Duration) -> Instant {
        self.now() + window.mul_f64(self.random.borrow_mut().f64())
    }
}
