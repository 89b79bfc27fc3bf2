//! How sessions fail, told apart as far as a user can act on it.

use std::fmt;

use rustix::io::Errno;
use selat::protocol::frame::Violation;

use crate::net::Broken;
use crate::wire::Refused;

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP is connecting.
    Connecting,
    /// The TLS handshake is under way.
    Securing,
    /// The upgrade has been asked for.
    Upgrading,
    /// Messages may be sent.
    Open,
    /// Our Close is on its way.
    Closing,
    /// The server has answered our Close; it is the one to end TCP (RFC 6455 §7.1.1).
    Ending,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Securing => "in the TLS handshake",
            Self::Upgrading => "waiting for the upgrade",
            Self::Open => "the connection was open",
            Self::Closing => "waiting for the Close to be answered",
            Self::Ending => "waiting for the server to end TCP",
        })
    }
}

/// Why a session ended otherwise than by a closing handshake of our own.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// No TCP connection.
    Connect(Errno),
    /// No WebSocket connection.
    Refused(Refused),
    /// Lost to an error.
    Lost(Stage, Errno),
    /// What came is not TLS, not authentic, or not from whom it should be.
    Tls(Stage, rustls::Error),
    /// Ended by the server, without a Close.
    Ended(Stage),
    /// Cut off, without TLS's close_notify.
    Truncated(Stage),
    /// Closed by the server, with this code if there was one.
    Closed(Option<u16>),
    /// The server broke the protocol.
    Violation(Violation),
    /// Nothing happened for too long.
    TimedOut(Stage),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(errno) => write!(f, "could not connect: {errno}"),
            Self::Refused(Refused::Status(status)) => {
                write!(f, "the upgrade was refused with status {status}")
            }
            Self::Refused(Refused::Accept) => {
                f.write_str("the upgrade was answered with a wrong Sec-WebSocket-Accept")
            }
            Self::Refused(Refused::Subprotocol) => {
                f.write_str("the upgrade was answered with a subprotocol that was not asked for")
            }
            Self::Refused(Refused::Malformed) => {
                f.write_str("the upgrade was answered with something other than HTTP")
            }
            Self::Lost(stage, errno) => write!(f, "lost while {stage}: {errno}"),
            Self::Tls(stage, error) => write!(f, "TLS failed while {stage}: {error}"),
            Self::Truncated(stage) => write!(f, "cut off without a close_notify while {stage}"),
            Self::Ended(stage) => write!(f, "ended without a Close while {stage}"),
            Self::Closed(Some(code)) => write!(f, "closed by the server with code {code}"),
            Self::Closed(None) => f.write_str("closed by the server without a code"),
            Self::Violation(violation) => write!(f, "the server broke the protocol: {violation}"),
            Self::TimedOut(stage) => write!(f, "timed out while {stage}"),
        }
    }
}

impl Failure {
    /// What it is that a connection is lost at this stage.
    pub(crate) fn at(stage: Stage) -> impl Fn(Broken) -> Self {
        move |broken| match (stage, broken) {
            (Stage::Connecting, Broken::Tcp(errno)) => Self::Connect(errno),
            (stage, Broken::Tcp(errno)) => Self::Lost(stage, errno),
            (stage, Broken::Tls(error)) => Self::Tls(stage, error),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}
