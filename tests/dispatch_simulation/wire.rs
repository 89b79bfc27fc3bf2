//! Frames as the peers write and read them, by hand: nothing of what is tested is used for it.

/// What a peer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Message(String),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// One frame. `mask` is the client's.
fn frame(opcode: u8, is_final: bool, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => bytes.push(masked | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(masked | 127);
            bytes.extend_from_slice(&u64::try_from(len).unwrap().to_be_bytes());
        }
    }
    let key = mask.unwrap_or([0; 4]);
    bytes.extend(mask.into_iter().flatten());
    bytes.extend(payload.iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A text message in so many fragments, perhaps with pings between them.
pub(crate) fn message(text: &str, fragments: usize, has_pings: bool, mask: Option<[u8; 4]>) -> Vec<u8> {
    let size = text.len().div_ceil(fragments).max(1);
    let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let opcode = if at == 0 { TEXT } else { 0 };
        bytes.extend(frame(opcode, at + 1 == pieces.len(), piece, mask));
        if has_pings {
            bytes.extend(frame(PING, true, b"are you there?", mask));
        }
    }
    bytes
}

pub(crate) fn close(code: u16, mask: Option<[u8; 4]>) -> Vec<u8> {
    frame(CLOSE, true, &code.to_be_bytes(), mask)
}

pub(crate) fn pong(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    frame(PONG, true, payload, mask)
}

/// Reads frames; dies of what RFC 6455 does not allow.
#[derive(Debug)]
pub(crate) struct Reader {
    is_masked: bool,
    unread: Vec<u8>,
    message: Option<Vec<u8>>,
}

impl Reader {
    /// Of frames that have a mask, or none.
    pub(crate) fn new(is_masked: bool) -> Self {
        Self { is_masked, unread: Vec::new(), message: None }
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Said> {
        self.unread.extend_from_slice(bytes);
        let mut said = Vec::new();
        while let Some((first, payload)) = self.next_frame() {
            assert_eq!(first & 0x70, 0, "a reserved bit");
            let is_final = first & 0x80 != 0;
            match first & 0x0F {
                opcode @ (0 | TEXT) => {
                    assert_eq!(opcode == 0, self.message.is_some(), "messages interleave");
                    self.message.get_or_insert_default().extend_from_slice(&payload);
                    if is_final {
                        let text = String::from_utf8(self.message.take().unwrap()).unwrap();
                        said.push(Said::Message(text));
                    }
                }
                CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    said.push(Said::Close(code));
                }
                PING => said.push(Said::Ping(payload)),
                PONG => said.push(Said::Pong),
                opcode => panic!("opcode {opcode}"),
            }
        }
        said
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second] = *self.unread.first_chunk()?;
        assert_eq!(second & 0x80 != 0, self.is_masked);
        let (len, mut at) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes(*self.unread.get(2..)?.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*self.unread.get(2..)?.first_chunk()?), 10),
            len => (len.into(), 2),
        };
        let mut key = [0; 4];
        if self.is_masked {
            key = *self.unread.get(at..)?.first_chunk()?;
            at += 4;
        }
        let end = at + usize::try_from(len).unwrap();
        let payload = self.unread.get(at..end)?;
        let payload = payload.iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        self.unread.drain(..end);
        Some((first, payload))
    }
}
