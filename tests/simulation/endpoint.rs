//! A simulated client or backend: carries out its plan, and answers a Close if it is one that does.

use std::collections::VecDeque;

use fastrand::Rng;
use selat::protocol::Role;
use selat::protocol::frame::{End, Header, MaskKey, Opcode, Rsv, Rules, Scanner, mask};

use super::pipe::{Connection, Read};
use super::plan::{Act, Character, Then, close, plan, pong};

/// What an endpoint has done and seen so far.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Messages written to the end.
    pub(crate) messages: usize,
    /// Answers to the other endpoint's pings, likewise.
    pub(crate) pongs: usize,
    /// A Close of its own accord, with this code.
    pub(crate) closed: Option<u16>,
    /// A Close in answer to one.
    pub(crate) answered: bool,
    /// Something illegal.
    pub(crate) broke_rules: bool,
    /// A FIN or a reset.
    pub(crate) ended: bool,
}

/// A simulated endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) role: Role,
    pub(crate) character: Character,
    /// Payloads of all its messages, sent or not.
    pub(crate) messages: Vec<Vec<u8>>,
    acts: VecDeque<Act>,
    pub(crate) done: Done,
    pub(crate) received: Vec<u8>,
    /// How much of that it has looked at, frame by frame.
    seen: usize,
    /// Over what it received.
    scanner: Scanner,
    kept: Vec<u8>,
    pub(crate) has_received_close: bool,
    pub(crate) has_seen_fin: bool,
    pub(crate) has_seen_reset: bool,
    /// Bytes that it still reads; for one that stops.
    appetite: usize,
}

impl Endpoint {
    pub(crate) fn new(role: Role, character: Character, size_max: usize, rng: &mut Rng) -> Self {
        let sender = if role == Role::Client { Role::Server } else { Role::Client };
        let (messages, acts) = plan(role, character, size_max, rng);
        Self {
            role,
            character,
            messages,
            acts,
            done: Done::default(),
            received: Vec::new(),
            seen: 0,
            scanner: Scanner::new(Rules::unlimited(sender, Rsv::NONE)),
            kept: Vec::new(),
            has_received_close: false,
            has_seen_fin: false,
            has_seen_reset: false,
            appetite: if character == Character::Stuck { rng.usize(0..size_max * 4) } else { usize::MAX },
        }
    }

    /// Whether it would do something now, other than read.
    pub(crate) fn can_act(&self, connection: &Connection) -> bool {
        if self.done.ended || self.has_seen_reset {
            return false;
        }
        match self.acts.front() {
            Some(Act::Write { .. }) => {
                connection.is_closed || connection.is_reset || connection.up.room() > 0
            }
            Some(Act::Fin | Act::Reset) => true,
            None => self.is_satisfied(),
        }
    }

    /// Whether it has nothing more to say and nothing to wait for: after both Closes the server ends the connection
    /// first (RFC 6455 §7.1.1).
    fn is_satisfied(&self) -> bool {
        let has_closed = self.done.closed.is_some() || self.done.answered;
        self.has_seen_fin || (has_closed && self.has_received_close && self.role == Role::Server)
    }

    /// Does the next thing, or a part of it.
    pub(crate) fn act(&mut self, connection: &mut Connection, len_max: usize) -> String {
        match self.acts.front_mut() {
            Some(Act::Write { .. }) if connection.is_closed || connection.is_reset => {
                connection.is_reset = true;
                self.has_seen_reset = true;
                "writes to a closed connection".to_owned()
            }
            Some(Act::Write { bytes, written, then }) => {
                let rest = &bytes[*written..];
                let len = connection.up.write(&rest[..len_max.min(rest.len())]);
                *written += len;
                if *written == bytes.len() {
                    let then = *then;
                    self.acts.pop_front();
                    self.note(then);
                }
                format!("writes {len} bytes")
            }
            Some(Act::Reset) => {
                connection.is_reset = true;
                self.done.ended = true;
                "resets".to_owned()
            }
            Some(Act::Fin) | None => {
                connection.up.finish();
                self.acts.clear();
                self.done.ended = true;
                "finishes".to_owned()
            }
        }
    }

