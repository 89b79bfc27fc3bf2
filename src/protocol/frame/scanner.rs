//! The frame scanner: finds boundaries and violations in a stream of bytes (RFC 6455 §5).
//!
//! Touches no payload but that of Close frames, copies nothing and allocates nothing. It gives one verdict for a
//! byte stream, however the stream is cut up: a header or control frame that has not fully arrived is left with
//! the caller ([`Scan::forward`] ends before it) and judged whole when more has come. So what was forwarded is
//! always legal, and every end of it outside a payload is a frame boundary.

use super::close::close_payload;
use super::{CONTROL_PAYLOAD_MAX, CloseCode, Header, MaskKey, Opcode, Rsv, Violation, mask};
use crate::protocol::Role;

/// What a stream must keep to.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Who sends the stream: a client must mask, a server must not (§5.1).
    pub sender: Role,
    /// Reserved bits that a negotiated extension gave a meaning (§5.2).
    pub rsv: Rsv,
    /// Bytes of a message, all its fragments together, as they stand on the wire; beyond: 1009.
    pub message_bytes_max: u64,
}

/// Where in a message the stream is (§5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// Between messages: only a text, binary or control frame may begin.
    Between,
    /// Inside one that began with a frame without FIN; this many payload bytes so far.
    Fragmented { bytes: u64 },
}

/// The state of one direction of one session between two reads.
#[derive(Debug, Clone)]
pub struct Scanner {
    rules: Rules,
    message: Message,
    /// Payload bytes of the current data frame that are still to come.
    payload_left: u64,
    /// Whether the current data frame ends its message.
    payload_is_last: bool,
}

/// What one call of [`Scanner::scan`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Leading bytes that may go to the peer. What lies behind them is not yet judged.
    pub forward: usize,
    /// Data messages that ended within `forward`.
    pub messages: u64,
    /// Why the scan stopped there.
    pub end: End,
}

/// Why a scan stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All was judged, but for an incomplete header or control frame (under [`Scanner::KEEP_BYTES_MAX`] bytes), to
    /// be presented again in front of what comes next.
    More,
    /// A Close frame; nothing behind it counts (§5.5.1).
    Close {
        /// What it says.
        code: Option<CloseCode>,
        /// Its size: that many of the last bytes of `forward`.
        frame_bytes: usize,
    },
    /// The bytes at `forward` begin something illegal. The scanner is of no further use.
    Violation(Violation),
}

/// What one frame, or one piece of it, came to.
enum Step {
    /// This many bytes are judged and may go on.
    Taken { bytes: usize, messages: u64 },
    /// Not enough has arrived.
    More,
    /// A whole Close frame.
    Close { bytes: usize, code: Option<CloseCode> },
}

impl Scanner {
    /// The most bytes that [`End::More`] leaves with the caller: a control frame less its last byte.
    pub const KEEP_BYTES_MAX: usize = 2 + 4 + 125 - 1;

