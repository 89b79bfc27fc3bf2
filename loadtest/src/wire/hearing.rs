//! A server's reading of a client's whole messages, for servers that do more with them than echo them as they come.

use selat::protocol::frame::{CloseCode, Header, Opcode, Violation, mask};

/// Bytes of a message; longer ones end the connection.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Something a client said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message of this kind, whole.
    Message(Opcode, Vec<u8>),
    /// A ping with this payload.
    Ping(Vec<u8>),
    /// A Close with this payload.
    Close(Vec<u8>),
    /// What the protocol or a limit forbids; answer with this code.
    Wrong(CloseCode),
}

/// One connection's frames, kept until a message is whole.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    /// What has come, of which this much is heard.
    bytes: Vec<u8>,
    taken: usize,
    message: Option<(Opcode, Vec<u8>)>,
}

impl Hearing {
    /// Takes what has come.
    pub(crate) fn handle(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next thing that was said, if it is whole.
    pub(crate) fn poll(&mut self) -> Option<Heard> {
        loop {
            let rest = self.bytes.get(self.taken..)?;
            let (header, len) = match Header::parse(rest) {
                Ok(parsed) => parsed?,
                Err(violation) => return Some(Heard::Wrong(violation.close_code())),
            };
            // §5.1: the server MUST close the connection upon receiving a frame that is not masked.
            let Some(key) = header.mask else { return Some(Heard::Wrong(Violation::Unmasked.close_code())) };
            let size = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
            let before = self.message.as_ref().map_or(0, |(_, message)| message.len());
            if size.saturating_add(before) > MESSAGE_BYTES_MAX {
                return Some(Heard::Wrong(CloseCode::MESSAGE_TOO_BIG));
            }
            let mut payload = rest.get(len..len + size)?.to_vec();
            mask(&mut payload, key, 0);
            self.taken += len + size;
            match header.opcode {
                Opcode::Ping => return Some(Heard::Ping(payload)),
                Opcode::Close => return Some(Heard::Close(payload)),
                Opcode::Pong => {}
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    let (opcode, mut message) = self.message.take().unwrap_or((header.opcode, Vec::new()));
                    message.append(&mut payload);
                    if header.fin {
                        return Some(Heard::Message(opcode, message));
                    }
                    self.message = Some((opcode, message));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use selat::protocol::frame::{MaskKey, close_frame};

    use super::*;

    fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let (key, mut frame) = (MaskKey([1, 20, 150, 255]), Vec::new());
        Header { fin, ..Header::whole(opcode, Some(key), payload.len().try_into().unwrap()) }
            .encode(&mut frame);
        let header_bytes = frame.len();
        frame.extend_from_slice(payload);
        mask(&mut frame[header_bytes..], key, 0);
        frame
    }

    #[test]
    fn hears_the_same_however_the_bytes_are_cut() {
        let bytes = [
            frame(Opcode::Text, true, b"hello"),
            frame(Opcode::Binary, false, &[7; 200]),
            frame(Opcode::Ping, true, b"there?"),
            frame(Opcode::Continuation, true, b"end"),
            close_frame(CloseCode::NORMAL, "bye", Some(MaskKey([1, 2, 3, 4]))),
        ]
        .concat();
        let expected = [
            Heard::Message(Opcode::Text, b"hello".to_vec()),
            Heard::Ping(b"there?".to_vec()),
            Heard::Message(Opcode::Binary, [&[7; 200], b"end".as_slice()].concat()),
            Heard::Close(b"\x03\xE8bye".to_vec()),
        ];
        for cut in 0..bytes.len() {
            let mut hearing = Hearing::default();
            let mut heard = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                hearing.handle(piece);
                heard.extend(std::iter::from_fn(|| hearing.poll()));
            }
            assert_eq!(heard, expected, "cut at {cut}");
        }
    }

    #[test]
    fn takes_nothing_unmasked_nor_too_long() {
        let rows: [(&[u8], CloseCode); 2] = [
            (&[0x81, 0x02, b'h', b'i'], CloseCode::PROTOCOL_ERROR),
            (&[0x82, 0xFF, 0, 0, 0, 0, 0xFF, 0, 0, 0, 1, 2, 3, 4], CloseCode::MESSAGE_TOO_BIG),
        ];
        for (bytes, code) in rows {
            let mut hearing = Hearing::default();
            hearing.handle(bytes);
            assert_eq!(hearing.poll(), Some(Heard::Wrong(code)));
        }
    }
}
