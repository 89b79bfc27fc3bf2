//! One connection with a source, as far as silence and success go.

use std::time::{Duration, Instant};

use super::{Clock, LineId};
use crate::feed::Stall;
use crate::session::after;

/// A source that is being dialled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) id: LineId,
    pub(super) source: usize,
}

/// A source that is read.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: LineId,
    pub(super) source: usize,
    pub(super) opened_at: Instant,
    /// When it last said anything; at first, when it opened.
    heard_at: Instant,
    /// When it last said something that is data.
    pub(super) data_at: Option<Instant>,
    /// When its silence is to be judged; `None`: never.
    pub(super) judge_at: Option<Instant>,
}

impl Line {
    pub(super) fn new(attempt: Attempt, stall: &Stall, now: Instant) -> Self {
        let Attempt { id, source } = attempt;
        let mut line = Self { id, source, opened_at: now, heard_at: now, data_at: None, judge_at: None };
        line.hear(stall, now);
        line
    }

    /// It says something.
    pub(super) fn hear(&mut self, stall: &Stall, now: Instant) {
        self.heard_at = now;
        self.judge_at = stall.after.map(|wait| after(now, wait));
    }

    /// Whether it has been silent for too long. Silence begins anew at the end of each quiet part of the week; if it is
    /// not for too long yet, it is to be judged again at `judge_at`.
    pub(super) fn is_stalled(&mut self, stall: &Stall, clock: Clock) -> bool {
        let (Some(limit), Some(judge_at)) = (stall.after, self.judge_at) else { return false };
        if clock.now < judge_at {
            return false;
        }
        let left = stall.quiet.iter().map(|quiet| quiet.left(clock.unix_now)).max().unwrap_or_default();
        let over_for = stall.quiet.iter().map(|quiet| quiet.over_for(clock.unix_now)).min();
        let silence = clock.now.saturating_duration_since(self.heard_at);
        let silence = over_for.map_or(silence, |over_for| silence.min(over_for));
        self.judge_at = Some(after(clock.now, left.saturating_add(limit.saturating_sub(silence))));
        left.is_zero() && silence >= limit
    }

    /// Whether it was of use: data came, and it has lasted as long as the longest wait between two attempts. So a source
    /// that takes connections and drops them is dialled no more often than one that refuses them.
    pub(super) fn has_proved_itself(&self, longest_wait: Duration, now: Instant) -> bool {
        self.data_at.is_some() && now.saturating_duration_since(self.opened_at) >= longest_wait
    }
}