    /// A scanner at the start of a stream.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, message: Message::Between, payload_left: 0, payload_is_last: true }
    }

    /// Judges the next bytes of the stream, beginning with those that the last call left over.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut forward = 0;
        let mut messages = 0;
        loop {
            let rest = bytes.get(forward..).unwrap_or_default();
            if rest.is_empty() {
                return Scan { forward, messages, end: End::More };
            }
            match self.step(rest) {
                Ok(Step::Taken { bytes, messages: ended }) => {
                    forward += bytes;
                    messages += ended;
                }
                Ok(Step::More) => return Scan { forward, messages, end: End::More },
                Ok(Step::Close { bytes: frame_bytes, code }) => {
                    return Scan {
                        forward: forward + frame_bytes,
                        messages,
                        end: End::Close { code, frame_bytes },
                    };
                }
                Err(violation) => return Scan { forward, messages, end: End::Violation(violation) },
            }
        }
    }

    /// Whether a frame of the proxy's own may follow what was forwarded so far.
    #[must_use]
    pub fn at_frame_boundary(&self) -> bool {
        self.payload_left == 0
    }

    /// Whether no message is in progress either.
    #[must_use]
    pub fn at_message_boundary(&self) -> bool {
        self.at_frame_boundary() && self.message == Message::Between
    }

    #[inline]
    fn step(&mut self, bytes: &[u8]) -> Result<Step, Violation> {
        if self.payload_left > 0 {
            return Ok(self.payload(bytes.len(), 0));
        }
        let Some((header, header_len)) = Header::parse(bytes)? else {
            // The first two bytes already show a reserved or masking bit; but the verdict on a header is given
            // once, whole, so that it does not depend on where the stream was cut.
            return Ok(Step::More);
        };
        self.check_rules(&header)?;
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => control(&header, header_len, bytes),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                self.enter(&header)?;
                Ok(self.payload(bytes.len(), header_len))
            }
        }
    }

    /// Takes what is here of the current payload, behind `header_len` bytes of header.
    #[inline]
    fn payload(&mut self, available: usize, header_len: usize) -> Step {
        let arrived = available - header_len;
        let taken = usize::try_from(self.payload_left).map_or(arrived, |left| left.min(arrived));
        // `taken` fits: it is at most `payload_left`.
        self.payload_left -= u64::try_from(taken).unwrap_or(self.payload_left);
        let ended = self.payload_left == 0 && self.payload_is_last;
        Step::Taken { bytes: header_len + taken, messages: u64::from(ended) }
    }

    #[inline]
    fn check_rules(&self, header: &Header) -> Result<(), Violation> {
        // §5.2: a nonzero reserved bit that no negotiated extension defines MUST fail the connection.
        // RFC 7692 §6: RSV1 is for the first frame of a data message only.
        let allowed = match header.opcode {
            Opcode::Text | Opcode::Binary => self.rules.rsv,
            _ if self.rules.rsv == Rsv::RSV1 => Rsv::NONE,
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => self.rules.rsv,
        };
        if !header.rsv.within(allowed) {
            return Err(Violation::ReservedBits);
        }
        match (self.rules.sender, header.mask) {
            // §5.1: a server MUST close the connection upon receiving a frame that is not masked.
            (Role::Client, None) => Err(Violation::Unmasked),
            // §5.1: a client MUST close a connection if it detects a masked frame.
            (Role::Server, Some(_)) => Err(Violation::Masked),
            (Role::Client, Some(_)) | (Role::Server, None) => Ok(()),
        }
    }

    /// Begins a data frame: fragmentation (§5.4) and the size of its message.
    #[inline]
    fn enter(&mut self, header: &Header) -> Result<(), Violation> {
        let before = match (header.opcode, self.message) {
            (Opcode::Continuation, Message::Between) => return Err(Violation::ContinuationUnexpected),
            (Opcode::Continuation, Message::Fragmented { bytes }) => bytes,
            (_, Message::Between) => 0,
            (_, Message::Fragmented { .. }) => return Err(Violation::MessageInterrupted),
        };
        let bytes = before.saturating_add(header.payload_len);
        if bytes > self.rules.message_bytes_max {
            return Err(Violation::MessageTooLong { max: self.rules.message_bytes_max });
        }
        self.message = if header.fin { Message::Between } else { Message::Fragmented { bytes } };
        self.payload_left = header.payload_len;
        self.payload_is_last = header.fin;
        Ok(())
    }
}

/// A control frame is judged whole: it is short, and a Close must be understood before it is passed on.
fn control(header: &Header, header_len: usize, bytes: &[u8]) -> Result<Step, Violation> {
    let payload_len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
    let Some(payload) = bytes.get(header_len..).and_then(|rest| rest.get(..payload_len)) else {
        return Ok(Step::More);
    };
    let bytes = header_len + payload_len;
    if header.opcode != Opcode::Close {
        return Ok(Step::Taken { bytes, messages: 0 });
    }
    let code = match header.mask {
        None => close_payload(payload)?,
        Some(key) => unmasked_close_payload(payload, key)?,
    };
    Ok(Step::Close { bytes, code })
}

fn unmasked_close_payload(payload: &[u8], key: MaskKey) -> Result<Option<CloseCode>, Violation> {
    let mut copy = [0; 125];
    const { assert!(CONTROL_PAYLOAD_MAX == 125) };
    let Some(copy) = copy.get_mut(..payload.len()) else { return Err(Violation::ControlTooLong) };
    copy.copy_from_slice(payload);
    mask(copy, key, 0);
    close_payload(copy)
}
