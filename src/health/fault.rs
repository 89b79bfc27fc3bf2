//! Why a probe failed, in words for the person who has to do something about it.

use std::time::Duration;

/// Characters of a peer's text that a message shows.
const EXCERPT_CHARS: usize = 64;

/// What was wrong with a backend's answer to a probe, or with its silence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFault {
    /// Nobody listens on the port.
    #[error("connection refused")]
    Refused,
    /// The network did not lead there.
    #[error("cannot connect: {reason}")]
    Unreachable {
        /// What the kernel said.
        reason: String,
    },
    /// No connection in time.
    #[error("no connection within {after:?}")]
    ConnectTimedOut {
        /// The probe's timeout.
        after: Duration,
    },
    /// Connected, but no (whole) answer in time.
    #[error("connected, but no answer within {after:?}")]
    AnswerTimedOut {
        /// The probe's timeout.
        after: Duration,
    },
    /// No TLS: it is not who was meant, or does not speak it with us.
    #[error("TLS: {reason}")]
    Tls {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// It ended the connection instead of answering.
    #[error("the connection ended before the answer")]
    Ended,
    /// What came is not the protocol it was asked in.
    #[error("malformed answer: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// HTTP, but not the status that was hoped for.
    #[error("status {status} instead of {wanted}")]
    Status {
        /// What it answered.
        status: u16,
        /// What would have been good.
        wanted: &'static str,
    },
    /// WebSocket, but no message had what was expected. Shown, because it answers our own question: no session's
    /// payload ever is.
    #[error("answered \"{excerpt}\", not what was expected")]
    WrongAnswer {
        /// The beginning of the last message, with everything odd escaped.
        excerpt: String,
    },
    /// More bytes or messages than an answer to a probe may have.
    #[error("the answer is too long for a probe")]
    TooLong,
    /// The probe's path cannot stand in a request.
    #[error("cannot ask: {reason}; check the path of the probe")]
    Unaskable {
        /// What is wrong with it.
        reason: String,
    },
    /// The probe itself broke down.
    #[error("the probe failed inside selat; please report this")]
    Internal,
}

impl ProbeFault {
    /// Something was answered that lacks what was expected.
    #[must_use]
    pub fn wrong_answer(text: &str) -> Self {
        Self::WrongAnswer { excerpt: excerpt(text) }
    }

    /// What was answered cannot be parsed.
    #[must_use]
    pub fn malformed(reason: &str) -> Self {
        Self::Malformed { reason: excerpt(reason) }
    }
}

/// The beginning of a text that a peer may have chosen, fit for a log line.
fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(EXCERPT_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_cut_and_escaped() {
        let fault = ProbeFault::wrong_answer("no\r\n\x1b[31m\"pong\"");
        assert_eq!(fault.to_string(), "answered \"no\\r\\n\\u{1b}[31m\\\"pong\\\"\", not what was expected");
        let shown = ProbeFault::wrong_answer(&"é".repeat(65)).to_string();
        assert_eq!(shown.matches('é').count(), 64);
        assert!(shown.contains("é…\""));
    }
}
