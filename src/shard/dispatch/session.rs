//! Moves the bytes of one client and its backends, as its [`Dispatcher`] decides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::Duration;

use super::DispatchState;
use super::ends::Ends;
use super::line::{Dial, NotOpened, Opened, Origin};
use crate::dispatch::{Candidate, Command, Context, Dispatcher, LineId, Port, Start};
use crate::runtime::Stream;
use crate::session::{Ending, Farewell, Peer};
use crate::shard::lane::{Flush, ending};
use crate::shard::record::{Ledger, Summary};
use crate::shard::serve::Slot;
use crate::shard::upgrade::DispatchOpening;
use crate::shard::visitor::Visitor;
use crate::telemetry::Traffic;

/// Rounds through all connections before other sessions get their turn.
const TURN_ROUNDS: usize = 4;

/// How long the clock waits for reads that bring more and more.
const CLOCK_GRACE: Duration = Duration::from_millis(50);

/// One client's session with many backends. Over when the client's connection is closed; dropping it closes them all at
/// once.
pub(in crate::shard) struct DispatchSession {
    shard: Slot,
    dispatch: Rc<DispatchState>,
    dispatcher: Dispatcher,
    ends: Ends,
    origin: Rc<Origin>,
    dials: Vec<(LineId, Rc<Dial>)>,
    /// As of this step: lent, as the outbox is.
    candidates: Vec<Candidate>,
    ledger: Ledger,
    /// Of what was forwarded, what is in the counters: the client's, the backends'.
    counted: [Traffic; 2],
    has_faulted: bool,
}

impl DispatchSession {
    pub(in crate::shard) fn new(
        shard: Slot,
        client: Stream,
        visitor: Visitor,
        opening: DispatchOpening,
    ) -> Self {
        let DispatchOpening { dispatch, origin, backend, placement, .. } = opening;
        let session = visitor.route().map(|route| route.settings.clone()).unwrap_or_default();
        let settings = dispatch.settings.borrow().clone();
        let start = Start { settings, session, backend: placement.backend() };
        let mut ends = Ends::new(client);
        ends.open(LineId(0), backend, placement);
        let mut session = Self {
            dispatcher: Dispatcher::new(start, shard.now()),
            ends,
            origin: Rc::new(origin),
            dials: Vec::new(),
            candidates: Vec::new(),
            ledger: Ledger::open(visitor),
            counted: [Traffic::default(); 2],
            has_faulted: false,
            dispatch,
            shard,
        };
        session.with_loan(|session| {
            session.take(Port::Line(LineId(0)), &opening.early_from_backend);
            session.take(Port::Client, &opening.early_from_client);
        });
        session
    }

    fn finish(&mut self) {
        self.dispatcher.handle_over(&mut self.dispatch.board.borrow_mut());
        self.count();
        let summary = Summary {
            since: self.dispatcher.since(),
            cause: self.dispatcher.cause(),
            is_cut: self.dispatcher.is_cut(),
            from_client: self.dispatcher.traffic(Peer::Client),
            from_backend: self.dispatcher.traffic(Peer::Backend),
        };
        self.ledger.close(&self.shard, None, &summary);
    }

    fn fail(&mut self) -> Poll<()> {
        self.has_faulted = true;
        self.with(|dispatcher, ends, context| dispatcher.handle_fault(ends, context));
        self.deliver();
        self.settle();
        self.shard.driver.poll_again();
        Poll::Pending
    }

    fn step(&mut self) -> Poll<()> {
        self.take_orders();
        for _ in 0..TURN_ROUNDS {
            let mut is_moving = self.take_dials();
            is_moving |= self.flow(Port::Client);
            for line in self.ends.lines() {
                is_moving |= self.flow(Port::Line(line));
            }
            is_moving |= self.keep_time(is_moving);
            self.retire();
            is_moving |= self.deliver();
            is_moving |= self.obey();
            if self.settle() {
                return Poll::Ready(());
            }
            if !is_moving {
                self.count();
                self.set_deadline();
                return Poll::Pending;
            }
        }
        self.count();
        self.set_deadline();
        self.shard.driver.poll_again();
        Poll::Pending
    }

