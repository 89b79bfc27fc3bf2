//! The scanner, and the responder on top of it, for any stream in any pieces.
//!
//! Input: a byte of options (bit 0: sent by a server; bits 1–2: reserved bits; bit 3: a byte with the limit of a
//! message follows; bit 4: the responder listens; bit 5: one with the limit of a frame follows), a byte with the number of sizes, the sizes, the stream.
#![no_main]

#[path = "../../tests/properties/cuts.rs"]
mod cuts;
#[allow(dead_code, reason = "this target does not write frames")]
#[path = "../../tests/properties/foreign.rs"]
mod foreign;
#[path = "../../tests/properties/responder.rs"]
mod responder;
#[path = "../../tests/properties/scanner.rs"]
mod scanner;

use arbitrary::Unstructured;
use selat::protocol::Role;
use selat::protocol::frame::{Rsv, Rules};
use selat::session::Script;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = run(Unstructured::new(bytes));
});

fn run(mut input: Unstructured<'_>) -> arbitrary::Result<()> {
    let options: u8 = input.arbitrary()?;
    let sender = if options & 1 == 0 { Role::Client } else { Role::Server };
    let rsv = match options >> 1 & 3 {
        0 | 1 => Rsv::NONE,
        2 => Rsv::RSV1,
        _ => Rsv::ALL,
    };
    let message_bytes_max = if options & 8 == 0 { u64::MAX } else { input.arbitrary::<u8>()?.into() };
    let frame_bytes_max = if options & 32 == 0 { u64::MAX } else { input.arbitrary::<u8>()?.into() };
    let sizes = input.arbitrary::<u8>()? % 16;
    let sizes: Vec<_> = input.bytes(sizes.into())?.iter().map(|size| usize::from(*size)).collect();
    let stream = input.take_rest();
    let rules = Rules { sender, rsv, message_bytes_max, frame_bytes_max };
    scanner::check(rules, stream, &sizes);
    scanner::check_stops(rules, stream, &sizes);
    if sender == Role::Client {
        let script = if options & 16 == 0 { Script::Echo } else { Script::Listen };
        responder::check(script, message_bytes_max, stream, &sizes);
        responder::check_close(script, stream, sizes.first().copied().unwrap_or_default());
    }
    Ok(())
}
