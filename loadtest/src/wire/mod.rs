//! What goes over a measured connection. Pure: bytes in, bytes and verdicts out.
//!
//! A message is one frame. Where clients send and have it echoed, its payload is a [`Stamp`] (which connection, the
//! how-manieth message) and then a fixed pattern, so that a client knows every byte of every answer in advance. Where
//! they follow a feed, it is a [`Tick`].

mod burst;
mod echoing;
mod hearing;
mod inbox;
mod ledger;
mod mix;
mod opening;
mod pattern;
mod planter;
mod schedule;
mod stamp;
mod tick;

pub(crate) use burst::Burst;
pub(crate) use echoing::{Echoing, Next};
pub(crate) use hearing::{Heard, Hearing};
pub(crate) use inbox::{Event, Expected, Inbox};
pub(crate) use ledger::{Faults, Ledger};
pub(crate) use mix::Mix;
pub(crate) use opening::{Accepted, Answered, Asks, Field, Opening, Refused, accept, is_token};
pub(crate) use pattern::Pattern;
pub(crate) use planter::{Deed, Faulting, Planted};
pub(crate) use schedule::{Schedule, Turns};
pub(crate) use stamp::{ConnectionId, Kind, Stamp};
pub(crate) use tick::{TICK_BYTES_MIN, Tick};

/// A number of bytes or messages in memory, as the wire counts them.
pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("memory is no larger than 64 bits address")
}

/// The number as a float, to 53 bits.
#[inline]
pub(crate) fn float(count: u64) -> f64 {
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(count >> u32::BITS).unwrap_or(u32::MAX);
    f64::from(high) * (f64::from(u32::MAX) + 1.0) + f64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_floats_of_large_counts() {
        for (count, expected) in
            [(0, 0.0), (1, 1.0), (u64::from(u32::MAX), 4_294_967_295.0), (1 << 40, 1.099_511_627_776e12)]
        {
            assert!((float(count) - expected).abs() < 0.5);
        }
    }
}
