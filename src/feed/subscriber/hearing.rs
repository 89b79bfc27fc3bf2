//! What is heard of what a client sends: which messages are kept, and what they mean (RFC 6455 §5.4–§5.6).

use std::sync::Arc;

use super::talk::{Draft, Purpose, Talk, TooManyTopics};
use super::{Utterance, answer};
use crate::feed::{Choice, ClientMessages, Key, Kind, Settings, Words};
use crate::protocol::frame::{Header, MaskKey, Opcode, Violation};

/// Payload bytes of a first message; beyond: Close 1009. A key and a few words; it is kept for clients that have shown
/// none yet.
const FIRST_BYTES_MAX: u64 = 4 << 10;

/// Payload bytes of a text that may subscribe; a longer one is none.
const CHOICE_BYTES_MAX: u64 = 64 << 10;

/// What is heard of one client.
#[derive(Debug)]
pub(super) struct Hearing {
    feed: Arc<Settings>,
    /// Payload bytes of a message, as its route has it.
    message_bytes_max: u64,
    payload: Payload,
    /// Boxed, and there only while there is something in it: most clients say nothing.
    talk: Option<Box<Talk>>,
}

/// What the next message is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The one that shows a key.
    First,
    /// Any other.
    Any,
}

/// What is not put up with from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Violation(Violation),
    /// A message that is of no use, where such are not even dropped.
    Unwanted,
    TooManyTopics,
}

/// The data frame in progress.
#[derive(Debug, Clone, Copy)]
struct Payload {
    /// Bytes that are still to come.
    left: u64,
    key: MaskKey,
    /// Bytes that have passed, modulo the length of the key.
    phase: u8,
    /// Whether its message ends with it.
    is_last: bool,
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<TooManyTopics> for Refusal {
    fn from(_: TooManyTopics) -> Self {
        Self::TooManyTopics
    }
}

impl Hearing {
    pub(super) fn new(feed: Arc<Settings>, message_bytes_max: u64) -> Self {
        let payload = Payload { left: 0, key: MaskKey([0; 4]), phase: 0, is_last: true };
        Self { feed, message_bytes_max, payload, talk: None }
    }

    /// Whether anything may come of messages but the first.
    pub(super) fn is_wanted(&self) -> bool {
        self.feed.subscriptions.is_some() || self.feed.client_messages != ClientMessages::Discard
    }

    /// Whether something has been said that was not polled.
    pub(super) fn has_said(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| !talk.said.is_empty())
    }

