//! Frames, coded by tungstenite.

use std::io::Cursor;

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame as Coded, FrameHeader};

/// A frame as it came off the wire, its payload unmasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: OpCode,
    pub(crate) fin: bool,
    pub(crate) is_masked: bool,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The frame at the front of `bytes`, and how many of them it is; `None` if there are too few.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut cursor = Cursor::new(bytes);
        let (header, len) = FrameHeader::parse(&mut cursor).expect("a legal header")?;
        let start = usize::try_from(cursor.position()).expect("a small header");
        let end = start + usize::try_from(len).expect("a length");
        let mut payload = bytes.get(start..end)?.to_vec();
        if let Some(mask) = header.mask {
            payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        let is_masked = header.mask.is_some();
        Some((Self { opcode: header.opcode, fin: header.is_final, is_masked, payload }, end))
    }

    pub(crate) fn is_close(&self) -> bool {
        self.opcode == OpCode::Control(Control::Close)
    }

    /// The code and the reason of a Close that must have both.
    pub(crate) fn close(&self) -> (u16, String) {
        assert!(self.is_close(), "a Close: {self:?}");
        let (code, reason) = self.payload.split_first_chunk::<2>().expect("a code");
        (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8"))
    }
}

/// [`client_frame`] or [`server_frame`].
pub(crate) type Encode = fn(OpCode, bool, &[u8]) -> Vec<u8>;

/// The wire image of a client's frame.
pub(crate) fn client_frame(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
    image(opcode, fin, Some([0x37, 0xfa, 0x21, 0x3d]), payload)
}

/// The wire image of a server's frame.
pub(crate) fn server_frame(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
    image(opcode, fin, None, payload)
}

fn image(opcode: OpCode, fin: bool, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final: fin, opcode, mask, ..FrameHeader::default() };
    let mut bytes = Vec::new();
    Coded::from_payload(header, payload.to_vec().into()).format(&mut bytes).expect("memory takes it");
    bytes
}

/// The payload of a Close.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [code.to_be_bytes().as_slice(), reason.as_bytes()].concat()
}

/// `len` bytes in which every loss, doubling or swap shows.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

/// Short names for the opcodes.
pub(crate) const TEXT: OpCode = OpCode::Data(Data::Text);
pub(crate) const BINARY: OpCode = OpCode::Data(Data::Binary);
pub(crate) const CONTINUATION: OpCode = OpCode::Data(Data::Continue);
pub(crate) const CLOSE: OpCode = OpCode::Control(Control::Close);
pub(crate) const PING: OpCode = OpCode::Control(Control::Ping);
pub(crate) const PONG: OpCode = OpCode::Control(Control::Pong);
