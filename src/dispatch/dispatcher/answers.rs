//! Which message a backend's message answers, and what becomes of those that are not answered.

use std::time::Instant;

use super::stage::Word;
use super::{Context, Dispatcher, Doer, LineId, Ports};
use crate::balance::BackendId;
use crate::dispatch::asked::{About, Asked, Missing, Parcel, Seq};
use crate::dispatch::gather::{Fate, Outcome};
use crate::dispatch::hearing::{payload, text_frame};
use crate::dispatch::line::{Answering, Incoming};
use crate::dispatch::{Replies, Send, Unanswered};
use crate::protocol::frame::CloseCode;
use crate::session::{Why, after};

impl Dispatcher {
    /// The message that a backend's next one answers, where that is known beforehand.
    pub(super) fn answers(&self, id: LineId) -> Option<Seq> {
        let owed = self.open(id).and_then(|open| open.owed.front());
        owed.filter(|_| self.correlate().is_none()).map(|asked| asked.place.seq)
    }

    /// Whether a whole message goes to the client as it is, together with those before and behind it; if so, it is
    /// entered as sent.
    #[inline]
    pub(super) fn passes_at_once(&mut self, id: LineId, context: &mut Context<'_>) -> bool {
        match (&self.settings.replies, &self.settings.send) {
            (Replies::Any, _) => true,
            (Replies::One(exchange), Send::One(_))
                if exchange.correlate.is_none() && !self.exit.is_ordered() =>
            {
                let Some(line) = self.lines.get_mut(id.index()) else { return false };
                let backend = line.backend;
                let Some(open) = line.open_mut() else { return false };
                if open.owed.front().is_none_or(|asked| asked.is_given_up) {
                    return false;
                }
                let Some(asked) = open.owed.pop_front() else { return false };
                open.replied_at = context.now;
                open.shrink();
                self.outstanding = self.outstanding.saturating_sub(1);
                note_reply(backend, asked.place.at, context);
                true
            }
            (Replies::One(_), _) => false,
        }
    }

    /// A message of a backend's is whole.
    pub(super) fn handle_message(
        &mut self,
        id: LineId,
        frames: &[u8],
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let Some(backend) = self.line(id).map(|line| line.backend) else { return };
        let asked = match self.meaning(id, frames, context.now) {
            Meaning::Notice => return self.deliver(None, frames, ports, context),
            Meaning::Unknown => {
                context.board.counters.late += 1;
                return;
            }
            Meaning::Answer(asked) if asked.is_given_up => {
                context.board.counters.late += 1;
                return context.board.handle_forgotten(backend);
            }
            Meaning::Answer(asked) => asked,
        };
        note_reply(backend, asked.place.at, context);
        let seq = asked.place.seq;
        let outcome = match (self.fate(seq), &mut self.rounds) {
            (Fate::Pass, _) => {
                self.deliver(Some(seq), frames, ports, context);
                self.note_passed(seq)
            }
            (Fate::Keep, Some(rounds)) => rounds.handle_reply(seq, Some(&payload(frames))),
            (Fate::Surplus | Fate::Keep, _) => {
                context.board.counters.surplus += 1;
                None
            }
        };
        self.kept_bytes -= asked.about.as_ref().map_or(0, |about| about.kept_bytes());
        self.end_round(seq, outcome, ports, context);
    }

    /// What a backend's whole message answers, which is then no debt of its any more.
    fn meaning(&mut self, id: LineId, frames: &[u8], now: Instant) -> Meaning {
        let settings = self.settings.clone();
        let Replies::One(exchange) = &settings.replies else { return Meaning::Notice };
        let Some(open) = self.open_mut(id) else { return Meaning::Unknown };
        let asked = match &exchange.correlate {
            None => open.owed.pop_front(),
            Some(pointer) => {
                let Some(value) = pointer.find(&payload(frames)) else { return Meaning::Notice };
                let at = open.owed.iter().position(|asked| asked.is_about(&value));
                at.and_then(|at| open.owed.remove(at))
            }
        };
        open.replied_at = now;
        open.shrink();
        asked.map_or(Meaning::Unknown, Meaning::Answer)
    }

    /// A backend's message that answers nothing known is to go nowhere.
    pub(super) fn swallow(&mut self, id: LineId, context: &mut Context<'_>) {
        let Some(line) = self.lines.get_mut(id.index()) else { return };
        let backend = line.backend;
        let Some(open) = line.open_mut() else { return };
        open.incoming = Incoming::Swallowed;
        open.replied_at = context.now;
        match open.owed.pop_front() {
            Some(asked) if !asked.is_given_up => {
                context.board.counters.surplus += 1;
                note_reply(backend, asked.place.at, context);
            }
            Some(_) => {
                context.board.counters.late += 1;
                context.board.handle_forgotten(backend);
            }
            None => context.board.counters.late += 1,
        }
    }

