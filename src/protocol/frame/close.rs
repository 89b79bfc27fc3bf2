//! Close codes and Close frames (RFC 6455 §5.5.1, §7.4).

use super::{CONTROL_PAYLOAD_MAX, Header, MaskKey, Opcode, Violation, mask};

/// Why a WebSocket connection closed (RFC 6455 §7.4, IANA WebSocket Close Code Number Registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose was fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: this end is going away, a server going down for instance.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1007: payload not consistent with the type of its message.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a policy was breached.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message too big to be processed.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: an unexpected condition in the server.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: whoever comes back later may be served (IANA registry of close codes).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from its upstream.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The code that a peer sent.
    ///
    /// # Errors
    /// [`Violation::CloseCodeIllegal`] for codes that must never stand in a frame (§7.4.1, §7.4.2).
    pub fn from_wire(code: u16) -> Result<Self, Violation> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            // 1004 is reserved; 1005, 1006 and 1015 MUST NOT be set in a frame; the rest is not assigned.
            _ => Err(Violation::CloseCodeIllegal { code }),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The code in an unmasked Close payload; `None` for the empty payload, which has none (§5.5.1, §7.1.5).
///
/// # Errors
/// A payload of one byte, a code not allowed on the wire, a reason that is not UTF-8.
pub(super) fn close_payload(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::ClosePayloadTooShort) };
    };
    let code = CloseCode::from_wire(u16::from_be_bytes(*code))?;
    // §5.5.1: following the 2-byte integer, the body MAY contain UTF-8-encoded data.
    std::str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
    Ok(Some(code))
}

/// The wire image of a Close frame: masked when sent as a client (§5.1), its reason cut at a character boundary
/// to what a control frame can carry.
#[must_use]
pub fn close_frame(code: CloseCode, reason: &str, key: Option<MaskKey>) -> Vec<u8> {
    let reason_max = usize::try_from(CONTROL_PAYLOAD_MAX).unwrap_or(usize::MAX) - size_of::<u16>();
    let reason = reason.as_bytes().get(..reason.floor_char_boundary(reason_max)).unwrap_or_default();
    control_frame(Opcode::Close, &[&code.get().to_be_bytes(), reason].concat(), key)
}

/// The wire image of a control frame with a payload of at most [`CONTROL_PAYLOAD_MAX`].
pub(crate) fn control_frame(opcode: Opcode, payload: &[u8], key: Option<MaskKey>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(super::HEADER_BYTES_MAX + payload.len());
    Header::whole(opcode, key, payload.len().try_into().unwrap_or(CONTROL_PAYLOAD_MAX)).encode(&mut frame);
    let start = frame.len();
    frame.extend_from_slice(payload);
    if let Some(key) = key {
        mask(frame.get_mut(start..).unwrap_or_default(), key, 0);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_codes_may_stand_on_the_wire() {
        // RFC 6455 §7.4.1–7.4.2 and the IANA registry.
        for code in
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
        {
            assert_eq!(CloseCode::from_wire(code).map(CloseCode::get), Ok(code));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(CloseCode::from_wire(code), Err(Violation::CloseCodeIllegal { code }));
        }
    }

    #[test]
    fn cuts_a_long_reason_at_a_character() {
        let frame = close_frame(CloseCode::GOING_AWAY, &"é".repeat(100), None);
        let (header, len) = Header::parse(&frame).unwrap().unwrap();
        assert_eq!(header.payload_len, 124);
        assert_eq!(close_payload(&frame[len..]), Ok(Some(CloseCode::GOING_AWAY)));
    }

    #[test]
    fn masks_as_a_client() {
        let key = MaskKey([9, 8, 7, 6]);
        let mut frame = close_frame(CloseCode::NORMAL, "bye", Some(key));
        let (header, len) = Header::parse(&frame).unwrap().unwrap();
        assert_eq!(header.mask, Some(key));
        let payload = &mut frame[len..];
        mask(payload, key, 0);
        assert_eq!(&payload[2..], b"bye");
    }
}
