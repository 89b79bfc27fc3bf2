//! Moves the bytes of one pool session, as its [`Tunnel`] decides.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use super::Shard;
use super::lane::Lane;
use super::placement::Placement;
use super::record::Ledger;
use super::upgrade::PoolOpening;
use crate::runtime::Socket;
use crate::session::{Ending, Peer, Tunnel};

/// Reads in each direction before other sessions get their turn.
const TURN_READS: usize = 4;

/// A pool session: two connections and the tunnel between them.
pub(super) struct Pump {
    shard: Rc<Shard>,
    tunnel: Tunnel,
    client: Lane,
    backend: Lane,
    /// When the driver will poll us for the sake of time.
    alarm: Option<Instant>,
    placement: Placement,
    ledger: Ledger,
    has_faulted: bool,
}

impl Pump {
    pub(super) fn new(
        shard: Rc<Shard>,
        client: Socket,
        address: Option<SocketAddr>,
        opening: PoolOpening,
    ) -> Self {
        let now = shard.now();
        let timeouts = shard.session_timeouts.clone();
        let mut pump = Self {
            tunnel: Tunnel::new(opening.rsv, shard.config.limits.message_bytes_max, timeouts, now),
            client: Lane::new(client),
            backend: Lane::new(opening.backend),
            alarm: None,
            placement: opening.placement,
            ledger: Ledger::open(&shard, address),
            has_faulted: false,
            shard,
        };
        pump.take(Peer::Client, &opening.early_from_client, now);
        pump.take(Peer::Backend, &opening.early_from_backend, now);
        pump
    }

    /// Pumps until both connections are closed.
    ///
    /// # Cancel safety
    /// Dropping it closes both connections at once.
    pub(super) async fn run(&mut self) {
        self.drive(Self::step).await;
    }

