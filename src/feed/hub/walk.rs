//! What one client gets that does not take the log as it is: it has chosen keys, or gets a snapshot, or has fallen
//! behind.

use std::sync::Arc;

use super::latest::Latest;
use super::log::Log;
use super::subscriber::{Owed, Pace, Subscriber};
use crate::feed::{Message, Seq};

/// Bytes that are joined at most. Few such clients stand at the same place, and a socket that was full takes less.
const BYTES_MAX: usize = 64 * 1024;

/// Messages that are collected at most: what a walk is made of stays small even if they are tiny.
const MESSAGES_MAX: usize = 1024;

/// The next messages of one client. One after the other uses it.
#[derive(Debug, Default)]
pub(super) struct Walk {
    parts: Vec<Part>,
    /// The messages behind each other, if there are several.
    joined: Vec<u8>,
    len: usize,
    /// Where the client stands once it has taken everything; `None` if there is more than was joined.
    end: Option<Seq>,
    /// Messages skipped since the last part, for later ones of their keys.
    conflated: u64,
}

/// One message of a walk.
#[derive(Debug)]
struct Part {
    seq: Seq,
    message: Arc<Message>,
    origin: Origin,
    /// Messages skipped since the part before, for later ones of their keys.
    conflated: u64,
}

/// Why a message is part of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is the last of its key and older than the client's place.
    Owed,
    /// It is the last of its key and has left the log before the client got it.
    Latest,
    /// It is next in the log.
    Log,
}

/// What a client has taken of a walk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Messages, the one that was cut included.
    pub(super) messages: usize,
    /// Bytes of these.
    pub(super) bytes: usize,
    /// Messages it will not get, for a later one of the same key comes instead.
    pub(super) conflated: u64,
    /// Bytes of the last one that have been taken, if it was cut.
    cut: Option<usize>,
}

impl Taken {
    /// Whether the last message was taken in part.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }
}

impl Walk {
    /// Collects what comes next for a client.
    pub(super) fn collect(&mut self, subscriber: &Subscriber, log: &Log, latest: &Latest) {
        self.clear();
        let is_whole = self.collect_owed(subscriber, latest) && self.collect_new(subscriber, log, latest);
        self.end = is_whole.then(|| log.next());
        if let [_, _, ..] = *self.parts {
            self.parts.iter().for_each(|part| self.joined.extend_from_slice(&part.message.image));
        }
    }

    /// The messages that were collected, behind each other.
    pub(super) fn bytes(&self) -> &[u8] {
        match &*self.parts {
            [only] => &only.message.image,
            [] | [_, ..] => &self.joined,
        }
    }

    /// Moves the client on by the first `bytes` of what was collected.
    pub(super) fn take(&self, bytes: usize, subscriber: &mut Subscriber) -> Taken {
        let mut taken = Taken::default();
        for part in &self.parts {
            if taken.bytes >= bytes {
                return taken;
            }
            if taken.bytes + part.message.image.len() > bytes {
                taken.cut = Some(bytes - taken.bytes);
            }
            taken.bytes += part.message.image.len();
            taken.messages += 1;
            taken.conflated += part.conflated;
            part.pass(subscriber);
        }
        if let Some(end) = self.end {
            taken.conflated += self.conflated;
            subscriber.cursor = end;
            subscriber.owed = None;
            if subscriber.pace == Pace::Catching {
                subscriber.pace = Pace::Live;
                taken.conflated += std::mem::take(&mut subscriber.overdue);
            }
        }
        taken
    }

    /// What is left of the message that was cut.
    pub(super) fn rest(&self, taken: &Taken) -> &[u8] {
        let last = taken.messages.checked_sub(1).and_then(|last| self.parts.get(last));
        let rest = taken.cut.zip(last).and_then(|(cut, part)| part.message.image.get(cut..));
        rest.unwrap_or_default()
    }

    /// Holds no message any longer.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.joined.clear();
        (self.len, self.end, self.conflated) = (0, None, 0);
    }

    /// What a client is owed; returns whether that was all.
    fn collect_owed(&mut self, subscriber: &Subscriber, latest: &Latest) -> bool {
        match subscriber.owed.as_deref() {
            None => true,
            Some(Owed::All { from }) => {
                let mut range = latest.range(*from, subscriber.cursor);
                range.all(|(seq, message)| self.push(seq, message, Origin::Owed))
            }
            Some(Owed::Keys(keys)) => {
                let older = |(seq, _): &(Seq, _)| *seq < subscriber.cursor;
                let mut owed: Vec<_> = keys.iter().filter_map(|key| latest.get(key)).filter(older).collect();
                owed.sort_unstable_by_key(|(seq, _)| *seq);
                owed.into_iter().all(|(seq, message)| self.push(seq, message, Origin::Owed))
            }
        }
    }

    /// What stands at the client's place and behind it; returns whether that was all.
    fn collect_new(&mut self, subscriber: &Subscriber, log: &Log, latest: &Latest) -> bool {
        let is_catching = subscriber.pace == Pace::Catching;
        if is_catching {
            let mut left = latest.range(subscriber.cursor, log.first());
            let mut pass = |(seq, message): (Seq, &Arc<Message>)| {
                !subscriber.wants(message) || self.push(seq, message, Origin::Latest)
            };
            if !left.all(&mut pass) {
                return false;
            }
        }
        for entry in log.range(log.index_of(subscriber.cursor)) {
            if !subscriber.wants(&entry.message) {
                continue;
            }
            if is_catching && latest.has_later(entry.seq, &entry.message) {
                self.conflated += 1;
            } else if !self.push(entry.seq, &entry.message, Origin::Log) {
                return false;
            }
        }
        true
    }

    /// One more message, if there is room; the first always has.
    fn push(&mut self, seq: Seq, message: &Arc<Message>, origin: Origin) -> bool {
        let len = self.len + message.image.len();
        if !self.parts.is_empty() && len > BYTES_MAX || self.parts.len() == MESSAGES_MAX {
            return false;
        }
        self.len = len;
        let conflated = std::mem::take(&mut self.conflated);
        self.parts.push(Part { seq, message: Arc::clone(message), origin, conflated });
        true
    }
}

impl Part {
    /// Moves a client on behind this message.
    fn pass(&self, subscriber: &mut Subscriber) {
        match (self.origin, subscriber.owed.as_deref_mut()) {
            (Origin::Owed, Some(Owed::All { from })) => *from = self.seq.plus(1),
            (Origin::Owed, Some(Owed::Keys(keys))) => {
                let key = self.message.key.as_ref();
                if let Some(index) = key.and_then(|key| keys.binary_search(key).ok()) {
                    keys.remove(index);
                }
            }
            (Origin::Owed, None) => {}
            (Origin::Latest | Origin::Log, _) => {
                subscriber.owed = None;
                subscriber.cursor = self.seq.plus(1);
            }
        }
        if self.origin == Origin::Latest {
            subscriber.overdue = subscriber.overdue.saturating_sub(1);
        }
    }
}
