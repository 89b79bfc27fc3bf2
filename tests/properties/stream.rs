//! What a peer says, encoded by tungstenite.

use selat::protocol::Role;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::foreign::push;

/// One thing a peer says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item {
    /// A message in this many fragments of this many bytes, with or without a ping between them.
    Message { is_text: bool, fragments: u8, bytes: u16, has_ping: bool },
    /// A ping of this many bytes.
    Ping(u8),
    /// A pong of this many bytes.
    Pong(u8),
    /// A frame that may be out of place, have reserved bits set, or be of a kind that is not defined.
    Loose { opcode: u8, rsv: u8, is_final: bool },
    /// A Close; its reason has this many bytes.
    Close { code: Option<u16>, reason: u8 },
}

/// The stream in which `sender` says all this, no two messages alike. Legal, but for loose frames.
pub(crate) fn encode(sender: Role, items: &[Item]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match *item {
            Item::Message { is_text, fragments, bytes, has_ping } => {
                let first = OpCode::Data(if is_text { Data::Text } else { Data::Binary });
                for fragment in 0..fragments {
                    let opcode = if fragment == 0 { first } else { OpCode::Data(Data::Continue) };
                    let payload = payload(index, usize::from(bytes));
                    push(&mut stream, sender, opcode, fragment + 1 == fragments, payload);
                    if has_ping {
                        push(&mut stream, sender, OpCode::Control(Control::Ping), true, vec![fragment]);
                    }
                }
            }
            Item::Ping(bytes) => {
                push(
                    &mut stream,
                    sender,
                    OpCode::Control(Control::Ping),
                    true,
                    payload(index, bytes.min(125)),
                );
            }
            Item::Pong(bytes) => {
                push(
                    &mut stream,
                    sender,
                    OpCode::Control(Control::Pong),
                    true,
                    payload(index, bytes.min(125)),
                );
            }
            Item::Loose { opcode, rsv, is_final } => {
                let start = stream.len();
                push(&mut stream, sender, OpCode::from(opcode), is_final, payload(index, 2_usize));
                stream[start] |= rsv;
            }
            Item::Close { code, reason } => {
                let payload = code.map_or_else(Vec::new, |code| {
                    [code.to_be_bytes().as_slice(), &payload(index, reason.min(123))].concat()
                });
                push(&mut stream, sender, OpCode::Control(Control::Close), true, payload);
            }
        }
    }
    stream
}

/// Letters that depend on which message it is.
fn payload(index: usize, len: impl Into<usize>) -> Vec<u8> {
    (b'a'..=b'z').cycle().skip(index * 7 % 26).step_by(1 + index % 5).take(len.into()).collect()
}
