//! The bytes of a payload behind its stamp.

use super::Kind;

/// Bytes after which the pattern repeats. A prime, so that a slip by any buffer's size shows; small, so that checking
/// a large message leaves the caches alone.
const PERIOD_BYTES: usize = 16_381;

/// A fixed sequence of bytes without structure.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    /// The pattern, always the same.
    pub(crate) fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(6455);
        Self(std::iter::repeat_with(|| random.u8(..)).take(PERIOD_BYTES).collect())
    }

    /// One of lower-case letters, for payloads that are text.
    pub(crate) fn text() -> Self {
        let mut random = fastrand::Rng::with_seed(6455);
        Self(std::iter::repeat_with(|| random.u8(b'a'..=b'z')).take(PERIOD_BYTES).collect())
    }

    /// The one for messages of this kind.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Binary => Self::new(),
            Kind::Text => Self::text(),
        }
    }

    /// The pattern of a payload of `size` bytes.
    pub(crate) fn payload(&self, size: usize) -> Vec<u8> {
        self.0.iter().copied().cycle().take(size).collect()
    }

    /// Whether `bytes` are what stands at `offset` of a payload.
    #[inline]
    pub(crate) fn matches(&self, offset: usize, bytes: &[u8]) -> bool {
        match self.0.get(offset..offset + bytes.len()) {
            Some(here) => here == bytes,
            None => self.matches_anew(offset, bytes),
        }
    }

    /// The same where the pattern repeats.
    fn matches_anew(&self, offset: usize, bytes: &[u8]) -> bool {
        let (mut from, mut rest) = (offset % PERIOD_BYTES, bytes);
        while !rest.is_empty() {
            let (here, later) = rest.split_at(rest.len().min(PERIOD_BYTES - from));
            if self.0.get(from..from + here.len()) != Some(here) {
                return false;
            }
            (from, rest) = (0, later);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_own_bytes_at_their_place_only() {
        let pattern = Pattern::new();
        let payload = pattern.payload(3 * PERIOD_BYTES);
        for (offset, len) in [(0, 0), (0, 64), (8, 56), (PERIOD_BYTES - 1, 2), (100, 2 * PERIOD_BYTES)] {
            assert!(pattern.matches(offset, &payload[offset..offset + len]));
            assert!(len == 0 || !pattern.matches(offset + 1, &payload[offset..offset + len]));
        }
    }
}
