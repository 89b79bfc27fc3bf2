//! Messages ready to be sent: masked once, stamped per use.

use selat::protocol::frame::{Header, MaskKey, Opcode, mask};

use super::{ConnectionId, Kind, Mix, Pattern, Stamp, wide};

/// Bytes of messages kept ready, if more than one message fits: what one write carries at most.
const BURST_BYTES_MAX: usize = 256 * 1024;

/// Runs of client messages, back to back.
///
/// All frames share one masking key, so that sending costs a dozen written bytes a message. RFC 6455 §5.3 wants a
/// fresh one for each; that protects browsers' users, who are not here, and no server can tell.
#[derive(Debug)]
pub(crate) struct Burst {
    mix: Mix,
    kind: Kind,
    key: MaskKey,
    /// One frame for each size; if there is one size, as many of them as make a run.
    frames: Vec<Frames>,
    /// Where runs of several sizes are put together.
    run: Vec<u8>,
}

/// Equal frames back to back, with whatever stamps they had last.
#[derive(Debug)]
struct Frames {
    bytes: Vec<u8>,
    frame_bytes: usize,
    header_bytes: usize,
    is_stamped: bool,
}

impl Burst {
    /// Prepares messages of these sizes and this kind, no more than `count_max` to a run.
    pub(crate) fn new(mix: &Mix, kind: Kind, count_max: u64, key: MaskKey) -> Self {
        let pattern = Pattern::of(kind);
        let frames = |size: &usize| {
            let mut frame = Vec::new();
            let opcode = opcode(kind);
            Header::whole(opcode, Some(key), wide(*size)).encode(&mut frame);
            let header_bytes = frame.len();
            let mut payload = pattern.payload(*size);
            mask(&mut payload, key, 0);
            frame.append(&mut payload);
            let fit = if mix.sizes().len() == 1 { (BURST_BYTES_MAX / frame.len()).max(1) } else { 1 };
            let count = usize::try_from(count_max).unwrap_or(usize::MAX).clamp(1, fit);
            let (frame_bytes, is_stamped) = (frame.len(), *size >= kind.stamp_bytes());
            Frames { bytes: frame.repeat(count), frame_bytes, header_bytes, is_stamped }
        };
        let frames = mix.sizes().iter().map(frames).collect();
        Self { mix: mix.clone(), kind, key, frames, run: Vec::new() }
    }

    /// The messages of `connection` from `first` on: `count` of them, or as many as a run holds.
    pub(crate) fn stamped(&mut self, connection: ConnectionId, first: u64, count: u64) -> &[u8] {
        if self.frames.len() == 1 {
            self.repeated(connection, first, count)
        } else {
            self.mixed(connection, first, count)
        }
    }

    /// A run of one size, which needs its stamps only.
    #[inline]
    fn repeated(&mut self, connection: ConnectionId, first: u64, count: u64) -> &[u8] {
        let [frames] = self.frames.as_mut_slice() else { return &[] };
        let fit = frames.bytes.len() / frames.frame_bytes;
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(fit);
        let run = frames.bytes.get_mut(..count * frames.frame_bytes).expect("count is no more than fit");
        if frames.is_stamped {
            for (number, frame) in (first..).zip(run.chunks_exact_mut(frames.frame_bytes)) {
                stamp(frame, frames.header_bytes, Stamp::new(connection, number), (self.kind, self.key));
            }
        }
        run
    }

    /// A run of several sizes, which is put together.
    fn mixed(&mut self, connection: ConnectionId, first: u64, count: u64) -> &[u8] {
        self.run.clear();
        for number in first..first.saturating_add(count) {
            let Some(frames) = self.frames.get(self.mix.place(connection, number)) else { break };
            let begin = self.run.len();
            if begin > 0 && begin + frames.frame_bytes > BURST_BYTES_MAX {
                break;
            }
            self.run.extend_from_slice(&frames.bytes);
            if frames.is_stamped
                && let Some(frame) = self.run.get_mut(begin..)
            {
                stamp(frame, frames.header_bytes, Stamp::new(connection, number), (self.kind, self.key));
            }
        }
        &self.run
    }

    /// Where `len` bytes on from byte `at` of the `number`-th message are: in which message, at which byte of it.
    #[inline]
    pub(crate) fn after(
        &self,
        connection: ConnectionId,
        (number, at): (u64, usize),
        len: usize,
    ) -> (u64, usize) {
        if let [frames] = self.frames.as_slice() {
            let at = at + len;
            return (number + wide(at / frames.frame_bytes), at % frames.frame_bytes);
        }
        let (mut number, mut at) = (number, at + len);
        while let Some(frames) = self.frames.get(self.mix.place(connection, number))
            && at >= frames.frame_bytes
        {
            at -= frames.frame_bytes;
            number += 1;
        }
        (number, at)
    }
}