    /// What the shard wants of this session.
    fn take_orders(&mut self) {
        if let Some(drain) =
            self.shard.drain.get().filter(|_| !self.dispatcher.has_heard(Farewell::GoingAway))
        {
            self.dispatcher.handle_drain(self.shard.drain_at(drain.window), Farewell::GoingAway);
        }
        if self.dispatch.is_gone.get() && !self.dispatcher.has_heard(Farewell::ServiceRestart) {
            let window = self.shard.plan().config.timeouts.drain_window;
            self.dispatcher.handle_drain(self.shard.drain_at(window), Farewell::ServiceRestart);
        }
        if self.shard.is_cut.get() {
            self.dispatcher.cut();
        }
    }

    /// What came of the backends that were dialled; whether anything did.
    fn take_dials(&mut self) -> bool {
        let mut has_come = false;
        for (line, dial) in std::mem::take(&mut self.dials) {
            match dial.take_outcome() {
                None => self.dials.push((line, dial)),
                Some(Ok(Opened { stream, placement, early })) => {
                    has_come = true;
                    stream.take_over();
                    self.ends.open(line, stream, placement);
                    self.with(|dispatcher, ends, context| dispatcher.handle_opened(line, ends, context));
                    self.take(Port::Line(line), &early);
                }
                Some(Err(NotOpened)) => {
                    has_come = true;
                    self.with(|dispatcher, ends, context| dispatcher.handle_unopened(line, ends, context));
                }
            }
        }
        has_come
    }

    /// Writes what has been waiting for an end, and reads it once; whether there may be more.
    fn flow(&mut self, port: Port) -> bool {
        self.flush(port);
        let is_moving = self.take_held(port);
        let reads = self.dispatcher.reads(port, &self.ends);
        let Some(end) = self.ends.at(port) else { return is_moving };
        if !reads {
            // A reset is noticed all the same, for it has destroyed what was not read yet.
            if !end.has_ended && end.lane.is_broken() {
                self.handle_ending(port, Ending::Reset);
            }
            return is_moving;
        }
        if end.has_ended {
            return is_moving;
        }
        let shard = self.shard.clone();
        let mut scratch = shard.scratch.borrow_mut();
        match end.lane.read(&mut scratch) {
            Ok(None) => return is_moving,
            Ok(Some(0)) => self.handle_ending(port, Ending::Fin),
            Ok(Some(len)) => self.take(port, scratch.get(..len).unwrap_or_default()),
            Err(error) => self.handle_ending(port, ending(&error)),
        }
        true
    }

    fn flush(&mut self, port: Port) {
        let Some(end) = self.ends.at(port) else { return };
        match end.lane.flush() {
            Ok(Flush::Nothing) => {}
            Ok(Flush::Some | Flush::All { .. }) => {
                self.with(|dispatcher, ends, context| dispatcher.handle_progress(port, ends, context));
            }
            Err(_) => self.handle_ending(port, Ending::Reset),
        }
    }

    /// Has what was left over judged, if there is room for it now; whether anything came of it.
    fn take_held(&mut self, port: Port) -> bool {
        if !self.ends.at(port).is_some_and(|end| end.is_held) || !self.dispatcher.reads(port, &self.ends) {
            return false;
        }
        let held = self.ends.at(port).map(|end| end.lane.take_kept()).unwrap_or_default();
        self.take(port, &held);
        let left = self.ends.at(port).map_or(0, |end| end.lane.kept().len());
        left < held.len()
    }

    /// Has bytes judged and forwarded, and keeps what could not be.
    fn take(&mut self, from: Port, bytes: &[u8]) {
        let used = self.with(|dispatcher, ends, context| dispatcher.handle_bytes(from, bytes, ends, context));
        let reads = self.dispatcher.reads(from, &self.ends);
        let left = bytes.get(used..).unwrap_or_default();
        self.ends.count_read(from, used);
        if let Some(end) = self.ends.at(from) {
            end.is_held = !left.is_empty() && !reads;
            end.lane.adapt(!end.is_held);
            end.lane.keep(left);
        }
        if let Some(rtt) = self.dispatcher.take_rtt(from) {
            self.shard.answered(peer(from), rtt);
        }
    }

    fn handle_ending(&mut self, port: Port, ending: Ending) {
        if let Some(end) = self.ends.at(port).filter(|end| !end.has_ended) {
            end.has_ended = true;
            self.with(|dispatcher, ends, context| dispatcher.handle_ending(port, ending, ends, context));
        }
    }

    /// What the clock wants of it; whether there was anything. Behind all reads: what has come in the meantime may be a
    /// sign of life, or a reply. But it is not put off for ever.
    fn keep_time(&mut self, is_moving: bool) -> bool {
        let grace = if is_moving { CLOCK_GRACE } else { Duration::ZERO };
        let is_time = self.shard.driver.deadline().is_some_and(|at| at + grace <= self.shard.now());
        if is_time {
            self.shard.driver.set_deadline(None);
            self.with(|dispatcher, ends, context| dispatcher.handle_time(ends, context));
        }
        is_time
    }

