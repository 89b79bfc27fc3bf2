//! A message of `serve ticker`: JSON of which every byte can be checked, however it came here.
//!
//! `{"symbol":"K7","seq":42,"t":86400000000000,"sum":2863311530,"pad":"…"}`, exactly as many bytes as were asked for.

use std::io::Write;

use selat::protocol::frame::{HEADER_BYTES_MAX, Header, Opcode};

use super::{Pattern, wide};

/// The bytes of a tick with the largest of numbers and an empty pad: none may be asked to be smaller.
pub(crate) const TICK_BYTES_MIN: usize = 112;

/// Spreads the bits of a sum: the odd number nearest to 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a tick says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// The number in its symbol, by which feeds tell latest values apart.
    pub(crate) key: u32,
    /// The how-manieth tick it is, counted from 0.
    pub(crate) number: u64,
    /// When it left the ticker: nanoseconds of the machine's monotonic clock.
    pub(crate) nanos: u64,
}

impl Tick {
    /// The tick as a server's frame, with `size` bytes of payload; [`TICK_BYTES_MIN`] at least.
    pub(crate) fn frame(self, size: usize, pattern: &Pattern) -> Vec<u8> {
        let mut frame = Vec::with_capacity(size + HEADER_BYTES_MAX);
        Header::whole(Opcode::Text, None, wide(size)).encode(&mut frame);
        let Self { key, number, nanos } = self;
        let (header_bytes, sum) = (frame.len(), self.sum(size));
        write!(frame, r#"{{"symbol":"K{key}","seq":{number},"t":{nanos},"sum":{sum},"pad":""#)
            .expect("memory takes every byte");
        let pad = (header_bytes + size).saturating_sub(frame.len() + END.len());
        frame.extend(pattern.payload(pad));
        frame.extend_from_slice(END);
        frame
    }

    /// The tick that this payload is, if every byte of it is as it was made.
    #[inline]
    pub(crate) fn decode(payload: &[u8], pattern: &Pattern) -> Option<Self> {
        let (key, rest) = number(payload.strip_prefix(br#"{"symbol":"K"#)?)?;
        let (number_, rest) = number(rest.strip_prefix(br#"","seq":"#)?)?;
        let (nanos, rest) = number(rest.strip_prefix(br#","t":"#)?)?;
        let (sum, rest) = number(rest.strip_prefix(br#","sum":"#)?)?;
        let pad = rest.strip_prefix(br#","pad":""#)?.strip_suffix(END)?;
        let tick = Self { key: u32::try_from(key).ok()?, number: number_, nanos };
        (u64::from(tick.sum(payload.len())) == sum && pattern.matches(0, pad)).then_some(tick)
    }

    /// A checksum of all that the pattern does not tell.
    fn sum(self, size: usize) -> u32 {
        let words = [u64::from(self.key), self.number, self.nanos, wide(size)];
        let sum = words.iter().fold(0_u64, |sum, word| (sum.rotate_left(29) ^ word).wrapping_mul(SPREAD));
        u32::try_from(sum >> u32::BITS).expect("64 less 32 bits fit in 32")
    }
}

/// What follows the pad.
const END: &[u8] = br#""}"#;

/// The decimal number at the front of `bytes`, and what follows it.
#[inline]
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at_checked(digits).filter(|(digits, _)| !digits.is_empty())?;
    let value = digits
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const TICK: Tick = Tick { key: 7, number: 42, nanos: 86_400_000_000_000 };

    fn payload(tick: Tick, size: usize) -> Vec<u8> {
        let frame = tick.frame(size, &Pattern::text());
        let (header, len) = Header::parse(&frame).unwrap().unwrap();
        assert_eq!(header, Header::whole(Opcode::Text, None, size.try_into().unwrap()));
        frame[len..].to_vec()
    }

    #[test]
    fn survives_the_wire_at_every_size() {
        let largest = Tick { key: u32::MAX, number: u64::MAX, nanos: u64::MAX };
        for tick in [TICK, Tick { key: 0, number: 0, nanos: 0 }, largest] {
            for size in [TICK_BYTES_MIN, 125, 126, 128, 1024, 70_000] {
                let payload = payload(tick, size);
                assert_eq!(payload.len(), size);
                assert_eq!(Tick::decode(&payload, &Pattern::text()), Some(tick), "{size} bytes");
            }
        }
    }

    #[test]
    fn is_json() {
        let json: Value = serde_json::from_slice(&payload(TICK, 128)).unwrap();
        assert_eq!(json["symbol"], "K7");
        assert_eq!(json["seq"], TICK.number);
        assert_eq!(json["t"], TICK.nanos);
        assert!(json["pad"].as_str().unwrap().chars().all(|letter| letter.is_ascii_lowercase()));
    }

    #[test]
    fn sees_every_changed_byte_and_every_lost_one() {
        let (whole, pattern) = (payload(TICK, 128), Pattern::text());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(Tick::decode(&changed, &pattern), None, "byte {at} changed");
            let mut shortened = whole.clone();
            shortened.remove(at);
            assert_eq!(Tick::decode(&shortened, &pattern), None, "byte {at} lost");
        }
    }
}
