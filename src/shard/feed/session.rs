//! Serves one client of a feed: reads what it says, and sends what the fan-out could not.

use std::cell::Ref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::FeedState;
use super::fanout::{Fate, Seat, SeatId};
use crate::feed::{Query, Subscriber, SubscriberId, Terms, Utterance, Wish};
use crate::guard::Auth;
use crate::protocol::frame::CloseCode;
use crate::runtime::Stream;
use crate::session::{Backlog, Cause, Peer, Side, Why};
use crate::shard::lane::{Flush, Lane, ending};
use crate::shard::record::{Ledger, Summary};
use crate::shard::serve::Slot;
use crate::shard::upgrade::FeedOpening;
use crate::shard::visitor::Visitor;
use crate::telemetry::Traffic;

/// Reads before other sessions get their turn.
const TURN_READS: usize = 4;

struct Session {
    shard: Slot,
    feed: Rc<FeedState>,
    seat: SeatId,
    subscriber: Subscriber,
    /// Its place in the feed, once it is admitted.
    place: Option<SubscriberId>,
    /// What it asks for when it joins.
    query: Option<Box<Query>>,
    ledger: Ledger,
    received: Traffic,
    /// When it closes, because the shard drains.
    leave_at: Option<Instant>,
    /// Boxed, for most sessions are not over.
    end: Option<Box<End>>,
    is_cut: bool,
}

/// The end of a session.
struct End {
    cause: Cause,
    /// When what is left gets cut.
    cut_at: Instant,
}

/// A client of a feed, from its 101 to its end: over when its connection is closed; dropping it closes that at once.
pub(in crate::shard) struct FeedSession(Session);

impl FeedSession {
    pub(in crate::shard) fn new(shard: Slot, client: Stream, visitor: Visitor, opening: FeedOpening) -> Self {
        let FeedOpening { feed, query, early } = opening;
        let (now, route) = (shard.now(), visitor.route().cloned());
        let first_message_within = route.as_ref().and_then(|route| match &route.route.guard.auth {
            Some(Auth::FirstMessage(auth)) => Some(auth.timeout),
            Some(Auth::ApiKey(_) | Auth::Basic(_) | Auth::Jwt(_)) | None => None,
        });
        let session = route.as_ref().map(|route| route.settings.clone()).unwrap_or_default();
        let settings = feed.settings();
        let terms = Terms { session: &session, feed: &settings, first_message_within };
        let mut session = Session {
            subscriber: Subscriber::new(terms, now),
            seat: feed.fanout.seat(Lane::new(client), route.map(|route| route.books.clone())),
            place: None,
            query: (query != Query::default()).then(|| Box::new(query)),
            ledger: Ledger::open(visitor),
            received: Traffic::default(),
            leave_at: None,
            end: None,
            is_cut: false,
            feed,
            shard,
        };
        if session.subscriber.may_send() {
            let mut out = Vec::new();
            session.join(&mut out);
            session.send(&out);
        }
        session.take(&early, now);
        Self(session)
    }
}

impl Future for FeedSession {
    type Output = ();

    /// A panic ends this session, and no other.
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let session = &mut self.get_mut().0;
        let poll = match catch_unwind(AssertUnwindSafe(|| session.step())) {
            Ok(poll) => poll,
            Err(_) => catch_unwind(AssertUnwindSafe(|| session.fail())).unwrap_or(Poll::Ready(())),
        };
        if poll.is_ready() {
            session.finish();
        }
        poll
    }
}

impl Session {
    fn step(&mut self) -> Poll<()> {
        let now = self.shard.now();
        self.take_orders(now);
        for _ in 0..TURN_READS {
            self.flush(now);
            let disposition = self.subscriber.disposition();
            self.seat().lane.borrow_mut().settle(disposition);
            let is_gone = self.seat().fate.get() == Fate::Broken || self.seat().lane.borrow().is_closed();
            self.is_cut = self.shard.is_cut.get() || self.cut_at().is_some_and(|at| at <= now);
            if is_gone || self.is_cut {
                return Poll::Ready(());
            }
            if !self.read(now) && !self.keep_time(now) {
                return self.wait();
            }
        }
        self.shard.driver.poll_again();
        Poll::Pending
    }

