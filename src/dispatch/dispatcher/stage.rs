//! How far a client's session is, and what everybody is told at its end.

use std::time::Instant;

use crate::protocol::frame::CloseCode;
use crate::session::Cause;

/// How far a session is.
#[derive(Debug)]
pub(super) enum Stage {
    Open,
    /// The client's messages are not taken any more; it is told goodbye when all that it asked is answered.
    Settling(Box<Settling>),
    /// Everybody was told. What is left is cut then.
    Over {
        cut_at: Instant,
    },
    /// Nothing is left.
    Cut,
}

/// What is to become of a session.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) goodbye: Goodbye,
    /// Replies are waited for until then.
    pub(super) until: Instant,
}

/// What everybody is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goodbye {
    pub(super) cause: Cause,
    /// `None`: nothing more can be said to the client.
    pub(super) client: Option<Word>,
    pub(super) backends: Word,
}

/// What a Close says. Without a code it says nothing (RFC 6455 §7.1.5).
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) code: Option<CloseCode>,
    pub(super) reason: &'static str,
}

impl Word {
    pub(super) fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code: Some(code), reason }
    }
}
