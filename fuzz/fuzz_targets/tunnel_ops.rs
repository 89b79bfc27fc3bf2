//! The tunnel under any operations.
//!
//! Input: a byte of options (bits 0–1: reserved bits; bit 2: a byte with the limit of a message follows; bits 3–4: the
//! client, the backend is pinged; bits 5–6: the client's messages, bytes have a rate; bit 7: it is closed for more),
//! then the operations, each a byte for what it is and a few for its arguments.
#![no_main]

#[allow(dead_code, reason = "this target does not read frames")]
#[path = "../../tests/properties/foreign.rs"]
mod foreign;
#[path = "../../tests/properties/tunnel.rs"]
mod tunnel;

use std::num::NonZeroU64;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use selat::protocol::Role;
use selat::protocol::frame::Rsv;
use selat::session::{Ending, Excess, Farewell, Peer, Ping, Pings, Rate, RateLimit, Settings};
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
    let mut settings = Settings { message_bytes_max, ..tunnel::settings() };
    let ping = Ping { every: Duration::from_secs(3), timeout: Duration::from_secs(5) };
    settings.ping =
        Pings { client: (options & 8 != 0).then_some(ping), backend: (options & 16 != 0).then_some(ping) };
    let number = NonZeroU64::MIN.saturating_add(9);
    let rate = Rate { per_second: number, burst: number };
    settings.rate = (options & 0x60 != 0).then_some(RateLimit {
        messages: (options & 0x20 != 0).then_some(rate),
        bytes: (options & 0x40 != 0).then_some(rate),
        excess: if options & 0x80 == 0 { Excess::Slow } else { Excess::Close },
    });
    let mut ops = Vec::new();
    while !input.is_empty() {
        ops.push(op(&mut input)?);
    }
    tunnel::check(rsv, settings, &ops);
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
        7 if kind & 0x40 == 0 => Op::Say { peer, bytes: raw(input)?.to_vec() },
        7 => Op::Answer { peer, ago: usize::from(kind >> 4 & 3) },
        8 => Op::End { peer, ending: Ending::Fin },
        9 => Op::End { peer, ending: Ending::Reset },
        10..=12 => Op::Pass(Duration::from_millis(100) * input.arbitrary::<u8>()?.into()),
        13 => {
            let farewell = if kind & 0x40 == 0 { Farewell::GoingAway } else { Farewell::ServiceRestart };
            Op::Drain(Duration::from_millis(100) * input.arbitrary::<u8>()?.into(), farewell)
        }
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
