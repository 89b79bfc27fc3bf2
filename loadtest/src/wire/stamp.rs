//! The first bytes of a payload: whose message it is, and which.

use std::fmt;
use std::ops::Range;

/// Bits of a stamp that count messages; the others name the connection.
const NUMBER_BITS: u32 = 40;

/// Those bits.
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

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

/// Which message this is: the how-manieth on which connection. Both in one word, as they travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The `number`-th message on `connection`, counted from 0. Wraps after 2^40.
    #[inline]
    pub(crate) fn new(connection: ConnectionId, number: u64) -> Self {
        Self(u64::from(connection.0) << NUMBER_BITS | number & NUMBER_MASK)
    }

    /// Whose message it is.
    #[inline]
    pub(crate) fn connection(self) -> ConnectionId {
        ConnectionId(u32::try_from(self.0 >> NUMBER_BITS).unwrap_or(u32::MAX))
    }

    /// The how-manieth.
    #[inline]
    pub(crate) fn number(self) -> u64 {
        self.0 & NUMBER_MASK
    }

    /// The stamp of a binary message, before masking.
    #[inline]
    pub(crate) fn binary(self) -> [u8; Kind::Binary.stamp_bytes()] {
        let ([a, b, c, d, e, f, g, h], [i, j, k, l]) = (self.0.to_be_bytes(), sum(self.0).to_be_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// The stamp of a text, before masking.
    pub(crate) fn text(self) -> [u8; Kind::Text.stamp_bytes()] {
        let mut place = [0; Kind::Text.stamp_bytes()];
        for (digits, value) in DIGITS.into_iter().zip([self.0, sum(self.0).into()]) {
            let mut value = value;
            for digit in place.get_mut(digits).unwrap_or_default().iter_mut().rev() {
                let nibble = u8::try_from(value & 0xF).unwrap_or_default();
                *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
                value >>= 4;
            }
        }
        place
    }

    /// The stamp of this kind at the front of `bytes`, if it is as one was made.
    #[inline]
    pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Option<Self> {
        match kind {
            Kind::Binary => {
                let (word, rest) = bytes.split_first_chunk()?;
                Self::of(u64::from_be_bytes(*word), u32::from_be_bytes(*rest.first_chunk()?))
            }
            Kind::Text => Self::decode_text(bytes),
        }
    }

    fn decode_text(bytes: &[u8]) -> Option<Self> {
        let [word, sum] = DIGITS.map(|digits| hexadecimal(bytes.get(digits)?));
        Self::of(word?, u32::try_from(sum?).ok()?)
    }

    #[inline]
    fn of(word: u64, found: u32) -> Option<Self> {
        (found == sum(word)).then_some(Self(word))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of connection {}", self.number(), self.connection().serial())
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

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 2] = [Kind::Binary, Kind::Text];

    fn encoded(stamp: Stamp, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Binary => stamp.binary().to_vec(),
            Kind::Text => stamp.text().to_vec(),
        }
    }

    #[test]
    fn survives_the_wire() {
        for (serial, number) in [(0, 0), (1, 1), (0x00FF_FFFF, (1 << 40) - 1), (77, 1 << 33)] {
            let stamp = Stamp::new(ConnectionId::new(serial), number);
            for kind in KINDS {
                let bytes = encoded(stamp, kind);
                assert_eq!(Stamp::decode(kind, &bytes), Some(stamp));
                assert!(kind == Kind::Binary || bytes.is_ascii());
            }
        }
    }

    #[test]
    fn sees_every_changed_bit_and_every_lost_byte() {
        let stamp = Stamp::new(ConnectionId::new(3), 1000);
        for kind in KINDS {
            let bytes = encoded(stamp, kind);
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
