//! Serves a session that selat answers itself: echo or ticker.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Shard;
use super::lane::{Lane, ending};
use super::record::{Ledger, Summary};
use super::upgrade::RespondOpening;
use super::visitor::Visitor;
use crate::config::Target;
use crate::protocol::frame::{CloseCode, Header, Opcode};
use crate::runtime::Stream;
use crate::session::{Cause, Disposition, Peer, Responder, Script, Settings, Side, Why};
use crate::telemetry::Traffic;

/// Reads before other sessions get their turn.
const TURN_READS: usize = 4;

struct Respond {
    shard: Rc<Shard>,
    client: Lane,
    responder: Responder,
    /// The ticker's next message and its interval.
    tick: Option<(Instant, Duration)>,
    ticks: u64,
    since: Instant,
    last_activity: Instant,
    ledger: Ledger,
    settings: Rc<Settings>,
    received: Traffic,
    sent: Traffic,
    cause: Option<Cause>,
    /// When what is left gets cut; set with the cause.
    cut_at: Option<Instant>,
    is_cut: bool,
}

/// Serves until the connection is closed.
///
/// # Cancel safety
/// Dropping it closes the connection at once.
pub(super) async fn run(shard: Rc<Shard>, client: Stream, visitor: Visitor, opening: RespondOpening) {
    let now = shard.now();
    let Some(route) = visitor.route().cloned() else { return };
    let (script, tick) = match route.route.target {
        Target::Ticker { every } => (Script::Listen, Some((now, every))),
        Target::Echo | Target::Pool(_) | Target::Feed(_) | Target::Dispatch(_) | Target::Fixed(_) => {
            (Script::Echo, None)
        }
    };
    let mut session = Respond {
        client: Lane::new(client),
        responder: Responder::new(script, &route.settings),
        tick,
        ticks: 0,
        since: now,
        last_activity: now,
        ledger: Ledger::open(visitor),
        settings: route.settings.clone(),
        received: Traffic::default(),
        sent: Traffic::default(),
        cause: None,
        cut_at: None,
        is_cut: false,
        shard,
    };
    session.take(&opening.early);
    poll_fn(|_| session.step()).await;
    session.shard.driver.set_deadline(None);
    session.finish();
}

impl Respond {
    fn step(&mut self) -> Poll<()> {
        let now = self.shard.now();
        for _ in 0..TURN_READS {
            if self.client.flush().is_err() {
                return self.end(Side::Client, Why::Vanished, None);
            }
            self.keep_time(now);
            if self.responder.is_over() {
                // §7.1.1: the server closes the connection first.
                self.client.settle(Disposition::Drop);
            }
            if self.client.is_closed() {
                return Poll::Ready(());
            }
            self.is_cut = self.shard.is_cut.get() || self.cut_at.is_some_and(|at| at <= now);
            if self.is_cut {
                return Poll::Ready(());
            }
            if !self.client.is_flushed() || self.responder.is_over() {
                return self.wait();
            }
            let shard = self.shard.clone();
            let mut scratch = shard.scratch.borrow_mut();
            match self.client.read(&mut scratch) {
                Ok(None) => return self.wait(),
                Ok(Some(0)) => return self.end(Side::Client, Why::Vanished, None),
                Err(error) => return self.end(Side::Client, ending(&error).into(), None),
                Ok(Some(len)) => self.take(scratch.get(..len).unwrap_or_default()),
            }
        }
        self.shard.driver.poll_again();
        Poll::Pending
    }

    fn take(&mut self, bytes: &[u8]) {
        self.last_activity = self.shard.now();
        let mut answer = Vec::new();
        let flow = self.responder.handle_bytes(bytes, &mut answer);
        self.client.keep(flow.rest(bytes));
        self.received.add(flow.forward, flow.messages);
        self.ledger.count(None, Peer::Client, flow.forward, flow.messages);
        self.send(&answer, if self.tick.is_none() { flow.messages } else { 0 });
        if let Some(Cause { side, why, code }) = self.responder.cause() {
            self.note(side, why, code);
        }
    }

    fn send(&mut self, bytes: &[u8], messages: u64) {
        self.sent.add(bytes.len(), messages);
        self.ledger.count(None, Peer::Backend, bytes.len(), messages);
        if self.client.write(bytes).is_err() {
            self.note(Side::Client, Why::Vanished, None);
            self.client.settle(Disposition::Abandon);
        }
    }

    /// Drain, idleness and the ticker.
    fn keep_time(&mut self, now: Instant) {
        if self.shard.is_draining() {
            self.close(CloseCode::GOING_AWAY, "going away", Why::Drained);
        } else if self.idle_at().is_some_and(|at| at <= now) {
            self.close(CloseCode::GOING_AWAY, "idle timeout", Why::Idle);
        } else if self.expires_at().is_some_and(|at| at <= now) {
            self.close(CloseCode::GOING_AWAY, "lifetime over", Why::Expired);
        }
        let Some((at, every)) = self.tick.filter(|(at, _)| *at <= now) else { return };
        // A client that does not keep up misses ticks: they are not worth a buffer.
        if self.responder.is_between_messages() && self.client.is_flushed() {
            self.ticks += 1;
            let text = format!("{{\"tick\":{}}}", self.ticks);
            let mut frame = Vec::new();
            Header::whole(Opcode::Text, None, text.len().try_into().unwrap_or(u64::MAX)).encode(&mut frame);
            frame.extend_from_slice(text.as_bytes());
            self.last_activity = now;
            self.send(&frame, 1);
        }
        self.tick = Some(((at + every).max(now), every));
    }

    fn close(&mut self, code: CloseCode, reason: &'static str, why: Why) {
        let mut frame = Vec::new();
        self.responder.close(code, reason, &mut frame);
        self.note(Side::Proxy, why, Some(code));
        self.send(&frame, 0);
    }

    fn wait(&mut self) -> Poll<()> {
        let times = [self.idle_at(), self.expires_at(), self.tick.map(|(at, _)| at)];
        let next = self.cut_at.or_else(|| times.into_iter().flatten().min());
        self.shard.driver.set_deadline(next);
        Poll::Pending
    }

    fn idle_at(&self) -> Option<Instant> {
        self.last_activity.checked_add(self.settings.idle)
    }

    fn expires_at(&self) -> Option<Instant> {
        self.since.checked_add(self.settings.lifetime?)
    }

    fn note(&mut self, side: Side, why: Why, code: Option<CloseCode>) {
        self.cause.get_or_insert(Cause { side, why, code });
        self.cut_at.get_or_insert(self.shard.now() + self.settings.close);
    }

    fn end(&mut self, side: Side, why: Why, code: Option<CloseCode>) -> Poll<()> {
        self.note(side, why, code);
        Poll::Ready(())
    }

    fn finish(self) {
        let summary = Summary {
            since: self.since,
            cause: self.cause,
            is_cut: self.is_cut || self.cause.is_none(),
            from_client: self.received,
            from_backend: self.sent,
        };
        self.ledger.close(&self.shard, None, &summary);
    }
}