    /// Steps until there is nothing left to do. A panic in a step ends this session, with Close 1011 where that is
    /// still possible, and no other.
    ///
    /// # Cancel safety
    /// Dropping it leaves the connections as they are; their sockets close with the pump.
    async fn drive(&mut self, step: impl Fn(&mut Self) -> Poll<()>) {
        poll_fn(|_| match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(poll) => poll,
            Err(_) if self.has_faulted => Poll::Ready(()),
            Err(_) => catch_unwind(AssertUnwindSafe(|| self.fail())).unwrap_or(Poll::Ready(())),
        })
        .await;
        self.shard.driver.set_deadline(None);
        self.ledger.close(&self.shard, &self.tunnel, self.placement.backend());
    }

    fn fail(&mut self) -> Poll<()> {
        self.has_faulted = true;
        let now = self.shard.now();
        self.tunnel.handle_fault(now);
        self.settle(now);
        self.shard.driver.poll_again();
        Poll::Pending
    }

    #[inline]
    fn step(&mut self) -> Poll<()> {
        let now = self.shard.now();
        self.take_orders(now);
        for _ in 0..TURN_READS {
            let is_client_moving = self.flow(Peer::Client, now);
            let is_backend_moving = self.flow(Peer::Backend, now);
            if self.tunnel.is_ending() && self.settle(now) {
                return Poll::Ready(());
            }
            if !is_client_moving && !is_backend_moving {
                self.set_alarm();
                return Poll::Pending;
            }
        }
        self.shard.driver.poll_again();
        Poll::Pending
    }

    /// What the shard and the clock want of this session.
    #[inline]
    fn take_orders(&mut self, now: Instant) {
        if let Some(drain) = self.shard.drain.get().filter(|_| !self.tunnel.is_draining()) {
            self.tunnel.handle_drain(self.shard.drain_at(drain));
        }
        if self.shard.is_cut.get() {
            self.tunnel.cut(now);
        }
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.tunnel.handle_time(now);
        }
    }

    /// Moves what one read brings from `from` to the other peer; whether there may be more.
    #[inline]
    fn flow(&mut self, from: Peer, now: Instant) -> bool {
        let flushed = self.lane(from.other()).flush();
        self.note(from.other(), flushed, now);
        if !self.tunnel.reads(from) {
            return false;
        }
        // Backpressure: with bytes unsent toward the other peer, this one is not read. But a reset is noticed, for it
        // has destroyed what was not read yet.
        if !self.lane(from.other()).is_flushed() {
            if self.lane(from).is_broken() {
                self.tunnel.handle_ending(from, Ending::Reset, now);
            }
            return false;
        }
        let shard = self.shard.clone();
        let mut scratch = shard.scratch.borrow_mut();
        match self.lane(from).read(&mut scratch) {
            Ok(None) => false,
            Ok(Some(0)) => {
                self.tunnel.handle_ending(from, Ending::Fin, now);
                true
            }
            Ok(Some(len)) => {
                self.take(from, scratch.get(..len).unwrap_or_default(), now);
                true
            }
            Err(error) => {
                self.note(from, Err(error), now);
                true
            }
        }
    }

    /// Judges and forwards `bytes`, which `from` sent, and keeps what cannot be judged yet.
    #[inline]
    fn take(&mut self, from: Peer, bytes: &[u8], now: Instant) {
        let flow = self.tunnel.handle_bytes(from, bytes, now);
        let forward = bytes.get(..flow.forward).unwrap_or_default();
        if !forward.is_empty() {
            self.ledger.count(&self.shard, from, forward.len(), flow.messages);
            let written = self.lane(from.other()).write(forward);
            self.note(from.other(), written, now);
        }
        let is_other_flushed = self.lane(from.other()).is_flushed();
        let lane = self.lane(from);
        lane.adapt(is_other_flushed);
        lane.kept.extend_from_slice(flow.rest(bytes));
    }

    /// A connection that cannot be written or read has ended.
    #[inline]
    fn note(&mut self, peer: Peer, result: io::Result<()>, now: Instant) {
        if result.is_err() {
            self.tunnel.handle_ending(peer, Ending::Reset, now);
        }
    }

    /// Sends the frames that are due and closes what is done with; whether both connections are.
    fn settle(&mut self, now: Instant) -> bool {
        for peer in Peer::BOTH {
            if let Some(frame) = self.tunnel.poll_frame(peer, self.shard.mask_key()) {
                let written = self.lane(peer).write(&frame);
                self.note(peer, written, now);
            }
        }
        for peer in Peer::BOTH {
            let disposition = self.tunnel.disposition(peer);
            self.lane(peer).settle(disposition);
        }
        self.client.is_closed() && self.backend.is_closed()
    }

    /// Makes sure that we are polled by the tunnel's deadline. An earlier alarm stays: deadlines move back with
    /// traffic, and being early costs less than setting it anew with every message.
    #[inline]
    fn set_alarm(&mut self) {
        let Some(at) = self.tunnel.deadline() else { return };
        if self.alarm.is_none_or(|alarm| at < alarm) {
            self.alarm = Some(at);
            self.shard.driver.set_deadline(Some(at));
        }
    }

    #[inline]
    fn lane(&mut self, peer: Peer) -> &mut Lane {
        match peer {
            Peer::Client => &mut self.client,
            Peer::Backend => &mut self.backend,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::balance::{BackendId, Policy, ShardId, Snapshot};
    use crate::config::{Config, Cores, Limits, ListenAddress, Timeouts};
    use crate::protocol::frame::{CloseCode, MaskKey, Rsv, close_frame};
    use crate::runtime::Driver;
    use crate::runtime::mailbox::mailbox;
    use crate::shard::Place;

    pub(in crate::shard) fn shard(driver: &Driver) -> Rc<Shard> {
        let config = Config {
            listen: ListenAddress::Tcp(([127, 0, 0, 1], 0).into()),
            cores: Cores::All,
            routes: Vec::new(),
            backends: Vec::new(),
            policy: Policy::RoundRobin,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            handover: None,
        };
        let (control, _inbox) = mailbox(16).unwrap();
        let place = Place { id: ShardId(0), config: Arc::new(config), connections_max: 1, control };
        Rc::new(Shard::new(driver.clone(), place, Arc::new(Snapshot::default())))
    }

    /// A connection: our end for the pump, and the peer's end.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, peer)
    }

    #[test]
    fn a_panic_in_a_session_closes_both_peers_with_1011() {
        let driver = Driver::new().unwrap();
        let shard = shard(&driver);
        let ((client, mut client_peer), (backend, mut backend_peer)) = (connection(), connection());
        let key = MaskKey([1, 2, 3, 4]);
        client_peer.write_all(&close_frame(CloseCode::INTERNAL_ERROR, "", Some(key))).unwrap();
        backend_peer.write_all(&close_frame(CloseCode::INTERNAL_ERROR, "", None)).unwrap();
        backend_peer.shutdown(std::net::Shutdown::Write).unwrap();

        let task_shard = shard.clone();
        driver.spawn(async move {
            let driver = task_shard.driver.clone();
            let opening = PoolOpening {
                backend: Socket::accepted(&driver, backend.into()).unwrap(),
                placement: Placement::take(&task_shard, BackendId(0)),
                rsv: Rsv::NONE,
                early_from_client: Vec::new(),
                early_from_backend: Vec::new(),
            };
            let client = Socket::accepted(&driver, client.into()).unwrap();
            let has_panicked = Cell::new(false);
            let mut pump = Pump::new(task_shard, client, None, opening);
            pump.drive(|pump| if has_panicked.replace(true) { pump.step() } else { panic!("planted") }).await;
            driver.stop();
        });
        driver.run();

        let told = |peer: &mut TcpStream| {
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(told(&mut client_peer), close_frame(CloseCode::INTERNAL_ERROR, "internal error", None));
        assert_eq!(told(&mut backend_peer).len(), 2 + 4 + 2 + "internal error".len());
        assert_eq!(shard.counters.borrow().faults, 1);
        assert_eq!(shard.counters.borrow().sessions_now, 0);
    }
}
