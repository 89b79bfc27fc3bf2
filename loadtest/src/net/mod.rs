//! Sockets and readiness, without blocking and without `unsafe`. Knows nothing of WebSocket but its addresses.

mod poll;
mod socket;
mod target;

pub(crate) use poll::{Events, Poll, Ready, Token};
pub(crate) use socket::{Listener, Moved, SCRATCH_BYTES, Socket};
pub(crate) use target::Target;
