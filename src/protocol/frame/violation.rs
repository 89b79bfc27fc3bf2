//! What a peer can do wrong on the framing layer, and the close code each earns.

use super::CloseCode;

/// A breach of RFC 6455 or of a configured limit, found in a stream of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// §5.2: an opcode that is not defined.
    #[error("unknown opcode {opcode:#x}")]
    UnknownOpcode {
        /// The four bits found.
        opcode: u8,
    },
    /// §5.2: a reserved bit that no negotiated extension gives a meaning.
    #[error("reserved bit set without an extension that defines it")]
    ReservedBits,
    /// §5.1: a client must mask.
    #[error("unmasked frame from a client")]
    Unmasked,
    /// §5.1: a server must not mask.
    #[error("masked frame from a server")]
    Masked,
    /// §5.2: the length was not encoded in the fewest bytes.
    #[error("payload length {len} not minimally encoded")]
    LengthNotMinimal {
        /// The length that was encoded.
        len: u64,
    },
    /// §5.2: a 64-bit length with its highest bit set.
    #[error("payload length over 63 bits")]
    LengthTooLarge,
    /// §5.5: a control frame without FIN.
    #[error("fragmented control frame")]
    ControlFragmented,
    /// §5.5: a control frame over 125 bytes.
    #[error("control frame over 125 bytes")]
    ControlTooLong,
    /// §5.4: a continuation with no message in progress.
    #[error("continuation frame without a message to continue")]
    ContinuationUnexpected,
    /// §5.4: a new message before the one in progress had ended.
    #[error("new message inside a fragmented one")]
    MessageInterrupted,
    /// §5.5.1: a Close payload of one byte.
    #[error("close payload of one byte")]
    ClosePayloadTooShort,
    /// §7.4: a close code that may not stand on the wire.
    #[error("close code {code} is not allowed on the wire")]
    CloseCodeIllegal {
        /// The code found.
        code: u16,
    },
    /// §5.5.1: a close reason that is not UTF-8.
    #[error("close reason is not UTF-8")]
    CloseReasonNotUtf8,
    /// §5.6: a text message that is not UTF-8; found where a message is read, not where it is forwarded.
    #[error("text message is not UTF-8")]
    TextNotUtf8,
    /// A data frame longer than the configured `frame_bytes_max`.
    #[error("frame over {max} bytes")]
    FrameTooLong {
        /// The limit it passed.
        max: u64,
    },
    /// A message longer than the configured `message_bytes_max`.
    #[error("message over {max} bytes")]
    MessageTooLong {
        /// The limit it passed.
        max: u64,
    },
}

impl Violation {
    /// The code to close the offender's connection with (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::UnknownOpcode { .. }
            | Self::ReservedBits
            | Self::Unmasked
            | Self::Masked
            | Self::LengthNotMinimal { .. }
            | Self::LengthTooLarge
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::ContinuationUnexpected
            | Self::MessageInterrupted
            | Self::ClosePayloadTooShort
            | Self::CloseCodeIllegal { .. } => CloseCode::PROTOCOL_ERROR,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooLong { .. } | Self::MessageTooLong { .. } => CloseCode::MESSAGE_TOO_BIG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_small_enough_for_the_hot_path() {
        assert!(size_of::<Violation>() <= 32);
    }
}
