//! An echo server's reading of what a client sends: turns it into the answer, in the buffer where it lies.
//!
//! Judges single frames (RFC 6455 §5.1, §5.2, §5.5), not how they make up messages: fragments are echoed as they came.

use std::ops::Range;

use selat::protocol::frame::{Header, MaskKey, Opcode, Rsv, Violation, mask};

use super::wide;

/// Bytes of a masking key, by which an answer's header is shorter than the question's.
const KEY_BYTES: usize = size_of::<MaskKey>();

/// What to do after the output of a turn has been sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read on.
    Read,
    /// The client's Close is answered: close the connection.
    Close,
    /// The client broke the protocol: say so in a Close.
    Fail(Violation),
}

/// What one read came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Where in the buffer the answers stand.
    pub(crate) output: Range<usize>,
    /// What comes after them.
    pub(crate) next: Next,
}

/// The frame whose payload is being answered.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    key: MaskKey,
    /// Payload bytes already unmasked.
    phase: usize,
    remaining: u64,
}

/// One connection's frames. Holds no payload.
#[derive(Debug, Default)]
pub(crate) struct Echoing {
    held: Vec<u8>,
    frame: Option<Frame>,
}

impl Echoing {
    /// The beginning of a header that has not arrived whole: belongs before the bytes of the next read.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Answers the client's bytes that fill `buf`, the held ones first. The answers take their place.
    pub(crate) fn handle(&mut self, buf: &mut [u8]) -> Turn {
        self.held.clear();
        let (mut at, mut output) = (0, 0..0);
        loop {
            if let Some(frame) = &mut self.frame {
                at += frame.handle(buf, at, &mut output);
                if frame.remaining > 0 {
                    return Turn { output, next: Next::Read };
                }
                let opcode = frame.opcode;
                self.frame = None;
                if opcode == Opcode::Close {
                    return Turn { output, next: Next::Close };
                }
            }
            let rest = buf.get(at..).unwrap_or_default();
            match Header::parse(rest).and_then(|parsed| parsed.map(Frame::begin).transpose()) {
                Ok(Some((frame, header_bytes))) => {
                    if frame.opcode != Opcode::Pong {
                        write_header(buf, at..at + header_bytes, &mut output);
                    }
                    at += header_bytes;
                    self.frame = Some(frame);
                }
                Ok(None) => {
                    self.held.extend_from_slice(rest);
                    return Turn { output, next: Next::Read };
                }
                Err(violation) => return Turn { output, next: Next::Fail(violation) },
            }
        }
    }
}

impl Frame {
    fn begin((header, len): (Header, usize)) -> Result<(Self, usize), Violation> {
        // §5.1: the server MUST close the connection upon receiving a frame that is not masked.
        let key = header.mask.ok_or(Violation::Unmasked)?;
        if header.rsv != Rsv::NONE {
            return Err(Violation::ReservedBits);
        }
        Ok((Self { opcode: header.opcode, key, phase: 0, remaining: header.payload_len }, len))
    }

    /// Unmasks what `buf` holds of the payload from `at` on, to the end of `output`; returns how much that was.
    fn handle(&mut self, buf: &mut [u8], at: usize, output: &mut Range<usize>) -> usize {
        let len = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buf.len() - at);
        self.remaining -= wide(len);
        if self.opcode == Opcode::Pong {
            return len;
        }
        if output.start == output.end {
            *output = at..at;
        }
        if output.end != at {
            buf.copy_within(at..at + len, output.end);
        }
        let end = output.end + len;
        mask(
            buf.get_mut(output.end..end).expect("answers are no longer than questions"),
            self.key,
            self.phase,
        );
        self.phase += len;
        output.end = end;
        len
    }
}

