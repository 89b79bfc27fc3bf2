//! How lines and the session end (RFC 6455 §5.5.1, §7.1).

use std::time::Instant;

use super::from_client::Sending;
use super::stage::{Goodbye, Settling, Word};
use super::{Command, Context, Dispatcher, Doer, LineId, Port, Ports, Stage, line};
use crate::dispatch::Board;
use crate::dispatch::asked::{Asked, Missing};
use crate::dispatch::line::{Hope, Line, Open};
use crate::protocol::frame::{CloseCode, MaskKey, Opcode, close_frame, control_frame};
use crate::session::{Cause, Farewell, Output, Why, after};

impl Dispatcher {
    /// The client's messages are not taken any more: everybody is told so once all that it asked is answered, or its time
    /// to close is over.
    pub(super) fn settle(
        &mut self,
        side: Doer,
        why: Why,
        (client, backends): (Option<Word>, Word),
        now: Instant,
    ) {
        if !self.is_open() {
            return;
        }
        let code = client.and_then(|word| word.code);
        let goodbye = Goodbye { cause: Cause { side, why, code }, client, backends };
        self.cause.get_or_insert(goodbye.cause);
        self.meter.iter_mut().for_each(|meter| meter.release());
        self.stage = Stage::Settling(Box::new(Settling { goodbye, until: after(now, self.session.close) }));
    }

    /// Ends the session now, whatever is not answered.
    pub(super) fn close(
        &mut self,
        (side, why): (Doer, Why),
        word: Word,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let cause = Cause { side, why, code: word.code };
        let backends = Word::new(CloseCode::GOING_AWAY, word.reason);
        self.part_with(Goodbye { cause, client: Some(word), backends }, ports, context);
    }

    /// Says goodbye if it is time.
    pub(super) fn part(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let Stage::Settling(settling) = &self.stage else { return };
        let is_settled = self.outstanding == 0
            && self.parcels.is_empty()
            && self.exit.holder().is_none()
            && matches!(self.sending, Sending::Nothing);
        let is_vain = self.client.half.output == Output::Dead;
        if is_settled || is_vain || settling.until <= context.now {
            let goodbye = settling.goodbye;
            self.part_with(goodbye, ports, context);
        }
    }

    /// Tells everybody, and waits for nothing but their answers.
    pub(super) fn part_with(&mut self, goodbye: Goodbye, ports: &mut impl Ports, context: &mut Context<'_>) {
        if !matches!(self.stage, Stage::Open | Stage::Settling(_)) {
            return;
        }
        self.cause.get_or_insert(goodbye.cause);
        // Nothing can follow a frame that is not whole.
        let may_speak = self.at_boundary_to_client() && self.client.half.output == Output::Open;
        match goodbye.client.filter(|_| may_speak) {
            Some(word) => {
                ports.write(Port::Client, &close_image(word, None));
                self.client.half.output = Output::Closed;
            }
            None => self.client.half.output = Output::Dead,
        }
        self.forget_all(context.board);
        for line in self.line_ids() {
            self.part_from(line, goodbye.backends, ports, context);
        }
        self.stage = Stage::Over { cut_at: after(context.now, self.session.close) };
    }

    /// Whether a frame of selat's own may go to the client.
    pub(super) fn at_boundary_to_client(&self) -> bool {
        let holder = self.exit.holder().and_then(|holder| self.open(holder.line));
        holder.is_none_or(|open| open.side.half.scanner.at_frame_boundary())
    }

    /// Whether a frame of selat's own may go to a backend.
    pub(super) fn at_boundary_to(&self, open: &Open) -> bool {
        !open.is_receiving || self.client.half.scanner.at_frame_boundary()
    }

    /// Tells a backend goodbye; it is gone, as far as the session is concerned.
    fn part_from(
        &mut self,
        id: LineId,
        word: Word,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) -> Option<Box<Open>> {
        let may_speak = self.open(id).is_some_and(|open| self.at_boundary_to(open));
        let until = after(context.now, self.session.close);
        let line = self.line_mut(id)?;
        if matches!(line.stage, line::Stage::Vacant | line::Stage::Leaving { .. }) {
            return None;
        }
        let next = if may_speak { line::Stage::Leaving { until } } else { line::Stage::Vacant };
        let before = std::mem::replace(&mut line.stage, next);
        if may_speak {
            ports.write(Port::Line(id), &close_image(word, Some(context.next_key())));
        } else {
            self.commands.push_back(Command::Drop { line: id });
        }
        match before {
            line::Stage::Open(open) => Some(open),
            line::Stage::Vacant | line::Stage::Dialling | line::Stage::Leaving { .. } => None,
        }
    }

