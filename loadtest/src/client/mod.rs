//! The client's side of measured connections.

mod failure;
mod session;
mod swarm;
mod tally;

pub(crate) use failure::{Failure, Stage};
pub(crate) use session::{Life, Session};
pub(crate) use swarm::Swarm;
pub(crate) use tally::Tally;

use selat::protocol::frame::MaskKey;

use crate::net::Target;
use crate::wire::{Burst, Expected, Opening, Pattern};

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

/// What every session of a swarm does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Payload bytes of a message.
    pub(crate) size: usize,
    /// Messages that may await their answer at any time.
    pub(crate) in_flight: u64,
    /// Messages in all. May be raised and lowered while sessions run.
    pub(crate) messages_max: u64,
    /// What follows them.
    pub(crate) then: Then,
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
    /// Scratch that TLS seals into.
    pub(crate) sealed: Vec<u8>,
}

impl Kit {
    /// Prepares everything that `plan` will send to `target`.
    pub(crate) fn new(target: &Target, plan: Plan) -> anyhow::Result<Self> {
        let pattern = Pattern::new();
        let key = MaskKey(fastrand::u32(..).to_ne_bytes());
        Ok(Self {
            opening: Opening::new(&target.host, &target.path, fastrand::u128(..).to_ne_bytes()),
            burst: Burst::new(&pattern, plan.size, plan.in_flight, key),
            expected: Expected::new(pattern, plan.size),
            key,
            tally: Tally::new()?,
            sealed: Vec::new(),
            plan,
        })
    }
}
