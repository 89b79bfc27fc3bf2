//! What a session that ends has to see to: why, until when, and the Closes that are still to be said.

use std::time::Instant;

use super::{Cause, Peer};
use crate::protocol::frame::{CloseCode, Unit};

/// The end of a session.
#[derive(Debug)]
pub(crate) struct Parting {
    pub(crate) cause: Cause,
    /// When what is left gets cut.
    pub(crate) cut_at: Instant,
    /// Whether a peer had not finished when it was.
    pub(crate) is_cut: bool,
    to_client: Option<Owed>,
    to_backend: Option<Owed>,
}

/// A Close of the proxy's own that waits for its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owed {
    pub(crate) code: CloseCode,
    pub(crate) reason: &'static str,
    pub(crate) at: Boundary,
}

/// Where a frame of the proxy's own may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// Between any two frames; control frames may stand between fragments (§5.4).
    Frame,
    /// Between two messages: kinder, when there is time.
    Message,
    /// Behind all that the other peer has to say, in place of its Close.
    LastWord,
}

impl Parting {
    pub(crate) fn new(cause: Cause, cut_at: Instant) -> Self {
        Self { cause, cut_at, is_cut: false, to_client: None, to_backend: None }
    }

    /// The Close that a peer is owed.
    pub(crate) fn owed(&self, to: Peer) -> Option<Owed> {
        match to {
            Peer::Client => self.to_client,
            Peer::Backend => self.to_backend,
        }
    }

    /// The same, to be changed.
    pub(crate) fn owed_mut(&mut self, to: Peer) -> &mut Option<Owed> {
        match to {
            Peer::Client => &mut self.to_client,
            Peer::Backend => &mut self.to_backend,
        }
    }

    /// Whether a Close waits for more than the end of a frame.
    pub(crate) fn is_patient(&self) -> bool {
        let waits = |owed: Option<Owed>| owed.is_some_and(|owed| owed.at != Boundary::Frame);
        waits(self.to_client) || waits(self.to_backend)
    }

    /// The end of a frame is enough from now on.
    pub(crate) fn hurry(&mut self) {
        [&mut self.to_client, &mut self.to_backend]
            .into_iter()
            .flatten()
            .for_each(|owed| owed.at = Boundary::Frame);
    }
}

impl Owed {
    pub(crate) fn soon(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason, at: Boundary::Frame }
    }
}

impl Boundary {
    /// What has to end in the stream that is forwarded, if that is all there is to it.
    pub(super) fn unit(self) -> Option<Unit> {
        match self {
            Self::Frame => Some(Unit::Frame),
            Self::Message => Some(Unit::Message),
            Self::LastWord => None,
        }
    }
}
