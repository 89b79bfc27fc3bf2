//! Moves the bytes of one pool session, as its [`Tunnel`] decides.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::lane::{Flush, Lane, ending};
use super::placement::Placement;
use super::record::{Ledger, Summary};
use super::serve::Slot;
use super::upgrade::PoolOpening;
use super::visitor::Visitor;
use crate::runtime::Stream;
use crate::session::{Backlog, Ending, Farewell, Peer, Then, Tunnel};

/// Reads in each direction before other sessions get their turn.
const TURN_READS: usize = 4;

/// A pool session: two connections and the tunnel between them. Over when both are closed; dropping it closes them at
/// once.
pub(super) struct Pump {
    shard: Slot,
    tunnel: Tunnel,
    client: Lane,
    backend: Lane,
    placement: Placement,
    ledger: Ledger,
    has_faulted: bool,
}

impl Pump {
    pub(super) fn new(shard: Slot, client: Stream, visitor: Visitor, opening: PoolOpening) -> Self {
        let now = shard.now();
        let settings = visitor.route().map(|route| route.settings.clone()).unwrap_or_default();
        let mut pump = Self {
            tunnel: Tunnel::new(opening.rsv, settings, now),
            client: Lane::new(client),
            backend: Lane::new(opening.backend),
            placement: opening.placement,
            ledger: Ledger::open(visitor),
            has_faulted: false,
            shard,
        };
        pump.take(Peer::Client, &opening.early_from_client, now);
        pump.take(Peer::Backend, &opening.early_from_backend, now);
        pump
    }

