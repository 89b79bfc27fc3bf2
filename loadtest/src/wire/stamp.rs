//! The first bytes of a payload: whose message it is, and which.

/// Payload bytes that a stamp takes; shorter messages carry none.
pub(crate) const STAMP_BYTES: usize = 8;

/// Bits of a stamp that count messages; the others name the connection.
const NUMBER_BITS: u32 = 40;

/// One connection of a run. Wraps after 2^24, far beyond what can be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId(u32);

impl ConnectionId {
    /// The `serial`-th connection.
    pub(crate) fn new(serial: u32) -> Self {
        Self(serial & (u32::MAX >> (NUMBER_BITS - u32::BITS)))
    }
}

/// Which message this is: the `number`-th on `connection`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) connection: ConnectionId,
    pub(crate) number: u64,
}

impl Stamp {
    /// The stamp's bytes, before masking.
    pub(crate) fn encode(self) -> [u8; STAMP_BYTES] {
        (u64::from(self.connection.0) << NUMBER_BITS | self.number & number_mask()).to_be_bytes()
    }

    /// The stamp in these bytes; any bytes make one.
    pub(crate) fn decode(bytes: [u8; STAMP_BYTES]) -> Self {
        let word = u64::from_be_bytes(bytes);
        let connection = u32::try_from(word >> NUMBER_BITS).expect("64 less 40 bits fit in 32");
        Self { connection: ConnectionId(connection), number: word & number_mask() }
    }
}

/// The bits of the message number.
fn number_mask() -> u64 {
    (1 << NUMBER_BITS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire() {
        for (serial, number) in [(0, 0), (1, 1), (0x00FF_FFFF, (1 << 40) - 1), (77, 1 << 33)] {
            let stamp = Stamp { connection: ConnectionId::new(serial), number };
            assert_eq!(Stamp::decode(stamp.encode()), stamp);
        }
    }
}
