//! Messages ready to be sent: masked once, stamped per use.

use selat::protocol::frame::{Header, MaskKey, Opcode, mask};

use super::{ConnectionId, Pattern, STAMP_BYTES, Stamp, wide};

/// Bytes of messages kept ready, if more than one message fits: what one write carries at most.
const BURST_BYTES_MAX: usize = 256 * 1024;

/// A run of equal client messages, back to back.
///
/// All frames share one masking key, so that sending costs eight written bytes a message. RFC 6455 §5.3 wants a
/// fresh one for each; that protects browsers' users, who are not here, and no server can tell.
#[derive(Debug)]
pub(crate) struct Burst {
    frames: Vec<u8>,
    frame_bytes: usize,
    header_bytes: usize,
    /// The key as the stamp's bytes see it; `None` where messages are too short for a stamp.
    stamp_mask: Option<u64>,
}

impl Burst {
    /// Prepares messages of `size` payload bytes, no more than `count_max` to a run.
    pub(crate) fn new(pattern: &Pattern, size: usize, count_max: u64, key: MaskKey) -> Self {
        let mut frame = Vec::new();
        Header::whole(Opcode::Binary, Some(key), wide(size)).encode(&mut frame);
        let header_bytes = frame.len();
        let mut payload = pattern.payload(size);
        mask(&mut payload, key, 0);
        frame.append(&mut payload);
        let fit = (BURST_BYTES_MAX / frame.len()).max(1);
        let count = usize::try_from(count_max).unwrap_or(usize::MAX).min(fit);
        let MaskKey([a, b, c, d]) = key;
        let stamp_mask = (size >= STAMP_BYTES).then(|| u64::from_ne_bytes([a, b, c, d, a, b, c, d]));
        Self { frame_bytes: frame.len(), header_bytes, stamp_mask, frames: frame.repeat(count) }
    }

    /// Bytes of one message on the wire.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// The messages of `connection` from `first` on: `count` of them, or as many as a run holds.
    pub(crate) fn stamped(&mut self, connection: ConnectionId, first: u64, count: u64) -> &[u8] {
        let fit = self.frames.len() / self.frame_bytes;
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(fit);
        let run = self.frames.get_mut(..count * self.frame_bytes).expect("count is no more than fit");
        if let Some(stamp_mask) = self.stamp_mask {
            for (number, frame) in (first..).zip(run.chunks_exact_mut(self.frame_bytes)) {
                let place = frame.get_mut(self.header_bytes..).and_then(<[u8]>::first_chunk_mut);
                let stamp = u64::from_ne_bytes(Stamp { connection, number }.encode());
                *place.expect("stamped messages hold a stamp") = (stamp ^ stamp_mask).to_ne_bytes();
            }
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmasks_to_stamp_and_pattern() {
        let (pattern, key) = (Pattern::new(), MaskKey([1, 20, 150, 255]));
        for size in [0, 7, 8, 64, 126, 70_000] {
            let mut burst = Burst::new(&pattern, size, 3, key);
            let connection = ConnectionId::new(5);
            let run = burst.stamped(connection, 40, 3).to_vec();
            for (index, frame) in run.chunks(burst.frame_bytes()).enumerate() {
                let (header, len) = Header::parse(frame).unwrap().unwrap();
                assert_eq!(header.mask, Some(key));
                let mut payload = frame[len..].to_vec();
                mask(&mut payload, key, 0);
                assert_eq!(payload.len(), size);
                let mut at = 0;
                if size >= STAMP_BYTES {
                    let stamp = Stamp::decode(*payload.first_chunk().unwrap());
                    assert_eq!(stamp, Stamp { connection, number: 40 + u64::try_from(index).unwrap() });
                    at = STAMP_BYTES;
                }
                assert!(pattern.matches(at, &payload[at..]));
            }
        }
    }

    #[test]
    fn holds_no_more_than_one_write_carries() {
        let pattern = Pattern::new();
        let mut burst = Burst::new(&pattern, 16 * 1024, 1000, MaskKey([0; 4]));
        assert!(burst.stamped(ConnectionId::new(0), 0, 1000).len() <= BURST_BYTES_MAX);
        let mut burst = Burst::new(&pattern, 1_000_000, 1000, MaskKey([0; 4]));
        assert_eq!(burst.stamped(ConnectionId::new(0), 0, 1000).len(), burst.frame_bytes());
    }
}
