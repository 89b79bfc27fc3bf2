//! How far an upstream is: which lines there are.

use std::time::Instant;

use super::LineId;
use super::line::{Attempt, Line};

/// Which lines there are.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing is read, and the next attempt is at this time.
    Down { dial_at: Instant },
    /// Nothing is read, and a source is dialled.
    Dialling(Attempt),
    /// A source is read.
    Up { line: Line, successor: Successor },
    /// A source has said that it is not to be dialled.
    Stopped,
}

/// The line that is to replace another.
#[derive(Debug)]
pub(super) enum Successor {
    /// There will be none.
    Never,
    /// It is dialled at this time.
    Due { at: Instant },
    /// It is dialled.
    Dialling(Attempt),
    /// Both are read until then.
    Open { line: Line, until: Instant },
}

impl Successor {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Never | Self::Due { .. })
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self, Self::Due { at } if *at <= now)
    }

    pub(super) fn is_dialling(&self, id: LineId) -> bool {
        matches!(self, Self::Dialling(attempt) if attempt.id == id)
    }

    /// The attempt or line that it is.
    pub(super) fn id(&self) -> Option<LineId> {
        match self {
            Self::Never | Self::Due { .. } => None,
            Self::Dialling(attempt) => Some(attempt.id),
            Self::Open { line, .. } => Some(line.id),
        }
    }

    /// Whether it is this attempt or line.
    pub(super) fn is(&self, id: LineId) -> bool {
        self.is_dialling(id) || matches!(self, Self::Open { line, .. } if line.id == id)
    }
}