    fn note(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Message => self.done.messages += 1,
            Then::Pong => self.done.pongs += 1,
            Then::Closed(code) => self.done.closed = Some(code),
            Then::Answered => self.done.answered = true,
            Then::BrokeRules => self.done.broke_rules = true,
        }
    }

    pub(crate) fn can_read(&self, connection: &Connection) -> bool {
        let has_more = connection.is_reset || (connection.down.is_readable() && !self.has_seen_fin);
        has_more && !self.has_seen_reset && self.appetite > 0
    }

    pub(crate) fn read(&mut self, connection: &mut Connection, len_max: usize) -> String {
        if connection.is_reset {
            self.has_seen_reset = true;
            return "sees a reset".to_owned();
        }
        match connection.down.read(len_max) {
            Read::Nothing => "sees nothing".to_owned(),
            Read::Fin => {
                self.has_seen_fin = true;
                // A server says to a half-closed client what it has to say.
                if self.role == Role::Client && self.character.is_correct() {
                    self.acts.clear();
                }
                "sees the FIN".to_owned()
            }
            Read::Bytes(bytes) => {
                self.appetite = self.appetite.saturating_sub(bytes.len());
                self.take(&bytes);
                format!("reads {} bytes", bytes.len())
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        assert!(!self.has_received_close, "the {:?} was sent bytes behind a Close", self.role);
        self.received.extend_from_slice(bytes);
        self.kept.extend_from_slice(bytes);
        self.answer_pings();
        let scan = self.scanner.scan(&self.kept);
        self.kept.drain(..scan.forward);
        match scan.end {
            End::More => {}
            End::Pong { .. } | End::Unit => panic!("stopped at what nobody asked for"),
            End::Violation(violation) => panic!("the {:?} was sent an illegal frame: {violation}", self.role),
            End::Close { code, .. } => {
                assert!(self.kept.is_empty(), "the {:?} was sent bytes behind a Close", self.role);
                self.has_received_close = true;
                let has_closed = self.done.closed.is_some() || self.done.answered;
                if self.character.is_correct() && !has_closed {
                    self.answer(code.map_or(1000, |code| code.get()));
                }
            }
        }
    }

    /// Queues a pong for each ping, behind the frame in progress. RFC 6455 §5.5.3: one that has not answered yet may
    /// leave that out for the sake of a later ping.
    fn answer_pings(&mut self) {
        while let Some((header, payload)) = next_frame(&self.received, &mut self.seen) {
            let has_closed = self.done.closed.is_some() || self.done.answered || self.is_closing();
            if header.opcode != Opcode::Ping || !self.character.is_correct() || has_closed {
                continue;
            }
            let at = usize::from(self.is_in_own_frame());
            let is_pong = |act: &Act| matches!(act, Act::Write { bytes, .. } if bytes[0] == 0x8A);
            if self.acts.get(at).is_some_and(is_pong) {
                self.acts.remove(at);
            }
            self.acts.insert(at, pong(self.role, &payload));
        }
    }

    /// Payloads of the pongs that it received.
    pub(crate) fn pongs(&self) -> Vec<Vec<u8>> {
        let mut at = 0;
        let frames = std::iter::from_fn(|| next_frame(&self.received, &mut at));
        frames.filter(|(header, _)| header.opcode == Opcode::Pong).map(|(_, payload)| payload).collect()
    }

    fn is_in_own_frame(&self) -> bool {
        matches!(self.acts.front(), Some(Act::Write { written: 1.., .. }))
    }

    /// Whether it is in the middle of its own Close.
    fn is_closing(&self) -> bool {
        self.is_in_own_frame()
            && matches!(self.acts.front(), Some(Act::Write { then: Then::Closed(_) | Then::Answered, .. }))
    }

    /// Ends the frame in progress, echoes the Close, says no more.
    fn answer(&mut self, code: u16) {
        self.acts.truncate(usize::from(self.is_in_own_frame()));
        let is_closing = matches!(self.acts.front(), Some(Act::Write { then: Then::Closed(_), .. }));
        if !is_closing {
            self.acts.push_back(close(self.role, code, Then::Answered));
        }
    }

    /// Whether what it received broke off inside a frame.
    pub(crate) fn is_in_frame(&self) -> bool {
        !self.scanner.at_frame_boundary()
    }
}

/// The frame at `at`, once it is there as a whole, and its payload unmasked.
fn next_frame(stream: &[u8], at: &mut usize) -> Option<(Header, Vec<u8>)> {
    let (header, len) = Header::parse(&stream[*at..]).ok()??;
    let start = *at + len;
    let mut payload = stream.get(start..start + usize::try_from(header.payload_len).ok()?)?.to_vec();
    *at = start + payload.len();
    mask(&mut payload, header.mask.unwrap_or(MaskKey([0; 4])), 0);
    Some((header, payload))
}
