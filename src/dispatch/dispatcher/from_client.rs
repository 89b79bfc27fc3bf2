//! What the client says: its messages go to lines, piece by piece as they come, or whole where they are read.

use std::rc::Rc;
use std::time::Instant;

use super::stage::Word;
use super::{Assembly, Context, Dispatcher, Doer, KEPT_BYTES_MAX, Port, Ports, Stage};
use crate::dispatch::asked::{About, Asked, Missing, Parcel, Place};
use crate::dispatch::hearing::{Heard, hear, is_control, payload};
use crate::dispatch::{Balance, LineId, Send};
use crate::protocol::frame::{CloseCode, Header, Violation};
use crate::session::{Charge, Ending, Input, Output, Peer, Why, reason_for};
use crate::telemetry::Traffic;

/// What becomes of the message that the client is sending.
#[derive(Debug)]
pub(super) enum Sending {
    /// It is sending none.
    Nothing,
    /// It goes to the lines that are marked as receiving.
    Streaming(To),
    /// It is kept until it is whole.
    Draft(Vec<u8>),
    /// The line was lost that it went to.
    Swallowed,
}

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    One(LineId),
    /// All that had been opened when it began: so many, one after the other.
    All {
        opened: u32,
    },
}

/// Bytes of one read that go to the same lines, and have not gone yet.
struct Run {
    to: Option<To>,
    from: usize,
}

