//! What backends say: replies and notifications, each whole to the client or to nobody.

use super::stage::Word;
use super::{Context, Dispatcher, KEPT_BYTES_MAX, LineId, Port, Ports, Stage};
use crate::dispatch::gather::Fate;
use crate::dispatch::hearing::{Heard, hear};
use crate::dispatch::line::{self, Incoming};
use crate::dispatch::{Replies, Send};
use crate::session::{Input, Peer, reason_for};

/// Bytes of a message that is kept until it is whole. A longer one has the client for itself from there on.
const WHOLE_BYTES_MAX: usize = 64 << 10;

/// Where a message goes of which only the beginning is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the client, piece by piece if need be.
    Out,
    /// It has to be seen whole.
    Whole,
    /// Nowhere.
    Nowhere,
}

/// Bytes of one read.
struct Read<'b> {
    bytes: &'b [u8],
    /// Whole messages that go to the client as they stand there, and have not gone yet, begin here...
    run: usize,
    /// ... and end here.
    run_end: usize,
    /// The message in progress begins here, if it began in this read and nothing stands inside it that is not of it.
    message: Option<usize>,
    used: usize,
    /// Messages in the run.
    messages: u64,
}

impl Dispatcher {
    /// Takes what a backend says.
    pub(super) fn hear_line(
        &mut self,
        id: LineId,
        bytes: &[u8],
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) -> usize {
        if !bytes.is_empty()
            && let Some(line) = self.line_mut(id)
        {
            line.handle_use();
            line.open_mut().into_iter().for_each(|open| open.side.handle_bytes(context.now));
        }
        let mut read = Read { bytes, run: 0, run_end: 0, message: None, used: 0, messages: 0 };
        loop {
            let rest = bytes.get(read.used..).unwrap_or_default();
            let is_over = matches!(self.stage, Stage::Over { .. } | Stage::Cut);
            let Some(open) = self.open_mut(id).filter(|open| open.side.half.input == Input::Open && !is_over)
            else {
                return bytes.len();
            };
            if rest.is_empty() {
                break;
            }
            let (len, heard) = hear(&mut open.side.half.scanner, rest);
            let piece = rest.get(..len).unwrap_or_default();
            match heard {
                Heard::More => break,
                Heard::Data { is_end } => self.hear_part(id, (&mut read, len, is_end), ports, context),
                Heard::Ping | Heard::Pong => {
                    open.side.handle_control(heard, piece, context.now);
                    self.pause(id, &mut read, ports, context);
                    read.used += len;
                    (read.run, read.run_end) = (read.used, read.used);
                }
                Heard::Close(code) => {
                    self.pause(id, &mut read, ports, context);
                    self.line_closed(id, code, ports, context);
                    return bytes.len();
                }
                Heard::Violation(violation) => {
                    self.pause(id, &mut read, ports, context);
                    let word = Word::new(violation.close_code(), reason_for(violation));
                    self.dismiss(id, word, ports, context);
                    return bytes.len();
                }
            }
        }
        self.pause(id, &mut read, ports, context);
        read.used
    }

    /// Whether a backend is read: not while the client does not take what others have said, nor while what it says has to
    /// wait for what others have not said.
    pub(super) fn reads_line(&self, id: LineId, ports: &impl Ports) -> bool {
        let Some(line) = self.line(id) else { return false };
        let line::Stage::Open(open) = &line.stage else {
            return matches!(line.stage, line::Stage::Leaving { .. });
        };
        if matches!(self.stage, Stage::Over { .. } | Stage::Cut) {
            return true;
        }
        if !ports.is_flushed(Port::Client) {
            return false;
        }
        if let Some(holder) = self.exit.holder() {
            return holder.line == id;
        }
        let is_in_turn = match &open.incoming {
            Incoming::Draft(draft) if draft.len() > WHOLE_BYTES_MAX && self.way(id) == Way::Out => {
                self.exit.has_turn(self.answers(id))
            }
            Incoming::Between | Incoming::Draft(_) | Incoming::Passing(_) | Incoming::Swallowed => true,
        };
        is_in_turn && self.is_room_for_replies(id)
    }

    /// Whether replies of a backend can be kept, if they have to be. Twice as many of one that is waited for: it may say
    /// other things first.
    fn is_room_for_replies(&self, id: LineId) -> bool {
        let kept = self.exit.kept_bytes() + self.rounds.as_ref().map_or(0, |rounds| rounds.bytes());
        if kept < KEPT_BYTES_MAX {
            return true;
        }
        let gathered = self.rounds.as_ref().and_then(|rounds| rounds.first());
        let first = self.exit.next().or(gathered);
        let is_waited_for = self.open(id).is_some_and(|open| {
            open.owed.iter().any(|asked| !asked.is_given_up && Some(asked.place.seq) == first)
        });
        is_waited_for && kept < 2 * KEPT_BYTES_MAX
    }

