//! A session that selat answers itself: the *respond* route's echo and ticker (RFC 6455 §5.5).

use super::{Cause, Flow, Settings, Side, Then, Why};
use crate::protocol::Role;
use crate::protocol::frame::{
    CloseCode, End, Header, MaskKey, Opcode, Rsv, Rules, Scanner, close_frame, mask,
};

/// What a responder does with data messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Sends every message back.
    Echo,
    /// Drops them; it is there to be listened to.
    Listen,
}

/// The payload in progress: how to unmask what comes next, and whether to send it back.
#[derive(Debug, Clone, Copy)]
struct Payload {
    left: u64,
    key: MaskKey,
    /// Payload bytes of this frame that have passed.
    phase: usize,
    is_answered: bool,
}

/// The decisions of one session with a client, selat being the server.
#[derive(Debug)]
pub struct Responder {
    scanner: Scanner,
    script: Script,
    payload: Payload,
    state: State,
    cause: Option<Cause>,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A Close of ours is due behind the frame in progress.
    Closing {
        code: CloseCode,
        reason: &'static str,
    },
    /// A Close has been sent.
    Over,
}

impl Responder {
    /// A responder at the start of a stream. Of the settings it keeps to the sizes; times are its shell's.
    #[must_use]
    pub fn new(script: Script, settings: &Settings) -> Self {
        let &Settings { message_bytes_max, frame_bytes_max, .. } = settings;
        let rules = Rules { sender: Role::Client, rsv: Rsv::NONE, message_bytes_max, frame_bytes_max };
        let payload = Payload { left: 0, key: MaskKey([0; 4]), phase: 0, is_answered: false };
        Self { scanner: Scanner::new(rules), script, payload, state: State::Open, cause: None }
    }

    /// Appends to `out` what answers these bytes. The flow says how many of them were taken.
    pub fn handle_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Flow {
        if self.is_over() {
            return Flow::DROP;
        }
        let scan = self.scanner.scan(bytes);
        let legal = bytes.get(..scan.forward).unwrap_or_default();
        if let State::Closing { code, reason } = self.state {
            return self.finish_frame(legal, code, reason, out);
        }
        match scan.end {
            // Nothing was asked to be stopped at.
            End::More | End::Pong { .. } | End::Unit => self.answer(legal, out),
            // Its echo is among the answers.
            End::Close { code, .. } => {
                self.answer(legal, out);
                self.end(Why::Closed, code);
            }
            End::Violation(violation) => {
                self.answer(legal, out);
                out.extend_from_slice(&close_frame(violation.close_code(), &violation.to_string(), None));
                self.end(Why::Violation(violation), Some(violation.close_code()));
            }
        }
        Flow {
            forward: scan.forward,
            judged: scan.forward,
            messages: scan.messages,
            then: if self.is_over() { Then::Drop } else { Then::Keep },
        }
    }

    /// Appends a Close and ends the session; behind the frame that is being answered, if one is.
    pub fn close(&mut self, code: CloseCode, reason: &'static str, out: &mut Vec<u8>) {
        if self.state != State::Open {
            return;
        }
        if self.payload.left > 0 && self.payload.is_answered {
            self.state = State::Closing { code, reason };
        } else {
            self.state = State::Over;
            out.extend_from_slice(&close_frame(code, reason, None));
        }
    }

    /// Answers the rest of the frame in progress, and closes if that was all of it.
    fn finish_frame(
        &mut self,
        bytes: &[u8],
        code: CloseCode,
        reason: &'static str,
        out: &mut Vec<u8>,
    ) -> Flow {
        let left = usize::try_from(self.payload.left).unwrap_or(usize::MAX);
        let piece = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        self.pass(piece, out);
        if self.payload.left == 0 {
            self.state = State::Over;
            out.extend_from_slice(&close_frame(code, reason, None));
        }
        Flow { forward: piece.len(), ..Flow::DROP }
    }

    fn end(&mut self, why: Why, code: Option<CloseCode>) {
        self.state = State::Over;
        self.cause = Some(Cause { side: Side::Client, why, code });
    }

