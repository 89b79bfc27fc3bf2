//! One frame at a time out of a stream, and what a message of frames says (RFC 6455 §5.2–§5.5).

use std::borrow::Cow;

use crate::protocol::frame::{
    CloseCode, End, HEADER_BYTES_MAX, Header, Opcode, Scanner, Stops, Unit, Violation, mask,
};

/// What the front of a stream's bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Too little to tell: to be presented again with more.
    More,
    /// A data frame, or what has come of one.
    Data {
        /// Whether its message ends with it.
        is_end: bool,
    },
    /// A whole ping.
    Ping,
    /// A whole pong.
    Pong,
    /// A whole Close.
    Close(Option<CloseCode>),
    /// Something illegal.
    Violation(Violation),
}

/// Judges the front of `bytes`, and says how many of them that is.
#[inline]
pub(super) fn hear(scanner: &mut Scanner, bytes: &[u8]) -> (usize, Heard) {
    let opcode = bytes.first().filter(|_| scanner.at_frame_boundary()).map(|first| first & 0x0F);
    let scan = scanner.scan_until(bytes, &Stops { pongs_to: None, end_of: Some(Unit::Frame) });
    let heard = match scan.end {
        End::Violation(violation) => Heard::Violation(violation),
        End::Close { code, .. } => Heard::Close(code),
        End::More | End::Unit | End::Pong { .. } if scan.forward == 0 => Heard::More,
        End::More | End::Unit | End::Pong { .. } => match opcode {
            Some(bits) if bits == Opcode::Ping.bits() => Heard::Ping,
            Some(bits) if bits == Opcode::Pong.bits() => Heard::Pong,
            Some(_) | None => Heard::Data { is_end: scanner.at_message_boundary() },
        },
    };
    (scan.forward, heard)
}

/// Whether these bytes, which are at a frame's beginning, begin a control frame.
#[inline]
pub(super) fn is_control(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0x08 != 0)
}

/// What legal, whole frames say together, unmasked. Borrowed where it stands there as it is.
pub(super) fn payload(mut frames: &[u8]) -> Cow<'_, [u8]> {
    let mut said = Cow::Borrowed(&[][..]);
    while let Ok(Some((header, header_len))) = Header::parse(frames) {
        let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        let Some((piece, rest)) = frames.get(header_len..).and_then(|rest| rest.split_at_checked(len)) else {
            break;
        };
        frames = rest;
        match (header.mask, &said) {
            (None, Cow::Borrowed([])) => said = Cow::Borrowed(piece),
            (key, _) => {
                let all = said.to_mut();
                let start = all.len();
                all.extend_from_slice(piece);
                if let (Some(key), Some(piece)) = (key, all.get_mut(start..)) {
                    mask(piece, key, 0);
                }
            }
        }
    }
    said
}

/// A text message of selat's own to a client.
pub(super) fn text_frame(text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES_MAX + text.len());
    Header::whole(Opcode::Text, None, u64::try_from(text.len()).unwrap_or(u64::MAX)).encode(&mut frame);
    frame.extend_from_slice(text);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;
    use crate::protocol::frame::{MaskKey, Rsv, Rules};

    fn frame(opcode: Opcode, fin: bool, said: &[u8], key: Option<MaskKey>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Header { fin, ..Header::whole(opcode, key, said.len().try_into().unwrap()) }.encode(&mut bytes);
        let start = bytes.len();
        bytes.extend_from_slice(said);
        mask(&mut bytes[start..], key.unwrap_or(MaskKey([0; 4])), 0);
        bytes
    }

    #[test]
    fn hears_one_frame_after_the_other_in_any_pieces() {
        let stream = [
            frame(Opcode::Text, false, b"hel", None),
            frame(Opcode::Ping, true, b"?", None),
            frame(Opcode::Continuation, true, b"lo", None),
            frame(Opcode::Pong, true, b"", None),
            frame(Opcode::Text, true, b"", None),
            frame(Opcode::Close, true, b"", None),
        ]
        .concat();
        let ends = [
            Heard::Ping,
            Heard::Data { is_end: true },
            Heard::Pong,
            Heard::Data { is_end: true },
            Heard::Close(None),
        ];
        for cut in 0..=stream.len() {
            let mut scanner = Scanner::new(Rules::unlimited(Role::Server, Rsv::NONE));
            let (mut heard, mut at) = (Vec::new(), 0);
            for until in [cut, stream.len()] {
                while at < until {
                    let (len, said) = hear(&mut scanner, &stream[at..until]);
                    at += len;
                    match said {
                        Heard::More => break,
                        Heard::Data { is_end: false } => {}
                        Heard::Data { .. }
                        | Heard::Ping
                        | Heard::Pong
                        | Heard::Close(_)
                        | Heard::Violation(_) => {
                            heard.push(said);
                        }
                    }
                }
            }
            assert_eq!(heard, ends, "cut at {cut}");
        }
    }

    #[test]
    fn reads_what_fragments_say_together() {
        let key = MaskKey([1, 2, 3, 250]);
        for key in [None, Some(key)] {
            let whole = frame(Opcode::Text, true, b"hello", key);
            assert_eq!(&*payload(&whole), b"hello");
            let first = frame(Opcode::Text, false, b"hel", key);
            let pieces = [first.as_slice(), &frame(Opcode::Continuation, true, b"lo", key)].concat();
            assert_eq!(&*payload(&pieces), b"hello");
        }
        assert!(matches!(payload(&frame(Opcode::Text, true, b"hello", None)), Cow::Borrowed(b"hello")));
        assert_eq!(text_frame(b"hello"), frame(Opcode::Text, true, b"hello", None));
    }
}