    /// Takes a step, the last one if there is nothing left to do. A panic in a step ends this session, with Close 1011
    /// where that is still possible, and no other.
    #[inline]
    fn drive(&mut self, step: impl Fn(&mut Self) -> Poll<()>) -> Poll<()> {
        let poll = match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(poll) => poll,
            Err(_) if self.has_faulted => Poll::Ready(()),
            Err(_) => catch_unwind(AssertUnwindSafe(|| self.fail())).unwrap_or(Poll::Ready(())),
        };
        if poll.is_ready() {
            self.finish();
        }
        poll
    }

    fn finish(&mut self) {
        self.count_throttled();
        let summary = Summary {
            since: self.tunnel.since(),
            cause: self.tunnel.cause(),
            is_cut: self.tunnel.is_cut(),
            from_client: self.tunnel.traffic(Peer::Client),
            from_backend: self.tunnel.traffic(Peer::Backend),
        };
        self.ledger.close(&self.shard, Some(&self.placement), &summary);
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
            if self.tunnel.is_busy() && self.settle(now) {
                return Poll::Ready(());
            }
            if !is_client_moving && !is_backend_moving && !self.is_time(now) {
                self.tunnel.deadline().into_iter().for_each(|at| self.shard.driver.set_deadline_by(at));
                return Poll::Pending;
            }
        }
        self.keep_time(now);
        self.shard.driver.poll_again();
        Poll::Pending
    }

    /// What the shard wants of this session.
    #[inline]
    fn take_orders(&mut self, now: Instant) {
        if let Some(drain) = self.shard.drain.get().filter(|_| !self.tunnel.has_heard(Farewell::GoingAway)) {
            self.tunnel.handle_drain(self.shard.drain_at(drain.window), Farewell::GoingAway);
        }
        if self.placement.is_retired() && !self.tunnel.has_heard(Farewell::ServiceRestart) {
            let window = self.shard.plan().config.timeouts.drain_window;
            self.tunnel.handle_drain(self.shard.drain_at(window), Farewell::ServiceRestart);
        }
        if self.shard.is_cut.get() {
            self.tunnel.cut(now);
        }
    }

    /// What the clock wants of it; behind the reads, for what has come in the meantime may be a sign of life.
    fn keep_time(&mut self, now: Instant) {
        if self.is_time(now) {
            self.shard.driver.set_deadline(None);
            self.count_throttled();
            self.tunnel.handle_time(now, self.backlog());
        }
    }

    fn is_time(&self, now: Instant) -> bool {
        self.shard.driver.deadline().is_some_and(|at| at <= now)
    }

    fn count_throttled(&mut self) {
        self.ledger.count_throttled(self.tunnel.take_throttled());
    }

    /// Moves what one read brings from `from` to the other peer; whether there may be more.
    #[inline]
    fn flow(&mut self, from: Peer, now: Instant) -> bool {
        self.flush(from.other(), now);
        // Backpressure: with bytes unsent toward the other peer, this one is not read; nor is it while it is being
        // slowed down. But a reset is noticed, for it has destroyed what was not read yet.
        if !self.tunnel.reads(from) || !self.lane(from.other()).is_flushed() {
            if !self.tunnel.has_ended(from) && self.lane(from).is_broken() {
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
                let bytes = scratch.get(..len).unwrap_or_default();
                if shard.sampler.choose() {
                    self.take_measured(from, bytes, now);
                } else {
                    self.take(from, bytes, now);
                }
                true
            }
            Err(error) => {
                self.tunnel.handle_ending(from, ending(&error), now);
                true
            }
        }
    }

    /// Writes what has been waiting for `to`.
    #[inline]
    fn flush(&mut self, to: Peer, now: Instant) {
        match self.lane(to).flush() {
            Ok(Flush::Nothing) => {}
            Ok(Flush::Some) => self.tunnel.handle_progress(to, now),
            Ok(Flush::All { measured_since }) => {
                self.tunnel.handle_progress(to, now);
                if let Some(since) = measured_since {
                    self.shard.relayed(self.shard.driver.clock().saturating_duration_since(since));
                }
            }
            Err(error) => self.note(to, Err(error), now),
        }
    }

    /// Judges and forwards `bytes`, which `from` sent, and keeps what cannot be judged yet.
    #[inline]
    fn take(&mut self, from: Peer, mut bytes: &[u8], now: Instant) {
        loop {
            let flow = self.tunnel.handle_bytes(from, bytes, now);
            let forward = bytes.get(..flow.forward).unwrap_or_default();
            if !forward.is_empty() {
                self.ledger.count(Some(&self.placement), from, forward.len(), flow.messages);
                let written = self.lane(from.other()).write(forward);
                self.note(from.other(), written, now);
            }
            bytes = flow.rest(bytes);
            if flow.then != Then::Judge {
                break;
            }
            // Here is a place for a frame of our own; or an answer to one was left out.
            self.speak(now);
            if let Some(rtt) = self.tunnel.take_rtt(from) {
                self.shard.answered(from, rtt);
            }
        }
        let is_other_flushed = self.lane(from.other()).is_flushed();
        let lane = self.lane(from);
        lane.adapt(is_other_flushed);
        lane.keep(bytes);
    }

    /// The same, measuring how long it takes and how big the messages are.
    fn take_measured(&mut self, from: Peer, bytes: &[u8], now: Instant) {
        let before = self.tunnel.traffic(from);
        self.take(from, bytes, now);
        let after = self.tunnel.traffic(from);
        self.shard.measured(after.messages - before.messages, self.tunnel.message_bytes(from));
        if after.bytes == before.bytes {
            return;
        }
        if !self.lane(from.other()).measure(now) {
            self.shard.relayed(self.shard.driver.clock().saturating_duration_since(now));
        }
    }

    /// A connection that cannot be written or read has ended.
    #[inline]
    fn note(&mut self, peer: Peer, result: io::Result<()>, now: Instant) {
        if result.is_err() {
            self.tunnel.handle_ending(peer, Ending::Reset, now);
        }
    }

    /// Sends the frames that are due.
    fn speak(&mut self, now: Instant) {
        for peer in Peer::BOTH {
            if let Some(frame) = self.tunnel.poll_frame(peer, self.shard.random(), self.backlog(), now) {
                let written = self.lane(peer).write(&frame);
                self.note(peer, written, now);
            }
        }
    }

    /// Sends the frames that are due and closes what is done with; whether both connections are.
    fn settle(&mut self, now: Instant) -> bool {
        self.speak(now);
        for peer in Peer::BOTH {
            let disposition = self.tunnel.disposition(peer);
            self.lane(peer).settle(disposition);
        }
        self.client.is_closed() && self.backend.is_closed()
    }

    fn backlog(&self) -> Backlog {
        Backlog { client: !self.client.is_flushed(), backend: !self.backend.is_flushed() }
    }

    #[inline]
    fn lane(&mut self, peer: Peer) -> &mut Lane {
        match peer {
            Peer::Client => &mut self.client,
            Peer::Backend => &mut self.backend,
        }
    }
}

