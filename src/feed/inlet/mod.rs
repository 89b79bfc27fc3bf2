//! One connection with a source, selat being the client (RFC 6455 §5, §7; RFC 7692): whole messages of its frames,
//! pongs for its pings, and whether it is still there.
//!
//! What is sent stays bounded as long as the connection is not read while something waits to be written to it: no
//! answer is longer than three times what it answers.

mod inflater;

use std::fmt;
use std::time::{Duration, Instant};

use self::inflater::{Fault, Inflater};
use super::{Kind, Settings};
use crate::protocol::Role;
use crate::protocol::frame::{
    CloseCode, End, Header, MaskKey, Opcode, Rsv, Rules, Scanner, Violation, close_frame, mask,
};
use crate::protocol::handshake::Deflate;
use crate::session::{Keepalive, Link, Ping, Random, Verdict, after};

/// From our Close to giving up on the source's (RFC 6455 §7.1.1 leaves it to us).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A message, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Text, which is UTF-8 then, or binary.
    pub kind: Kind,
    /// Uncompressed; at most `message_bytes_max`.
    pub payload: Vec<u8>,
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The source has sent a Close, in answer to ours or not, and has had one.
    Closed {
        /// What it says.
        code: Option<CloseCode>,
    },
    /// The source broke the protocol, and has had a Close for it.
    Violation(Violation),
    /// A message is longer than is allowed; it has had a Close 1009.
    TooLong,
    /// A text is not UTF-8 (§8.1); it has had a Close 1007.
    NotUtf8,
    /// A compressed message is none; it has had a Close 1007.
    Corrupt,
    /// No sign of life behind a ping.
    PingTimeout,
    /// No Close in answer to ours.
    Unanswered,
}

impl Ended {
    /// The word for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::TooLong | Self::Violation(Violation::MessageTooLong { .. }) => "too long",
            Self::Violation(_) | Self::NotUtf8 | Self::Corrupt => "violation",
            Self::PingTimeout => "ping timeout",
            Self::Unanswered => "close timeout",
        }
    }

    /// The code of the Close that the source gets for what it did.
    fn code(self) -> CloseCode {
        match self {
            Self::Violation(violation) => violation.close_code(),
            Self::TooLong => CloseCode::MESSAGE_TOO_BIG,
            Self::NotUtf8 | Self::Corrupt => CloseCode::INVALID_PAYLOAD,
            Self::Closed { .. } | Self::PingTimeout | Self::Unanswered => CloseCode::NORMAL,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code: Some(code) } => write!(f, "closed with {code}"),
            Self::Closed { code: None } => f.write_str("closed without a code"),
            Self::Violation(violation) => violation.fmt(f),
            Self::TooLong => f.write_str("message too long when inflated"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
            Self::Corrupt => f.write_str("compressed message cannot be inflated"),
            Self::PingTimeout => f.write_str("no sign of life behind a ping"),
            Self::Unanswered => f.write_str("no Close in answer to ours"),
        }
    }
}

/// The decisions of one connection with a source, from its 101 on.
pub struct Inlet {
    scanner: Scanner,
    keepalive: Keepalive,
    inflater: Option<Inflater>,
    message_bytes_max: usize,
    /// A header or control frame of which not all has come.
    kept: Vec<u8>,
    message: Partial,
    stage: Stage,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Our Close has gone; the source may still speak.
    Closing {
        dead_at: Instant,
    },
    Over(Ended),
}

/// The message in progress.
struct Partial {
    kind: Kind,
    is_compressed: bool,
    /// What has come of it. Grows with what comes, not with what is announced.
    payload: Vec<u8>,
    /// Bytes of its present frame that are still to come.
    frame_left: u64,
    /// Whether that is its last frame.
    is_last: bool,
}

