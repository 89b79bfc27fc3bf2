//! What the clock wants of a session.

use std::time::{Duration, Instant};

use super::stage::{Goodbye, Word};
use super::{Context, Dispatcher, Doer, Line, LineId, Port, Ports, Stage, line};
use crate::dispatch::asked::{Asked, Missing, Parcel};
use crate::dispatch::line::{Incoming, Open};
use crate::protocol::frame::CloseCode;
use crate::session::{Cause, Input, Link, Verdict, Why, after};

/// How long a line that could not speak for the client's sake is left in peace.
const RESPITE: Duration = Duration::from_millis(200);

impl Dispatcher {
    /// When [`Self::handle_time`] is wanted next. May move back with traffic: then being early does no harm.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let until = match &self.stage {
            Stage::Open => None,
            Stage::Settling(settling) => Some(settling.until),
            Stage::Over { cut_at } => Some(*cut_at),
            Stage::Cut => return None,
        };
        let leaving = self.lines.iter().filter_map(|line| match line.stage {
            line::Stage::Leaving { until } => Some(until),
            line::Stage::Vacant | line::Stage::Dialling | line::Stage::Open(_) => None,
        });
        let first = until.into_iter().chain(leaving).min();
        if matches!(self.stage, Stage::Over { .. }) {
            return first;
        }
        let open = self.lines.iter().filter_map(Line::open);
        let judged = open.flat_map(|open| self.line_deadlines(open));
        let resume_at = self.meter.as_ref().and_then(|meter| meter.resume_at());
        let stall_at = self.exit.holder().map(|holder| after(holder.heard_at, self.stall()));
        let ping_at = self.client.deadline().filter(|_| self.is_open());
        let own = [first, self.drain.deadline(), self.expires_at(), resume_at, stall_at, ping_at];
        let own = own.into_iter().chain([self.idle_at(), self.seek_at, self.expiry_of_parcels()]);
        own.flatten().chain(judged).min()
    }

    fn line_deadlines(&self, open: &Open) -> impl Iterator<Item = Instant> {
        let overdue_at = self.exchange().and_then(|exchange| open.overdue_at(exchange.timeout));
        [overdue_at, open.look_at(), open.side.deadline()].into_iter().flatten()
    }

    fn expires_at(&self) -> Option<Instant> {
        let lifetime = self.session.lifetime.filter(|_| self.is_open())?;
        Some(after(self.since, lifetime))
    }

    fn idle_at(&self) -> Option<Instant> {
        self.is_open().then(|| after(self.last_activity, self.session.idle))
    }

    fn expiry_of_parcels(&self) -> Option<Instant> {
        let timeout = self.exchange()?.timeout;
        let places = self.parcels.iter().filter_map(|parcel| parcel.place);
        places.map(|place| after(place.at, timeout)).min()
    }

    pub(super) fn keep_time(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let now = context.now;
        self.end_in_time(ports, context);
        if self.meter.as_ref().and_then(|meter| meter.resume_at()).is_some_and(|at| at <= now) {
            // It could not show before that it is there: its silence begins now.
            self.last_activity = now;
            self.meter.iter_mut().for_each(|meter| meter.release());
        }
        self.judge_client(ports, context);
        self.judge_holder(ports, context);
        self.give_up_parcels(ports, context);
        for id in self.line_ids() {
            self.judge_line(id, ports, context);
        }
    }

    /// Ends what is over.
    fn end_in_time(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let now = context.now;
        let settle = |dispatcher: &mut Self, why, word: Word| {
            dispatcher.settle(Doer::Proxy, why, (Some(word), word), now);
        };
        if let Some(farewell) = self.drain.take_due(now) {
            settle(self, farewell.why(), Word::new(farewell.code(), farewell.reason()));
        }
        if self.expires_at().is_some_and(|at| at <= now) {
            settle(self, Why::Expired, Word::new(CloseCode::GOING_AWAY, "lifetime over"));
        }
        if self.idle_at().is_some_and(|at| at <= now) {
            let word = Word::new(CloseCode::GOING_AWAY, "idle timeout");
            self.close((Doer::Proxy, Why::Idle), word, ports, context);
        }
        if let Stage::Over { cut_at } = self.stage
            && cut_at <= now
        {
            self.cut();
        }
    }

    fn judge_client(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        let link = Link { is_stuck: !ports.is_flushed(Port::Client), is_unread: !self.reads_client(ports) };
        if self.client.handle_time(link, context.now) == Verdict::Dead {
            let backends = Word::new(CloseCode::GOING_AWAY, "client ping timeout");
            let cause = Cause { side: Doer::Client, why: Why::PingTimeout, code: backends.code };
            self.part_with(Goodbye { cause, client: None, backends }, ports, context);
            self.client.half.input = Input::Ended;
        }
    }

    /// Whoever has the client for itself must go on.
    fn judge_holder(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let Some(holder) = self.exit.holder() else { return };
        if !ports.is_flushed(Port::Client) {
            return self.exit.touch(context.now);
        }
        if after(holder.heard_at, self.stall()) <= context.now {
            self.dismiss(holder.line, Word::new(CloseCode::POLICY, "message stalled"), ports, context);
        }
    }

    fn give_up_parcels(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let Some(timeout) = self.exchange().map(|exchange| exchange.timeout) else { return };
        let now = context.now;
        let is_late = |parcel: &Parcel| parcel.place.is_some_and(|place| after(place.at, timeout) <= now);
        while let Some(at) = self.parcels.iter().position(is_late)
            && let Some(parcel) = self.parcels.remove(at)
            && let (Some(place), about) = parcel.sent()
        {
            self.unanswered((place.seq, Missing::Late), about.as_deref(), ports, context);
        }
    }

    fn judge_line(&mut self, id: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let now = context.now;
        let is_read = self.reads_line(id, ports);
        let is_flushed = ports.is_flushed(Port::Line(id));
        let stall = self.stall();
        let Some(line) = self.line_mut(id) else { return };
        let open = match &mut line.stage {
            line::Stage::Leaving { until } if *until <= now => {
                return self.line_ended(id, ports, context);
            }
            line::Stage::Vacant | line::Stage::Dialling | line::Stage::Leaving { .. } => return,
            line::Stage::Open(open) => open,
        };
        let is_stuck = open.is_stuck(is_flushed, stall, now);
        let link = Link { is_stuck: !is_flushed, is_unread: !is_read };
        if open.side.handle_time(link, now) == Verdict::Dead || is_stuck {
            return self.line_ended(id, ports, context);
        }
        if is_read {
            self.give_up_late(id, ports, context);
        } else {
            open.judge_at = after(now, RESPITE);
        }
    }

    /// Nobody waits longer than the timeout for a backend's replies. One whose oldest is overdue by as long again is of no
    /// use, unless it answers others.
    fn give_up_late(&mut self, id: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let Some(timeout) = self.exchange().map(|exchange| exchange.timeout) else { return };
        let is_correlated = self.correlate().is_some();
        loop {
            let Some(line) = self.lines.get_mut(id.index()) else { return };
            let backend = line.backend;
            let Some(open) = line.open_mut() else { return };
            if matches!(open.incoming, Incoming::Passing(_)) {
                open.judge_at = after(context.now, RESPITE);
                return;
            }
            let is_late = |at: Instant, times| after(at, timeout.saturating_mul(times)) <= context.now;
            if let Some(oldest) = open.owed.front().filter(|asked| is_late(asked.place.at, 2)) {
                // Without correlation the next reply would be taken for the one that is missing.
                if open.replied_at <= oldest.place.at || !is_correlated {
                    return self.dismiss(id, Word::new(CloseCode::POLICY, "no replies"), ports, context);
                }
                if oldest.is_given_up {
                    open.owed.pop_front();
                    context.board.handle_forgotten(backend);
                    continue;
                }
            }
            let late = open.owed.iter_mut().find(|asked| !asked.is_given_up);
            let Some(late) = late.filter(|asked| is_late(asked.place.at, 1)) else { return };
            let (place, kept) = (late.place, late.give_up());
            let about = late.about.clone();
            self.kept_bytes -= kept;
            context.board.handle_known(backend, timeout, context.now);
            self.miss(Asked { place, is_given_up: true, about }, Missing::Late, ports, context);
        }
    }
}
