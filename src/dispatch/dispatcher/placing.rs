//! Finds the lines for a message, and opens them when they are wanted.

use std::time::Instant;

use super::from_client::{Sending, To};
use super::stage::{Goodbye, Word};
use super::{Assembly, Balance, Command, Context, Dispatcher, Doer, Line, LineId, Port, Ports, Stage, line};
use crate::balance::BackendId;
use crate::dispatch::asked::Parcel;
use crate::dispatch::board::Draw;
use crate::dispatch::line::Hope;
use crate::dispatch::{Candidate, Send};
use crate::protocol::frame::CloseCode;
use crate::session::{Cause, Why};

/// How a backend stands toward the message that is to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It can have it now.
    Ready(LineId),
    /// It will be able to, if all goes well: it is being dialled, or does not take what it has got yet.
    Pending,
    /// It would have to be dialled, and can be.
    Dialable,
    /// It could not be reached just now.
    Avoided,
}

impl Dispatcher {
    /// The lines that can have a message now; `None` if it has to wait.
    pub(super) fn place(
        &mut self,
        key: Option<&[u8]>,
        ports: &impl Ports,
        context: &mut Context<'_>,
    ) -> Option<To> {
        let settings = self.settings.clone();
        match (&settings.send, key) {
            (Send::All(_), _) => self.place_all(ports, context),
            (Send::One(balance @ Balance::Hash(_)), Some(key)) => {
                self.place_hashed(balance, key, ports, context)
            }
            (Send::One(balance), _) => self.place_one(balance, ports, context),
        }
    }

    fn place_all(&mut self, ports: &impl Ports, context: &mut Context<'_>) -> Option<To> {
        for candidate in context.candidates {
            if self.standing(candidate, ports, context.now) == Standing::Dialable {
                self.dial(candidate.backend, context);
            }
        }
        let mut open = self.line_ids().filter(|id| self.open(*id).is_some()).peekable();
        open.peek()?;
        open.all(|id| ports.is_flushed(Port::Line(id))).then_some(To::All { opened: self.opened })
    }

    /// Where the key belongs, or will as soon as that is open.
    fn place_hashed(
        &mut self,
        balance: &Balance,
        key: &[u8],
        ports: &impl Ports,
        context: &mut Context<'_>,
    ) -> Option<To> {
        let candidates = context.candidates;
        let at = self.pick(balance, Some(key), context, |dispatcher, candidate, now| {
            dispatcher.standing(candidate, ports, now) != Standing::Avoided
        })?;
        let candidate = candidates.get(at)?;
        match self.standing(candidate, ports, context.now) {
            Standing::Ready(line) => Some(To::One(line)),
            Standing::Dialable => {
                self.dial(candidate.backend, context);
                None
            }
            Standing::Pending | Standing::Avoided => None,
        }
    }

    /// The best of all; if that has to be dialled first, the best of those that are open meanwhile.
    fn place_one(&mut self, balance: &Balance, ports: &impl Ports, context: &mut Context<'_>) -> Option<To> {
        let candidates = context.candidates;
        let is_ready = |standing| matches!(standing, Standing::Ready(_));
        let mut is_eligible: fn(Standing) -> bool =
            |standing| matches!(standing, Standing::Ready(_) | Standing::Dialable);
        loop {
            let picked = self.pick(balance, None, context, |dispatcher, candidate, now| {
                is_eligible(dispatcher.standing(candidate, ports, now))
            });
            let Some(candidate) = picked.and_then(|at| candidates.get(at)) else { break };
            match self.standing(candidate, ports, context.now) {
                Standing::Ready(line) => return Some(To::One(line)),
                Standing::Dialable => self.dial(candidate.backend, context),
                Standing::Pending | Standing::Avoided => break,
            }
            is_eligible = is_ready;
        }
        self.last_resort(ports, context)
    }

    /// A line that gets nothing as long as others can: its backend is ill, or is to go. Better than nobody.
    fn last_resort(&self, ports: &impl Ports, context: &Context<'_>) -> Option<To> {
        let is_candidate = |backend| context.candidates.iter().any(|candidate| candidate.backend == backend);
        let has_better = self
            .lines
            .iter()
            .any(|line| is_candidate(line.backend) && (line.open().is_some() || line.is_dialling()));
        if has_better {
            return None;
        }
        let is_free = |id: &LineId| self.open(*id).is_some() && ports.is_flushed(Port::Line(*id));
        self.line_ids().find(is_free).map(To::One)
    }

    fn pick(
        &self,
        balance: &Balance,
        key: Option<&[u8]>,
        context: &mut Context<'_>,
        is_eligible: impl Fn(&Self, &Candidate, Instant) -> bool,
    ) -> Option<usize> {
        let (random, now) = (context.next_random(), context.now);
        let draw = Draw { key, random, now };
        context.board.pick(balance, context.candidates, draw, |candidate| is_eligible(self, candidate, now))
    }

