//! What a simulated endpoint is going to do.

use std::collections::VecDeque;

use fastrand::Rng;
use selat::protocol::Role;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::foreign::push;

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Character {
    /// Says what it has to say, then waits for a Close and answers it.
    Steady,
    /// The same, but it closes when it has said all.
    Closing,
    /// The same, but it reads and writes now and then only.
    Slow,
    /// Breaks the protocol.
    Faulty,
    /// Stops reading, for good.
    Stuck,
    /// Resets the connection.
    Vanishing,
    /// Sends FIN between two frames, without a Close, and reads on.
    HalfClosing,
    /// Sends FIN or resets inside a frame.
    MidFrame,
}

impl Character {
    pub(crate) const ALL: [Self; 10] = [
        Self::Steady,
        Self::Steady,
        Self::Closing,
        Self::Closing,
        Self::Slow,
        Self::Faulty,
        Self::Stuck,
        Self::Vanishing,
        Self::HalfClosing,
        Self::MidFrame,
    ];

    /// Whether it reads what it is sent, and keeps to the rules.
    pub(crate) fn is_correct(self) -> bool {
        matches!(self, Self::Steady | Self::Closing | Self::Slow)
    }
}

/// One thing an endpoint does.
#[derive(Debug)]
pub(crate) enum Act {
    Write { bytes: Vec<u8>, written: usize, then: Then },
    Fin,
    Reset,
}

/// What has happened once something is written to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Message,
    /// A pong that the other end asked for.
    Pong,
    Closed(u16),
    Answered,
    BrokeRules,
}

/// Its messages, in fragments and with pings between them; and at some point what its character makes it do.
pub(crate) fn plan(
    role: Role,
    character: Character,
    size_max: usize,
    rng: &mut Rng,
) -> (Vec<Vec<u8>>, VecDeque<Act>) {
    let mut messages = Vec::new();
    let mut acts = VecDeque::new();
    for index in 0..rng.usize(0..8) {
        let message =
            [format!("{role:?} {index} ").into_bytes(), vec![b'.'; rng.usize(0..size_max)]].concat();
        say(role, &message, &mut acts, rng);
        messages.push(message);
    }
    if !character.is_correct() && character != Character::Stuck {
        acts.truncate(rng.usize(0..=acts.len()));
    }
    match character {
        Character::Steady | Character::Slow | Character::Stuck => {}
        Character::Closing => {
            let code = rng.u16(3000..5000);
            acts.push_back(close(role, code, Then::Closed(code)));
        }
        Character::Faulty => acts.push_back(write(illegal(role, rng), Then::BrokeRules)),
        Character::Vanishing => acts.push_back(Act::Reset),
        Character::HalfClosing => acts.push_back(Act::Fin),
        Character::MidFrame => {
            let in_message = matches!(data_acts(&acts).last(), Some(Then::Nothing));
            acts.push_back(write(half_a_frame(role, in_message, rng), Then::Nothing));
            acts.push_back(if rng.bool() { Act::Fin } else { Act::Reset });
        }
    }
    (messages, acts)
}

fn say(role: Role, message: &[u8], acts: &mut VecDeque<Act>, rng: &mut Rng) {
    let fragments = rng.usize(1..4);
    let mut chunks: Vec<_> = message.chunks(message.len().div_ceil(fragments)).collect();
    if rng.u8(..4) == 0 {
        chunks.push(&[]);
    }
    for (index, chunk) in chunks.iter().enumerate() {
        let opcode = OpCode::Data(if index == 0 { Data::Binary } else { Data::Continue });
        let is_last = index + 1 == chunks.len();
        let then = if is_last { Then::Message } else { Then::Nothing };
        acts.push_back(write(frame(role, opcode, is_last, chunk), then));
        if rng.u8(..4) == 0 {
            acts.push_back(write(frame(role, OpCode::Control(Control::Ping), true, PING), Then::Nothing));
        }
    }
}

/// What the data frames among these lead to.
fn data_acts(acts: &VecDeque<Act>) -> impl Iterator<Item = Then> {
    acts.iter().filter_map(|act| match act {
        Act::Write { bytes, then, .. } if bytes[0] & 0x08 == 0 => Some(*then),
        Act::Write { .. } | Act::Fin | Act::Reset => None,
    })
}

fn illegal(role: Role, rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..4) {
        // An unknown opcode.
        0 => vec![0x83, 0x80],
        // Masked by a server, not masked by a client.
        1 if role == Role::Client => vec![0x89, 0x00],
        1 => vec![0x89, 0x80, 1, 2, 3, 4],
        // A reserved bit.
        2 => frame(role, OpCode::Control(Control::Ping), true, b"")
            .iter()
            .map(|byte| byte ^ 0x40)
            .take(6)
            .collect(),
        // A Close of one byte.
        _ => frame(role, OpCode::Control(Control::Close), true, b"!"),
    }
}

fn half_a_frame(role: Role, in_message: bool, rng: &mut Rng) -> Vec<u8> {
    let opcode = match rng.u8(..3) {
        0 => OpCode::Control(Control::Pong),
        _ if in_message => OpCode::Data(Data::Continue),
        _ => OpCode::Data(Data::Binary),
    };
    let mut frame = frame(role, opcode, true, &[b'!'; 100]);
    frame.truncate(rng.usize(1..frame.len()));
    frame
}

/// The payload of an endpoint's own pings.
pub(crate) const PING: &[u8] = b"?";

/// An answer to a ping with this payload: one of the other endpoint's, or one of the proxy's.
pub(crate) fn pong(role: Role, payload: &[u8]) -> Act {
    let then = if payload == PING { Then::Pong } else { Then::Nothing };
    write(frame(role, OpCode::Control(Control::Pong), true, payload), then)
}

/// A Close with this code.
pub(crate) fn close(role: Role, code: u16, then: Then) -> Act {
    write(frame(role, OpCode::Control(Control::Close), true, &code.to_be_bytes()), then)
}

fn frame(role: Role, opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, role, opcode, is_final, payload.to_vec());
    bytes
}

fn write(bytes: Vec<u8>, then: Then) -> Act {
    Act::Write { bytes, written: 0, then }
}