    /// What the client did to end the session, if it was the client.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether a Close has been sent, so that the connection ends once `out` has left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether a message of the server's own may be sent now.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.state == State::Open && (self.script == Script::Listen || self.scanner.at_message_boundary())
    }

    fn answer(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.payload.left == 0 {
                // The scanner lets only whole, legal headers through.
                let Ok(Some((header, len))) = Header::parse(bytes) else { return };
                bytes = bytes.get(len..).unwrap_or_default();
                self.begin(&header, out);
            }
            let len = usize::try_from(self.payload.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (piece, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            self.pass(piece, out);
            bytes = rest;
        }
    }

    fn begin(&mut self, header: &Header, out: &mut Vec<u8>) {
        let answer = match header.opcode {
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                (self.script == Script::Echo).then_some(header.opcode)
            }
            // §5.5.2: upon receipt of a Ping, an endpoint MUST send a Pong with the same payload.
            Opcode::Ping => Some(Opcode::Pong),
            Opcode::Pong => None,
            // §5.5.1: it typically echoes the status code it received.
            Opcode::Close => Some(Opcode::Close),
        };
        self.payload = Payload {
            left: header.payload_len,
            key: header.mask.unwrap_or(MaskKey([0; 4])),
            phase: 0,
            is_answered: answer.is_some(),
        };
        if let Some(opcode) = answer {
            Header { opcode, mask: None, ..*header }.encode(out);
        }
    }

    fn pass(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.payload.is_answered {
            let start = out.len();
            out.extend_from_slice(piece);
            mask(out.get_mut(start..).unwrap_or_default(), self.payload.key, self.payload.phase);
        }
        self.payload.phase += piece.len();
        self.payload.left = self.payload.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let key = MaskKey([7, 77, 177, 27]);
        let mut frame = Vec::new();
        let header = Header::whole(opcode, Some(key), payload.len().try_into().unwrap());
        Header { fin, ..header }.encode(&mut frame);
        let start = frame.len();
        frame.extend_from_slice(payload);
        mask(&mut frame[start..], key, 0);
        frame
    }

    fn plain(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Header { fin, ..Header::whole(opcode, None, payload.len().try_into().unwrap()) }.encode(&mut frame);
        [frame.as_slice(), payload].concat()
    }

    #[test]
    fn echoes_fragments_answers_pings_and_closes_for_any_cut() {
        let sent = [
            masked(Opcode::Text, false, b"hel"),
            masked(Opcode::Ping, true, b"?"),
            masked(Opcode::Continuation, true, b"lo"),
            masked(Opcode::Close, true, &1000u16.to_be_bytes()),
        ]
        .concat();
        let expected = [
            plain(Opcode::Text, false, b"hel"),
            plain(Opcode::Pong, true, b"?"),
            plain(Opcode::Continuation, true, b"lo"),
            plain(Opcode::Close, true, &1000u16.to_be_bytes()),
        ]
        .concat();
        for cut in 0..sent.len() {
            let mut responder = Responder::new(Script::Echo, &Settings::default());
            let mut out = Vec::new();
            let flow = responder.handle_bytes(&sent[..cut], &mut out);
            responder.handle_bytes(&sent[flow.forward..], &mut out);
            assert_eq!(out, expected, "cut at {cut}");
            assert!(responder.is_over());
        }
    }

    #[test]
    fn a_listener_drops_data() {
        let mut out = Vec::new();
        let mut responder = Responder::new(Script::Listen, &Settings::default());
        responder.handle_bytes(&masked(Opcode::Text, true, b"x"), &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn closes_1009_on_a_frame_or_message_over_the_limit() {
        let settings = Settings { message_bytes_max: 6, frame_bytes_max: 4, ..Settings::default() };
        let fragments = [masked(Opcode::Text, false, b"four"), masked(Opcode::Continuation, true, b"four")];
        let rows = [
            (masked(Opcode::Text, true, b"fives"), vec![], "frame over 4 bytes"),
            (fragments.concat(), plain(Opcode::Text, false, b"four"), "message over 6 bytes"),
        ];
        for (sent, answer, reason) in rows {
            let mut out = Vec::new();
            let mut responder = Responder::new(Script::Echo, &settings);
            responder.handle_bytes(&sent, &mut out);
            let close = close_frame(CloseCode::MESSAGE_TOO_BIG, reason, None);
            assert_eq!(out, [answer, close].concat());
            assert!(responder.is_over());
            assert!(
                matches!(responder.cause(), Some(Cause { side: Side::Client, why: Why::Violation(_), code })
                if code == Some(CloseCode::MESSAGE_TOO_BIG))
            );
        }
    }
}
