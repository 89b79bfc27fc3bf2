//! Hands the messages of a feed to this shard's clients of it: writes straight to one connection after the other.
//!
//! A client that takes all that it is offered costs a look at its place and a write. One that does not keeps the rest of
//! the message that was cut, and its own session goes on from there when it makes room: nobody waits for it. The
//! connections lie side by side in memory, for a look that misses the cache costs as much as all else that is done here.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use slab::Slab;

use crate::feed::{Batch, Hub, HubCounters, Lags, Offer, Settings, State, SubscriberId, Wish};
use crate::runtime::{Driver, TaskId};
use crate::shard::books::RouteBooks;
use crate::shard::lane::Lane;
use crate::telemetry::{FeedCounters, Traffic};

/// Batches that wait until everybody has been offered those before them; beyond, the source is not read.
const BATCHES_MAX: usize = 16;

/// The same where the source is another shard's; beyond, the oldest is left out, and all clients miss it.
const BATCHES_DROPPED_AT: usize = 4096;

/// Clients that are served before others than this feed get their turn: half a millisecond.
const TURN_CLIENTS: usize = 64;

/// The clients of a feed on this shard.
pub(super) struct Fanout {
    driver: Driver,
    hub: RefCell<Hub>,
    /// What has been published since the round in progress began. So nobody falls behind for the others' sake.
    inbox: RefCell<VecDeque<Arc<Batch>>>,
    /// Bytes that one round may bring.
    round_bytes_max: Cell<usize>,
    /// Tasks that wait for room in the inbox.
    waiting: RefCell<Vec<TaskId>>,
    seats: RefCell<Slab<Seat>>,
    /// Whose they are, by [`SubscriberId`].
    subscribers: RefCell<Vec<SeatId>>,
    /// Who is served next, and how many in all are to be, in turn.
    next: Cell<usize>,
    left: Cell<usize>,
    /// The task that serves them; `None` before it has run.
    task: Cell<Option<TaskId>>,
    /// When the newest message was read whose delivery has been measured.
    measured: Cell<Option<Instant>>,
    counters: RefCell<FeedCounters>,
}

/// Which client of this shard; given again after it has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeatId(u32);

impl SeatId {
    fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("a shard has fewer clients than there are numbers"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A client and its connection, as long as it has one: its session reads it, the fan-out writes to it.
pub(super) struct Seat {
    pub(super) lane: RefCell<Lane>,
    /// Its place in the feed, once it is admitted, and until nothing more is to go there.
    subscriber: Cell<Option<SubscriberId>>,
    pub(super) delivered: Cell<Delivered>,
    route: Option<RouteBooks>,
    /// The session's.
    task: TaskId,
    pub(super) fate: Cell<Fate>,
}

/// What a client has been sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) traffic: Traffic,
    /// When that last was more.
    pub(super) at: Instant,
}

/// What the fan-out found about a client, for its session to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Well,
    /// More waits for it than may.
    TooSlow,
    /// Its connection is gone.
    Broken,
}

impl Seat {
    /// Nothing more goes there.
    pub(super) fn shut(&self) {
        self.subscriber.set(None);
    }
}

impl Fanout {
    pub(super) fn new(driver: Driver, settings: &Settings) -> Self {
        Self {
            measured: Cell::new(None),
            hub: RefCell::new(Hub::new(settings)),
            inbox: RefCell::default(),
            round_bytes_max: Cell::new(settings.slow.buffer_bytes_max / 2),
            waiting: RefCell::default(),
            seats: RefCell::default(),
            subscribers: RefCell::default(),
            next: Cell::new(0),
            left: Cell::new(0),
            task: Cell::new(None),
            counters: RefCell::default(),
            driver,
        }
    }

    /// Serves the clients, for as long as the shard lives.
    ///
    /// # Cancel safety
    /// Dropped only when the shard ends.
    pub(super) async fn run(self: Rc<Self>) {
        self.task.set(Some(self.driver.current()));
        poll_fn(|_| {
            self.turn();
            Poll::Pending
        })
        .await
    }