    /// The next `len` bytes are of a message.
    fn hear_part(
        &mut self,
        id: LineId,
        (read, len, is_end): (&mut Read<'_>, usize, bool),
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        self.last_activity = context.now;
        if is_end {
            ports.count(id, Peer::Backend);
        }
        let piece = read.bytes.get(read.used..read.used + len).unwrap_or_default();
        let is_new = self.open(id).is_some_and(|open| matches!(open.incoming, Incoming::Between));
        if is_new {
            let from = *read.message.get_or_insert(read.used);
            read.used += len;
            if !is_end {
                return;
            }
            read.message = None;
            let whole = read.bytes.get(from..read.used).unwrap_or_default();
            if self.passes_at_once(id, context) {
                if read.run_end != from {
                    self.pass_run(read, ports);
                    read.run = from;
                }
                read.run_end = read.used;
                read.messages += 1;
            } else {
                self.pass_run(read, ports);
                self.handle_message(id, whole, ports, context);
            }
            return;
        }
        read.used += len;
        self.go_on_with(id, piece, ports, context);
        if is_end {
            self.end_message(id, ports, context);
        }
    }

    /// Writes what is whole, and keeps what has come of a message that is not.
    fn pause(&mut self, id: LineId, read: &mut Read<'_>, ports: &mut impl Ports, context: &mut Context<'_>) {
        self.pass_run(read, ports);
        let begun = read.message.take().and_then(|from| read.bytes.get(from..read.used));
        if let Some(begun) = begun.filter(|begun| !begun.is_empty()) {
            self.open_mut(id).into_iter().for_each(|open| open.incoming = Incoming::Draft(Vec::new()));
            self.go_on_with(id, begun, ports, context);
        }
    }

    fn pass_run(&mut self, read: &mut Read<'_>, ports: &mut impl Ports) {
        let run = read.bytes.get(read.run..read.run_end).unwrap_or_default();
        self.from_backends.add(run.len(), read.messages);
        self.exit.put(None, run, ports, &mut Default::default());
        (read.run, read.messages) = (read.run_end, 0);
    }

    /// More of a message has come that did not come at once.
    fn go_on_with(&mut self, id: LineId, piece: &[u8], ports: &mut impl Ports, context: &mut Context<'_>) {
        let Some(open) = self.open_mut(id) else { return };
        let len = match &mut open.incoming {
            Incoming::Between | Incoming::Swallowed => return,
            Incoming::Passing(_) => {
                self.exit.touch(context.now);
                self.from_backends.add(piece.len(), 0);
                return self.exit.pass(piece, ports);
            }
            Incoming::Draft(draft) => {
                draft.extend_from_slice(piece);
                draft.len()
            }
        };
        let way = self.way(id);
        if way == Way::Nowhere {
            self.swallow(id, context);
        } else if way == Way::Out && len > WHOLE_BYTES_MAX && self.exit.has_turn(self.answers(id)) {
            self.take_floor(id, ports, context);
        }
    }

    /// What is kept of a message goes out, and the rest as it comes.
    fn take_floor(&mut self, id: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let answering = self.begin_answer(id);
        let Some(open) = self.open_mut(id) else { return };
        let Incoming::Draft(draft) = std::mem::replace(&mut open.incoming, Incoming::Passing(answering))
        else {
            return;
        };
        self.from_backends.add(draft.len(), 0);
        self.exit.pass(&draft, ports);
        self.exit.hold(id, context.now);
    }

    fn end_message(&mut self, id: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let Some(open) = self.open_mut(id) else { return };
        match std::mem::replace(&mut open.incoming, Incoming::Between) {
            Incoming::Between | Incoming::Swallowed => {}
            Incoming::Draft(frames) => self.handle_message(id, &frames, ports, context),
            Incoming::Passing(answering) => {
                self.from_backends.add(0, 1);
                self.exit.release(ports);
                if let Some(answering) = answering {
                    self.end_answer(id, *answering, ports, context);
                }
            }
        }
    }

    /// What becomes of the message that a backend is sending.
    fn way(&self, id: LineId) -> Way {
        let Replies::One(exchange) = &self.settings.replies else { return Way::Out };
        if exchange.correlate.is_some() {
            return Way::Whole;
        }
        let owed = self.open(id).and_then(|open| open.owed.front());
        let Some(asked) = owed.filter(|asked| !asked.is_given_up) else { return Way::Nowhere };
        match (&self.settings.send, &self.rounds) {
            (Send::All(_), Some(rounds)) => match rounds.fate(asked.place.seq) {
                Fate::Pass => Way::Out,
                Fate::Keep => Way::Whole,
                Fate::Surplus => Way::Nowhere,
            },
            (Send::One(_), _) | (Send::All(_), None) => Way::Out,
        }
    }
}
