//! Sockets, readiness and TLS, without blocking and without `unsafe`. Knows nothing of WebSocket but its addresses.

mod dialer;
mod outlet;
mod poll;
mod socket;
mod stream;
mod target;
mod tls;
mod trust;

pub(crate) use dialer::Dialer;
pub(crate) use outlet::{Flow, Outlet};
pub(crate) use poll::{Events, Poll, Ready, Token};
pub(crate) use socket::{Listener, Moved, SCRATCH_BYTES, Socket, Window};
pub(crate) use stream::{Arrived, Broken, End, Inward, Stream};
pub(crate) use target::{Target, Transport};
pub(crate) use tls::Handshake;
pub(crate) use trust::{Security, Sessions, Suite, Trust};
