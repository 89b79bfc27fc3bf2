//! The subscribers of a hub: where each stands.

use std::time::Instant;

use super::latest::Latest;
use super::log::Log;
use crate::feed::{Key, Message, Seq};

/// Which subscriber of a hub. Ids are given again after [`Hub::unsubscribe`](super::Hub::unsubscribe).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(u32);

impl SubscriberId {
    fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("a shard has fewer clients than there are numbers"))
    }

    /// Its place among all, from 0: small numbers, for they are given again.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// What a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Messages with these keys alone, and notices; `None`: all messages, also those without a key.
    pub keys: Option<Vec<Key>>,
    /// The last message of every (chosen) key first, as far as it is older than the history.
    pub snapshot: bool,
    /// So many of the last messages first; of these, a subscriber with keys gets those with its keys.
    pub history: usize,
}

/// How a subscriber takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It waits for the state of the feed.
    Waiting,
    /// It gets the log from its place on.
    Live,
    /// It has fallen off the log and gets the compacted log from its place on, until there is nothing newer.
    Catching,
    /// It has fallen off the log and is to be sent away.
    TooSlow,
}

/// What a subscriber has yet to get of the compacted log before its place. If it loses its place meanwhile, and gets a
/// newer one, it is owed what is before that: a snapshot lacks no key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// All of it, from here on.
    All {
        /// What stands before it, it has got.
        from: Seq,
    },
    /// These keys of it, sorted.
    Keys(Vec<Key>),
}

/// One client's place.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The next message for it is here or behind; before that come those it is owed.
    pub(super) cursor: Seq,
    /// Boxed, and there only while there is something: most have got it.
    pub(super) owed: Option<Box<Owed>>,
    pub(super) pace: Pace,
    /// Sorted.
    keys: Option<Box<[Key]>>,
    snapshot: bool,
    history: usize,
    /// Since when it has taken nothing, while something waits for it.
    stuck_since: Option<Instant>,
    /// Whether the rest of a message is kept for it, which it has to take first.
    has_rest: bool,
    /// Messages with keys that left the log before it got them, and that it may yet get from the compacted log.
    pub(super) overdue: u64,
}

impl Subscriber {
    fn new(wish: Wish) -> Self {
        Self {
            cursor: Seq::default(),
            owed: None,
            pace: Pace::Waiting,
            keys: wish.keys.map(sorted),
            snapshot: wish.snapshot,
            history: wish.history,
            stuck_since: None,
            has_rest: false,
            overdue: 0,
        }
    }

    /// Begins with what it wishes for: history, and before that the snapshot of what is older.
    pub(super) fn start(&mut self, log: &Log) {
        if self.pace == Pace::TooSlow {
            return;
        }
        self.cursor = log.back_by(self.history);
        self.pace = Pace::Live;
        let all = || self.keys.as_ref().map_or(Owed::All { from: Seq(0) }, |keys| Owed::Keys(keys.to_vec()));
        self.owed = self.snapshot.then(|| Box::new(all()));
    }

    /// Waits for a state again; history is not for one that knows it.
    pub(super) fn wait(&mut self) {
        self.owed = None;
        self.overdue = 0;
        if !self.has_rest {
            self.stuck_since = None;
        }
        match self.pace {
            Pace::Waiting | Pace::TooSlow => {}
            Pace::Live | Pace::Catching => {
                self.pace = Pace::Waiting;
                self.history = 0;
            }
        }
    }

    /// Wants these keys from now on.
    pub(super) fn set_keys(&mut self, keys: Vec<Key>, latest: &Latest) {
        let keys = sorted(keys);
        let is_owed = |key: &&Key| match (self.owed.as_deref(), &self.keys) {
            (Some(Owed::Keys(owed)), Some(known)) => is_among(owed, key) || !is_among(known, key),
            (None, Some(known)) => !is_among(known, key),
            (Some(Owed::All { from }), _) => latest.place(key).is_some_and(|place| place >= *from),
            (None | Some(Owed::Keys(_)), None) => false,
        };
        let owed: Vec<_> = keys.iter().filter(is_owed).cloned().collect();
        let is_due = self.is_following() && self.snapshot && !owed.is_empty();
        self.owed = is_due.then(|| Box::new(Owed::Keys(owed)));
        self.keys = Some(keys);
    }

    /// Nothing waits for it any more, of what it was offered or of a rest.
    #[inline]
    pub(super) fn handle_flushed(&mut self) {
        self.stuck_since = None;
        self.has_rest = false;
    }

    /// It took a part of what it was offered, if any, and perhaps of a message.
    pub(super) fn handle_part(&mut self, bytes: usize, is_cut: bool, now: Instant) {
        if bytes > 0 || self.stuck_since.is_none() {
            self.stuck_since = Some(now);
        }
        self.has_rest = is_cut;
    }

    /// It took a part of the rest.
    pub(super) fn handle_progress(&mut self, now: Instant) {
        self.stuck_since = Some(now);
    }

    /// Since when it has taken nothing, while something waits for it.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.stuck_since
    }

    /// Whether it takes part in the feed.
    pub(super) fn is_following(&self) -> bool {
        matches!(self.pace, Pace::Live | Pace::Catching)
    }

    /// Whether every message is for it.
    pub(super) fn wants_all(&self) -> bool {
        self.keys.is_none()
    }

    /// Whether it gets the log as it is.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.keys.is_none() && self.owed.is_none()
    }

    /// Whether a message is for it.
    #[inline]
    pub(super) fn wants(&self, message: &Message) -> bool {
        match (&self.keys, &message.key) {
            (None, _) => true,
            (Some(keys), Some(key)) => is_among(keys, key),
            (Some(_), None) => message.is_notice,
        }
    }
}

fn is_among(sorted: &[Key], key: &Key) -> bool {
    sorted.binary_search(key).is_ok()
}

fn sorted(mut keys: Vec<Key>) -> Box<[Key]> {
    keys.sort_unstable();
    keys.dedup();
    keys.into_boxed_slice()
}

/// All subscribers of a hub.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Subscriber>>,
    free: Vec<SubscriberId>,
}

impl Table {
    pub(super) fn insert(&mut self, wish: Wish) -> SubscriberId {
        let id = self.free.pop().unwrap_or_else(|| SubscriberId::at(self.slots.len()));
        match self.slots.get_mut(id.index()) {
            Some(slot) => *slot = Some(Subscriber::new(wish)),
            None => self.slots.push(Some(Subscriber::new(wish))),
        }
        id
    }

    pub(super) fn remove(&mut self, id: SubscriberId) -> Option<Subscriber> {
        let subscriber = self.slots.get_mut(id.index())?.take()?;
        self.free.push(id);
        Some(subscriber)
    }

    #[inline]
    pub(super) fn get(&self, id: SubscriberId) -> Option<&Subscriber> {
        self.slots.get(id.index())?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: SubscriberId) -> Option<&mut Subscriber> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SubscriberId, &mut Subscriber)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(index, slot)| Some((SubscriberId::at(index), slot.as_mut()?)))
    }
}
