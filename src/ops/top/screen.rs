//! What `top` shows, and what its keys do. Pure.

use std::cmp::Ordering;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::telemetry::Overview;

use super::rates::Row;
use super::{Look, Rates};

/// How far a page goes.
const PAGE: usize = 10;

/// The state of the view.
#[derive(Debug)]
pub(super) struct Screen {
    /// Whom it asks.
    pub(super) address: String,
    /// The last look that there was an answer to, and what it says of the time before.
    pub(super) shown: Option<(Overview, Rates)>,
    /// Why there was no answer to the last look; `None` if there was.
    pub(super) trouble: Option<String>,
    pub(super) sort: Sort,
    pub(super) mode: Mode,
    /// Backends left out at the top; whoever draws sees to it that it leaves some.
    pub(super) scroll: usize,
}

/// What the tables are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Sessions,
    Messages,
    Bytes,
    Name,
}

/// Whether the view follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Live,
    Paused,
}

/// What an event leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    Draw,
    /// All of it: who knows what the terminal shows.
    DrawAnew,
    Quit,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Sessions => Self::Messages,
            Self::Messages => Self::Bytes,
            Self::Bytes => Self::Name,
            Self::Name => Self::Sessions,
        }
    }

    /// The largest first; what is equal by name, so that lines do not dance.
    fn compare(self, one: &Row, two: &Row) -> Ordering {
        let sum = |both: crate::telemetry::Directions<f64>| both.from_clients + both.from_backends;
        let by_key = match self {
            Self::Sessions => two.sessions.cmp(&one.sessions),
            Self::Messages => sum(two.messages).total_cmp(&sum(one.messages)),
            Self::Bytes => sum(two.bytes).total_cmp(&sum(one.bytes)),
            Self::Name => Ordering::Equal,
        };
        by_key.then_with(|| one.name.cmp(&two.name))
    }
}

impl Screen {
    pub(super) fn new(address: String) -> Self {
        Self { address, shown: None, trouble: None, sort: Sort::Sessions, mode: Mode::Live, scroll: 0 }
    }

    /// Takes what a look came to; while paused nothing changes.
    pub(super) fn handle_look(&mut self, look: Look) {
        if self.mode == Mode::Paused {
            return;
        }
        match look {
            Ok(now) => {
                let mut rates = match &self.shown {
                    Some((earlier, _)) => Rates::between(earlier, &now),
                    None => Rates::between(&now, &now),
                };
                self.order(&mut rates);
                self.shown = Some((now, rates));
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(error.brief()),
        }
    }

    /// Does what an event asks for.
    pub(super) fn handle_event(&mut self, event: &Event) -> Reaction {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.handle_key(*key),
            // Terminals cut lines off, or break them, even if they come back to the size they had.
            Event::Resize(..) => Reaction::DrawAnew,
            Event::Key(_) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => {
                Reaction::Draw
            }
        }
    }

    fn handle_key(&mut self, key: KeyEvent) -> Reaction {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        #[expect(clippy::wildcard_enum_match_arm, reason = "there are dozens of keys that do nothing")]
        match key.code {
            KeyCode::Char('c') if is_control => return Reaction::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Reaction::Quit,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                if let Some((overview, mut rates)) = self.shown.take() {
                    self.order(&mut rates);
                    self.shown = Some((overview, rates));
                }
            }
            KeyCode::Char('p' | ' ') => {
                self.mode = match self.mode {
                    Mode::Live => Mode::Paused,
                    Mode::Paused => Mode::Live,
                }
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX,
            _ => {}
        }
        Reaction::Draw
    }

    fn order(&self, rates: &mut Rates) {
        rates.routes.sort_by(|one, two| self.sort.compare(one, two));
        rates.backends.sort_by(|one, two| self.sort.compare(one, two));
    }
}
