//! The first bytes of a payload: whose message it is, and which.

use std::ops::Range;

/// Bits of a stamp that count messages; the others name the connection.
const NUMBER_BITS: u32 = 40;

/// Spreads the bits of a sum: the odd number nearest to 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Hexadecimal digits of a stamp in a text.
const DIGITS: [Range<usize>; 2] = [0..16, 16..24];

/// What kind of messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Binary,
    Text,
}

impl Kind {
    /// Payload bytes that a stamp takes; shorter messages carry none.
    pub(crate) const fn stamp_bytes(self) -> usize {
        match self {
            Self::Binary => 12,
            Self::Text => STAMP_BYTES_MAX,
        }
    }
}

/// Payload bytes that a stamp of any kind takes at most.
pub(crate) const STAMP_BYTES_MAX: usize = 24;

/// One connection of a run. Wraps after 2^24, far beyond what can be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u32);

impl ConnectionId {
    /// The `serial`-th connection.
    pub(crate) fn new(serial: u32) -> Self {
        Self(serial & (u32::MAX >> (NUMBER_BITS - u32::BITS)))
    }

    /// Which connection it is, as far as that can be told.
    pub(crate) fn serial(self) -> u32 {
        self.0
    }
}

/// Which message this is: the `number`-th on `connection`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) connection: ConnectionId,
    pub(crate) number: u64,
}

impl Stamp {
    /// Writes the stamp of this kind to the front of `place`, before masking; returns what it takes.
    #[inline]
    pub(crate) fn encode(self, kind: Kind, place: &mut [u8; STAMP_BYTES_MAX]) -> &mut [u8] {
        let word = u64::from(self.connection.0) << NUMBER_BITS | self.number & number_mask();
        let sum = sum(word);
        match kind {
            Kind::Binary => {
                let (first, second) = place.split_at_mut(8);
                first.copy_from_slice(&word.to_be_bytes());
                second.get_mut(..4).unwrap_or_default().copy_from_slice(&sum.to_be_bytes());
            }
            Kind::Text => {
                for (digits, value) in DIGITS.into_iter().zip([word, sum.into()]) {
                    let mut value = value;
                    for digit in place.get_mut(digits).unwrap_or_default().iter_mut().rev() {
                        let nibble = u8::try_from(value & 0xF).unwrap_or_default();
                        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
                        value >>= 4;
                    }
                }
            }
        }
        place.get_mut(..kind.stamp_bytes()).unwrap_or_default()
    }

    /// The stamp of this kind at the front of `bytes`, if it is as one was made.
    #[inline]
    pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Option<Self> {
        let (word, found) = match kind {
            Kind::Binary => {
                let (word, rest) = bytes.split_first_chunk()?;
                (u64::from_be_bytes(*word), u32::from_be_bytes(*rest.first_chunk()?))
            }
            Kind::Text => {
                let [word, sum] = DIGITS.map(|digits| hexadecimal(bytes.get(digits)?));
                (word?, u32::try_from(sum?).ok()?)
            }
        };
        let connection = ConnectionId(u32::try_from(word >> NUMBER_BITS).ok()?);
        (found == sum(word)).then_some(Self { connection, number: word & number_mask() })
    }
}

/// The value of these digits, which are lower-case.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

/// What tells that a stamp has come as it left.
#[inline]
fn sum(word: u64) -> u32 {
    let spread = (word ^ SPREAD).wrapping_mul(SPREAD);
    u32::try_from((spread ^ spread >> 29) >> u32::BITS).expect("64 less 32 bits fit in 32")
}

/// The bits of the message number.
fn number_mask() -> u64 {
    (1 << NUMBER_BITS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 2] = [Kind::Binary, Kind::Text];

    #[test]
    fn survives_the_wire() {
        for (serial, number) in [(0, 0), (1, 1), (0x00FF_FFFF, (1 << 40) - 1), (77, 1 << 33)] {
            let stamp = Stamp { connection: ConnectionId::new(serial), number };
            for kind in KINDS {
                let mut place = [b'-'; STAMP_BYTES_MAX];
                let bytes = stamp.encode(kind, &mut place).to_vec();
                assert_eq!(bytes.len(), kind.stamp_bytes());
                assert_eq!(Stamp::decode(kind, &bytes), Some(stamp));
                assert!(kind == Kind::Binary || bytes.is_ascii());
            }
        }
    }

    #[test]
    fn sees_every_changed_bit_and_every_lost_byte() {
        let stamp = Stamp { connection: ConnectionId::new(3), number: 1000 };
        for kind in KINDS {
            let mut place = [0; STAMP_BYTES_MAX];
            let bytes = stamp.encode(kind, &mut place).to_vec();
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    assert_eq!(Stamp::decode(kind, &changed), None, "bit {bit} of byte {at}, {kind:?}");
                }
                assert_eq!(Stamp::decode(kind, &bytes[..at]), None);
            }
        }
    }
}
