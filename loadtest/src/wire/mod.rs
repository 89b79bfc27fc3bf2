//! What goes over a measured connection. Pure: bytes in, bytes and verdicts out.
//!
//! A message is one frame. Where clients send and have it echoed, its payload is a [`Stamp`] (which connection, the
//! how-manieth message) and then a fixed pattern, so that a client knows every byte of every answer in advance. Where
//! they follow a feed, it is a [`Tick`].

mod burst;
mod echoing;
mod inbox;
mod ledger;
mod opening;
mod pattern;
mod stamp;
mod tick;

pub(crate) use burst::Burst;
pub(crate) use echoing::{Echoing, Next};
pub(crate) use inbox::{Event, Expected, Inbox};
pub(crate) use ledger::{Faults, Ledger};
pub(crate) use opening::{Accepted, Answered, Opening, Refused, accept};
pub(crate) use pattern::Pattern;
pub(crate) use stamp::{ConnectionId, STAMP_BYTES, Stamp};
pub(crate) use tick::{TICK_BYTES_MIN, Tick};

/// A number of bytes or messages in memory, as the wire counts them.
pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("memory is no larger than 64 bits address")
}
