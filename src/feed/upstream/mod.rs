//! Which connections a feed is to have, and what becomes of what they say.
//!
//! Pure. The shell dials and hangs up as [`Command`]s tell it, and reports what came of it; [`Upstream::poll_batch`] has
//! the messages for the clients.
//!
//! - One line is read, but for the time of a rotation. A line that is lost, or silent for too long, is hung up and dialled
//!   anew after a backoff; messages may have been missed then, which is a *gap*.
//! - The sources are taken in turn. A line that proved itself and is lost is replaced by one to the preferred source, and
//!   so is every line that is rotated: a spare is left at the next such occasion, never in the midst of its work.
//! - A rotation never costs the line that works. Where the second line is refused, is lost, says something fatal or has
//!   nothing to say while the old one has, it is given up and tried again, after waits that double up to the time between
//!   two rotations: a vendor that forbids a second connection is not hammered, and cuts the old one in its own time. Where
//!   it cuts the old line as soon as the new one opens, the new one takes its place.

mod backoff;
mod line;
mod overlap;
mod stage;
mod surplus;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::backoff::Attempts;
use self::line::{Attempt, Line};
use self::overlap::{Overlap, Voice};
use self::stage::{Stage, Successor};
use super::{Backoff, Batch, Key, Kind, Message, Rotate, Said, Seq, Settings};
use crate::session::after;
use crate::telemetry::{SourceCounters, SourceState};

/// Bytes of the words that stopped a feed; beyond, they are cut.
const WORDS_BYTES_MAX: usize = 256;

/// Why a line is replaced that says nothing.
const STALLED: &str = "stalled";

/// One attempt to connect, and the connection that comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(u32);

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Connect to a source, and say so ([`Upstream::handle_opened`]) or why not ([`Upstream::handle_failed`]).
    Dial {
        /// What the connection is called.
        line: LineId,
        /// Which source, by its place in the configuration.
        source: usize,
    },
    /// Close this connection, with a Close 1000. It is not spoken of any more.
    HangUp {
        /// Which.
        line: LineId,
    },
}

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// For waiting.
    pub now: Instant,
    /// Since the beginning of 1970 in UTC, for the days of the week.
    pub unix_now: Duration,
}

/// The connections of one feed with its sources.
#[derive(Debug)]
pub struct Upstream {
    settings: Arc<Settings>,
    sources: usize,
    stage: Stage,
    /// To have a line at all.
    attempts: Attempts,
    /// To have another in its place.
    rotation: Attempts,
    /// Where lines are rotated.
    overlap: Option<Overlap>,
    /// What it lets pass; empty, but keeps its room.
    passed: Vec<Arc<Message>>,
    /// Whether messages may have been missed since the last one that was published.
    has_gap: bool,
    next_line: u32,
    commands: VecDeque<Command>,
    /// Published, but not taken by the shell yet.
    published: Vec<Arc<Message>>,
    /// The place of the first of them.
    first: Seq,
    /// For the next wait.
    random: u64,
    counters: SourceCounters,
}

impl Upstream {
    /// A feed with so many sources, the first of which is to be dialled now.
    #[must_use]
    pub fn new(settings: Arc<Settings>, sources: usize, now: Instant) -> Self {
        let overlap = settings.rotate.map(|rotate| Overlap::new(rotate.overlap, settings.keys_max, now));
        Self {
            sources: sources.max(1),
            stage: Stage::Down { dial_at: now },
            attempts: Attempts::default(),
            rotation: Attempts::default(),
            overlap,
            passed: Vec::new(),
            has_gap: false,
            next_line: 0,
            commands: VecDeque::new(),
            published: Vec::new(),
            first: Seq(0),
            random: 0,
            counters: SourceCounters::default(),
            settings,
        }
    }

