//! The tunnel under any operations.
//!
//! Input: a byte of options (bits 0–1: reserved bits; bit 2: a byte with the limit of a message follows), then the
//! operations, each a byte for what it is and a few for its arguments.
#![no_main]

#[allow(dead_code, reason = "this target does not read frames")]
#[path = "../../tests/properties/foreign.rs"]
mod foreign;
#[path = "../../tests/properties/tunnel.rs"]
mod tunnel;

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use selat::protocol::Role;
use selat::protocol::frame::Rsv;
use selat::session::{Ending, Peer};
use tungstenite::protocol::frame::coding::OpCode;

use tunnel::Op;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = run(Unstructured::new(bytes));
});

fn run(mut input: Unstructured<'_>) -> Result<()> {
    let options: u8 = input.arbitrary()?;
    let rsv = match options & 3 {
        0 | 1 => Rsv::NONE,
        2 => Rsv::RSV1,
        _ => Rsv::ALL,
    };
    let message_bytes_max = if options & 4 == 0 { u64::MAX } else { input.arbitrary::<u8>()?.into() };
    let mut ops = Vec::new();
    while !input.is_empty() {
        ops.push(op(&mut input)?);
    }
    tunnel::check(rsv, message_bytes_max, &ops);
    Ok(())
}

/// One operation: bit 7 of its first byte says which peer it concerns.
fn op(input: &mut Unstructured<'_>) -> Result<Op> {
    let kind: u8 = input.arbitrary()?;
    let (peer, role) =
        if kind & 0x80 == 0 { (Peer::Client, Role::Client) } else { (Peer::Backend, Role::Server) };
    Ok(match kind & 0x0F {
        0..=3 => Op::Arrive { peer, bytes: input.arbitrary::<u8>()?.into() },
        4..=6 => Op::Say { peer, bytes: frame(role, input)? },
        7 => Op::Say { peer, bytes: raw(input)?.to_vec() },
        8 => Op::End { peer, ending: Ending::Fin },
        9 => Op::End { peer, ending: Ending::Reset },
        10..=12 => Op::Pass(Duration::from_millis(100) * input.arbitrary::<u8>()?.into()),
        13 => Op::Drain(Duration::from_millis(100) * input.arbitrary::<u8>()?.into()),
        14 => Op::Fault,
        _ => Op::Cut,
    })
}

/// A whole frame that tungstenite writes: a byte with FIN and opcode, and its payload.
fn frame(sender: Role, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let first: u8 = input.arbitrary()?;
    let payload = raw(input)?.to_vec();
    let mut frame = Vec::new();
    foreign::push(&mut frame, sender, OpCode::from(first & 0x0F), first & 0x80 != 0, payload);
    Ok(frame)
}

/// A byte with their number, and bytes.
fn raw<'i>(input: &mut Unstructured<'i>) -> Result<&'i [u8]> {
    let len: u8 = input.arbitrary()?;
    input.bytes(usize::from(len).min(input.len()))
}