    fn line_to(&self, backend: BackendId) -> Option<(LineId, &Line)> {
        self.line_ids().zip(&self.lines).find(|(_, line)| line.backend == backend)
    }

    /// Connects to a backend: on the line that was its own, on one whose backend is gone, or on a new one.
    pub(super) fn dial(&mut self, backend: BackendId, context: &Context<'_>) {
        let is_gone = |line: &Line| line.is_vacant() && !context.is_candidate(line.backend);
        let known = self.lines.iter().position(|line| line.backend == backend);
        let index = known.or_else(|| self.lines.iter().position(is_gone)).unwrap_or(self.lines.len());
        let Ok(id) = u16::try_from(index).map(LineId) else { return };
        if known.is_none() {
            let line = Line::new(backend);
            match self.line_mut(id) {
                Some(gone) => *gone = line,
                None => self.lines.push(line),
            }
        }
        self.line_mut(id).into_iter().for_each(|line| line.stage = line::Stage::Dialling);
        self.commands.push_back(Command::Dial { line: id, backend });
    }

    /// Sends what waited for a line, as far as one can have it.
    pub(super) fn place_parcels(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        while !matches!(self.stage, Stage::Over { .. } | Stage::Cut)
            && self.assembly == Assembly::Done
            && matches!(self.sending, Sending::Nothing | Sending::Draft(_) | Sending::Swallowed)
            && let Some(parcel) = self.parcels.pop_front()
        {
            match self.place(parcel.key.as_deref(), ports, context) {
                Some(to) => self.send_parcel(parcel, to, ports, context),
                None => return self.parcels.push_front(parcel),
            }
        }
    }

    fn send_parcel(&mut self, parcel: Parcel, to: To, ports: &mut impl Ports, context: &mut Context<'_>) {
        context.board.counters.retries += u64::from(parcel.is_again);
        self.write(to, &parcel.frames, ports, context);
        self.mark(to);
        let (place, about) = parcel.sent();
        self.kept_bytes += about.as_ref().map_or(0, |about| about.kept_bytes());
        self.owe(place, about, ports, context);
    }

    /// Dials until somebody is there again, where nobody is. Each backend has one chance; then the client is closed.
    pub(super) fn seek(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        self.seek_at = None;
        if !matches!(self.stage, Stage::Open | Stage::Settling(_)) {
            return;
        }
        let is_there = |line: &Line| line.open().is_some() || line.is_dialling();
        if self.lines.iter().any(is_there) {
            return;
        }
        let mut is_hopeless = true;
        for candidate in context.candidates {
            let known = self.line_to(candidate.backend).map(|(_, line)| line);
            let retry_at = known.and_then(|line| line.retry_at);
            if known.is_some_and(|line| line.hope != Hope::Untried) {
                continue;
            }
            is_hopeless = false;
            if known.is_none_or(|line| line.is_dialable(context.now)) {
                self.dial(candidate.backend, context);
            } else {
                self.seek_at = [self.seek_at, retry_at].into_iter().flatten().min();
            }
        }
        if is_hopeless {
            let lost = Word::new(CloseCode::INTERNAL_ERROR, "no backend can be reached");
            let word = self.last_word.unwrap_or(lost);
            let cause = match self.last_word {
                Some(word) => Cause { side: Doer::Backend, why: Why::Closed, code: word.code },
                None => Cause { side: Doer::Backend, why: Why::Vanished, code: lost.code },
            };
            self.part_with(Goodbye { cause, client: Some(word), backends: word }, ports, context);
        }
    }

    /// Dials all at once where each message goes to all, before the first is taken.
    pub(super) fn assemble(&mut self, context: &mut Context<'_>) {
        if self.assembly == Assembly::Due {
            self.assembly = Assembly::Begun;
            for candidate in context.candidates {
                if self.line_to(candidate.backend).is_none() {
                    self.dial(candidate.backend, context);
                }
            }
        }
        if self.assembly == Assembly::Begun && !self.lines.iter().any(Line::is_dialling) {
            self.assembly = Assembly::Done;
        }
    }

    fn standing(&self, candidate: &Candidate, ports: &impl Ports, now: Instant) -> Standing {
        let Some((id, line)) = self.line_to(candidate.backend) else { return Standing::Dialable };
        match &line.stage {
            line::Stage::Open(_) if ports.is_flushed(Port::Line(id)) => Standing::Ready(id),
            line::Stage::Open(_) | line::Stage::Dialling => Standing::Pending,
            line::Stage::Vacant | line::Stage::Leaving { .. } if line.is_dialable(now) => Standing::Dialable,
            line::Stage::Vacant | line::Stage::Leaving { .. } => Standing::Avoided,
        }
    }
}
