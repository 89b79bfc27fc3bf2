//! The frame scanner: finds boundaries and violations in a stream of bytes (RFC 6455 §5).
//!
//! Touches no payload but that of Close frames (and of pongs, where it looks for some), copies nothing and allocates nothing. It gives one verdict for a
//! byte stream, however the stream is cut up: a header or control frame that has not fully arrived is left with
//! the caller ([`Scan::forward`] ends before it) and judged whole when more has come. So what was forwarded is
//! always legal, and every end of it outside a payload is a frame boundary.

use super::close::close_payload;
use super::{
    Answered, CONTROL_PAYLOAD_MAX, CloseCode, Header, MaskKey, Opcode, PingSeries, Rsv, Violation, mask,
};
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
    /// Payload bytes of a data frame; beyond: 1009. Control frames have a limit of their own (§5.5).
    pub frame_bytes_max: u64,
}

impl Rules {
    /// RFC 6455 alone, and no limit.
    #[must_use]
    pub fn unlimited(sender: Role, rsv: Rsv) -> Self {
        Self { sender, rsv, message_bytes_max: u64::MAX, frame_bytes_max: u64::MAX }
    }
}

/// What a scan stops at besides what no stream goes beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stops {
    /// An answer to one of these pings, which were sent to whom the stream comes from.
    pub pongs_to: Option<PingSeries>,
    /// The end of this.
    pub end_of: Option<Unit>,
}

/// What has an end that something else may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A frame: control frames may stand between the fragments of a message (§5.4).
    Frame,
    /// A frame behind which no message is in progress.
    Message,
}

/// Where in a message the stream is (§5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// Between messages: only a text, binary or control frame may begin.
    Between,
    /// Inside one that began with a frame without FIN.
    Fragmented,
}

/// The state of one direction of one session between two reads.
#[derive(Debug, Clone)]
pub struct Scanner {
    // The rules, side by side with the rest: every session has two scanners, and a struct in it would be padded.
    sender: Role,
    rsv: Rsv,
    /// Behind the current data frame.
    message: Message,
    message_bytes_max: u64,
    frame_bytes_max: u64,
    /// Payload bytes of the current data frame that are still to come.
    payload_left: u64,
    /// Payload bytes so far of a message that is fragmented; else 0.
    fragment_bytes: u64,
    /// Payload bytes of the last message whose last frame has begun.
    message_bytes: u64,
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
    /// A pong in answer to a ping of the proxy's own, whole: to be left out. What is behind it is not judged yet.
    Pong {
        /// To which.
        answered: Answered,
        /// Its size: that many bytes from `forward` on.
        frame_bytes: usize,
    },
    /// The end that was asked for. What is behind it is not judged yet.
    Unit,
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
    /// A whole pong to a ping of the proxy's own.
    Pong { bytes: usize, answered: Answered },
}

impl Scanner {
    /// The most bytes that [`End::More`] leaves with the caller: a control frame less its last byte.
    pub const KEEP_BYTES_MAX: usize = 2 + 4 + 125 - 1;