    pub(super) fn adopt(&self, settings: &Settings) {
        self.round_bytes_max.set(settings.slow.buffer_bytes_max / 2);
        self.hub.borrow_mut().adopt(settings);
    }

    pub(super) fn handle_state(&self, state: State) {
        self.hub.borrow_mut().handle_state(state);
        self.begin_round();
    }

    /// Hands out what has been published, when its turn comes.
    pub(super) fn handle_batch(&self, batch: Arc<Batch>) {
        let mut inbox = self.inbox.borrow_mut();
        if inbox.len() >= BATCHES_DROPPED_AT {
            // The hub counts what is missing.
            inbox.pop_front();
        }
        inbox.push_back(batch);
        if let Some(task) = self.task.get() {
            self.driver.wake(task);
        }
    }

    pub(super) fn handle_detached(&self) {
        self.inbox.borrow_mut().clear();
        self.hub.borrow_mut().handle_detached();
    }

    /// Whether more may be published; if not, the calling task is polled again when it may.
    pub(super) fn has_room(&self) -> bool {
        let has_room = self.inbox.borrow().len() < BATCHES_MAX;
        if !has_room {
            self.waiting.borrow_mut().push(self.driver.current());
        }
        has_room
    }

    pub(super) fn state(&self) -> State {
        self.hub.borrow().state()
    }

    pub(super) fn clients(&self) -> usize {
        self.hub.borrow().subscribers()
    }

    /// A client of the calling task has come, and gets nothing yet.
    pub(super) fn seat(&self, lane: Lane, route: Option<RouteBooks>) -> SeatId {
        let delivered = Delivered { traffic: Traffic::default(), at: self.driver.now() };
        SeatId::at(self.seats.borrow_mut().insert(Seat {
            lane: RefCell::new(lane),
            subscriber: Cell::new(None),
            delivered: Cell::new(delivered),
            route,
            task: self.driver.current(),
            fate: Cell::new(Fate::Well),
        }))
    }

    /// It gets what it wishes for.
    pub(super) fn join(&self, seat: SeatId, wish: Wish) -> SubscriberId {
        let subscriber = self.hub.borrow_mut().subscribe(wish);
        let mut subscribers = self.subscribers.borrow_mut();
        if subscribers.len() <= subscriber.index() {
            subscribers.resize(subscriber.index() + 1, seat);
        }
        subscribers.get_mut(subscriber.index()).into_iter().for_each(|place| *place = seat);
        self.at(seat).subscriber.set(Some(subscriber));
        subscriber
    }

    /// It has gone.
    pub(super) fn vacate(&self, seat: SeatId, subscriber: Option<SubscriberId>) {
        if let Some(subscriber) = subscriber {
            self.hub.borrow_mut().unsubscribe(subscriber);
        }
        self.seats.borrow_mut().remove(seat.index());
    }