    /// What the shard, or the fan-out, wants of this session.
    fn take_orders(&mut self, now: Instant) {
        if let Some(drain) = self.shard.drain.get().filter(|_| self.leave_at.is_none()) {
            self.leave_at = Some(self.shard.drain_at(drain.window));
        }
        if self.leave_at.is_some_and(|at| at <= now) {
            self.close(CloseCode::GOING_AWAY, "going away", Why::Drained);
        }
        if self.feed.is_gone() {
            self.close(CloseCode::SERVICE_RESTART, "service restart", Why::Retired);
        }
        let fate = self.seat().fate.get();
        match fate {
            Fate::Well => {}
            Fate::TooSlow => self.evict(),
            Fate::Broken => self.note(Side::Client, Why::Vanished, None),
        }
        let evict_at = self.place.and_then(|place| self.feed.fanout.hub().borrow().evict_at(place));
        if evict_at.is_some_and(|at| at <= now) {
            if !self.subscriber.is_over() {
                self.feed.fanout.count_evicted();
            }
            self.evict();
        }
    }

    fn evict(&mut self) {
        self.close(CloseCode::TRY_AGAIN_LATER, "too slow", Why::Evicted);
    }

    /// Writes what has been waiting, and what more there is then.
    fn flush(&mut self, now: Instant) {
        let flushed = self.seat().lane.borrow_mut().flush();
        let hub = self.feed.fanout.hub();
        match (flushed, self.place) {
            (Err(_), _) => return self.vanished(),
            (Ok(Flush::Nothing), _) => {}
            (Ok(Flush::Some), place) => {
                self.subscriber.handle_progress(now);
                place.into_iter().for_each(|place| hub.borrow_mut().handle_progress(place, now));
            }
            (Ok(Flush::All { .. }), place) => {
                self.subscriber.handle_progress(now);
                place.into_iter().for_each(|place| hub.borrow_mut().handle_flushed(place));
            }
        }
        self.feed.fanout.deliver(self.seat);
        if self.seat().fate.get() == Fate::Broken {
            self.vanished();
        }
    }

    /// Reads once, and acts on it; whether there may be more.
    fn read(&mut self, now: Instant) -> bool {
        let shard = self.shard.clone();
        let mut scratch = shard.scratch.borrow_mut();
        let read = {
            let seat = self.seat();
            let mut lane = seat.lane.borrow_mut();
            // Backpressure: a client that does not take its answers asks for no more of them.
            if self.subscriber.reads() && lane.is_flushed() { lane.read(&mut scratch) } else { Ok(None) }
        };
        match read {
            Ok(None) => return false,
            Ok(Some(0)) => self.vanished(),
            Ok(Some(len)) => self.take(scratch.get(..len).unwrap_or_default(), now),
            Err(error) => {
                self.note(Side::Client, ending(&error).into(), None);
                self.vanished();
            }
        }
        true
    }

    /// Judges what the client has sent, keeps what cannot be judged yet, and answers.
    fn take(&mut self, mut bytes: &[u8], now: Instant) {
        let mut answer = Vec::new();
        loop {
            let flow = self.subscriber.handle_bytes(bytes, now, &mut answer);
            self.received.add(flow.forward, flow.messages);
            self.ledger.count(None, Peer::Client, flow.forward, flow.messages);
            bytes = flow.rest(bytes);
            let mut has_said = false;
            while let Some(said) = self.subscriber.poll_said() {
                has_said = true;
                self.heed(said, &mut answer);
            }
            if !has_said {
                break;
            }
        }
        if let Some(rtt) = self.subscriber.take_rtt() {
            self.shard.answered(Peer::Client, rtt);
        }
        self.seat().lane.borrow_mut().keep(bytes);
        self.send(&answer);
    }

    fn heed(&mut self, said: Utterance, answer: &mut Vec<u8>) {
        match said {
            Utterance::First(payload) => self.admit(&payload, answer),
            Utterance::Subscribe(keys) => {
                self.feed.want(&self.shard, &keys);
                self.choose();
            }
            Utterance::Unsubscribe(keys) => {
                self.feed.unwant(&self.shard, &keys);
                self.choose();
            }
            Utterance::Forward(kind, payload) => self.feed.forward(&self.shard, kind, payload),
        }
    }

    /// The first message opens the door, or does not.
    fn admit(&mut self, payload: &[u8], answer: &mut Vec<u8>) {
        let route = self.ledger.route_state();
        let identity = route.and_then(|route| match &route.route.guard.auth {
            Some(Auth::FirstMessage(auth)) => auth.admit(payload),
            Some(Auth::ApiKey(_) | Auth::Basic(_) | Auth::Jwt(_)) | None => None,
        });
        match identity {
            Some(identity) => {
                self.ledger.identify(identity);
                self.subscriber.admit();
                self.join(answer);
            }
            None => {
                let why = Why::Unauthorized;
                self.subscriber.close(CloseCode::POLICY, "authentication failed", why, answer);
            }
        }
    }

