//! A client: a socket that fills up, somebody who reads it or does not, and what came out.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use selat::feed::{Key, Message, Seq, SubscriberId, Wish};

/// Bytes that the kernel holds for a client.
const SOCKET_BYTES_MAX: usize = 600;

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// At once.
    Quick,
    /// So many bytes at a time.
    Slow(usize),
    /// Nothing until then.
    Stuck { until: Duration },
}

pub(crate) struct Client {
    pub(crate) id: SubscriberId,
    /// For people.
    pub(crate) name: u32,
    pub(crate) wish: Wish,
    pub(crate) reader: Reader,
    /// In the kernel.
    socket: VecDeque<u8>,
    /// The rest of the message that the kernel cut, which goes first.
    pub(crate) rest: Vec<u8>,
    /// Read, but not a whole message yet.
    unread: Vec<u8>,
    /// Places of the messages it got.
    pub(crate) got: BTreeSet<u64>,
    /// The last of them.
    last: Option<u64>,
    /// The place of the first message that is new to it; those before are snapshot or history.
    pub(crate) begins_at: Option<Seq>,
    /// Whether its socket ever took less than was offered.
    pub(crate) was_full: bool,
}

impl Client {
    pub(crate) fn new(id: SubscriberId, name: u32, wish: Wish, reader: Reader) -> Self {
        Self {
            id,
            name,
            wish,
            reader,
            socket: VecDeque::new(),
            rest: Vec::new(),
            unread: Vec::new(),
            got: BTreeSet::new(),
            last: None,
            begins_at: None,
            was_full: false,
        }
    }

    /// The kernel takes what it has room for.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(SOCKET_BYTES_MAX - self.socket.len());
        self.was_full |= taken < bytes.len();
        self.socket.extend(&bytes[..taken]);
        taken
    }

    /// Whether a message is for it.
    pub(crate) fn wants(&self, message: &Message) -> bool {
        let is_chosen = |keys: &Vec<Key>| message.key.as_ref().is_some_and(|key| keys.contains(key));
        self.wish.keys.as_ref().is_none_or(is_chosen)
    }

    /// Reads as it does.
    pub(crate) fn read(&mut self, elapsed: Duration, rng: &mut Rng) {
        let bytes = match self.reader {
            Reader::Quick => usize::MAX,
            Reader::Slow(bytes) => rng.usize(..=bytes),
            Reader::Stuck { until } if elapsed >= until => usize::MAX,
            Reader::Stuck { .. } => 0,
        };
        self.unread.extend(self.socket.drain(..bytes.min(self.socket.len())));
        let mut start = 0;
        while let Some((payload, end)) = frame(&self.unread, start) {
            let seq: u64 = payload.split(' ').next().unwrap().parse().unwrap();
            assert!(self.last.is_none_or(|last| last < seq), "{seq} behind {:?}: twice, or late", self.last);
            self.last = Some(seq);
            self.got.insert(seq);
            start = end;
        }
        self.unread.drain(..start);
    }

    /// Whether it has read all that was written to it, which ended with a message.
    pub(crate) fn is_idle(&self) -> bool {
        self.socket.is_empty() && self.unread.is_empty() && self.rest.is_empty()
    }
}

/// The payload of the text frame at `start`, and where it ends (RFC 6455 §5.2).
fn frame(bytes: &[u8], start: usize) -> Option<(&str, usize)> {
    let head = bytes.get(start..start + 2)?;
    assert_eq!(head[0], 0x81, "a whole text begins at each boundary");
    let (len, begin) = match head[1] {
        126 => {
            (usize::from(u16::from_be_bytes(bytes.get(start + 2..start + 4)?.try_into().unwrap())), start + 4)
        }
        len => (usize::from(len), start + 2),
    };
    Some((std::str::from_utf8(bytes.get(begin..begin + len)?).unwrap(), begin + len))
}