    /// Goes on with other settings, or other sources: what is read is hung up, and the first source dialled. Messages may
    /// be missed meanwhile; those to come are numbered on.
    pub fn adopt(&mut self, settings: Arc<Settings>, sources: usize, now: Instant) {
        let stage = std::mem::replace(&mut self.stage, Stage::Down { dial_at: now });
        let (has_been_read, lines) = match stage {
            Stage::Down { .. } | Stage::Stopped => (false, [None, None]),
            Stage::Dialling(attempt) => (false, [Some(attempt.id), None]),
            Stage::Up { line, successor } => (true, [Some(line.id), successor.id()]),
        };
        let lines = lines.into_iter().flatten();
        self.commands.extend(lines.map(|line| Command::HangUp { line }));
        self.has_gap |= has_been_read;
        self.counters.state = SourceState::Connecting;
        let new = Self::new(settings, sources, now);
        self.settings = new.settings;
        (self.sources, self.overlap) = (new.sources, new.overlap);
        (self.attempts, self.rotation) = (new.attempts, new.rotation);
    }

    /// What to do next; to be asked until there is nothing, after anything was handled and at [`Self::deadline`].
    /// `random` is what waits are drawn from that begin from now on.
    pub fn poll(&mut self, clock: Clock, random: u64) -> Option<Command> {
        self.random = random;
        if self.commands.is_empty() {
            self.judge_silence(clock);
            self.handle_time(clock.now);
        }
        self.commands.pop_front()
    }

    /// The messages that were published since this was asked last; to be asked after each [`Self::poll`] to the end.
    pub fn poll_batch(&mut self) -> Option<Batch> {
        if self.published.is_empty() {
            return None;
        }
        let messages = std::mem::take(&mut self.published);
        let first = self.first;
        self.first = first.plus(messages.len());
        Some(Batch { first, messages })
    }

