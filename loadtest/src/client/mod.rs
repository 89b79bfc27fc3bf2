//! The client's side of measured connections.

mod alarms;
mod failure;
mod flights;
mod following;
mod pace;
mod returns;
mod session;
mod swarm;
mod tally;

use alarms::Alarms;
pub(crate) use failure::{Failure, Stage};
pub(crate) use following::{Following, WAVES_MAX, Wave};
pub(crate) use pace::Pace;
pub(crate) use session::{Life, Session};
pub(crate) use swarm::{Share, Swarm};
pub(crate) use tally::{Tally, new_times};

use std::time::Duration;

use selat::protocol::frame::MaskKey;

use crate::net::Target;
use crate::wire::{Asks, Burst, Expected, Kind, Mix, Opening, Pattern};

/// What a session does once its messages are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing, until it is told to close.
    Hold,
    /// Begins the closing handshake.
    Close,
    /// There are none: it ends TLS as soon as the handshake is over.
    Leave,
}

/// What sessions hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hears {
    /// The echo of what they say.
    Answers,
    /// The ticks of a feed.
    Ticks {
        /// Of a hundred sessions, how many never read.
        stuck: u32,
    },
}

/// Whether a session reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Whatever comes.
    Reads,
    /// A little at a time, and sends as fast as that lets it. No part of what is measured.
    Slow,
    /// Nothing more, once it is open.
    Stuck,
}

/// What every session of a swarm does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How long messages are.
    pub(crate) mix: Mix,
    /// What they are.
    pub(crate) kind: Kind,
    /// Messages that may await their answer at any time.
    pub(crate) in_flight: u64,
    /// Whether messages wait until a [`Pace`] lets them go.
    pub(crate) is_paced: bool,
    /// How long a session waits after an answer before it sends another message.
    pub(crate) think: Option<Duration>,
    /// Sessions from this one on read slowly.
    pub(crate) slow_from: Option<u32>,
    /// Whether a session that fails is followed by another, at once.
    pub(crate) reconnects: bool,
    /// What they ask for beside a WebSocket.
    pub(crate) asks: Asks,
    /// Messages in all. May be raised and lowered while sessions run.
    pub(crate) messages_max: u64,
    /// What follows them.
    pub(crate) then: Then,
    /// What comes back.
    pub(crate) hears: Hears,
}

impl Plan {
    /// Sends one binary message at a time until it is told to close.
    pub(crate) fn echo(mix: Mix) -> Self {
        Self {
            mix,
            kind: Kind::Binary,
            in_flight: 1,
            is_paced: false,
            think: None,
            slow_from: None,
            reconnects: false,
            asks: Asks::default(),
            messages_max: u64::MAX,
            then: Then::Hold,
            hears: Hears::Answers,
        }
    }

    /// Sends nothing, and follows a feed until it is told to close; `stuck` of a hundred sessions never read.
    pub(crate) fn follow(stuck: u32) -> Self {
        Self { in_flight: 0, messages_max: 0, hears: Hears::Ticks { stuck }, ..Self::echo(Mix::of(0)) }
    }

    /// Whether the `serial`-th session reads. Those that do not are spread over all.
    pub(crate) fn habit(&self, serial: u32) -> Habit {
        if self.slow_from.is_some_and(|from| serial >= from) {
            return Habit::Slow;
        }
        let stuck = match self.hears {
            Hears::Answers => 0,
            Hears::Ticks { stuck } => stuck,
        };
        let stuck_before = |serial: u64| serial * u64::from(stuck) / 100;
        let serial = u64::from(serial);
        if stuck_before(serial + 1) > stuck_before(serial) { Habit::Stuck } else { Habit::Reads }
    }
}

/// What all sessions of a thread share.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) plan: Plan,
    pub(crate) opening: Opening,
    pub(crate) burst: Burst,
    pub(crate) expected: Expected,
    pub(crate) key: MaskKey,
    pub(crate) tally: Tally,
    /// What lets messages go, where the plan waits for it.
    pub(crate) pace: Option<Pace>,
    /// What sessions have to do at a time.
    pub(crate) alarms: Alarms,
    /// What those that follow a feed see together.
    pub(crate) following: Option<Following>,
    /// Scratch that TLS seals into.
    pub(crate) sealed: Vec<u8>,
}

impl Kit {
    /// Prepares everything that `plan` will send to `target`.
    pub(crate) fn new(target: &Target, plan: Plan) -> Self {
        let key = MaskKey(fastrand::u32(..).to_ne_bytes());
        let expected = match plan.hears {
            Hears::Answers => Expected::answers(&plan.mix, plan.kind),
            Hears::Ticks { .. } => Expected::Ticks(Pattern::text()),
        };
        Self {
            opening: Opening::new(&target.host, &target.path, &plan.asks, fastrand::u128(..).to_ne_bytes()),
            burst: Burst::new(&plan.mix, plan.kind, plan.in_flight, key),
            expected,
            key,
            tally: Tally::new(),
            pace: None,
            alarms: Alarms::default(),
            following: None,
            sealed: Vec::new(),
            plan,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_the_stuck_evenly() {
        for stuck in [0, 1, 33, 50, 100] {
            let plan = Plan::follow(stuck);
            let count = |range: std::ops::Range<u32>| {
                u32::try_from(range.filter(|&serial| plan.habit(serial) == Habit::Stuck).count()).unwrap()
            };
            assert_eq!(count(0..1000), stuck * 10);
            assert!(count(0..20).abs_diff(stuck / 5) <= 1, "{stuck} of a hundred");
        }
    }
}
