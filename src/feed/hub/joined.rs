//! Messages behind each other in one buffer, for all clients that stand at the same place.

use super::log::{Entry, Log};
use crate::feed::Seq;

/// Bytes that are joined at most: as much as a socket commonly takes at once.
const BYTES_MAX: u64 = 256 * 1024;

/// Part of the log, as one slice. Who stands inside gets what is left of it. It only ever moves on to messages that it
/// has not had, so a message is copied once a shard, however many clients there are and wherever they stand; those
/// that stand before it are not worth that and are served apart.
#[derive(Debug, Default)]
pub(super) struct Joined {
    bytes: Vec<u8>,
    /// Position of the first byte, since the log began.
    start: u64,
    /// Position behind the last.
    end: u64,
    /// The place behind the last message.
    upto: Seq,
}

/// Messages of the log, one behind the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// The index of the first.
    index: usize,
    /// How many.
    pub(super) messages: usize,
    /// Position of their first byte, since the log began.
    pub(super) start: u64,
    /// Bytes.
    pub(super) len: usize,
    /// The place behind the last.
    pub(super) upto: Seq,
}

impl Joined {
    /// As many messages from an index of the log on as can be had as one slice; `None` if they would have to be joined
    /// for this client alone.
    #[inline]
    pub(super) fn reach(&mut self, log: &Log, index: usize) -> Option<Span> {
        let entry = log.get(index)?;
        let (start, upto) = (entry.start(), entry.seq.plus(1));
        let single = Span { index, messages: 1, start, len: entry.message.image.len(), upto };
        if index + 1 == log.len() {
            return Some(single);
        }
        if start >= self.end {
            let behind = log.index_of_byte(start + BYTES_MAX);
            if behind <= index + 1 {
                return Some(single);
            }
            self.join(log, index, behind);
        }
        let offset = usize::try_from(start.checked_sub(self.start)?).ok()?;
        let messages = log.index_of(self.upto) - index;
        Some(Span { index, messages, start, len: self.bytes.len() - offset, upto: self.upto })
    }

    /// The bytes of messages that are in reach.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, log: &'a Log, span: &Span) -> &'a [u8] {
        if span.messages == 1 {
            return log.get(span.index).map_or(&[], |entry| &entry.message.image);
        }
        let offset = usize::try_from(span.start - self.start).unwrap_or(usize::MAX);
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// Makes it the messages of the log from one index up to another.
    fn join(&mut self, log: &Log, index: usize, upto: usize) {
        self.bytes.clear();
        self.start = log.get(index).map_or(0, Entry::start);
        for entry in log.range(index).take(upto - index) {
            self.bytes.extend_from_slice(&entry.message.image);
            self.end = entry.end;
            self.upto = entry.seq.plus(1);
        }
    }
}