    /// The place of the next message that is published.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.first.plus(self.published.len())
    }

    /// When [`Self::poll`] is wanted next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Down { dial_at } => Some(*dial_at),
            Stage::Dialling(_) | Stage::Stopped => None,
            Stage::Up { line, successor } => {
                let (at, judge_at) = match successor {
                    Successor::Never | Successor::Dialling(_) => (None, None),
                    Successor::Due { at } => (Some(*at), None),
                    Successor::Open { line, until } => (Some(*until), line.judge_at),
                };
                [line.judge_at, at, judge_at].into_iter().flatten().min()
            }
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &SourceCounters {
        &self.counters
    }

    /// The same, for what the shell alone knows.
    pub fn counters_mut(&mut self) -> &mut SourceCounters {
        &mut self.counters
    }

    /// A line got its 101.
    pub fn handle_opened(&mut self, id: LineId, now: Instant) {
        let stall = &self.settings.stall;
        match &mut self.stage {
            Stage::Dialling(attempt) if attempt.id == id => {
                let line = Line::new(*attempt, stall, now);
                self.counters.connects += 1;
                self.begin(line);
            }
            Stage::Up { successor, .. } if successor.is_dialling(id) => {
                let (Successor::Dialling(attempt), Some(rotate)) = (&*successor, self.settings.rotate) else {
                    return;
                };
                let line = Line::new(*attempt, stall, now);
                *successor = Successor::Open { line, until: after(now, rotate.overlap) };
                self.counters.connects += 1;
                if let Some(overlap) = &mut self.overlap {
                    overlap.handle_opened();
                }
            }
            // Not wanted any more.
            Stage::Down { .. } | Stage::Dialling(_) | Stage::Up { .. } | Stage::Stopped => {
                self.commands.push_back(Command::HangUp { line: id });
            }
        }
    }

    /// A line did not get its 101, or is lost. Nothing is to be said about one that was to be hung up.
    pub fn handle_failed(&mut self, id: LineId, why: &'static str, now: Instant) {
        self.lose(id, why, now);
    }

    /// A line brought a message, whole.
    pub fn handle_said(&mut self, id: LineId, said: Said, now: Instant) {
        let settings = Arc::clone(&self.settings);
        let Some((line, voice)) = self.open_line(id) else { return };
        line.hear(&settings.stall, now);
        let Said { kind, payload } = said;
        let text = match kind {
            Kind::Text => std::str::from_utf8(&payload).ok(),
            Kind::Binary => None,
        };
        if let Some(text) = text {
            if settings.fatal.iter().any(|pattern| pattern.matches(text)) {
                self.handle_fatal(id, text, now);
                return;
            }
            if settings.skip.iter().any(|pattern| pattern.matches(text)) {
                self.counters.skipped += 1;
                return;
            }
        }
        line.data_at = Some(now);
        let key = settings.key.as_ref().and_then(|pointer| pointer.find(&payload)).map(Key::from);
        let message = Arc::new(Message::new(kind, &payload, key, now));
        if let Some(overlap) = &mut self.overlap {
            let mut passed = std::mem::take(&mut self.passed);
            overlap.handle_message(voice, message, now, &mut passed);
            self.counters.duplicates += overlap.take_duplicates();
            self.publish(passed.drain(..), now);
            self.passed = passed;
        } else {
            self.publish([message], now);
        }
    }

    /// The line of this name, if it is read.
    fn open_line(&mut self, id: LineId) -> Option<(&mut Line, Voice)> {
        let Stage::Up { line, successor } = &mut self.stage else { return None };
        if line.id == id {
            return Some((line, Voice::Current));
        }
        match successor {
            Successor::Open { line, .. } if line.id == id => Some((line, Voice::Successor)),
            Successor::Never | Successor::Due { .. } | Successor::Dialling(_) | Successor::Open { .. } => {
                None
            }
        }
    }

    /// A source says that it is not to be dialled. Where another line is read or dialled, that one decides: what the
    /// source means may be that two are too many.
    fn handle_fatal(&mut self, id: LineId, words: &str, now: Instant) {
        self.commands.push_back(Command::HangUp { line: id });
        let is_alone = match &self.stage {
            Stage::Up { successor, .. } => successor.is_absent(),
            Stage::Down { .. } | Stage::Dialling(_) | Stage::Stopped => true,
        };
        self.lose(id, "fatal", now);
        if is_alone {
            let words = words.get(..words.floor_char_boundary(WORDS_BYTES_MAX)).unwrap_or_default();
            self.counters.state = SourceState::Stopped { words: words.to_owned() };
            self.stage = Stage::Stopped;
        }
    }

    /// Does what the time has come for.
    fn handle_time(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Down { dial_at } if *dial_at <= now => {
                let attempt = dial(&mut self.next_line, self.attempts.source(), &mut self.commands);
                self.stage = Stage::Dialling(attempt);
            }
            Stage::Up { successor: successor @ Successor::Due { .. }, .. } if successor.is_due(now) => {
                let attempt = dial(&mut self.next_line, self.rotation.source(), &mut self.commands);
                *successor = Successor::Dialling(attempt);
            }
            Stage::Up { line: old, successor: Successor::Open { line: new, until } } if *until <= now => {
                // A subscription that was refused without a word would be found out too late.
                let is_silent = new.data_at.is_none() && old.data_at.is_some_and(|at| at > new.opened_at);
                let (old, new) = (old.id, new.id);
                if is_silent {
                    self.commands.push_back(Command::HangUp { line: new });
                    self.lose(new, "silent", now);
                } else {
                    self.commands.push_back(Command::HangUp { line: old });
                    self.replace(now);
                    self.counters.rotations += 1;
                }
            }
            Stage::Down { .. } | Stage::Dialling(_) | Stage::Up { .. } | Stage::Stopped => {}
        }
    }

    /// Hangs up on lines that have been silent for too long.
    fn judge_silence(&mut self, clock: Clock) {
        let Stage::Up { line, successor } = &mut self.stage else { return };
        let stall = &self.settings.stall;
        let mut stalled = line.is_stalled(stall, clock).then_some(line.id);
        if let Successor::Open { line, .. } = successor {
            stalled = stalled.or_else(|| line.is_stalled(stall, clock).then_some(line.id));
        }
        if let Some(line) = stalled {
            self.commands.push_back(Command::HangUp { line });
            self.lose(line, STALLED, clock.now);
        }
    }

    /// A line, or an attempt, is of no use any more.
    fn lose(&mut self, id: LineId, why: &'static str, now: Instant) {
        let backoff = self.settings.backoff;
        match &mut self.stage {
            Stage::Dialling(attempt) if attempt.id == id => {
                self.attempts.handle_failure(attempt.source, self.sources);
                self.go_down(now);
            }
            Stage::Up { line, successor } if line.id == id => {
                let has_proved_itself = line.has_proved_itself(backoff.max, now);
                if has_proved_itself {
                    self.attempts.restart();
                }
                match successor {
                    Successor::Never | Successor::Due { .. } => {
                        if !has_proved_itself || why == STALLED {
                            self.attempts.handle_failure(line.source, self.sources);
                        }
                        self.go_down(now);
                    }
                    Successor::Dialling(attempt) => {
                        self.stage = Stage::Dialling(*attempt);
                        self.note_loss();
                    }
                    Successor::Open { line: new, .. } => {
                        // It may have been too late to hear what the old one could not say any more.
                        self.has_gap |= new.data_at.is_none();
                        self.replace(now);
                    }
                }
            }
            Stage::Up { successor, .. } if successor.is(id) => self.give_up_successor(now),
            Stage::Down { .. } | Stage::Dialling(_) | Stage::Up { .. } | Stage::Stopped => return,
        }
        *self.counters.failures.entry(why).or_default() += 1;
    }

    /// Nothing is read, and nothing dialled before the next wait is over.
    fn go_down(&mut self, now: Instant) {
        let wait = self.attempts.wait(self.settings.backoff, self.sources, self.random);
        if matches!(self.stage, Stage::Up { .. }) {
            self.note_loss();
        }
        self.stage = Stage::Down { dial_at: after(now, wait) };
    }

    /// The last line that was read is lost.
    fn note_loss(&mut self) {
        self.has_gap = true;
        self.counters.state = SourceState::Connecting;
        if let Some(overlap) = &mut self.overlap {
            overlap.handle_lost();
        }
    }

    /// The second line takes the place of the first.
    fn replace(&mut self, now: Instant) {
        let stage = std::mem::replace(&mut self.stage, Stage::Stopped);
        let Stage::Up { successor: Successor::Open { line, .. }, .. } = stage else {
            self.stage = stage;
            return;
        };
        if let Some(overlap) = &mut self.overlap {
            let mut out = Vec::new();
            overlap.handle_replaced(now, &mut out);
            self.publish(out, now);
        }
        self.begin(line);
    }

    /// Reads this line alone.
    fn begin(&mut self, line: Line) {
        self.counters.state = SourceState::Up;
        self.counters.current = line.source;
        self.rotation.restart();
        let successor = match self.settings.rotate {
            Some(Rotate { every, .. }) => self.successor_due(after(line.opened_at, every)),
            None => Successor::Never,
        };
        self.stage = Stage::Up { line, successor };
    }

    /// The second line has failed; the first goes on as if nothing had been.
    fn give_up_successor(&mut self, now: Instant) {
        let Some(Rotate { every, overlap: span }) = self.settings.rotate else { return };
        let Stage::Up { successor, .. } = &mut self.stage else { return };
        let source = match successor {
            Successor::Dialling(Attempt { source, .. }) => *source,
            Successor::Open { line, .. } => line.source,
            Successor::Never | Successor::Due { .. } => return,
        };
        self.rotation.handle_failure(source, self.sources);
        let backoff = Backoff { min: self.settings.backoff.min, max: every };
        // What one attempt has brought is forgotten before the next one begins.
        let wait = self.rotation.wait(backoff, self.sources, self.random).max(span);
        if let Some(overlap) = &mut self.overlap {
            overlap.handle_failed();
        }
        let due = self.successor_due(after(now, wait));
        if let Stage::Up { successor, .. } = &mut self.stage {
            *successor = due;
        }
    }

    fn successor_due(&mut self, at: Instant) -> Successor {
        if let Some(overlap) = &mut self.overlap {
            overlap.expect(at);
        }
        Successor::Due { at }
    }

    fn publish(&mut self, messages: impl IntoIterator<Item = Arc<Message>>, now: Instant) {
        for message in messages {
            if std::mem::take(&mut self.has_gap) {
                self.counters.gaps += 1;
                if let Some(text) = &self.settings.gap_message {
                    self.push(Arc::new(Message::notice(text, now)), now);
                }
            }
            self.push(message, now);
        }
    }

    fn push(&mut self, message: Arc<Message>, now: Instant) {
        self.counters.messages.add(message.image.len(), 1);
        self.counters.last_message_at = Some(now);
        self.published.push(message);
    }
}

/// Names a new attempt and has it made.
fn dial(next_line: &mut u32, source: usize, commands: &mut VecDeque<Command>) -> Attempt {
    let attempt = Attempt { id: LineId(*next_line), source };
    *next_line = next_line.wrapping_add(1);
    commands.push_back(Command::Dial { line: attempt.id, source });
    attempt
}
