//! A backend's end of one connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::plan::Plan;
use super::wire::{self, Reader, Said};

/// One connection.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) name: usize,
    reader: Reader,
    /// Replies, and when each is due.
    due: Vec<(Instant, Vec<u8>)>,
    /// What it has written, and the network has not delivered.
    pub(crate) sent: VecDeque<u8>,
    /// It does nothing until then.
    pub(crate) stalled_until: Option<Instant>,
    /// The last that is due.
    last: Instant,
    /// Whether it has closed, and hangs up as soon as all is delivered.
    pub(crate) is_done: bool,
}

impl Backend {
    pub(crate) fn new(name: usize, now: Instant) -> Self {
        Self {
            name,
            reader: Reader::new(true),
            due: Vec::new(),
            sent: VecDeque::new(),
            stalled_until: None,
            last: now,
            is_done: false,
        }
    }

    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_until.is_some_and(|until| now < until)
    }

    /// Reads what has come.
    pub(crate) fn read(&mut self, bytes: &[u8], plan: &Plan, rng: &mut Rng, now: Instant) {
        for said in self.reader.read(bytes) {
            match said {
                Said::Message(text) => self.hear(&text, plan, rng, now),
                Said::Ping(payload) => self.sent.extend(wire::pong(&payload, None)),
                Said::Pong => {}
                Said::Close(code) => self.close(code.unwrap_or(1000)),
            }
        }
    }

    fn hear(&mut self, text: &str, plan: &Plan, rng: &mut Rng, now: Instant) {
        let id = id_of(text);
        if rng.u32(..100) < plan.ignored {
            return;
        }
        let wait = Duration::from_millis(rng.u64(..=u64::try_from(plan.delay.as_millis()).unwrap()));
        let mut at = now + wait;
        if !plan.is_correlated() {
            at = at.max(self.last);
            self.last = at;
        }
        let pad = match rng.u8(..40) {
            0 if plan.has_long => rng.usize(60_000..200_000),
            1..4 => rng.usize(1_000..9_000),
            _ => rng.usize(..100),
        };
        let letter = char::from(b'a' + u8::try_from(self.name).unwrap());
        let reply = format!(r#"{{"id":{id},"by":{},"pad":"{}"}}"#, self.name, letter.to_string().repeat(pad));
        let fragments = if rng.u8(..6) == 0 { rng.usize(2..5) } else { 1 };
        self.due.push((at, wire::message(&reply, fragments, rng.u8(..8) == 0, None)));
        if plan.is_correlated() && rng.u8(..30) == 0 {
            let notice = format!(r#"{{"notice":{}}}"#, self.name);
            self.due.push((at, wire::message(&notice, 1, false, None)));
        }
    }

    /// Writes what is due.
    pub(crate) fn work(&mut self, now: Instant) {
        if self.is_done {
            return;
        }
        // In the order in which they are due; the sort is stable.
        self.due.sort_by_key(|(at, _)| *at);
        let count = self.due.partition_point(|(at, _)| *at <= now);
        self.sent.extend(self.due.drain(..count).flat_map(|(_, reply)| reply));
    }

    pub(crate) fn close(&mut self, code: u16) {
        if !self.is_done {
            self.sent.extend(wire::close(code, None));
            self.is_done = true;
        }
    }
}

/// The number behind `"id":`.
pub(crate) fn id_of(text: &str) -> u32 {
    let digits = text.split("\"id\":").nth(1).unwrap_or_else(|| panic!("{text} has no id"));
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap();
    digits[..end].parse().unwrap()
}