    /// Whether the next to be polled is a first message.
    pub(super) fn has_first(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| matches!(talk.said.front(), Some(Utterance::First(_))))
    }

    pub(super) fn poll(&mut self) -> Option<Utterance> {
        let said = self.talk.as_mut()?.poll();
        self.forget();
        said
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Key> {
        self.talk.iter().flat_map(|talk| &talk.topics)
    }

    /// Whether anything is remembered of the client.
    #[cfg(test)]
    pub(super) fn holds_anything(&self) -> bool {
        self.talk.is_some()
    }

    /// Nothing that was said counts any more, but for topics that were polled.
    pub(super) fn end(&mut self) {
        if let Some(talk) = &mut self.talk {
            talk.said.clear();
            talk.draft = None;
        }
        self.forget();
    }

    /// As if the client had subscribed to these.
    pub(super) fn choose(&mut self, keys: &[Key]) -> Result<(), Refusal> {
        let Some(rules) = &self.feed.subscriptions else { return Ok(()) };
        // So that they are what the source would take them for.
        let Words(text) = rules.subscribe.write(keys, &rules.separator);
        rules.read(&text).map_or(Ok(()), |choice| self.choice(choice))
    }

    /// Keeps what is of use in these bytes, which the scanner found legal, and answers pings. Behind a refusal nothing
    /// more is heard.
    pub(super) fn follow(
        &mut self,
        mut bytes: &[u8],
        awaited: Awaited,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            if self.payload.left == 0 {
                // The scanner lets only whole headers and whole control frames through.
                let Ok(Some((header, len))) = Header::parse(bytes) else { return Ok(()) };
                if header.opcode.is_control() {
                    let len = len + usize::try_from(header.payload_len).unwrap_or(usize::MAX);
                    let Some((frame, rest)) = bytes.split_at_checked(len) else { return Ok(()) };
                    // §5.5.2: upon receipt of a Ping, an endpoint MUST send a Pong with the same payload.
                    if header.opcode == Opcode::Ping {
                        answer(frame, Opcode::Pong, out);
                    }
                    bytes = rest;
                    continue;
                }
                bytes = bytes.get(len..).unwrap_or_default();
                self.begin(&header, awaited)?;
            }
            let len = usize::try_from(self.payload.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (piece, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            self.pass(piece);
            bytes = rest;
            if self.payload.left == 0 && self.payload.is_last {
                self.complete()?;
            }
        }
        Ok(())
    }

    /// A data frame begins.
    fn begin(&mut self, header: &Header, awaited: Awaited) -> Result<(), Refusal> {
        let &Header { fin: is_last, payload_len: left, .. } = header;
        self.payload = Payload { left, key: header.mask.unwrap_or(MaskKey([0; 4])), phase: 0, is_last };
        match header.opcode {
            Opcode::Text => self.open(Kind::Text, awaited)?,
            Opcode::Binary => self.open(Kind::Binary, awaited)?,
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        let Some(draft) = self.talk.as_ref().and_then(|talk| talk.draft.as_ref()) else { return Ok(()) };
        let max = self.bytes_max(draft.purpose);
        if bytes(&draft.bytes).saturating_add(left) <= max {
            return Ok(());
        }
        match draft.purpose {
            Purpose::First | Purpose::Forward => Err(Violation::MessageTooLong { max }.into()),
            Purpose::Choice => {
                self.take_draft();
                self.dismiss()
            }
        }
    }

    /// A message begins: is it of use?
    fn open(&mut self, kind: Kind, awaited: Awaited) -> Result<(), Refusal> {
        let may_subscribe = kind == Kind::Text && self.feed.subscriptions.is_some();
        let purpose = match (awaited, self.feed.client_messages) {
            (Awaited::First, _) => Purpose::First,
            (Awaited::Any, ClientMessages::Forward) => Purpose::Forward,
            (Awaited::Any, ClientMessages::Discard | ClientMessages::Reject) if may_subscribe => {
                Purpose::Choice
            }
            (Awaited::Any, ClientMessages::Discard | ClientMessages::Reject) => return self.dismiss(),
        };
        self.talk.get_or_insert_default().draft = Some(Draft { kind, purpose, bytes: Vec::new() });
        Ok(())
    }

    /// Payload bytes of a message that is kept.
    fn bytes_max(&self, purpose: Purpose) -> u64 {
        let max = match purpose {
            Purpose::First => FIRST_BYTES_MAX,
            Purpose::Choice => CHOICE_BYTES_MAX,
            // Where the route has no limit, what goes to the source has that of what comes from it.
            Purpose::Forward => self.feed.message_bytes_max,
        };
        max.min(self.message_bytes_max)
    }

    /// A piece of the payload of a data frame.
    fn pass(&mut self, piece: &[u8]) {
        let Payload { left, key, phase, .. } = &mut self.payload;
        if let Some(draft) = self.talk.as_mut().and_then(|talk| talk.draft.as_mut()) {
            draft.push(piece, *key, (*phase).into());
        }
        *left = left.saturating_sub(bytes(piece));
        *phase = u8::try_from((usize::from(*phase) + piece.len()) % 4).unwrap_or_default();
    }

    /// A message has ended.
    fn complete(&mut self) -> Result<(), Refusal> {
        let Some(draft) = self.take_draft() else { return Ok(()) };
        let text = draft.text();
        if draft.kind == Kind::Text && text.is_none() {
            return Err(Violation::TextNotUtf8.into());
        }
        let text = text.filter(|text| bytes(text.as_bytes()) <= CHOICE_BYTES_MAX);
        let choice = self.feed.subscriptions.as_ref().zip(text).and_then(|(rules, text)| rules.read(text));
        match (draft.purpose, choice) {
            // It may be both: a key, and what the client wants with it.
            (Purpose::First, choice) => {
                self.say(Utterance::First(draft.bytes));
                choice.map_or(Ok(()), |choice| self.choice(choice))
            }
            (Purpose::Choice | Purpose::Forward, Some(choice)) => self.choice(choice),
            (Purpose::Choice, None) => self.dismiss(),
            (Purpose::Forward, None) => {
                self.say(Utterance::Forward(draft.kind, draft.bytes.into()));
                Ok(())
            }
        }
    }

    fn say(&mut self, said: Utterance) {
        self.talk.get_or_insert_default().said.push_back(said);
    }

    fn choice(&mut self, choice: Choice) -> Result<(), Refusal> {
        let Some(rules) = &self.feed.subscriptions else { return Ok(()) };
        self.talk.get_or_insert_default().choice(choice, rules)?;
        self.forget();
        Ok(())
    }

    /// A message is of no use.
    fn dismiss(&self) -> Result<(), Refusal> {
        match self.feed.client_messages {
            ClientMessages::Discard | ClientMessages::Forward => Ok(()),
            ClientMessages::Reject => Err(Refusal::Unwanted),
        }
    }

    fn take_draft(&mut self) -> Option<Draft> {
        let draft = self.talk.as_mut()?.draft.take();
        self.forget();
        draft
    }

    /// Keeps no more than is needed.
    fn forget(&mut self) {
        self.talk.take_if(|talk| talk.is_empty());
    }
}

fn bytes(payload: &[u8]) -> u64 {
    u64::try_from(payload.len()).unwrap_or(u64::MAX)
}
