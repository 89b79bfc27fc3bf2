//! Why a session ended, and what its peers are told.

use super::{Ending, Side};
use crate::protocol::frame::{CloseCode, Violation};

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A closing handshake.
    Closed,
    /// A stream ended without one.
    Vanished,
    /// A stream in TLS was cut: it ended without a closing handshake, and without the close_notify that would say that
    /// nothing is missing (RFC 8446 §6.1).
    Truncated,
    /// A breach of the protocol or of a limit on sizes.
    Violation(Violation),
    /// The client sent more than its rate.
    RateLimited,
    /// No sign of life behind a ping.
    PingTimeout,
    /// No traffic for the idle timeout.
    Idle,
    /// Its lifetime was over.
    Expired,
    /// The proxy is going down.
    Drained,
    /// Its backend is being taken out of service.
    Retired,
    /// A fault inside selat.
    Fault,
    /// It did not take the messages of a feed as fast as they came.
    Evicted,
    /// Its first message showed no key of ours, or did not come.
    Unauthorized,
    /// It said what its route does not allow, or asked for more than that does.
    Policy,
}

impl From<Ending> for Why {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Fin | Ending::Reset => Self::Vanished,
            Ending::Truncated => Self::Truncated,
        }
    }
}

impl Why {
    /// The word for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Vanished => "vanished",
            Self::Truncated => "truncated",
            Self::Violation(_) => "violation",
            Self::RateLimited => "rate limit",
            Self::PingTimeout => "ping timeout",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::Drained => "drained",
            Self::Retired => "retired",
            Self::Fault => "fault",
            Self::Evicted => "too slow",
            Self::Unauthorized => "unauthorized",
            Self::Policy => "policy",
        }
    }
}

/// The first thing that ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// Whose doing.
    pub side: Side,
    /// What happened.
    pub why: Why,
    /// The close code that was seen or sent; `None` for a Close without one, or no Close (1006).
    pub code: Option<CloseCode>,
}

/// Why a session is asked to go, the stronger reason the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Farewell {
    /// Its backend leaves the pool; who comes back is placed on another one. Close 1012.
    ServiceRestart,
    /// The proxy goes down. Close 1001.
    GoingAway,
}

impl Farewell {
    /// What the peers are told.
    #[must_use]
    pub fn code(self) -> CloseCode {
        match self {
            Self::ServiceRestart => CloseCode::SERVICE_RESTART,
            Self::GoingAway => CloseCode::GOING_AWAY,
        }
    }

    /// The same in words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::ServiceRestart => "service restart",
            Self::GoingAway => "going away",
        }
    }

    /// What is noted.
    #[must_use]
    pub fn why(self) -> Why {
        match self {
            Self::ServiceRestart => Why::Retired,
            Self::GoingAway => Why::Drained,
        }
    }
}

/// The close reason that tells the offender what it did.
pub(crate) fn reason_for(violation: Violation) -> &'static str {
    match violation {
        Violation::MessageTooLong { .. } => "message too big",
        Violation::FrameTooLong { .. } => "frame too big",
        Violation::CloseReasonNotUtf8 => "close reason is not UTF-8",
        Violation::TextNotUtf8 => "text is not UTF-8",
        Violation::Unmasked => "frame is not masked",
        Violation::Masked => "frame is masked",
        Violation::ReservedBits => "reserved bits",
        Violation::UnknownOpcode { .. } => "unknown opcode",
        Violation::ControlFragmented | Violation::ControlTooLong => "bad control frame",
        Violation::ContinuationUnexpected | Violation::MessageInterrupted => "bad fragmentation",
        Violation::LengthNotMinimal { .. } | Violation::LengthTooLarge => "bad frame length",
        Violation::ClosePayloadTooShort | Violation::CloseCodeIllegal { .. } => "bad close frame",
    }
}