impl Dispatcher {
    /// Takes what the client says, as far as there is room for it.
    pub(super) fn hear_client(
        &mut self,
        bytes: &[u8],
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) -> usize {
        self.client.handle_bytes(context.now);
        let before = self.from_client;
        let (mut used, mut run) = (0, Run { to: None, from: 0 });
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.client.half.input != Input::Open {
                used = bytes.len();
                break;
            }
            let to = match self.receiver(rest, ports, context) {
                Receiver::None => break,
                Receiver::Same => run.to,
                Receiver::Next(to) => to,
            };
            if to != run.to {
                self.send(&run, bytes.get(run.from..used), ports, context);
                run = Run { to, from: used };
            }
            let (len, heard) = hear(&mut self.client.half.scanner, rest);
            let piece = rest.get(..len).unwrap_or_default();
            match heard {
                Heard::More => break,
                Heard::Data { is_end } => {
                    used += len;
                    self.hear_piece((piece, is_end), run.to, ports, context);
                }
                Heard::Ping | Heard::Pong => {
                    self.send(&run, bytes.get(run.from..used), ports, context);
                    used += len;
                    run.from = used;
                    self.hear_control(heard, piece, context);
                }
                Heard::Close(_) | Heard::Violation(_) => {
                    self.send(&run, bytes.get(run.from..used), ports, context);
                    run.to = None;
                    self.hear_end(heard, context);
                }
            }
        }
        self.send(&run, bytes.get(run.from..used), ports, context);
        self.charge(self.from_client.since(before), context);
        used
    }

    /// Whether the client's next bytes can go anywhere, of whatever they are the beginning.
    pub(super) fn reads_client(&self, ports: &impl Ports) -> bool {
        match (&self.stage, self.client.half.input) {
            (_, Input::Ended) => false,
            (Stage::Open, Input::Open) => {
                let is_slowed = self.meter.as_ref().is_some_and(|meter| meter.resume_at().is_some());
                !is_slowed && !self.is_blocked && self.has_room() && self.is_streaming_on(ports)
            }
            // What it is in the middle of saying is heard to its end.
            (Stage::Settling(_), Input::Open) => {
                !self.client.half.scanner.at_message_boundary() && self.is_streaming_on(ports)
            }
            (Stage::Over { .. } | Stage::Cut, _) | (_, Input::Closed | Input::Broken) => true,
        }
    }

    /// Whether another message may be taken, or the one in progress may go on.
    fn has_room(&self) -> bool {
        let waiting = self.exit.expected().unwrap_or(self.outstanding);
        let is_full = waiting >= self.settings.outstanding_max || self.kept_bytes > KEPT_BYTES_MAX;
        self.assembly == Assembly::Done
            && self.parcels.is_empty()
            && (!is_full || !matches!(self.sending, Sending::Nothing))
    }

    /// Whether those that get the message in progress take it.
    fn is_streaming_on(&self, ports: &impl Ports) -> bool {
        let is_stuck = |id: &LineId| {
            self.open(*id).is_some_and(|open| open.is_receiving) && !ports.is_flushed(Port::Line(*id))
        };
        !matches!(self.sending, Sending::Streaming(_)) || !self.line_ids().any(|id| is_stuck(&id))
    }

    /// Who gets what begins or goes on with these bytes.
    fn receiver(&mut self, rest: &[u8], ports: &impl Ports, context: &mut Context<'_>) -> Receiver {
        match (&self.sending, &self.stage) {
            (_, Stage::Over { .. } | Stage::Cut) => Receiver::Same,
            (Sending::Streaming(to), _) => Receiver::Next(Some(*to)),
            (Sending::Draft(_) | Sending::Swallowed, _) => Receiver::Next(None),
            (Sending::Nothing, Stage::Settling(_)) => Receiver::None,
            // A control frame waits, too: whether it came with the message before it or behind that makes no difference.
            (Sending::Nothing, Stage::Open) if !self.has_room() => Receiver::None,
            (Sending::Nothing, Stage::Open) if is_control(rest) => Receiver::Same,
            (Sending::Nothing, Stage::Open) if self.is_read_whole() => Receiver::Next(None),
            // A backend has its turn when there is something for it.
            (Sending::Nothing, Stage::Open) if Header::parse(rest) == Ok(None) => Receiver::None,
            (Sending::Nothing, Stage::Open) => match self.place(None, ports, context) {
                Some(to) => Receiver::Next(Some(to)),
                None => {
                    self.is_blocked = true;
                    Receiver::None
                }
            },
        }
    }

    fn is_read_whole(&self) -> bool {
        self.correlate().is_some() || matches!(self.settings.send, Send::One(Balance::Hash(_)))
    }

    fn hear_piece(
        &mut self,
        (piece, is_end): (&[u8], bool),
        to: Option<To>,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        self.last_activity = context.now;
        if !matches!(self.stage, Stage::Open | Stage::Settling(_)) {
            return;
        }
        self.from_client.add(piece.len(), u64::from(is_end));
        if matches!(self.sending, Sending::Nothing) {
            self.sending = match to {
                Some(to) => {
                    self.mark(to);
                    Sending::Streaming(to)
                }
                None => Sending::Draft(Vec::new()),
            };
        }
        if let Sending::Draft(draft) = &mut self.sending {
            draft.extend_from_slice(piece);
        }
        if is_end {
            match std::mem::replace(&mut self.sending, Sending::Nothing) {
                Sending::Nothing => {}
                Sending::Streaming(_) => self.streamed(ports, context),
                Sending::Draft(frames) => self.collected(frames, context),
                Sending::Swallowed => self.swallowed(ports, context),
            }
            self.place_parcels(ports, context);
        }
    }

    /// A message has gone to those that were to get it.
    fn streamed(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let place = self.exchange().is_some().then(|| self.expect(context.now));
        self.owe(place, None, ports, context);
    }

    /// Those that were to get a message have got it.
    pub(super) fn owe(
        &mut self,
        place: Option<Place>,
        about: Option<Rc<About>>,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let mut receivers = 0;
        for (id, line) in self.line_ids().zip(&mut self.lines) {
            let backend = line.backend;
            let Some(open) = line.open_mut().filter(|open| open.is_receiving) else { continue };
            open.is_receiving = false;
            receivers += 1;
            ports.count(id, Peer::Client);
            context.board.counters.sent += 1;
            if let Some(place) = place {
                open.owe(Asked { place, is_given_up: false, about: about.clone() });
                context.board.handle_sent(backend);
            }
        }
        if let (Some(rounds), Some(place)) = (&mut self.rounds, place) {
            rounds.begin(place.seq, about, receivers);
        }
    }

    /// A message is whole and is to be read.
    fn collected(&mut self, frames: Vec<u8>, context: &Context<'_>) {
        let said = payload(&frames);
        let key = match &self.settings.send {
            Send::One(Balance::Hash(pointer)) => pointer.find(&said).map(|key| key.to_string().into_bytes()),
            Send::One(_) | Send::All(_) => None,
        };
        let id = self.correlate().and_then(|pointer| pointer.find(&said));
        drop(said);
        let is_question = self.exchange().is_some() && (self.correlate().is_none() || id.is_some());
        let retries = self.exchange().map_or(0, |exchange| exchange.retries);
        let retries = if matches!(self.settings.send, Send::One(_)) && id.is_some() { retries } else { 0 };
        let place = is_question.then(|| self.expect(context.now));
        self.parcels.push_back(Parcel { frames, key, place, id, retries, is_again: false });
    }

    /// The end has come of a message whose line was lost.
    fn swallowed(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        if self.exchange().is_some() {
            let place = self.expect(context.now);
            self.unanswered((place.seq, Missing::Lost), None, ports, context);
        } else {
            context.board.counters.lost += 1;
        }
    }

    /// A reply is expected to the message that ends now.
    fn expect(&mut self, now: Instant) -> Place {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.outstanding += 1;
        self.exit.expect();
        Place { seq, at: now }
    }

    fn hear_control(&mut self, heard: Heard, frame: &[u8], context: &Context<'_>) {
        self.client.handle_control(heard, frame, context.now);
        if heard == Heard::Ping {
            self.last_activity = context.now;
            self.from_client.add(frame.len(), 0);
        }
    }

    /// Nothing more comes from the client that counts. What it asked is answered all the same.
    fn hear_end(&mut self, heard: Heard, context: &Context<'_>) {
        match heard {
            Heard::Close(code) => {
                self.client.half.input = Input::Closed;
                let word = Word { code, reason: "" };
                self.settle(Doer::Client, Why::Closed, (Some(word), word), context.now);
            }
            Heard::Violation(violation) => self.hear_violation(violation, context),
            Heard::More | Heard::Data { .. } | Heard::Ping | Heard::Pong => {}
        }
    }

    fn hear_violation(&mut self, violation: Violation, context: &Context<'_>) {
        self.client.half.input = Input::Broken;
        let word = Word::new(violation.close_code(), reason_for(violation));
        let backends = Word::new(CloseCode::GOING_AWAY, "client broke the protocol");
        self.settle(Doer::Client, Why::Violation(violation), (Some(word), backends), context.now);
    }

    /// The client's stream has stopped. Who only says no more may still listen.
    pub(super) fn client_ended(&mut self, ending: Ending, ports: &mut impl Ports, context: &mut Context<'_>) {
        let has_closed = self.client.half.input == Input::Closed;
        self.client.half.input = Input::Ended;
        let backends = Word::new(CloseCode::GOING_AWAY, "client connection lost");
        if ending == Ending::Fin {
            if !has_closed {
                self.settle(Doer::Client, ending.into(), (None, backends), context.now);
            }
            return;
        }
        self.client.half.output = Output::Dead;
        match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::Settling(settling) => self.part_with(settling.goodbye, ports, context),
            Stage::Open => {
                self.settle(Doer::Client, ending.into(), (None, backends), context.now);
                if let Stage::Settling(settling) = &mut self.stage {
                    settling.until = context.now;
                }
            }
            stage @ (Stage::Over { .. } | Stage::Cut) => self.stage = stage,
        }
    }

    /// Charges the client for what it sent. A session that ends is not held up any more.
    fn charge(&mut self, sent: Traffic, context: &Context<'_>) {
        let is_open = self.is_open();
        let Some(meter) = self.meter.as_mut().filter(|_| is_open) else { return };
        let bytes = usize::try_from(sent.bytes).unwrap_or(usize::MAX);
        match meter.charge(bytes, sent.messages, context.now) {
            Charge::Accepted => {}
            Charge::Exceeded => {
                let word = Word::new(CloseCode::POLICY, "rate limit");
                let backends = Word::new(CloseCode::GOING_AWAY, "client over its rate limit");
                self.settle(Doer::Client, Why::RateLimited, (Some(word), backends), context.now);
            }
        }
    }

    /// Has these lines get the message that begins.
    pub(super) fn mark(&mut self, to: To) {
        match to {
            To::One(line) => self.open_mut(line).into_iter().for_each(|open| open.is_receiving = true),
            To::All { .. } => {
                let open = self.lines.iter_mut().filter_map(|line| line.open_mut());
                open.for_each(|open| open.is_receiving = true);
            }
        }
    }

    /// Writes a run to the lines that it is for.
    fn send(&mut self, run: &Run, bytes: Option<&[u8]>, ports: &mut impl Ports, context: &Context<'_>) {
        let (Some(to), Some(bytes @ [_, ..])) = (run.to, bytes) else { return };
        self.write(to, bytes, ports, context);
    }

    pub(super) fn write(&mut self, to: To, bytes: &[u8], ports: &mut impl Ports, context: &Context<'_>) {
        match to {
            To::One(line) => self.write_one(line, bytes, ports, context),
            To::All { opened } => {
                for line in self.line_ids() {
                    if self.open(line).is_some_and(|open| open.number <= opened) {
                        self.write_one(line, bytes, ports, context);
                    }
                }
            }
        }
    }

    fn write_one(&mut self, line: LineId, bytes: &[u8], ports: &mut impl Ports, context: &Context<'_>) {
        let stall = self.stall();
        let Some(open) = self.open_mut(line) else { return };
        ports.write(Port::Line(line), bytes);
        open.note_written(stall, context.now);
    }
}

/// Who gets the client's next bytes.
enum Receiver {
    /// Nobody can have them now.
    None,
    /// Whoever got those before.
    Same,
    /// These lines; `None`: they are kept.
    Next(Option<To>),
}