    /// A scanner at the start of a stream.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let Rules { sender, rsv, message_bytes_max, frame_bytes_max } = rules;
        Self {
            sender,
            rsv,
            message: Message::Between,
            message_bytes_max,
            frame_bytes_max,
            payload_left: 0,
            fragment_bytes: 0,
            message_bytes: 0,
        }
    }

    /// Judges the next bytes of the stream, beginning with those that the last call left over.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        self.scan_until(bytes, &Stops { pongs_to: None, end_of: None })
    }

    /// As [`Self::scan`], which is the faster, up to the first of these stops. The verdict on the stream stays the same.
    #[inline]
    pub fn scan_until(&mut self, bytes: &[u8], stops: &Stops) -> Scan {
        let mut forward = 0;
        let mut messages = 0;
        let end = loop {
            let rest = bytes.get(forward..).unwrap_or_default();
            if rest.is_empty() {
                break End::More;
            }
            match self.step(rest, stops.pongs_to.as_ref()) {
                Ok(Step::Taken { bytes, messages: ended }) => {
                    forward += bytes;
                    messages += ended;
                    if stops.end_of.is_some_and(|unit| self.is_at_end_of(unit)) {
                        break End::Unit;
                    }
                }
                Ok(Step::More) => break End::More,
                Ok(Step::Close { bytes: frame_bytes, code }) => {
                    forward += frame_bytes;
                    break End::Close { code, frame_bytes };
                }
                Ok(Step::Pong { bytes: frame_bytes, answered }) => break End::Pong { answered, frame_bytes },
                Err(violation) => break End::Violation(violation),
            }
        };
        Scan { forward, messages, end }
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

    /// Payload bytes, as on the wire, of the last message whose last frame has begun.
    #[must_use]
    pub fn message_bytes(&self) -> u64 {
        self.message_bytes
    }

    fn is_at_end_of(&self, unit: Unit) -> bool {
        match unit {
            Unit::Frame => self.at_frame_boundary(),
            Unit::Message => self.at_message_boundary(),
        }
    }

    #[inline]
    fn step(&mut self, bytes: &[u8], pings: Option<&PingSeries>) -> Result<Step, Violation> {
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
            Opcode::Close | Opcode::Ping | Opcode::Pong => control(&header, header_len, bytes, pings),
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
        let ended = self.at_message_boundary();
        Step::Taken { bytes: header_len + taken, messages: u64::from(ended) }
    }

    #[inline]
    fn check_rules(&self, header: &Header) -> Result<(), Violation> {
        // §5.2: a nonzero reserved bit that no negotiated extension defines MUST fail the connection.
        // RFC 7692 §6: RSV1 is for the first frame of a data message only.
        let allowed = match header.opcode {
            Opcode::Text | Opcode::Binary => self.rsv,
            _ if self.rsv == Rsv::RSV1 => Rsv::NONE,
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => self.rsv,
        };
        if !header.rsv.within(allowed) {
            return Err(Violation::ReservedBits);
        }
        match (self.sender, header.mask) {
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
        match (header.opcode, self.message) {
            (Opcode::Continuation, Message::Between) => return Err(Violation::ContinuationUnexpected),
            (Opcode::Continuation, Message::Fragmented) | (_, Message::Between) => {}
            (_, Message::Fragmented) => return Err(Violation::MessageInterrupted),
        }
        if header.payload_len > self.frame_bytes_max {
            return Err(Violation::FrameTooLong { max: self.frame_bytes_max });
        }
        let bytes = self.fragment_bytes.saturating_add(header.payload_len);
        if bytes > self.message_bytes_max {
            return Err(Violation::MessageTooLong { max: self.message_bytes_max });
        }
        if header.fin {
            self.message = Message::Between;
            self.fragment_bytes = 0;
            self.message_bytes = bytes;
        } else {
            self.message = Message::Fragmented;
            self.fragment_bytes = bytes;
        }
        self.payload_left = header.payload_len;
        Ok(())
    }
}

/// A control frame is judged whole: it is short, and a Close must be understood before it is passed on.
fn control(
    header: &Header,
    header_len: usize,
    bytes: &[u8],
    pings: Option<&PingSeries>,
) -> Result<Step, Violation> {
    let payload_len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
    let Some(payload) = bytes.get(header_len..).and_then(|rest| rest.get(..payload_len)) else {
        return Ok(Step::More);
    };
    let bytes = header_len + payload_len;
    match (header.opcode, pings) {
        (Opcode::Close, _) => {
            let code = unmasked(payload, header.mask, close_payload)?;
            Ok(Step::Close { bytes, code })
        }
        (Opcode::Pong, Some(pings)) => {
            Ok(unmasked(payload, header.mask, |payload| pings.answered_by(payload))
                .map_or(Step::Taken { bytes, messages: 0 }, |answered| Step::Pong { bytes, answered }))
        }
        (Opcode::Ping | Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary, _) => {
            Ok(Step::Taken { bytes, messages: 0 })
        }
    }
}

/// What `read` makes of a control frame's payload. The bytes that are forwarded stay masked.
fn unmasked<T>(payload: &[u8], key: Option<MaskKey>, read: impl FnOnce(&[u8]) -> T) -> T {
    let Some(key) = key else { return read(payload) };
    const { assert!(CONTROL_PAYLOAD_MAX == 125) };
    let mut copy = [0; 125];
    // A longer one is refused by its header.
    let len = payload.len().min(copy.len());
    let (copy, _) = copy.split_at_mut(len);
    copy.copy_from_slice(payload.get(..len).unwrap_or_default());
    mask(copy, key, 0);
    read(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::close_frame;

    fn frame(opcode: Opcode, fin: bool, payload: &[u8], key: Option<MaskKey>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Header { fin, ..Header::whole(opcode, key, payload.len().try_into().unwrap()) }.encode(&mut bytes);
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        mask(&mut bytes[start..], key.unwrap_or(MaskKey([0; 4])), 0);
        bytes
    }

    #[test]
    fn limits_a_data_frame_and_a_message_by_themselves() {
        let rules =
            Rules { message_bytes_max: 10, frame_bytes_max: 4, ..Rules::unlimited(Role::Server, Rsv::NONE) };
        let scan = |bytes: &[u8]| Scanner::new(rules).scan(bytes).end;
        let piece = |opcode, fin, len| frame(opcode, fin, &vec![b'x'; len], None);
        assert_eq!(scan(&piece(Opcode::Text, true, 4)), End::More);
        let too_long = End::Violation(Violation::FrameTooLong { max: 4 });
        assert_eq!(scan(&piece(Opcode::Text, true, 5)), too_long);
        // A control frame is no data frame.
        assert_eq!(scan(&piece(Opcode::Ping, true, 5)), End::More);
        let fragments = [
            piece(Opcode::Text, false, 4),
            piece(Opcode::Continuation, false, 4),
            piece(Opcode::Continuation, true, 3),
        ];
        assert_eq!(scan(&fragments.concat()), End::Violation(Violation::MessageTooLong { max: 10 }));
        assert_eq!(Violation::FrameTooLong { max: 4 }.close_code(), CloseCode::MESSAGE_TOO_BIG);
    }

    #[test]
    fn stops_at_its_own_pongs_and_lets_others_pass() {
        for (sender, key) in [(Role::Client, Some(MaskKey([9, 8, 7, 6]))), (Role::Server, None)] {
            let mut pings = PingSeries::new(77);
            let asked = pings.next_frame(None);
            let own = frame(Opcode::Pong, true, &asked[2..], key);
            let foreign = frame(Opcode::Pong, true, b"elsewise", key);
            let first = frame(Opcode::Text, false, b"hel", key);
            let last = frame(Opcode::Continuation, true, b"lo", key);
            let stream = [first.as_slice(), &foreign, &own, &last].concat();

            let mut scanner = Scanner::new(Rules::unlimited(sender, Rsv::NONE));
            let stops = Stops { pongs_to: Some(pings), end_of: None };
            let scan = scanner.scan_until(&stream, &stops);
            let run = first.len() + foreign.len();
            let end = End::Pong { answered: Answered::Newest, frame_bytes: own.len() };
            assert_eq!(scan, Scan { forward: run, messages: 0, end });
            let scan = scanner.scan_until(&stream[run + own.len()..], &stops);
            assert_eq!(scan, Scan { forward: last.len(), messages: 1, end: End::More });
            assert_eq!(scanner.message_bytes(), 5);
        }
    }

    #[test]
    fn stops_at_the_end_of_a_frame_or_message_where_asked_to() {
        let first = frame(Opcode::Text, false, b"hel", None);
        let last = frame(Opcode::Continuation, true, b"lo", None);
        let stream = [first.as_slice(), &last, &close_frame(CloseCode::NORMAL, "", None)].concat();
        for (unit, forward) in [(Unit::Frame, first.len()), (Unit::Message, first.len() + last.len())] {
            let mut scanner = Scanner::new(Rules::unlimited(Role::Server, Rsv::NONE));
            let scan = scanner.scan_until(&stream, &Stops { pongs_to: None, end_of: Some(unit) });
            assert_eq!((scan.forward, scan.end), (forward, End::Unit));
        }
    }
}
