//! One backend as a client's session sees it: its connection, if there is one, and what it owes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::gather::Outcome;
use super::side::Side;
use crate::balance::BackendId;
use crate::session::{Peer, Settings, after, backoff};

/// Between two attempts to connect to one backend for one client. At most so long a client waits that has no other hope.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// One backend.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) backend: BackendId,
    pub(super) stage: Stage,
    /// Attempts since it last proved of use.
    failures: u32,
    /// Not dialled before.
    pub(super) retry_at: Option<Instant>,
    pub(super) hope: Hope,
}

/// What may be expected of a backend by a client that is connected to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hope {
    /// It is to be dialled.
    Untried,
    /// It could not be reached since the client was last connected to any.
    Tried,
    /// It has said that it is done with the client.
    Closed,
}

/// How its connection stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// There is none.
    Vacant,
    /// The shell is at it.
    Dialling,
    /// It may be written to. Boxed, for a client may have few of many.
    Open(Box<Open>),
    /// A Close has gone; its end is awaited.
    Leaving { until: Instant },
}

/// A connection that may be written to.
#[derive(Debug)]
pub(super) struct Open {
    /// How many the session has opened, this one included.
    pub(super) number: u32,
    pub(super) side: Side,
    pub(super) incoming: Incoming,
    /// What it has yet to answer, in the order in which it got it.
    pub(super) owed: VecDeque<Asked>,
    /// Whether the message that the client is sending goes there.
    pub(super) is_receiving: bool,
    /// When it last answered anything; at first, when it opened.
    pub(super) replied_at: Instant,
    /// When its debts are to be looked at, at the earliest.
    pub(super) judge_at: Instant,
    pub(super) flow: Flow,
}

/// Whether it takes what is written to it. Known only when it is looked at, for a write may wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing was written since it was looked at last, and nothing waits.
    Still,
    /// Something was written, or has left.
    Watched { look_at: Instant },
    /// Bytes waited when it was looked at, and none has left since.
    Suspect { look_at: Instant },
}

/// A backend's message that has begun.
#[derive(Debug)]
pub(super) enum Incoming {
    /// None has.
    Between,
    /// What has come of it is kept.
    Draft(Vec<u8>),
    /// It goes to the client, piece by piece.
    Passing(Option<Box<Answering>>),
    /// It goes nowhere.
    Swallowed,
}

/// What a message answers that passes piece by piece.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) asked: Asked,
    /// The end of its round, if all backends got the message and this is the last reply that is wanted.
    pub(super) outcome: Option<Outcome>,
}

impl Line {
    pub(super) fn new(backend: BackendId) -> Self {
        Self { backend, stage: Stage::Vacant, failures: 0, retry_at: None, hope: Hope::Untried }
    }

    pub(super) fn open(&self) -> Option<&Open> {
        match &self.stage {
            Stage::Open(open) => Some(open),
            Stage::Vacant | Stage::Dialling | Stage::Leaving { .. } => None,
        }
    }

    pub(super) fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.stage {
            Stage::Open(open) => Some(open),
            Stage::Vacant | Stage::Dialling | Stage::Leaving { .. } => None,
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        matches!(self.stage, Stage::Vacant)
    }

    pub(super) fn is_dialling(&self) -> bool {
        matches!(self.stage, Stage::Dialling)
    }

    /// Whether it may be dialled now.
    pub(super) fn is_dialable(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Vacant | Stage::Leaving { .. })
            && self.retry_at.is_none_or(|at| at <= now)
    }

    /// It was of no use: the next attempt waits, longer each time.
    pub(super) fn handle_failure(&mut self, hope: Hope, random: u64, now: Instant) {
        let (min, max) = BACKOFF;
        self.retry_at = Some(after(now, backoff(min, max, self.failures, random)));
        self.failures = self.failures.saturating_add(1);
        self.hope = hope;
    }

    /// It said something: the next attempt need not wait.
    pub(super) fn handle_use(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }
}

impl Open {
    pub(super) fn new(number: u32, settings: &Settings, now: Instant) -> Box<Self> {
        Box::new(Self {
            number,
            side: Side::new(Peer::Backend, settings, now),
            incoming: Incoming::Between,
            owed: VecDeque::new(),
            is_receiving: false,
            replied_at: now,
            judge_at: now,
            flow: Flow::Still,
        })
    }

    /// When its oldest debt is overdue that somebody waits for, or the oldest of all for the second time.
    pub(super) fn overdue_at(&self, timeout: Duration) -> Option<Instant> {
        let waited_for = self.owed.iter().find(|asked| !asked.is_given_up);
        let first = waited_for.map(|asked| after(asked.place.at, timeout));
        let oldest = self.owed.front().map(|asked| after(asked.place.at, timeout.saturating_mul(2)));
        let at = [first, oldest].into_iter().flatten().min()?;
        Some(at.max(self.judge_at))
    }

    /// It got a message that it is to answer. The oldest comes first: one that was sent elsewhere before is put where it
    /// belongs, for with correlation their order is of no matter.
    pub(super) fn owe(&mut self, asked: Asked) {
        let at = self.owed.partition_point(|other| other.place.at <= asked.place.at);
        self.owed.insert(at, asked);
    }

    /// What it has yet to answer will not be answered: how much that is, and what has not begun to come.
    pub(super) fn take_debts(&mut self) -> (usize, VecDeque<Asked>) {
        let owed = std::mem::take(&mut self.owed);
        let is_answering = matches!(self.incoming, Incoming::Passing(Some(_)));
        self.incoming = Incoming::Between;
        (owed.len() + usize::from(is_answering), owed)
    }

    /// Whether nothing is under way with it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.owed.is_empty() && !self.is_receiving && matches!(self.incoming, Incoming::Between)
    }

    /// Bytes were written to it.
    pub(super) fn note_written(&mut self, stall: Duration, now: Instant) {
        if self.flow == Flow::Still {
            self.flow = Flow::Watched { look_at: after(now, stall) };
        }
    }

    /// Some of what waited for it has left.
    pub(super) fn note_progress(&mut self, stall: Duration, now: Instant) {
        self.flow = Flow::Watched { look_at: after(now, stall) };
    }

    /// Whether it has taken nothing for `stall`, though bytes wait for it.
    pub(super) fn is_stuck(&mut self, is_flushed: bool, stall: Duration, now: Instant) -> bool {
        if self.look_at().is_none_or(|at| now < at) {
            return false;
        }
        match self.flow {
            _ if is_flushed => self.flow = Flow::Still,
            Flow::Suspect { .. } => return true,
            Flow::Still | Flow::Watched { .. } => self.flow = Flow::Suspect { look_at: after(now, stall) },
        }
        false
    }

    /// When [`Self::is_stuck`] is to be asked.
    pub(super) fn look_at(&self) -> Option<Instant> {
        match self.flow {
            Flow::Still => None,
            Flow::Watched { look_at } | Flow::Suspect { look_at } => Some(look_at),
        }
    }

    /// Gives memory back: a client that waits for nothing has many lines, and mostly for long.
    pub(super) fn shrink(&mut self) {
        if self.owed.is_empty() {
            self.owed = VecDeque::new();
        }
    }
}