/// What messages of this kind are on the wire.
pub(super) fn opcode(kind: Kind) -> Opcode {
    match kind {
        Kind::Binary => Opcode::Binary,
        Kind::Text => Opcode::Text,
    }
}

#[inline]
fn stamp(frame: &mut [u8], header_bytes: usize, stamp: Stamp, (kind, key): (Kind, MaskKey)) {
    let payload = frame.get_mut(header_bytes..).unwrap_or_default();
    match kind {
        Kind::Binary => put(payload, stamp.binary(), key),
        Kind::Text => put(payload, stamp.text(), key),
    }
}

/// Writes a stamp to the front of a payload, masked.
#[inline]
fn put<const N: usize>(payload: &mut [u8], mut stamp: [u8; N], MaskKey(key): MaskKey) {
    let (words, rest) = stamp.as_chunks_mut();
    debug_assert!(rest.is_empty(), "stamps are as long as some masking keys");
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    *payload.first_chunk_mut().expect("stamped messages hold a stamp") = stamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MaskKey = MaskKey([1, 20, 150, 255]);

    #[test]
    fn unmasks_to_stamp_and_pattern() {
        for (kind, mix) in [
            (Kind::Binary, "0"),
            (Kind::Binary, "11"),
            (Kind::Binary, "12"),
            (Kind::Binary, "64"),
            (Kind::Text, "23"),
            (Kind::Text, "24"),
            (Kind::Binary, "70000"),
            (Kind::Binary, "64:50%,126:40%,0:10%"),
            (Kind::Text, "70000:50%,3:50%"),
        ] {
            let (mix, pattern) = (mix.parse::<Mix>().unwrap(), Pattern::of(kind));
            let mut burst = Burst::new(&mix, kind, 3, KEY);
            let connection = ConnectionId::new(5);
            let mut run = burst.stamped(connection, 40, 3);
            for number in 40..43 {
                let size = mix.size(connection, number);
                let (header, len) = Header::parse(run).unwrap().unwrap();
                assert_eq!(header, Header::whole(opcode(kind), Some(KEY), size.try_into().unwrap()));
                let mut payload = run[len..len + size].to_vec();
                run = &run[len + size..];
                mask(&mut payload, KEY, 0);
                let stamped = if size >= kind.stamp_bytes() { kind.stamp_bytes() } else { 0 };
                if stamped > 0 {
                    assert_eq!(Stamp::decode(kind, &payload), Some(Stamp::new(connection, number)));
                }
                assert!(pattern.matches(stamped, &payload[stamped..]));
                assert!(kind == Kind::Binary || std::str::from_utf8(&payload).is_ok());
            }
            assert!(run.is_empty());
        }
    }

    #[test]
    fn holds_no_more_than_one_write_carries() {
        let connection = ConnectionId::new(0);
        for mix in ["16KiB", "16KiB:50%,64:50%"] {
            let mut burst = Burst::new(&mix.parse().unwrap(), Kind::Binary, 1000, KEY);
            let len = burst.stamped(connection, 0, 1000).len();
            assert!((BURST_BYTES_MAX / 2..=BURST_BYTES_MAX).contains(&len), "{len}");
        }
        for mix in ["1MB", "1MB:50%,1000001:50%"] {
            let mut burst = Burst::new(&mix.parse().unwrap(), Kind::Binary, 1000, KEY);
            let len = burst.stamped(connection, 0, 1000).len();
            assert!((1_000_000..1_000_100).contains(&len), "{len}");
        }
    }

    #[test]
    fn knows_its_place_in_what_was_sent() {
        for mix in ["64", "64:50%,126:40%,0:10%"] {
            let mut burst = Burst::new(&mix.parse().unwrap(), Kind::Binary, 50, KEY);
            let connection = ConnectionId::new(3);
            let whole = burst.stamped(connection, 7, 20).to_vec();
            let end = burst.after(connection, (7, 0), whole.len());
            assert_eq!(end, (27, 0));
            for cut in 0..whole.len() {
                let (number, at) = burst.after(connection, (7, 0), cut);
                assert_eq!(burst.after(connection, (number, at), whole.len() - cut), end);
                assert_eq!(
                    burst.stamped(connection, number, 27 - number)[at..],
                    whole[cut..],
                    "cut at {cut}"
                );
            }
        }
    }
}