impl Future for Pump {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.get_mut().drive(Self::step)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::num::{NonZeroU32, NonZeroU64};
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::balance::{BackendId, ShardId, Snapshot};
    use crate::config::{Config, ListenAddress, Pool, PoolId, Route, Target};
    use crate::protocol::frame::{CloseCode, MaskKey, Rsv, close_frame};
    use crate::protocol::handshake::RequestHead;
    use crate::routing::ListenId;
    use crate::runtime::mailbox::{Sender, mailbox};
    use crate::runtime::{Driver, Socket};
    use crate::session::{Excess, Ping, Pings, Rate, RateLimit, Settings};
    use crate::shard::permit::Permit;
    use crate::shard::{Place, Shard};
    use crate::wires::ToShard;

    pub(in crate::shard) fn shard(driver: &Driver, settings: Settings) -> Rc<Shard> {
        let address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let mut route = Route::new("all", Target::Pool(PoolId(0)));
        route.session = settings;
        let config = Config::new(address, vec![route], vec![Pool::new("empty", Vec::new())]);
        shard_beside(driver, config, Vec::new())
    }

    /// The first of as many shards as have these mailboxes.
    pub(in crate::shard) fn shard_beside(
        driver: &Driver,
        config: Config,
        mailboxes: Vec<Sender<ToShard>>,
    ) -> Rc<Shard> {
        let (control, _inbox) = mailbox(16).unwrap();
        let shards = u32::try_from(mailboxes.len()).ok().and_then(NonZeroU32::new);
        let place = Place {
            id: ShardId(0),
            shards: shards.unwrap_or(NonZeroU32::MIN),
            connections_max: 1,
            since: driver.now(),
            control,
            mailboxes,
        };
        Rc::new(Shard::new(driver.clone(), place, Arc::new(config), &Arc::new(Snapshot::default())))
    }

