//! Payload masking (RFC 6455 §5.3).

/// The 32-bit key a client chose for one frame; unpredictable, or it protects nobody (RFC 6455 §10.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaskKey(pub [u8; 4]);

impl MaskKey {
    /// The key as the bytes at payload offset `phase` see it.
    fn rotated(self, phase: usize) -> [u8; 4] {
        let mut key = self.0;
        key.rotate_left(phase % 4);
        key
    }
}

/// XORs `payload` with `key` in place, which both masks and unmasks (RFC 6455 §5.3).
///
/// `phase` is the number of payload bytes of the same frame that came before these.
pub fn mask(payload: &mut [u8], key: MaskKey, phase: usize) {
    let key = key.rotated(phase);
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmasks_the_example_of_rfc_6455_5_7() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        mask(&mut payload, MaskKey([0x37, 0xfa, 0x21, 0x3d]), 0);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn masking_in_pieces_equals_masking_at_once() {
        let key = MaskKey([1, 20, 150, 255]);
        let whole: Vec<u8> = (0..=255).cycle().take(67).collect();
        let mut expected = whole.clone();
        mask(&mut expected, key, 0);
        for cut in 0..whole.len() {
            let mut pieces = whole.clone();
            let (head, tail) = pieces.split_at_mut(cut);
            mask(head, key, 0);
            mask(tail, key, cut);
            assert_eq!(pieces, expected, "cut at {cut}");
        }
    }
}
