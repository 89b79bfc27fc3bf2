//! One data core: accepts, upgrades, dials and pumps. Glue between the pure rooms and [`crate::runtime`].
//!
//! Everything here lives on one thread and is shared by `Rc`; no borrow is ever held across an await.

mod acceptor;
mod dial;
mod lane;
mod orders;
mod placement;
mod pump;
mod record;
mod refuse;
mod respond;
mod serve;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::balance::{Selector, ShardId, Snapshot};
use crate::config::Config;
use crate::protocol::frame::{MaskKey, Scanner};
use crate::protocol::handshake::Refusal;
use crate::runtime::mailbox::{Mailbox, Sender};
use crate::runtime::{Driver, Socket, Stop};
use crate::session::Timeouts;
use crate::telemetry::Counters;
use crate::wires::{Drain, Latecomers, Report, ToControl, ToShard};

/// Bytes read at once. Measured: 16 KiB messages cost 40 % less with 128–256 KiB than with 64.
const SCRATCH_BYTES: usize = 256 * 1024;

/// What a shard is given at its start.
pub struct Setup {
    /// Its place in the server.
    pub place: Place,
    /// Its own listening sockets, or its share in them.
    pub listeners: Vec<OwnedFd>,
    /// Orders from the control plane.
    pub mailbox: Mailbox<ToShard>,
    /// The backends as they stood at the start.
    pub snapshot: Arc<Snapshot>,
}

/// A shard's place in the server.
pub struct Place {
    /// Its number.
    pub id: ShardId,
    /// What to do.
    pub config: Arc<Config>,
    /// Connections it may hold; beyond: 503.
    pub connections_max: u32,
    /// Reports to the control plane.
    pub control: Sender<ToControl>,
}

/// One shard's state, shared by its tasks.
struct Shard {
    id: ShardId,
    config: Arc<Config>,
    driver: Driver,
    /// Read into by whoever is being polled, never across an await; with room for what a scan left over.
    scratch: RefCell<Vec<u8>>,
    selector: RefCell<Selector>,
    counters: RefCell<Counters>,
    control: Sender<ToControl>,
    session_timeouts: Rc<Timeouts>,
    connections_max: u32,
    /// Listeners that still accept.
    acceptors: Cell<usize>,
    /// Accepted connections that are still open.
    connections: Cell<u32>,
    /// Refused connections beyond the limit that are being told so.
    overflowing: Cell<u32>,
    /// Whether the session counts have changed since they were last reported.
    sessions_changed: Cell<bool>,
    drain: Cell<Option<Drain>>,
    is_cut: Cell<bool>,
    random: RefCell<fastrand::Rng>,
}

/// Runs a shard until it is told to end and its sessions have.
///
/// # Errors
/// When the kernel refuses what a shard cannot do without.
pub fn run(setup: Setup) -> io::Result<()> {
    let driver = Driver::new()?;
    let Setup { place, listeners, mailbox, snapshot } = setup;
    let shard = Rc::new(Shard::new(driver.clone(), place, snapshot));
    // Whatever ends this thread, the control plane must hear of it.
    let _farewell = Farewell(shard.clone());
    driver.spawn(orders::run(shard.clone(), mailbox));
    shard.acceptors.set(listeners.len());
    for listener in listeners {
        driver.spawn(acceptor::run(shard.clone(), listener));
    }
    drop(shard);
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
    fn new(driver: Driver, place: Place, snapshot: Arc<Snapshot>) -> Self {
        let Place { id, config, connections_max, control } = place;
        let timeouts = Timeouts { close: config.timeouts.close, idle: config.timeouts.idle };
        Self {
            id,
            scratch: RefCell::new(vec![0; SCRATCH_BYTES + Scanner::KEEP_BYTES_MAX]),
            selector: RefCell::new(Selector::new(config.policy, id, snapshot, driver.now())),
            counters: RefCell::new(Counters::default()),
            control,
            session_timeouts: Rc::new(timeouts),
            connections_max,
            acceptors: Cell::new(0),
            connections: Cell::new(0),
            overflowing: Cell::new(0),
            sessions_changed: Cell::new(false),
            drain: Cell::new(None),
            is_cut: Cell::new(false),
            random: RefCell::new(fastrand::Rng::new()),
            config,
            driver,
        }
    }

    fn now(&self) -> Instant {
        self.driver.now()
    }

    fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// Whether clients that have yet to finish their request are sent away.
    fn refuses_latecomers(&self) -> bool {
        self.drain.get().is_some_and(|drain| drain.latecomers == Latecomers::Refused)
    }

    /// Ends the shard if it drains, accepts nobody any more and has nobody left.
    fn stop_if_drained(&self) {
        if self.is_draining() && self.acceptors.get() == 0 && self.connections.get() == 0 {
            self.driver.stop();
        }
    }

    fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.counters.borrow_mut());
    }

    fn count_refusal(&self, refusal: Refusal) {
        self.count(|counters| *counters.refused.entry(refusal.http_status()).or_default() += 1);
    }

    /// Appends to `bytes` what `socket` has, as soon as it has something; 0 at the end of its stream.
    ///
    /// # Cancel safety
    /// Safe: what was read is in `bytes`.
    async fn read_more(&self, socket: &Socket, bytes: &mut Vec<u8>) -> io::Result<usize> {
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

    fn report(&self) -> Report {
        let mut counters = self.counters.borrow().clone();
        counters.faults += self.driver.panics();
        Report { shard: self.id, counters }
    }

    /// An unpredictable masking key (RFC 6455 §10.3).
    fn mask_key(&self) -> MaskKey {
        MaskKey(self.random.borrow_mut().u32(..).to_ne_bytes())
    }

    /// Where in the drain window a session that is asked now should close.
    fn drain_at(&self, drain: Drain) -> Instant {
        self.now() + drain.window.mul_f64(self.random.borrow_mut().f64())
    }
}
