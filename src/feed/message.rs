//! A message of a source: encoded once, shared by all that get it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::protocol::frame::{HEADER_BYTES_MAX, Header, Opcode};

/// Whether a message is text or binary (RFC 6455 §5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of its first frame.
    #[must_use]
    pub fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// What a message is about: the value at the feed's JSON pointer, such as `EURUSD`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Arc<str>);

impl Key {
    /// Bytes of the longest key that a client may choose: no vendor has longer ones, and selat remembers them.
    pub const CHOSEN_BYTES_MAX: usize = 256;

    /// A key as a client names it, without the space around it. `None` if nothing is left, or if it is too long or
    /// holds characters that a line of text for a source could be ended with.
    #[must_use]
    pub fn chosen(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_fit =
            !text.is_empty() && text.len() <= Self::CHOSEN_BYTES_MAX && !text.contains(char::is_control);
        is_fit.then(|| text.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Value> for Key {
    /// Text as it is, all else as JSON writes it.
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self(text.into()),
            value
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Self(value.to_string().into())
            }
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// The place of a message among all that its feed has published, from 0; the owner of the source gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The place `messages` further on.
    #[must_use]
    pub fn plus(self, messages: usize) -> Self {
        Self(self.0.saturating_add(u64::try_from(messages).unwrap_or(u64::MAX)))
    }

    /// The place `messages` before this one, but not before the first.
    #[must_use]
    pub fn back_by(self, messages: usize) -> Self {
        Self(self.0.saturating_sub(u64::try_from(messages).unwrap_or(u64::MAX)))
    }

    /// How far it is from `earlier` to here; 0 if that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One message, as it goes to every client.
#[derive(Debug)]
pub struct Message {
    /// Header and payload of one unmasked frame (RFC 6455 §5.1, §5.2).
    pub image: Box<[u8]>,
    /// Bytes of the header.
    header_bytes: u8,
    /// What it is about; `None` where there is no such thing.
    pub key: Option<Key>,
    /// Whether it is for every client, whatever keys that has chosen.
    pub(super) is_notice: bool,
    /// When its last bytes were read from the source.
    pub received_at: Instant,
}

impl Message {
    /// Encodes a message, whole and uncompressed.
    #[must_use]
    pub fn new(kind: Kind, payload: &[u8], key: Option<Key>, received_at: Instant) -> Self {
        let mut image = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
        Header::whole(kind.opcode(), None, u64::try_from(payload.len()).unwrap_or(u64::MAX))
            .encode(&mut image);
        let header_bytes = u8::try_from(image.len()).unwrap_or(u8::MAX);
        image.extend_from_slice(payload);
        Self { image: image.into_boxed_slice(), header_bytes, key, is_notice: false, received_at }
    }

    /// A text of selat's own, for every client.
    #[must_use]
    pub fn notice(text: &str, now: Instant) -> Self {
        Self { is_notice: true, ..Self::new(Kind::Text, text.as_bytes(), None, now) }
    }

    /// What the source said.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.image.get(self.header_bytes.into()..).unwrap_or_default()
    }
}

/// Messages that were published together, one behind the other.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The place of the first.
    pub first: Seq,
    /// At least one.
    pub messages: Vec<Arc<Message>>,
}

impl Batch {
    /// Bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.image.len()).sum()
    }
}

/// All that a shard has to know of a feed to go on from there: for one that has its first client.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The place of the next message.
    pub next: Seq,
    /// The last message of every key, by place.
    pub latest: Vec<(Seq, Arc<Message>)>,
    /// The last messages of all, up to `next` without a gap.
    pub recent: Vec<Arc<Message>>,
}