impl Inlet {
    /// A connection that has got its 101 just now.
    #[must_use]
    pub fn new(settings: &Settings, compression: Option<Deflate>, now: Instant) -> Self {
        let bytes_max = settings.message_bytes_max;
        let rsv = if compression.is_some() { Rsv::RSV1 } else { Rsv::NONE };
        let rules = Rules { message_bytes_max: bytes_max, ..Rules::unlimited(Role::Server, rsv) };
        let ping = Ping { every: settings.stall.ping_every, timeout: settings.stall.ping_timeout };
        Self {
            scanner: Scanner::new(rules),
            keepalive: Keepalive::new(ping, now),
            inflater: compression.map(Inflater::new),
            message_bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            kept: Vec::new(),
            message: Partial {
                kind: Kind::Text,
                is_compressed: false,
                payload: Vec::new(),
                frame_left: 0,
                is_last: true,
            },
            stage: Stage::Open,
        }
    }

    /// Takes all of `bytes`: what cannot be judged yet is kept. Appends messages to `said`, and to `out` what answers
    /// the source, each frame masked by a key of `random`'s own. Once the connection is over, nothing counts.
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        now: Instant,
        random: &mut impl FnMut() -> Random,
        (said, out): (&mut Vec<Said>, &mut Vec<u8>),
    ) {
        if bytes.is_empty() || self.ended().is_some() {
            return;
        }
        self.keepalive.handle_talk(now);
        if self.kept.is_empty() {
            self.take(bytes, random, said, out);
        } else {
            let mut joined = std::mem::take(&mut self.kept);
            joined.extend_from_slice(bytes);
            self.take(&joined, random, said, out);
        }
    }

    /// Time has come to [`Self::deadline`], or not. Appends a ping to `out` where one is due.
    pub fn handle_time(&mut self, now: Instant, random: Random, out: &mut Vec<u8>) {
        match self.stage {
            Stage::Open => {}
            Stage::Closing { dead_at } if dead_at <= now => {
                self.stage = Stage::Over(Ended::Unanswered);
                return;
            }
            Stage::Closing { .. } | Stage::Over(_) => return,
        }
        match self.keepalive.handle_time(Link { is_stuck: false, is_unread: false }, now) {
            Verdict::Dead => self.stage = Stage::Over(Ended::PingTimeout),
            Verdict::Alive if self.keepalive.is_due() => {
                out.extend_from_slice(&self.keepalive.next_frame(Some(random.key), random.nonce, now));
            }
            Verdict::Alive => {}
        }
    }

    /// Appends one masked frame to `out`; none once a Close has gone (§5.5.1).
    pub fn send(&self, kind: Kind, payload: &[u8], random: Random, out: &mut Vec<u8>) {
        if self.stage == Stage::Open {
            push_frame(kind.opcode(), payload, random.key, out);
        }
    }

    /// Begins the closing handshake (§7.1.2), unless it has begun. What the source says until its Close still counts.
    pub fn close(
        &mut self,
        (code, reason): (CloseCode, &str),
        now: Instant,
        random: Random,
        out: &mut Vec<u8>,
    ) {
        if self.stage == Stage::Open {
            self.stage = Stage::Closing { dead_at: after(now, CLOSE_TIMEOUT) };
            out.extend_from_slice(&close_frame(code, reason, Some(random.key)));
        }
    }

    /// Why it is over; `None` while it is not. Then the connection may be closed as soon as what was appended has left.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        match self.stage {
            Stage::Over(ended) => Some(ended),
            Stage::Open | Stage::Closing { .. } => None,
        }
    }

    /// When [`Self::handle_time`] is wanted next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Open => Some(self.keepalive.deadline()),
            Stage::Closing { dead_at } => Some(dead_at),
            Stage::Over(_) => None,
        }
    }

    /// Judges bytes that begin where the last ones that were judged ended.
    fn take(
        &mut self,
        bytes: &[u8],
        random: &mut impl FnMut() -> Random,
        said: &mut Vec<Said>,
        out: &mut Vec<u8>,
    ) {
        let scan = self.scanner.scan(bytes);
        let (legal, rest) = bytes.split_at_checked(scan.forward).unwrap_or((bytes, &[]));
        if let Err(ended) = self.read(legal, random, said, out) {
            self.fail(ended, random, out);
            return;
        }
        match scan.end {
            // Neither a pong nor an end was asked to be stopped at.
            End::More | End::Pong { .. } | End::Unit => self.kept.extend_from_slice(rest),
            End::Close { code, .. } => {
                if self.stage == Stage::Open {
                    // §5.5.1: it typically echoes the status code it received.
                    let code_bytes = code.map(|code| code.get().to_be_bytes());
                    let payload = code_bytes.as_ref().map_or(&[][..], |bytes| bytes);
                    push_frame(Opcode::Close, payload, random().key, out);
                }
                self.stage = Stage::Over(Ended::Closed { code });
            }
            End::Violation(violation) => self.fail(Ended::Violation(violation), random, out),
        }
    }

    /// Reads what the scanner let through: whole headers, whole control frames, any part of a payload.
    fn read(
        &mut self,
        mut bytes: &[u8],
        random: &mut impl FnMut() -> Random,
        said: &mut Vec<Said>,
        out: &mut Vec<u8>,
    ) -> Result<(), Ended> {
        while !bytes.is_empty() {
            if self.message.frame_left == 0 {
                let Ok(Some((header, len))) = Header::parse(bytes) else { return Ok(()) };
                bytes = bytes.get(len..).unwrap_or_default();
                if header.opcode.is_control() {
                    let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
                    let (payload, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
                    if header.opcode == Opcode::Ping && self.stage == Stage::Open {
                        // §5.5.2: a Pong with the same payload.
                        push_frame(Opcode::Pong, payload, random().key, out);
                    }
                    bytes = rest;
                    continue;
                }
                self.message.enter(&header);
            }
            let left = usize::try_from(self.message.frame_left).unwrap_or(usize::MAX);
            let (piece, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
            self.message.take(piece);
            bytes = rest;
            if self.message.frame_left == 0 && self.message.is_last {
                said.push(self.finish()?);
            }
        }
        Ok(())
    }

    /// The message whose last byte has come.
    fn finish(&mut self) -> Result<Said, Ended> {
        let kind = self.message.kind;
        let mut payload = std::mem::take(&mut self.message.payload);
        // The scanner lets RSV1 pass only where compression was agreed on.
        if let (true, Some(inflater)) = (self.message.is_compressed, &mut self.inflater) {
            payload = inflater.inflate(&payload, self.message_bytes_max).map_err(|fault| match fault {
                Fault::Corrupt => Ended::Corrupt,
                Fault::TooLong => Ended::TooLong,
            })?;
        }
        // §8.1: an endpoint that finds a text not to be UTF-8 MUST fail the connection.
        if kind == Kind::Text && std::str::from_utf8(&payload).is_err() {
            return Err(Ended::NotUtf8);
        }
        Ok(Said { kind, payload })
    }

    /// The source has done something that ends the connection (§7.1.7).
    fn fail(&mut self, ended: Ended, random: &mut impl FnMut() -> Random, out: &mut Vec<u8>) {
        if self.stage == Stage::Open {
            out.extend_from_slice(&close_frame(ended.code(), &ended.to_string(), Some(random().key)));
        }
        self.stage = Stage::Over(ended);
        self.message.payload = Vec::new();
    }
}

impl Partial {
    /// A data frame begins.
    fn enter(&mut self, header: &Header) {
        match header.opcode {
            Opcode::Text => self.kind = Kind::Text,
            Opcode::Binary => self.kind = Kind::Binary,
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        if header.opcode != Opcode::Continuation {
            self.is_compressed = !header.rsv.within(Rsv::NONE);
        }
        self.frame_left = header.payload_len;
        self.is_last = header.fin;
    }

    fn take(&mut self, piece: &[u8]) {
        self.payload.extend_from_slice(piece);
        self.frame_left = self.frame_left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }
}

fn push_frame(opcode: Opcode, payload: &[u8], key: MaskKey, out: &mut Vec<u8>) {
    Header::whole(opcode, Some(key), u64::try_from(payload.len()).unwrap_or(u64::MAX)).encode(out);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(out.get_mut(start..).unwrap_or_default(), key, 0);
}

#[cfg(test)]
mod tests;