    /// Parts from backends whose sessions are to go.
    fn retire(&mut self) {
        for line in self.ends.lines() {
            if self.ends.is_retired(line) {
                self.with(|dispatcher, ends, context| dispatcher.handle_retired(line, ends, context));
            }
        }
    }

    /// Sends what the round had for each connection; whether one of them turned out to be broken.
    fn deliver(&mut self) -> bool {
        let mut has_broken = false;
        self.ends.deliver();
        while let Some(port) = self.ends.take_broken() {
            has_broken = true;
            self.handle_ending(port, Ending::Reset);
            self.ends.deliver();
        }
        has_broken
    }

    /// Does what the dispatcher wants of the connections; whether there was anything.
    fn obey(&mut self) -> bool {
        let mut has_obeyed = false;
        while let Some(command) = self.dispatcher.poll_command() {
            has_obeyed = true;
            let (Command::Dial { line, .. } | Command::Drop { line }) = command;
            self.ends.drop_line(line);
            self.dials.retain(|(dialled, _)| *dialled != line);
            if let Command::Dial { line, backend } = command {
                let endpoints = self.ends.client().and_then(|client| self.ledger.endpoints(client));
                let dial = Dial::begin(&self.shard, &self.dispatch, backend, (&self.origin, endpoints));
                self.dials.push((line, dial));
            }
        }
        has_obeyed
    }

    /// Closes what is done with; whether the client's connection is.
    fn settle(&mut self) -> bool {
        for line in self.ends.lines() {
            let disposition = self.dispatcher.disposition(Port::Line(line));
            let Some(end) = self.ends.at(Port::Line(line)) else { continue };
            end.lane.settle(disposition);
            if end.lane.is_closed() {
                self.ends.drop_line(line);
            }
        }
        let disposition = self.dispatcher.disposition(Port::Client);
        self.ends.at(Port::Client).is_none_or(|end| {
            end.lane.settle(disposition);
            end.lane.is_closed()
        })
    }

    /// Enters what was forwarded since the last time.
    fn count(&mut self) {
        for (peer, counted) in Peer::BOTH.into_iter().zip(&mut self.counted) {
            let now = self.dispatcher.traffic(peer);
            let more = now.since(*counted);
            *counted = now;
            let bytes = usize::try_from(more.bytes).unwrap_or(usize::MAX);
            self.ledger.count(None, peer, bytes, more.messages);
        }
        self.ledger.count_throttled(self.dispatcher.take_throttled());
    }

    fn set_deadline(&self) {
        self.dispatcher.deadline().into_iter().for_each(|at| self.shard.driver.set_deadline_by(at));
    }

    /// Lends it what the shard has for the session that is being polled. The outbox is given back empty; should it panic,
    /// what is in there goes with it, and to nobody else.
    fn with_loan<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        self.ends.outbox = self.dispatch.outbox.take();
        self.candidates = self.dispatch.candidates();
        let result = act(self);
        self.ends.deliver();
        self.dispatch.outbox.replace(std::mem::take(&mut self.ends.outbox));
        self.dispatch.spare.replace(std::mem::take(&mut self.candidates));
        result
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Dispatcher, &mut Ends, &mut Context<'_>) -> T) -> T {
        let mut board = self.dispatch.board.borrow_mut();
        let mut context = Context {
            now: self.shard.now(),
            random: self.shard.random().nonce,
            board: &mut board,
            candidates: &self.candidates,
        };
        act(&mut self.dispatcher, &mut self.ends, &mut context)
    }
}

impl Future for DispatchSession {
    type Output = ();

    /// A panic ends this session, and no other.
    fn poll(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        let poll = match catch_unwind(AssertUnwindSafe(|| session.with_loan(Self::step))) {
            Ok(poll) => poll,
            Err(_) if session.has_faulted => Poll::Ready(()),
            Err(_) => catch_unwind(AssertUnwindSafe(|| session.fail())).unwrap_or(Poll::Ready(())),
        };
        if poll.is_ready() {
            session.finish();
        }
        poll
    }
}

/// Whose bytes come from there.
fn peer(port: Port) -> Peer {
    match port {
        Port::Client => Peer::Client,
        Port::Line(_) => Peer::Backend,
    }
}
