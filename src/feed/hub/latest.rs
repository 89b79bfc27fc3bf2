//! The last message of every key: a compacted log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::feed::{Key, Message, Seq};

/// Every key once, at the place of its last message. A walk of it from any place on brings, in order, the last message of
/// all keys that had one since: that is what a snapshot and what conflation are.
#[derive(Debug, Default)]
pub(super) struct Latest {
    by_place: BTreeMap<Seq, Arc<Message>>,
    places: HashMap<Key, Seq>,
    /// Keys; beyond, the one longest without a message is forgotten.
    keys_max: usize,
}

impl Latest {
    /// Of at most `keys_max` keys.
    pub(super) fn new(keys_max: usize) -> Self {
        Self { keys_max, ..Self::default() }
    }

    /// How many keys may be remembered from now on.
    pub(super) fn set_keys_max(&mut self, keys_max: usize) {
        self.keys_max = keys_max;
        self.forget_surplus();
    }

    /// A message, newer than all others; one without a key changes nothing.
    pub(super) fn insert(&mut self, seq: Seq, message: &Arc<Message>) {
        let Some(key) = message.key.as_ref().filter(|_| self.keys_max > 0) else { return };
        let earlier = match self.places.get_mut(key) {
            Some(place) => Some(std::mem::replace(place, seq)),
            None => self.places.insert(key.clone(), seq),
        };
        if let Some(earlier) = earlier {
            self.by_place.remove(&earlier);
        }
        self.by_place.insert(seq, Arc::clone(message));
        self.forget_surplus();
    }

    /// Where the last message of a key stands.
    pub(super) fn place(&self, key: &Key) -> Option<Seq> {
        self.places.get(key).copied()
    }

    /// The last message of a key.
    pub(super) fn get(&self, key: &Key) -> Option<(Seq, &Arc<Message>)> {
        let place = self.place(key)?;
        Some((place, self.by_place.get(&place)?))
    }

    /// The last messages of keys that stand at `from` or behind it, but before `upto`, in order.
    pub(super) fn range(&self, from: Seq, upto: Seq) -> impl Iterator<Item = (Seq, &Arc<Message>)> {
        self.by_place.range(from.min(upto)..upto).map(|(seq, message)| (*seq, message))
    }

    /// All of them, in order.
    pub(super) fn to_vec(&self) -> Vec<(Seq, Arc<Message>)> {
        self.by_place.iter().map(|(seq, message)| (*seq, Arc::clone(message))).collect()
    }

    /// Whether a later message of the same key has come since this one.
    pub(super) fn has_later(&self, seq: Seq, message: &Message) -> bool {
        message.key.as_ref().and_then(|key| self.place(key)).is_some_and(|place| place > seq)
    }

    /// Keys.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    fn forget_surplus(&mut self) {
        while self.places.len() > self.keys_max {
            let Some((_, message)) = self.by_place.pop_first() else { return };
            if let Some(key) = &message.key {
                self.places.remove(key);
            }
        }
    }
}