    /// A backend has closed: it is answered, and what it owed is lost.
    pub(super) fn line_closed(
        &mut self,
        id: LineId,
        code: Option<CloseCode>,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let word = Word { code, reason: "" };
        self.last_word = Some(word);
        // §5.5.1: it typically echoes the status code it received.
        let open = self.part_from(id, word, ports, context);
        self.bury(id, (open, Hope::Closed), ports, context);
    }

    /// A backend is of no use any more: it is told so.
    pub(super) fn dismiss(
        &mut self,
        id: LineId,
        word: Word,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let open = self.part_from(id, word, ports, context);
        self.bury(id, (open, Hope::Untried), ports, context);
    }

    /// A backend that gets no more messages: told so once it owes nothing.
    pub(super) fn retire(&mut self, id: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        if self.open(id).is_some_and(Open::is_at_rest) {
            let farewell = Farewell::ServiceRestart;
            let word = Word::new(farewell.code(), farewell.reason());
            // Should it have been the last one, the client is told the same.
            self.last_word = Some(word);
            self.dismiss(id, word, ports, context);
        }
    }

    /// A backend's stream has stopped.
    pub(super) fn line_ended(&mut self, id: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let Some(line) = self.line_mut(id) else { return };
        let open = match std::mem::replace(&mut line.stage, line::Stage::Vacant) {
            line::Stage::Open(open) => Some(open),
            line::Stage::Leaving { .. } => None,
            stage @ (line::Stage::Vacant | line::Stage::Dialling) => {
                line.stage = stage;
                return;
            }
        };
        self.commands.push_back(Command::Drop { line: id });
        self.bury(id, (open, Hope::Untried), ports, context);
    }

    /// Deals with what was under way with a backend that is gone.
    fn bury(
        &mut self,
        id: LineId,
        (open, hope): (Option<Box<Open>>, Hope),
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let Some(mut open) = open else { return };
        let random = context.next_random();
        let Some(line) = self.line_mut(id) else { return };
        let backend = line.backend;
        line.handle_failure(hope, random, context.now);
        self.is_blocked = false;
        if self.exit.holder().is_some_and(|holder| holder.line == id) {
            // What has begun cannot be taken back.
            if !open.side.half.scanner.at_frame_boundary() {
                self.client.half.output = Output::Dead;
            }
            let word = Word::new(CloseCode::INTERNAL_ERROR, "backend connection lost");
            self.close((Doer::Backend, Why::Vanished), word, ports, context);
        }
        let is_heard_by_others = self.lines.iter().filter_map(Line::open).any(|open| open.is_receiving);
        if open.is_receiving && !is_heard_by_others && matches!(self.sending, Sending::Streaming(_)) {
            self.sending = Sending::Swallowed;
        }
        let (debts, owed) = open.take_debts();
        (0..debts).for_each(|_| context.board.handle_forgotten(backend));
        for asked in owed {
            self.miss_unless_given_up(asked, Missing::Lost, ports, context);
        }
    }

    pub(super) fn miss_unless_given_up(
        &mut self,
        asked: Asked,
        why: Missing,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        if !asked.is_given_up && matches!(self.stage, Stage::Open | Stage::Settling(_)) {
            self.miss(asked, why, ports, context);
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn forget_all(&mut self, board: &mut Board) {
        for line in &mut self.lines {
            let backend = line.backend;
            let Some(open) = line.open_mut() else { continue };
            let (debts, _) = open.take_debts();
            (0..debts).for_each(|_| board.handle_forgotten(backend));
        }
        self.parcels.clear();
        self.rounds.iter_mut().for_each(|rounds| rounds.clear());
        self.exit.shut(&mut board.counters);
        (self.outstanding, self.kept_bytes) = (0, 0);
    }

    /// Pings that are due, and pongs.
    pub(super) fn answer_pings(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let is_speaking = matches!(self.stage, Stage::Open | Stage::Settling(_));
        while is_speaking
            && self.client.has_control()
            && self.at_boundary_to_client()
            && ports.is_flushed(Port::Client)
            && let Some(frame) = self.client.poll_control(None, context.random, context.now)
        {
            ports.write(Port::Client, &frame);
        }
        for id in self.line_ids() {
            while let Some(open) = self.open(id).filter(|open| open.side.has_control())
                && self.at_boundary_to(open)
                && ports.is_flushed(Port::Line(id))
            {
                let (key, nonce): (MaskKey, u64) = (context.next_key(), context.next_random());
                let open = self.open_mut(id);
                let Some(frame) = open.and_then(|open| open.side.poll_control(Some(key), nonce, context.now))
                else {
                    break;
                };
                ports.write(Port::Line(id), &frame);
            }
        }
    }
}

fn close_image(word: Word, key: Option<MaskKey>) -> Vec<u8> {
    match word.code {
        Some(code) => close_frame(code, word.reason, key),
        None => control_frame(Opcode::Close, &[], key),
    }
}
