//! One frame header, read and written (RFC 6455 §5.2).
//!
//! Judges what the header alone can show: opcodes, control-frame limits, minimal lengths. What needs the stream
//! around it (masking by role, fragmentation, negotiated bits) is the scanner's.

use super::{MaskKey, Violation};

/// Payload bytes a control frame may carry (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_MAX: u64 = 125;

/// Bytes of the longest header: 2 fixed, 8 of extended length, 4 of masking key (RFC 6455 §5.2).
pub const HEADER_BYTES_MAX: usize = 14;

/// What a frame is (RFC 6455 §5.2, §11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// A further fragment of the message in progress.
    Continuation,
    /// The first or only fragment of a text message.
    Text,
    /// The first or only fragment of a binary message.
    Binary,
    /// The closing handshake.
    Close,
    /// "Are you there?"
    Ping,
    /// "I am."
    Pong,
}

impl Opcode {
    /// The opcode of these four bits.
    ///
    /// # Errors
    /// [`Violation::UnknownOpcode`] for the reserved ones (3–7, 11–15).
    pub fn from_bits(bits: u8) -> Result<Self, Violation> {
        match bits {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            // §5.2: if an unknown opcode is received, the receiving endpoint MUST fail the connection.
            opcode => Err(Violation::UnknownOpcode { opcode }),
        }
    }

    /// The four bits on the wire.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Whether this is Close, Ping or Pong (§5.5).
    #[must_use]
    pub fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

/// The three reserved bits of a frame, RSV1 the highest (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rsv(u8);

impl Rsv {
    /// No bit set: all that is legal without an extension.
    pub const NONE: Self = Self(0);
    /// RSV1, "per-message compressed" (RFC 7692 §6).
    pub const RSV1: Self = Self(0x40);
    /// All three, for extensions whose use of them selat does not know.
    pub const ALL: Self = Self(0x70);

    /// Whether each bit set here is set in `allowed` too.
    #[must_use]
    pub fn within(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }
}

/// A frame header (RFC 6455 §5.2). The payload that follows is `payload_len` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// Reserved bits, meaningful to extensions only.
    pub rsv: Rsv,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key; present exactly in frames that a client sent.
    pub mask: Option<MaskKey>,
    /// Payload bytes that follow the header.
    pub payload_len: u64,
}

impl Header {
    /// A whole, unfragmented frame.
    #[must_use]
    pub fn whole(opcode: Opcode, mask: Option<MaskKey>, payload_len: u64) -> Self {
        Self { fin: true, rsv: Rsv::NONE, opcode, mask, payload_len }
    }

    /// Reads the header at the front of `bytes` and says how many bytes it took; `None` if more are needed.
    ///
    /// # Errors
    /// A [`Violation`] that this header commits by itself.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0F)?;
        let fin = first & 0x80 != 0;
        let short_len = second & 0x7F;
        if opcode.is_control() {
            // §5.5: all control frames MUST have a payload length of 125 bytes or less
            // and MUST NOT be fragmented.
            if !fin {
                return Err(Violation::ControlFragmented);
            }
            if u64::from(short_len) > CONTROL_PAYLOAD_MAX {
                return Err(Violation::ControlTooLong);
            }
        }
        let Some((payload_len, rest)) = payload_len(short_len, rest)? else { return Ok(None) };
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let Some((&key, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            (Some(MaskKey(key)), rest)
        };
        let header = Self { fin, rsv: Rsv(first & 0x70), opcode, mask, payload_len };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Appends the header's wire form, with the shortest length encoding (§5.2).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fin = if self.fin { 0x80 } else { 0 };
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(fin | self.rsv.0 | self.opcode.bits());
        match (u8::try_from(self.payload_len), u16::try_from(self.payload_len)) {
            (Ok(len @ 0..=125), _) => out.push(masked | len),
            (_, Ok(len)) => {
                out.push(masked | 126);
                out.extend_from_slice(&len.to_be_bytes());
            }
            (_, Err(_)) => {
                out.push(masked | 127);
                out.extend_from_slice(&self.payload_len.to_be_bytes());
            }
        }
        if let Some(MaskKey(key)) = self.mask {
            out.extend_from_slice(&key);
        }
    }
}

/// The payload length behind its seven-bit form, and the bytes after it; `None` if more are needed.
#[inline]
fn payload_len(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    // §5.2: the minimal number of bytes MUST be used to encode the length.
    let (len, least, rest) = match short {
        126 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*len)), 126, rest)
        }
        127 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*len), 1 << 16, rest)
        }
        len => (u64::from(len), 0, rest),
    };
    if len < least {
        return Err(Violation::LengthNotMinimal { len });
    }
    // §5.2: the most significant bit of a 64-bit length MUST be 0.
    if len >> 63 != 0 {
        return Err(Violation::LengthTooLarge);
    }
    Ok(Some((len, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Header {
        Header::parse(bytes).unwrap().unwrap().0
    }

    #[test]
    fn reads_the_examples_of_rfc_6455_5_7() {
        let rows: [(&[u8], Opcode, bool, u64, usize); 6] = [
            (&[0x81, 0x05, b'H'], Opcode::Text, true, 5, 2),
            (&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f], Opcode::Text, true, 5, 6),
            (&[0x01, 0x03], Opcode::Text, false, 3, 2),
            (&[0x80, 0x02], Opcode::Continuation, true, 2, 2),
            (&[0x82, 0x7E, 0x01, 0x00], Opcode::Binary, true, 256, 4),
            (&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], Opcode::Binary, true, 65536, 10),
        ];
        for (bytes, opcode, fin, payload_len, header_len) in rows {
            let (header, len) = Header::parse(bytes).unwrap().unwrap();
            assert_eq!(
                (header.opcode, header.fin, header.payload_len, len),
                (opcode, fin, payload_len, header_len)
            );
        }
    }

    #[test]
    fn asks_for_more_at_every_cut_of_the_longest_header() {
        let mut bytes = Vec::new();
        Header::whole(Opcode::Binary, Some(MaskKey([1, 2, 3, 4])), 1 << 20).encode(&mut bytes);
        assert_eq!(bytes.len(), HEADER_BYTES_MAX);
        for cut in 0..bytes.len() {
            assert_eq!(Header::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(parsed(&bytes).mask, Some(MaskKey([1, 2, 3, 4])));
    }

    #[test]
    fn refuses_what_section_5_forbids() {
        let rows: [(&[u8], Violation); 8] = [
            (&[0x83, 0x00], Violation::UnknownOpcode { opcode: 3 }),
            (&[0x8F, 0x00], Violation::UnknownOpcode { opcode: 15 }),
            (&[0x09, 0x00], Violation::ControlFragmented),
            (&[0x88, 0x7E], Violation::ControlTooLong),
            (&[0x82, 0x7E, 0x00, 0x7D], Violation::LengthNotMinimal { len: 125 }),
            (&[0x82, 0x7F, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], Violation::LengthNotMinimal { len: 65535 }),
            (&[0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::LengthTooLarge),
            (&[0x8A, 0x7F], Violation::ControlTooLong),
        ];
        for (bytes, violation) in rows {
            assert_eq!(Header::parse(bytes), Err(violation), "{bytes:02x?}");
        }
    }

    #[test]
    fn encodes_the_shortest_length() {
        for (len, bytes) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (u64::MAX >> 1, 10)] {
            let header = Header::whole(Opcode::Text, None, len);
            let mut out = Vec::new();
            header.encode(&mut out);
            assert_eq!(out.len(), bytes);
            assert_eq!(parsed(&out), header);
        }
    }
}