    /// A client that has not gone.
    pub(super) fn at(&self, seat: SeatId) -> Ref<'_, Seat> {
        Ref::map(self.seats.borrow(), |seats| {
            seats.get(seat.index()).expect("a client keeps its seat until it goes")
        })
    }

    /// Writes what waits for a client, as far as its connection takes it.
    pub(super) fn deliver(&self, seat: SeatId) {
        self.serve(&self.at(seat));
    }

    pub(super) fn hub(&self) -> &RefCell<Hub> {
        &self.hub
    }

    /// What is to be reported.
    pub(super) fn counters(&self) -> FeedCounters {
        let (mut hub, mut counters) = (self.hub.borrow_mut(), self.counters.borrow_mut());
        let HubCounters { deliveries, conflated, dropped, evicted_by_buffer } = hub.take_counters();
        counters.deliveries.merge(deliveries);
        counters.conflated += conflated;
        counters.dropped += dropped;
        if evicted_by_buffer > 0 {
            *counters.evicted.entry("buffer").or_default() += evicted_by_buffer;
        }
        counters.clients_now = u64::try_from(hub.subscribers()).unwrap_or(u64::MAX);
        Lags { slowest: counters.lag_slowest, p99: counters.lag_p99 } = hub.lags();
        counters.clone()
    }

    /// Counts a client that is sent away because it has taken nothing for too long.
    pub(super) fn count_evicted(&self) {
        *self.counters.borrow_mut().evicted.entry("time").or_default() += 1;
    }

    /// Has every client served, in the pass in progress and those behind it.
    fn begin_round(&self) {
        self.left.set(self.seats.borrow().capacity());
        if let Some(task) = self.task.get() {
            self.driver.wake(task);
        }
    }

    fn turn(&self) {
        if self.left.get() == 0 && !self.take_inbox() {
            return;
        }
        let seats = self.seats.borrow();
        for _ in 0..TURN_CLIENTS.min(self.left.get()) {
            let index = if self.next.get() < seats.capacity() { self.next.get() } else { 0 };
            self.next.set(index + 1);
            self.left.set(self.left.get() - 1);
            if let Some(seat) = seats.get(index) {
                self.serve(seat);
            }
        }
        if self.left.get() == 0 {
            self.measure();
        }
        if self.left.get() > 0 || !self.inbox.borrow().is_empty() {
            self.driver.poll_again();
        }
    }

    /// Begins a round with what has been published meanwhile; whether there is any.
    fn take_inbox(&self) -> bool {
        let (mut inbox, mut hub) = (self.inbox.borrow_mut(), self.hub.borrow_mut());
        let mut bytes = 0;
        while bytes <= self.round_bytes_max.get() {
            let Some(batch) = inbox.pop_front() else { break };
            bytes += batch.bytes();
            hub.handle_batch(&batch);
        }
        let seats = self.seats.borrow();
        while let Some(id) = hub.poll_too_slow() {
            let seat = self.subscribers.borrow().get(id.index()).and_then(|seat| seats.get(seat.index()));
            seat.into_iter().for_each(|seat| self.judge(seat, Fate::TooSlow));
        }
        self.left.set(seats.capacity());
        self.waiting.borrow_mut().drain(..).for_each(|task| self.driver.wake(task));
        bytes > 0
    }

    /// Everybody who keeps up has the newest message now.
    fn measure(&self) {
        let newest = self.hub.borrow().newest_received_at();
        if let Some(at) = newest.filter(|_| newest != self.measured.replace(newest)) {
            let took = self.driver.clock().saturating_duration_since(at);
            self.counters.borrow_mut().delivery_time.record(took);
        }
    }

    fn serve(&self, seat: &Seat) {
        let Some(id) = seat.subscriber.get() else { return };
        let Ok(mut lane) = seat.lane.try_borrow_mut() else { return };
        if !lane.is_flushed() {
            return;
        }
        let mut hub = self.hub.borrow_mut();
        while lane.is_flushed() {
            let bytes = match hub.offer(id) {
                Offer::UpToDate => return,
                Offer::TooSlow => return self.judge(seat, Fate::TooSlow),
                Offer::Bytes(bytes) => bytes,
            };
            let Ok(taken) = lane.offer(bytes) else { return self.judge(seat, Fate::Broken) };
            let before = hub.counters().deliveries;
            lane.hold(hub.handle_taken(id, taken, self.driver.now()));
            self.count(seat, hub.counters().deliveries.since(before));
        }
        if !lane.is_flushed() {
            // From here on its session goes on, and knows how long it may take.
            self.driver.wake(seat.task);
        }
    }

    fn judge(&self, seat: &Seat, fate: Fate) {
        seat.fate.set(fate);
        self.driver.wake(seat.task);
    }

    fn count(&self, seat: &Seat, more: Traffic) {
        let Delivered { mut traffic, .. } = seat.delivered.get();
        traffic.merge(more);
        seat.delivered.set(Delivered { traffic, at: self.driver.now() });
        if let Some(route) = &seat.route {
            route.borrow_mut().sessions.from_backends.merge(more);
        }
    }
}