    /// A client that has found its route.
    fn visitor(shard: &Shard) -> Visitor {
        let mut visitor = Visitor::new(None, ListenId(0));
        let head = RequestHead::parse(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        visitor.take_route(&shard.plan(), &head).unwrap();
        visitor
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

    fn stream(shard: &Shard, connection: TcpStream) -> Stream {
        Stream::Plain(Socket::accepted(&shard.driver, connection.into()).unwrap())
    }

    /// A session between our ends of two connections; only within a task.
    fn pump(shard: Rc<Shard>, client: TcpStream, backend: TcpStream) -> Pump {
        let visitor = visitor(&shard);
        let pool = visitor.route().unwrap().pool.clone().unwrap();
        let opening = PoolOpening {
            backend: stream(&shard, backend),
            placement: Placement::take(&shard, &pool, BackendId(0), Permit::NONE),
            rsv: Rsv::NONE,
            early_from_client: Vec::new(),
            early_from_backend: Vec::new(),
        };
        let client = stream(&shard, client);
        Pump::new(Slot::take(&shard), client, visitor, opening)
    }

    /// Runs one session between `peers`, each on a thread of its own, until both have had enough.
    fn converse(
        shard: &Rc<Shard>,
        client: impl FnOnce(&mut TcpStream) + Send + 'static,
        backend: impl FnOnce(&mut TcpStream) + Send + 'static,
    ) {
        let ((our_client, mut its_client), (our_backend, mut its_backend)) = (connection(), connection());
        let threads = [
            std::thread::spawn(move || client(&mut its_client)),
            std::thread::spawn(move || backend(&mut its_backend)),
        ];
        let task_shard = shard.clone();
        shard.driver.spawn(async move {
            let driver = task_shard.driver.clone();
            pump(task_shard, our_client, our_backend).await;
            driver.stop();
        });
        shard.driver.run();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
        let mut bytes = [0; N];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_answered_ping_is_measured_and_one_without_an_answer_ends_the_session() {
        let driver = Driver::new().unwrap();
        let ping = Ping { every: Duration::from_millis(10), timeout: Duration::from_millis(100) };
        let ping = Pings { client: Some(ping), backend: None };
        let shard = shard(&driver, Settings { ping, ..Settings::default() });
        let client = |stream: &mut TcpStream| {
            for _ in 0..3 {
                let ping: [u8; 10] = read(stream);
                assert_eq!(ping[..2], [0x89, 8]);
                let pong = [&[0x8A, 0x88, 0, 0, 0, 0], &ping[2..]].concat();
                stream.write_all(&pong).unwrap();
            }
            // Asked once more, it says nothing, until it is dropped.
            let _: [u8; 10] = read(stream);
            let mut rest = Vec::new();
            // A reset or a FIN, as it comes.
            let _ = stream.read_to_end(&mut rest);
            assert_eq!(rest, [0_u8; 0]);
        };
        converse(&shard, client, |stream| {
            let mut close = [0; 27];
            stream.read_exact(&mut close).unwrap();
            assert_eq!(close[..2], [0x88, 0x80 | 21], "a Close, and no pong");
            stream.write_all(&close_frame(CloseCode::GOING_AWAY, "", None)).unwrap();
        });
        let counters = shard.report().counters;
        assert_eq!(counters.ping_rtt.client.count(), 3);
        assert_eq!((counters.ended_total("ping timeout"), counters.sessions().now), (1, 0));
    }

    #[test]
    fn a_client_over_its_rate_is_slowed_down_and_loses_nothing() {
        const MESSAGES: usize = 200;
        let driver = Driver::new().unwrap();
        let number = |number| NonZeroU64::new(number).unwrap();
        let rate = Rate { per_second: number(1_000), burst: number(20) };
        let limit = RateLimit { messages: Some(rate), bytes: None, excess: Excess::Slow };
        let shard = shard(&driver, Settings { rate: Some(limit), ..Settings::default() });
        let message = [0x82, 0x81, 0, 0, 0, 0, b'x'];
        let (hear, heard) = std::sync::mpsc::channel();
        converse(
            &shard,
            move |stream| {
                // In one read, and not in that of the Close: a session that ends is not held up.
                stream.write_all(&message.repeat(MESSAGES / 2)).unwrap();
                heard.recv().unwrap();
                for _ in 0..MESSAGES / 2 {
                    stream.write_all(&message).unwrap();
                    // A message a read, or nearly.
                    std::thread::yield_now();
                }
                stream.write_all(&close_frame(CloseCode::NORMAL, "", Some(MaskKey([0; 4])))).unwrap();
                let _: [u8; 4] = read(stream);
            },
            move |stream| {
                let _: [u8; 7 * MESSAGES / 2] = read(stream);
                hear.send(()).unwrap();
                let _: [u8; 7 * MESSAGES / 2] = read(stream);
                let _: [u8; 8] = read(stream);
                stream.write_all(&close_frame(CloseCode::NORMAL, "", None)).unwrap();
            },
        );
        let counters = shard.report().counters;
        assert_eq!(counters.sessions().from_clients.messages, 200);
        assert!(counters.routes.values().any(|route| route.throttled > 0));
    }

    #[test]
    fn a_panic_in_a_session_closes_both_peers_with_1011() {
        let driver = Driver::new().unwrap();
        let shard = shard(&driver, Settings::default());
        let ((client, mut client_peer), (backend, mut backend_peer)) = (connection(), connection());
        let key = MaskKey([1, 2, 3, 4]);
        client_peer.write_all(&close_frame(CloseCode::INTERNAL_ERROR, "", Some(key))).unwrap();
        backend_peer.write_all(&close_frame(CloseCode::INTERNAL_ERROR, "", None)).unwrap();
        backend_peer.shutdown(std::net::Shutdown::Write).unwrap();

        let task_shard = shard.clone();
        driver.spawn(async move {
            let driver = task_shard.driver.clone();
            let mut pump = pump(task_shard, client, backend);
            let has_panicked = Cell::new(false);
            let step =
                |pump: &mut Pump| if has_panicked.replace(true) { pump.step() } else { panic!("planted") };
            poll_fn(|_| pump.drive(step)).await;
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
        let counters = shard.report().counters;
        assert_eq!((counters.faults, counters.sessions().now, counters.sessions().total), (1, 0, 1));
    }
}