    /// A message passes piece by piece: what it answers is answered by it and by no other.
    pub(super) fn begin_answer(&mut self, id: LineId) -> Option<Box<Answering>> {
        self.exchange()?;
        let asked = self.open_mut(id)?.owed.pop_front()?;
        let outcome = self.note_passed(asked.place.seq);
        Some(Box::new(Answering { asked, outcome }))
    }

    /// It is at its end.
    pub(super) fn end_answer(
        &mut self,
        id: LineId,
        answering: Answering,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let Answering { asked, outcome } = answering;
        if let Some(line) = self.lines.get_mut(id.index()) {
            line.open_mut().into_iter().for_each(|open| open.replied_at = context.now);
            note_reply(line.backend, asked.place.at, context);
        }
        self.end_round(asked.place.seq, outcome, ports, context);
    }

    /// A message that a backend got will not be answered by it. It is sent anew if it may be.
    pub(super) fn miss(
        &mut self,
        asked: Asked,
        why: Missing,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let seq = asked.place.seq;
        self.kept_bytes -= asked.about.as_ref().map_or(0, |about| about.kept_bytes());
        if let Some(rounds) = &mut self.rounds {
            let outcome = rounds.handle_missing(seq, why);
            return self.end_round(seq, outcome, ports, context);
        }
        // What would be late is not sent anew.
        let is_in_time =
            self.exchange().is_some_and(|exchange| context.now < after(asked.place.at, exchange.timeout));
        let asked = match why {
            Missing::Lost if is_in_time => match Parcel::again(asked) {
                Ok(parcel) => return self.parcels.push_back(parcel),
                Err(asked) => asked,
            },
            Missing::Lost | Missing::Late => asked,
        };
        self.unanswered((seq, why), asked.about.as_deref(), ports, context);
    }

    /// A message gets no reply: what the client is told, if anything.
    pub(super) fn unanswered(
        &mut self,
        (seq, why): (Seq, Missing),
        about: Option<&About>,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        count(why, context);
        let settings = self.settings.clone();
        let Replies::One(exchange) = &settings.replies else { return };
        match &exchange.unanswered {
            Unanswered::Drop => {}
            Unanswered::Close => {
                let word = Word::new(CloseCode::INTERNAL_ERROR, "no reply");
                self.close((Doer::Backend, Why::Vanished), word, ports, context);
            }
            Unanswered::Reply(template) => {
                let text = template.write(about.map(|about| &about.id));
                let frame = text_frame(text.as_bytes());
                self.exit.put(Some(seq), &frame, ports, &mut context.board.counters);
            }
        }
        self.finish(seq, ports, context);
    }

    fn end_round(
        &mut self,
        seq: Seq,
        outcome: Option<Outcome>,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        match outcome {
            None => {}
            Some(Outcome::Answered) => self.finish(seq, ports, context),
            Some(Outcome::Array { text, partial }) => {
                if let Some(why) = partial {
                    context.board.counters.partial += 1;
                    count(why, context);
                }
                let frame = text_frame(&text);
                self.from_backends.add(frame.len(), 1);
                self.exit.put(Some(seq), &frame, ports, &mut context.board.counters);
                self.finish(seq, ports, context);
            }
            Some(Outcome::Short(about, why)) => self.unanswered((seq, why), about.as_deref(), ports, context),
        }
    }

    fn finish(&mut self, seq: Seq, ports: &mut impl Ports, context: &mut Context<'_>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.exit.finish(seq, ports, &mut context.board.counters);
    }

    fn deliver(
        &mut self,
        seq: Option<Seq>,
        frames: &[u8],
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        self.from_backends.add(frames.len(), 1);
        self.exit.put(seq, frames, ports, &mut context.board.counters);
    }

    fn fate(&self, seq: Seq) -> Fate {
        self.rounds.as_ref().map_or(Fate::Pass, |rounds| rounds.fate(seq))
    }

    /// A reply goes to the client: whether that was the last one.
    fn note_passed(&mut self, seq: Seq) -> Option<Outcome> {
        match &mut self.rounds {
            Some(rounds) => rounds.handle_reply(seq, None),
            None => Some(Outcome::Answered),
        }
    }
}

/// What a backend's message is.
enum Meaning {
    Answer(Asked),
    /// It answers nothing, and says so.
    Notice,
    /// It answers nothing that anybody waits for.
    Unknown,
}

fn count(why: Missing, context: &mut Context<'_>) {
    match why {
        Missing::Lost => context.board.counters.lost += 1,
        Missing::Late => context.board.counters.timeouts += 1,
    }
}

fn note_reply(backend: BackendId, asked_at: Instant, context: &mut Context<'_>) {
    let took = context.now.saturating_duration_since(asked_at);
    context.board.handle_reply(backend, took, context.now);
}