/// Makes the client's header at `from` the answer's, at the end of `output`: without the key, a pong for a ping.
///
/// The first answer of a buffer begins four bytes late, so that its payload need not move.
fn write_header(buf: &mut [u8], from: Range<usize>, output: &mut Range<usize>) {
    if output.start == output.end {
        *output = from.start + KEY_BYTES..from.start + KEY_BYTES;
    }
    buf.copy_within(from.start..from.end - KEY_BYTES, output.end);
    if let Some([first, second, ..]) = buf.get_mut(output.end..) {
        if *first & 0x0F == Opcode::Ping.bits() {
            *first ^= Opcode::Ping.bits() ^ Opcode::Pong.bits();
        }
        *second &= 0x7F;
    }
    output.end += from.len() - KEY_BYTES;
}

#[cfg(test)]
mod tests {
    use selat::protocol::frame::{CloseCode, close_frame};

    use super::*;

    const KEY: MaskKey = MaskKey([1, 20, 150, 255]);

    fn frame(opcode: Opcode, fin: bool, key: Option<MaskKey>, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Header { fin, ..Header::whole(opcode, key, payload.len().try_into().unwrap()) }.encode(&mut frame);
        let header_bytes = frame.len();
        frame.extend_from_slice(payload);
        if let Some(key) = key {
            mask(&mut frame[header_bytes..], key, 0);
        }
        frame
    }

    /// Feeds `bytes` in two pieces, cut at `cut`.
    fn answered(bytes: &[u8], cut: usize) -> (Vec<u8>, Next) {
        let (mut echoing, mut answers, mut next) = (Echoing::default(), Vec::new(), Next::Read);
        let (first, second) = bytes.split_at(cut);
        for piece in [first, second] {
            if next == Next::Read {
                let mut buf = [echoing.held(), piece].concat();
                let turn = echoing.handle(&mut buf);
                answers.extend_from_slice(&buf[turn.output]);
                next = turn.next;
            }
        }
        (answers, next)
    }

    #[test]
    fn answers_the_same_however_the_bytes_are_cut() {
        let long: Vec<u8> = (0..=255).cycle().take(300).collect();
        let script = [
            (Opcode::Text, true, b"hello".as_slice(), Some(Opcode::Text)),
            (Opcode::Binary, false, &long, Some(Opcode::Binary)),
            (Opcode::Ping, true, b"there?", Some(Opcode::Pong)),
            (Opcode::Pong, true, b"unasked", None),
            (Opcode::Continuation, true, b"", Some(Opcode::Continuation)),
            (Opcode::Close, true, &[0x03, 0xE8, b'x'], Some(Opcode::Close)),
        ];
        let mut questions = Vec::new();
        let mut expected = Vec::new();
        for (opcode, fin, payload, answer) in script {
            questions.extend(frame(opcode, fin, Some(KEY), payload));
            expected.extend(answer.map(|answer| frame(answer, fin, None, payload)).unwrap_or_default());
        }
        for cut in 0..questions.len() {
            assert_eq!(answered(&questions, cut), (expected.clone(), Next::Close), "cut at {cut}");
        }
    }

    #[test]
    fn answers_what_was_legal_before_it_fails() {
        let legal = frame(Opcode::Text, true, Some(KEY), b"legal");
        let rows: [(&[u8], Violation); 3] = [
            (&frame(Opcode::Text, true, None, b"bare"), Violation::Unmasked),
            (&[0xC1, 0x80, 0, 0, 0, 0], Violation::ReservedBits),
            (&[0x83], Violation::UnknownOpcode { opcode: 3 }),
        ];
        for (illegal, violation) in rows {
            let illegal = [illegal, &[0; 16]].concat();
            let (answers, next) = answered(&[legal.clone(), illegal].concat(), 0);
            assert_eq!(next, Next::Fail(violation));
            assert_eq!(answers, frame(Opcode::Text, true, None, b"legal"));
        }
    }

    #[test]
    fn answers_close_and_ignores_what_follows() {
        let close = close_frame(CloseCode::NORMAL, "bye", Some(KEY));
        let bytes = [close, frame(Opcode::Text, true, Some(KEY), b"late")].concat();
        assert_eq!(answered(&bytes, 0), (close_frame(CloseCode::NORMAL, "bye", None), Next::Close));
    }
}
