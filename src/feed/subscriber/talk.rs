//! What there is to remember of a client that talks.

use std::collections::{BTreeSet, VecDeque};

use super::Utterance;
use crate::feed::{Choice, Conflict, Key, Kind, Subscriptions};
use crate::protocol::frame::{MaskKey, mask};

/// Nothing of it is there for a client that says nothing, or is not listened to.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// What its shell has not polled yet: of one message.
    pub(super) said: VecDeque<Utterance>,
    /// What it has subscribed to, as far as that was polled.
    pub(super) topics: BTreeSet<Key>,
    /// The message that it is sending.
    pub(super) draft: Option<Draft>,
}

/// More keys than a client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyTopics;

/// A message that has begun and may be of use.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) purpose: Purpose,
    /// Unmasked. Grows as they arrive.
    pub(super) bytes: Vec<u8>,
}

/// What a message may be of use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To show a key.
    First,
    /// To subscribe, and for nothing else.
    Choice,
    /// To go to the source, unless it subscribes.
    Forward,
}

impl Talk {
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty() && self.topics.is_empty() && self.draft.is_none()
    }

    /// What its shell has to know of this choice: what it changes.
    pub(super) fn choice(&mut self, choice: Choice, rules: &Subscriptions) -> Result<(), TooManyTopics> {
        let (more, less): (Vec<_>, Vec<_>) = match (choice, rules.conflict) {
            (Choice::Unsubscribe(keys), _) => {
                (Vec::new(), keys.into_iter().filter(|key| self.topics.contains(key)).collect())
            }
            (Choice::Subscribe(keys), Conflict::Adds) => (self.new_among(keys), Vec::new()),
            // It means to this client's what it means at the source to those of all.
            (Choice::Subscribe(keys), Conflict::Replaces) => {
                let kept: BTreeSet<_> = keys.iter().cloned().collect();
                (self.new_among(keys), self.topics.difference(&kept).cloned().collect())
            }
        };
        if self.topics.len() + more.len() - less.len() > rules.topics_max {
            return Err(TooManyTopics);
        }
        if !more.is_empty() {
            self.said.push_back(Utterance::Subscribe(more));
        }
        if !less.is_empty() {
            self.said.push_back(Utterance::Unsubscribe(less));
        }
        Ok(())
    }

    /// What was said first, which counts from now on.
    pub(super) fn poll(&mut self) -> Option<Utterance> {
        let said = self.said.pop_front()?;
        match &said {
            Utterance::Subscribe(keys) => self.topics.extend(keys.iter().cloned()),
            Utterance::Unsubscribe(keys) => keys.iter().for_each(|key| {
                self.topics.remove(key);
            }),
            Utterance::First(_) | Utterance::Forward(..) => {}
        }
        Some(said)
    }

    fn new_among(&self, keys: Vec<Key>) -> Vec<Key> {
        keys.into_iter().filter(|key| !self.topics.contains(key)).collect()
    }
}

impl Draft {
    /// Adds what has come of a frame's payload, of which `phase` bytes came before (§5.3).
    pub(super) fn push(&mut self, piece: &[u8], key: MaskKey, phase: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        mask(self.bytes.get_mut(start..).unwrap_or_default(), key, phase);
    }

    /// The message as text, if it is one that may be a subscription. Unchecked.
    pub(super) fn text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => std::str::from_utf8(&self.bytes).ok(),
            Kind::Binary => None,
        }
    }
}