    /// Takes its place among the subscribers.
    fn join(&mut self, answer: &mut Vec<u8>) {
        let query = self.query.take().map(|query| *query).unwrap_or_default();
        let settings = self.feed.settings();
        // Where keys are chosen by messages, nobody has any before.
        let keys = query.keys.or_else(|| settings.subscriptions.is_some().then(Vec::new));
        let wish = Wish {
            snapshot: settings.key.is_some() && query.last.unwrap_or(settings.snapshot),
            history: settings.history,
            keys: keys.clone(),
        };
        self.place = Some(self.feed.join(&self.shard, self.seat, wish));
        self.subscriber.choose(&keys.unwrap_or_default(), answer);
        while let Some(said) = self.subscriber.poll_said() {
            self.heed(said, answer);
        }
    }

    /// It gets the keys that it has subscribed to.
    fn choose(&self) {
        if let Some(place) = self.place {
            let keys = self.subscriber.topics().cloned().collect();
            self.feed.fanout.hub().borrow_mut().set_keys(place, keys);
        }
    }

    /// Does what the clock wants; whether that is more than to wait.
    fn keep_time(&mut self, now: Instant) -> bool {
        if self.subscriber.deadline().is_none_or(|at| at > now) {
            return false;
        }
        let delivered = self.seat().delivered.get();
        self.subscriber.handle_delivered(delivered.at);
        let backlog = Backlog { client: !self.seat().lane.borrow().is_flushed(), backend: false };
        let mut out = Vec::new();
        self.subscriber.handle_time(backlog, now, self.shard.random(), &mut out);
        self.send(&out);
        self.ledger.count_throttled(self.subscriber.take_throttled());
        // What ended it is to be seen to at once.
        self.subscriber.reads() || self.subscriber.is_over()
    }

    fn wait(&self) -> Poll<()> {
        let evict_at = self.place.and_then(|place| self.feed.fanout.hub().borrow().evict_at(place));
        let times = [self.leave_at, evict_at, self.subscriber.deadline()];
        let next = self.cut_at().or_else(|| times.into_iter().flatten().min());
        self.shard.driver.set_deadline(next);
        Poll::Pending
    }

    /// Ends the session with a Close, behind the message in progress.
    fn close(&mut self, code: CloseCode, reason: &'static str, why: Why) {
        if self.subscriber.is_over() {
            return;
        }
        let mut frame = Vec::new();
        self.subscriber.close(code, reason, why, &mut frame);
        self.send(&frame);
    }

    /// Writes frames of our own; what they mean for the session shows in the subscriber.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(Cause { side, why, code }) = self.subscriber.cause() {
            self.seat().shut();
            self.note(side, why, code);
        }
        if self.seat().lane.borrow_mut().write(bytes).is_err() {
            self.vanished();
        }
    }

    fn vanished(&mut self) {
        self.seat().fate.set(Fate::Broken);
        self.seat().shut();
        self.note(Side::Client, Why::Vanished, None);
    }

    fn seat(&self) -> Ref<'_, Seat> {
        self.feed.fanout.at(self.seat)
    }

    fn note(&mut self, side: Side, why: Why, code: Option<CloseCode>) {
        let close = self.ledger.route_state().map(|route| route.settings.close).unwrap_or_default();
        let cut_at = self.shard.now() + close;
        self.end.get_or_insert_with(|| Box::new(End { cause: Cause { side, why, code }, cut_at }));
    }

    fn cause(&self) -> Option<Cause> {
        self.end.as_ref().map(|end| end.cause)
    }

    fn cut_at(&self) -> Option<Instant> {
        self.end.as_ref().map(|end| end.cut_at)
    }

    fn fail(&mut self) -> Poll<()> {
        if self.cause().is_some_and(|cause| cause.why == Why::Fault) {
            return Poll::Ready(());
        }
        self.close(CloseCode::INTERNAL_ERROR, "internal error", Why::Fault);
        self.note(Side::Proxy, Why::Fault, Some(CloseCode::INTERNAL_ERROR));
        self.shard.driver.poll_again();
        Poll::Pending
    }

    fn finish(&self) {
        let summary = Summary {
            since: self.subscriber.since(),
            cause: self.cause(),
            is_cut: self.is_cut || self.end.is_none(),
            from_client: self.received,
            from_backend: self.seat().delivered.get().traffic,
        };
        self.ledger.close(&self.shard, None, &summary);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let place = self.place.take();
        self.feed.leave(&self.shard, self.seat, place);
        if place.is_some() {
            let keys: Vec<_> = self.subscriber.topics().cloned().collect();
            self.feed.unwant(&self.shard, &keys);
        }
    }
}
