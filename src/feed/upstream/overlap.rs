//! Two lines that say the same: each message once, in order.
//!
//! While both are read, the old line leads: what it says is published at once, and what the new line says is held until
//! the old one has said it too, or has said something that stands behind it, or is gone. So messages keep the order of
//! the old line and then that of the new one, whichever lags, and what only one of them brings is not lost. Copies may
//! lie one overlap apart at most.
//!
//! Contents are compared by 64-bit hashes under a key of chance, so that no source can make two that are taken for one.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::surplus::{Side, Surplus};
use crate::feed::{Key, Message};
use crate::session::after;

/// Messages that are held; beyond, the oldest is published as if the old line had missed it.
const HELD_MAX: usize = 1 << 16;

/// Their bytes; beyond, the same.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// The line that is read, or the older of two.
    Current,
    /// The one that is to replace it.
    Successor,
}

/// What is known of what was said around the replacement of a line.
#[derive(Debug)]
pub(super) struct Overlap {
    span: Duration,
    stage: Stage,
    /// From then on is remembered what a line says that is alone.
    remember_from: Instant,
    hasher: RandomState,
    surplus: Surplus,
    /// What the new line has said before the old one did.
    held: VecDeque<(u64, Arc<Message>)>,
    /// How often each content is among that.
    held_contents: HashMap<u64, u32>,
    held_bytes: usize,
    /// The last message that was published of each key.
    last: HashMap<Option<Key>, u64>,
    keys_max: usize,
    /// The same when the new line opened, less the keys that it has said something about.
    at_open: HashMap<Option<Key>, u64>,
    duplicates: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// One line.
    Alone,
    /// Two lines.
    Both,
    /// The new line alone; what the old one has said is remembered until then.
    Replaced { until: Instant },
}

impl Overlap {
    /// For lines that overlap by `span`. The last message is known of so many keys; the vendor's copies of others are
    /// published.
    pub(super) fn new(span: Duration, keys_max: usize, now: Instant) -> Self {
        Self {
            span,
            stage: Stage::Alone,
            remember_from: now,
            hasher: RandomState::new(),
            surplus: Surplus::new(span),
            held: VecDeque::new(),
            held_contents: HashMap::new(),
            held_bytes: 0,
            last: HashMap::new(),
            keys_max,
            at_open: HashMap::new(),
            duplicates: 0,
        }
    }

    /// The line that is read is to be replaced at `at`, or later.
    pub(super) fn expect(&mut self, at: Instant) {
        self.remember_from = at.checked_sub(self.span).unwrap_or(at);
    }

    /// A second line has opened.
    pub(super) fn handle_opened(&mut self) {
        self.stage = Stage::Both;
        self.at_open = self.last.clone();
    }

    /// The second line is gone; the first goes on. What only the second one said is forgotten: the first will say it.
    pub(super) fn handle_failed(&mut self) {
        self.drop_held();
        self.stage = Stage::Alone;
    }

    /// The first line is gone, and the second in its place.
    pub(super) fn handle_replaced(&mut self, now: Instant, out: &mut Vec<Arc<Message>>) {
        self.pass_held(None, now, out);
        self.stage = Stage::Replaced { until: after(now, self.span) };
    }

    /// All lines are gone.
    pub(super) fn handle_lost(&mut self) {
        self.drop_held();
        self.surplus.clear();
        self.stage = Stage::Alone;
    }

    /// A line says something: appends to `out` what is to be published now.
    pub(super) fn handle_message(
        &mut self,
        voice: Voice,
        message: Arc<Message>,
        now: Instant,
        out: &mut Vec<Arc<Message>>,
    ) {
        self.surplus.forget(now);
        let content = self.hasher.hash_one(&message.image);
        match (self.stage, voice) {
            // After a line that failed, this one may yet say what was published on that one's word.
            (Stage::Alone, _) if self.surplus.take(Side::New, content) => self.duplicates += 1,
            (Stage::Alone, _) => {
                if now >= self.remember_from {
                    self.surplus.put(Side::Old, content, now);
                }
                self.publish(content, message, out);
            }
            (Stage::Both, Voice::Current) => self.lead(content, message, now, out),
            (Stage::Both, Voice::Successor) => self.follow(content, message, now, out),
            (Stage::Replaced { until }, _) => {
                if self.is_known(content, &message.key) {
                    self.duplicates += 1;
                } else {
                    self.publish(content, message, out);
                }
                if now >= until {
                    self.surplus.clear();
                    self.at_open = HashMap::new();
                    self.stage = Stage::Alone;
                }
            }
        }
    }

    /// Messages that were not published because they had been, since this was asked last.
    pub(super) fn take_duplicates(&mut self) -> u64 {
        std::mem::take(&mut self.duplicates)
    }

    /// The old line says something while there are two.
    fn lead(&mut self, content: u64, message: Arc<Message>, now: Instant, out: &mut Vec<Arc<Message>>) {
        if self.surplus.take(Side::New, content) {
            self.duplicates += 1;
        } else if self.held_contents.contains_key(&content) {
            self.duplicates += 1;
            self.pass_held(Some(content), now, out);
        } else {
            self.surplus.put(Side::Old, content, now);
            self.publish(content, message, out);
        }
    }

    /// The new line says something while there are two.
    fn follow(&mut self, content: u64, message: Arc<Message>, now: Instant, out: &mut Vec<Arc<Message>>) {
        if self.is_known(content, &message.key) {
            self.duplicates += 1;
            return;
        }
        self.held_bytes += message.image.len();
        *self.held_contents.entry(content).or_insert(0) += 1;
        self.held.push_back((content, message));
        while self.held.len() > HELD_MAX || self.held_bytes > HELD_BYTES_MAX {
            let Some((content, message)) = self.pop_held() else { return };
            self.surplus.put(Side::New, content, now);
            self.publish(content, message, out);
        }
    }

    /// Whether the new line only repeats what the old one has said, or what was said before: a vendor may send the last
    /// value of every key to whoever connects.
    fn is_known(&mut self, content: u64, key: &Option<Key>) -> bool {
        let at_open = self.at_open.remove(key);
        self.surplus.take(Side::Old, content) || at_open == Some(content)
    }

    /// Publishes what is held, up to this content or all of it. What stands before it the old line has missed; or says
    /// later, in another order, and then it is a copy.
    fn pass_held(&mut self, up_to: Option<u64>, now: Instant, out: &mut Vec<Arc<Message>>) {
        while let Some((content, message)) = self.pop_held() {
            self.publish(content, message, out);
            if up_to == Some(content) {
                return;
            }
            self.surplus.put(Side::New, content, now);
        }
    }

    fn pop_held(&mut self) -> Option<(u64, Arc<Message>)> {
        let (content, message) = self.held.pop_front()?;
        self.held_bytes = self.held_bytes.saturating_sub(message.image.len());
        if let Some(count) = self.held_contents.get_mut(&content) {
            *count -= 1;
            if *count == 0 {
                self.held_contents.remove(&content);
            }
        }
        Some((content, message))
    }

    fn drop_held(&mut self) {
        self.held = VecDeque::new();
        self.held_contents = HashMap::new();
        self.held_bytes = 0;
        self.at_open = HashMap::new();
    }

    fn publish(&mut self, content: u64, message: Arc<Message>, out: &mut Vec<Arc<Message>>) {
        if let Some(last) = self.last.get_mut(&message.key) {
            *last = content;
        } else if self.last.len() < self.keys_max {
            self.last.insert(message.key.clone(), content);
        }
        out.push(message);
    }
}
