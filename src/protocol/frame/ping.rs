//! Pings of the proxy's own, and how their answers are known among others' (RFC 6455 §5.5.2, §5.5.3).

use super::close::control_frame;
use super::{MaskKey, Opcode};

/// Bytes of a ping's payload.
const PAYLOAD_BYTES: usize = size_of::<u64>();

/// The pings that went to one peer: their payloads count up from a number that only this peer comes to see.
///
/// So whoever else pings it cannot hit on the same payloads, and no answer to somebody else's ping is mistaken for one
/// to these. A few bytes know them all, however many there were and however late they are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingSeries {
    first: u64,
    sent: u64,
}

/// Which ping of a series a pong answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The last that was sent.
    Newest,
    /// One before it. §5.5.3: a peer may answer only the latest of several, so nothing follows from those it skips.
    Earlier,
}

impl PingSeries {
    /// A series of which nothing was sent yet. `first` is to be unpredictable to the other peer.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self { first, sent: 0 }
    }

    /// The wire image of the next ping: masked when sent as a client (§5.1).
    pub fn next_frame(&mut self, key: Option<MaskKey>) -> Vec<u8> {
        let payload = self.first.wrapping_add(self.sent);
        self.sent += 1;
        control_frame(Opcode::Ping, &payload.to_be_bytes(), key)
    }

    /// Which of the pings a pong with this unmasked payload answers; `None` if it is none of these.
    #[must_use]
    pub fn answered_by(&self, payload: &[u8]) -> Option<Answered> {
        let payload: [u8; PAYLOAD_BYTES] = payload.try_into().ok()?;
        let number = u64::from_be_bytes(payload).wrapping_sub(self.first);
        if number >= self.sent {
            return None;
        }
        Some(if number + 1 == self.sent { Answered::Newest } else { Answered::Earlier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::{Header, mask};

    fn sent(series: &mut PingSeries, key: Option<MaskKey>) -> [u8; 8] {
        let mut frame = series.next_frame(key);
        let (header, len) = Header::parse(&frame).unwrap().unwrap();
        assert_eq!(header, Header::whole(Opcode::Ping, key, 8));
        let payload = &mut frame[len..];
        mask(payload, key.unwrap_or(MaskKey([0; 4])), 0);
        (&*payload).try_into().unwrap()
    }

    #[test]
    fn knows_the_answers_to_its_own_pings_and_no_others() {
        let mut series = PingSeries::new(u64::MAX);
        assert_eq!(series.answered_by(&u64::MAX.to_be_bytes()), None, "nothing was sent");
        let first = sent(&mut series, None);
        assert_eq!(first, u64::MAX.to_be_bytes());
        assert_eq!(series.answered_by(&first), Some(Answered::Newest));
        let second = sent(&mut series, Some(MaskKey([1, 2, 3, 4])));
        assert_eq!(second, 0_u64.to_be_bytes());
        assert_eq!(series.answered_by(&second), Some(Answered::Newest));
        assert_eq!(series.answered_by(&first), Some(Answered::Earlier));

        for foreign in [&b""[..], &second[..7], &[&second[..], b"!"].concat(), &1_u64.to_be_bytes()] {
            assert_eq!(series.answered_by(foreign), None, "{foreign:?}");
        }
    }
}
