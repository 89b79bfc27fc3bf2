//! The client: what it asks, and what it makes of what it gets.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use fastrand::Rng;
use selat::dispatch::{Gather, Order, Send};

use super::backend::id_of;
use super::plan::Plan;
use super::wire::{self, Reader, Said};

const MASK: Option<[u8; 4]> = Some([7, 77, 177, 27]);

/// The client's end.
#[derive(Debug)]
pub(crate) struct Client {
    reader: Reader,
    /// What it has written, and the network has not delivered.
    pub(crate) sent: VecDeque<u8>,
    pub(crate) asked: u32,
    /// How often each was answered; an array counts once.
    pub(crate) answered: BTreeMap<u32, u32>,
    pub(crate) reported: u32,
    /// Those without a number are reported without one.
    last: Option<u32>,
    pub(crate) closed: Option<Option<u16>>,
    pub(crate) has_closed: bool,
    pub(crate) stalled_until: Option<Instant>,
    pub(crate) partial: u32,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            reader: Reader::new(false),
            sent: VecDeque::new(),
            asked: 0,
            answered: BTreeMap::new(),
            reported: 0,
            last: None,
            closed: None,
            has_closed: false,
            stalled_until: None,
            partial: 0,
        }
    }

    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_until.is_some_and(|until| now < until)
    }

    pub(crate) fn ask(&mut self, rng: &mut Rng) {
        let pad = if rng.u8(..20) == 0 { rng.usize(..20_000) } else { rng.usize(..80) };
        let text = format!(r#"{{"id":{},"user":{},"pad":"{}"}}"#, self.asked, rng.u8(..9), "?".repeat(pad));
        let fragments = if rng.u8(..6) == 0 { rng.usize(2..5) } else { 1 };
        self.sent.extend(wire::message(&text, fragments, rng.u8(..9) == 0, MASK));
        self.asked += 1;
    }

    pub(crate) fn close(&mut self) {
        self.sent.extend(wire::close(1000, MASK));
        self.has_closed = true;
    }

    /// Reads what has come, and holds the dispatcher to its plan.
    pub(crate) fn read(&mut self, bytes: &[u8], plan: &Plan) {
        for said in self.reader.read(bytes) {
            assert_eq!(self.closed, None, "behind a Close comes {said:?}");
            match said {
                Said::Message(text) => self.hear(&text, plan),
                Said::Ping(payload) => self.sent.extend(wire::pong(&payload, MASK)),
                Said::Pong => {}
                Said::Close(code) => {
                    self.closed = Some(code);
                    if !self.has_closed {
                        self.sent.extend(wire::close(code.unwrap_or(1000), MASK));
                    }
                }
            }
        }
    }

    fn hear(&mut self, text: &str, plan: &Plan) {
        if text.contains("notice") {
            return;
        }
        if let Some(lost) = text.strip_prefix(r#"{"lost":"#) {
            self.reported += 1;
            if let Ok(id) = lost.trim_end_matches('}').parse() {
                self.note_order(id, plan);
                let times = *self.answered.entry(id).or_insert(0);
                let may_be_short = matches!(plan.settings.send, Send::All(Gather::All { .. }));
                assert!(times == 0 || may_be_short, "{id} is answered, and reported");
            }
            return;
        }
        let Send::All(Gather::Array { quorum }) = &plan.settings.send else {
            return self.hear_reply(text, plan);
        };
        let replies: serde_json::Value = serde_json::from_str(text).unwrap();
        let parts = match replies.get("partial") {
            Some(_) => {
                self.partial += 1;
                &replies["replies"]
            }
            None => &replies,
        };
        let parts = parts.as_array().unwrap();
        if let Some(quorum) = quorum {
            assert!(parts.len() <= quorum.get());
            assert_eq!(parts.len() < quorum.get(), replies.get("partial").is_some());
        }
        let Some(first) = parts.first() else { return };
        assert!(parts.iter().all(|part| part["id"] == first["id"]), "{text}");
        let id = u32::try_from(first["id"].as_u64().unwrap()).unwrap();
        self.note_order(id, plan);
        assert_eq!(self.answered.insert(id, 1), None, "{id} is answered twice");
    }

    fn hear_reply(&mut self, text: &str, plan: &Plan) {
        let id = id_of(text);
        let pad = text.split("\"pad\":\"").nth(1).unwrap().trim_end_matches("\"}");
        assert!(pad.bytes().all(|byte| Some(byte) == pad.bytes().next()), "replies are mixed up");
        let times = self.answered.entry(id).or_default();
        *times += 1;
        match &plan.settings.send {
            Send::All(Gather::All { .. }) => {}
            Send::One(_) | Send::All(_) => assert_eq!(*times, 1, "{id} is answered {times} times"),
        }
        if plan.exchange().is_some() {
            self.note_order(id, plan);
        }
    }

    fn note_order(&mut self, id: u32, plan: &Plan) {
        assert!(id < self.asked);
        if plan.exchange().is_some_and(|exchange| exchange.order == Order::AsAsked) {
            assert!(self.last.is_none_or(|last| last <= id), "{id} comes behind {:?}", self.last);
            self.last = Some(id);
        }
    }
}
