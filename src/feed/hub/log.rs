//! The recent messages of a feed, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::feed::{Message, Seq};

/// Messages by place. Places are missing where a shard could not follow; then, but only then, finding one takes a
/// search.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The place of the next message.
    next: Seq,
    /// Bytes of all that has left at the front.
    gone_bytes: u64,
}

/// One message of the log.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place.
    pub(super) seq: Seq,
    /// Itself.
    pub(super) message: Arc<Message>,
    /// Bytes of all messages up to its last one, since the log began.
    pub(super) end: u64,
}

impl Entry {
    /// Bytes of all messages before it, since the log began.
    pub(super) fn start(&self) -> u64 {
        self.end - bytes(&self.message)
    }
}

impl Log {
    /// With `recent` messages, the last of which stands right before `next`.
    pub(super) fn new(next: Seq, recent: &[Arc<Message>]) -> Self {
        let first = next.0.saturating_sub(u64::try_from(recent.len()).unwrap_or(u64::MAX));
        let mut log = Self { next: Seq(first), ..Self::default() };
        recent.iter().for_each(|message| log.push(Arc::clone(message)));
        log
    }

    /// The place of the next message.
    pub(super) fn next(&self) -> Seq {
        self.next
    }

    /// The place of the oldest message; of the next, if there is none.
    pub(super) fn first(&self) -> Seq {
        self.entries.front().map_or(self.next, |entry| entry.seq)
    }

    /// Messages.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all messages.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry.end - self.gone_bytes)
    }

    /// The newest message.
    pub(super) fn newest(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// One more message, at the next place.
    pub(super) fn push(&mut self, message: Arc<Message>) {
        let end = self.entries.back().map_or(self.gone_bytes, |entry| entry.end) + bytes(&message);
        self.entries.push_back(Entry { seq: self.next, message, end });
        self.next = self.next.plus(1);
    }

    /// The messages before `next` will never come.
    pub(super) fn skip_to(&mut self, next: Seq) {
        self.next = self.next.max(next);
    }

    /// The index of the first message at `seq` or behind it; the length of the log, if there is none.
    #[inline]
    pub(super) fn index_of(&self, seq: Seq) -> usize {
        if seq >= self.next {
            return self.len();
        }
        let from_front = usize::try_from(seq.since(self.first())).unwrap_or(usize::MAX);
        if self.entries.get(from_front).is_some_and(|entry| entry.seq == seq) {
            return from_front;
        }
        self.entries.partition_point(|entry| entry.seq < seq)
    }

    /// The index of the message that byte `position`, counted since the log began, belongs to.
    pub(super) fn index_of_byte(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.end <= position)
    }

    /// The message at an index.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// The messages from an index on.
    pub(super) fn range(&self, from: usize) -> impl Iterator<Item = &Entry> {
        self.entries.range(from.min(self.len())..)
    }

    /// The place of the first of the last `messages`.
    pub(super) fn back_by(&self, messages: usize) -> Seq {
        self.get(self.len().saturating_sub(messages)).map_or(self.next, |entry| entry.seq)
    }

    /// The last messages, at most so many, as far back as no place is missing.
    pub(super) fn recent(&self, messages: usize) -> Vec<Arc<Message>> {
        let mut expected = self.next;
        let in_order = self.entries.iter().rev().take(messages).take_while(|entry| {
            let follows = entry.seq.plus(1) == expected;
            expected = entry.seq;
            follows
        });
        let mut recent: Vec<_> = in_order.map(|entry| Arc::clone(&entry.message)).collect();
        recent.reverse();
        recent
    }

    /// How many messages have to leave at the front, so that what stays has at most `bytes_max` bytes; but
    /// `messages_min` stay whatever they weigh.
    pub(super) fn surplus(&self, bytes_max: usize, messages_min: usize) -> usize {
        let bytes_max = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let end = self.entries.back().map_or(0, |entry| entry.end);
        let may_leave = self.len().saturating_sub(messages_min);
        let heavy = |entry: &&Entry| end - entry.start() > bytes_max;
        self.entries.iter().take(may_leave).take_while(heavy).count()
    }

    /// Lets the oldest `messages` go.
    pub(super) fn forget(&mut self, messages: usize) {
        for entry in self.entries.drain(..messages.min(self.entries.len())) {
            self.gone_bytes = entry.end;
        }
    }
}

/// Bytes of a message on the wire.
pub(super) fn bytes(message: &Message) -> u64 {
    u64::try_from(message.image.len()).unwrap_or(u64::MAX)
}
