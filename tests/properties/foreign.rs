//! The foreign judge, tungstenite: what it makes of a stream, and the frames it writes.

use std::io::{self, Read, Write};

use selat::protocol::Role;
use tungstenite::protocol::frame::coding::OpCode;
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::protocol::{self, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

/// What tungstenite read from a stream.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Data messages, in order.
    pub(crate) messages: Vec<Message>,
    /// The code of the Close that ended the stream; `Some(None)` for a Close without one.
    pub(crate) close: Option<Option<u16>>,
    /// Why it stopped short of the end, if it did.
    pub(crate) stop: Option<Stop>,
}

/// Why tungstenite stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A breach of the protocol.
    Protocol,
    /// A frame or message over its limits.
    Size,
    /// Text that is not UTF-8, which selat leaves to the endpoints.
    Utf8,
}

/// Reads all of `bytes`, sent by `sender`, as the peer of `sender` would.
pub(crate) fn read(sender: Role, bytes: &[u8], message_bytes_max: u64) -> Reading {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .max_message_size(usize::try_from(message_bytes_max).ok())
        // It reserves what a header announces: no more than could come.
        .max_frame_size(Some(bytes.len()));
    let role = match sender {
        Role::Client => protocol::Role::Server,
        Role::Server => protocol::Role::Client,
    };
    let mut socket = WebSocket::from_raw_socket(Recorded(bytes), role, Some(config));
    let mut reading = Reading { messages: Vec::new(), close: None, stop: None };
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => reading.messages.push(message),
            Ok(Message::Close(close)) => {
                reading.close = Some(close.map(|close| close.code.into()));
                return reading;
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(error) => {
                reading.stop = stop(&error);
                return reading;
            }
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else tungstenite may say, it found a fault")]
fn stop(error: &Error) -> Option<Stop> {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Error::Capacity(_) => Some(Stop::Size),
        Error::Utf8(_) => Some(Stop::Utf8),
        _ => Some(Stop::Protocol),
    }
}

/// Appends one frame, masked if a client sends it (RFC 6455 §5.1).
pub(crate) fn push(stream: &mut Vec<u8>, sender: Role, opcode: OpCode, is_final: bool, payload: Vec<u8>) {
    let mask = match sender {
        Role::Client => Some([0x37, 0xFA, 0x21, payload.len().to_le_bytes()[0]]),
        Role::Server => None,
    };
    let header = FrameHeader { is_final, rsv1: false, rsv2: false, rsv3: false, opcode, mask };
    Frame::from_payload(header, payload.into()).format(stream).expect("a Vec takes all");
}

/// Bytes to read, then nothing more for now; what is written goes nowhere.
#[derive(Debug)]
pub(crate) struct Recorded<'b>(pub(crate) &'b [u8]);

impl Read for Recorded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(buffer) }
    }
}

impl Write for Recorded<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
