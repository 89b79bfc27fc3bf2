//! What a pool session does with bytes, ends and time (RFC 6455 §5.4, §5.5.1, §7.1).
//!
//! Frames pass verbatim; a Close that passes starts the closing handshake. selat adds frames of its own (Close on
//! violation, on a backend's death, on idleness, on drain) only where no frame is in progress. Which connection
//! ends how is derived from the two [`Half`]s in [`Tunnel::disposition`], never stored.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::half::{Boundary, Half, Input, Output, Owed};
use super::{Ending, Peer, Settings, Side};
use crate::protocol::Role;
use crate::protocol::frame::{CloseCode, End, MaskKey, Rsv, Violation, close_frame};
use crate::telemetry::Traffic;

/// What to do with bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// This many leading bytes go to the other peer.
    pub forward: usize,
    /// This many leading bytes are judged, and done with once forwarded. At least `forward`.
    pub judged: usize,
    /// Data messages that ended within them.
    pub messages: u64,
    /// Whether the bytes behind those are to be presented again in front of the next ones; else they are dropped.
    pub keep_rest: bool,
}

impl Flow {
    /// All that came is of no interest any more.
    pub(super) const DROP: Self = Self { forward: 0, judged: 0, messages: 0, keep_rest: false };

    /// The bytes to keep of those that were judged.
    #[must_use]
    pub fn rest(self, bytes: &[u8]) -> &[u8] {
        if self.keep_rest { bytes.get(self.judged..).unwrap_or_default() } else { &[] }
    }
}

/// What to do with a connection once everything written to it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Leave it open.
    Keep,
    /// FIN; read and drop what still comes, so that no reset destroys what we sent.
    Finish,
    /// Close it: nothing more will be read or written.
    Drop,
    /// Close it at once, whatever has not left.
    Abandon,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A closing handshake.
    Closed,
    /// A stream ended without one.
    Vanished,
    /// A breach of the protocol or of a limit.
    Violation(Violation),
    /// No traffic for the idle timeout.
    Idle,
    /// The proxy is going down.
    Drained,
    /// A fault inside selat.
    Fault,
}

impl Why {
    /// The word for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Vanished => "vanished",
            Self::Violation(_) => "violation",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::Fault => "fault",
        }
    }
}

/// The first thing that ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// Whose doing.
    pub side: Side,
    /// What happened.
    pub why: Why,
    /// The close code that was seen or sent; `None` for a Close without one, or no Close (1006).
    pub code: Option<CloseCode>,
}

/// Whether the proxy is going down, and when this session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draining {
    No,
    At(Instant),
    Begun,
}

/// The decisions of one pool session.
#[derive(Debug)]
pub struct Tunnel {
    client: Half,
    backend: Half,
    settings: Rc<Settings>,
    last_activity: Instant,
    drain: Draining,
    /// When what is left gets cut; set once the session has begun to end.
    cut_at: Option<Instant>,
    is_cut: bool,
    cause: Option<Cause>,
}

impl Tunnel {
    /// A tunnel between two peers that have both completed the opening handshake with these reserved bits.
    #[must_use]
    pub fn new(rsv: Rsv, settings: Rc<Settings>, now: Instant) -> Self {
        Self {
            client: Half::new(Role::Client, rsv, settings.message_bytes_max),
            backend: Half::new(Role::Server, rsv, settings.message_bytes_max),
            settings,
            last_activity: now,
            drain: Draining::No,
            cut_at: None,
            is_cut: false,
            cause: None,
        }
    }

    /// Judges bytes that `from` sent, beginning with those it was told to keep.
    #[inline]
    pub fn handle_bytes(&mut self, from: Peer, bytes: &[u8], now: Instant) -> Flow {
        self.last_activity = now;
        if self.is_half_closed() {
            self.cut_at = Some(now + self.settings.close);
        }
        let is_open = self.half(from.other()).output == Output::Open;
        let half = self.half_mut(from);
        if half.input != Input::Open {
            return Flow::DROP;
        }
        let scan = half.scanner.scan(bytes);
        let (mut forward, messages) = if is_open { (scan.forward, scan.messages) } else { (0, 0) };
        match scan.end {
            End::More => {}
            End::Close { code, frame_bytes } => {
                if self.half(from.other()).owed.is_some_and(|owed| owed.at == Boundary::LastWord) {
                    forward = forward.saturating_sub(frame_bytes);
                }
                self.closed_by(from, code, now);
            }
            End::Violation(violation) => self.violated_by(from, violation, now),
        }
        self.half_mut(from).traffic.add(forward, messages);
        Flow { forward, judged: scan.forward, messages, keep_rest: scan.end == End::More }
    }

    /// `peer`'s stream has ended.
    pub fn handle_ending(&mut self, peer: Peer, ending: Ending, now: Instant) {
        let half = self.half_mut(peer);
        if half.input == Input::Ended && ending == Ending::Fin {
            return;
        }
        half.input = Input::Ended;
        if ending == Ending::Reset {
            half.cut();
        }
        let code = (peer == Peer::Backend).then_some(CloseCode::INTERNAL_ERROR);
        self.begin_end(Cause { side: peer.into(), why: Why::Vanished, code }, now);
        let is_inside_frame = !self.half(peer).scanner.at_frame_boundary();
        let other = self.half_mut(peer.other());
        // Nothing more will come to wait for; and cut inside a frame, nothing can follow it.
        other.owed = other.owed.filter(|_| !is_inside_frame).map(|owed| Owed { at: Boundary::Frame, ..owed });
        if peer == Peer::Backend && !is_inside_frame {
            // A client that half-closed may still read; a backend that sends no more has left its client alone.
            self.client.owe(Owed::soon(CloseCode::INTERNAL_ERROR, "backend connection lost"));
        }
    }

    /// The proxy goes down: this session is to close at `at`.
    pub fn handle_drain(&mut self, at: Instant) {
        if self.drain == Draining::No {
            self.drain = Draining::At(at);
        }
    }

    /// A fault inside selat: Close 1011 to both peers where it is still possible.
    pub fn handle_fault(&mut self, now: Instant) {
        (self.client.owed, self.backend.owed) = (None, None);
        self.close_both(Owed::soon(CloseCode::INTERNAL_ERROR, "internal error"), Why::Fault, now);
    }

    /// Time has come to at least [`Self::deadline`].
    pub fn handle_time(&mut self, now: Instant) {
        if self.drain_at().is_some_and(|at| at <= now) {
            self.drain = Draining::Begun;
            let farewell = Owed { code: CloseCode::GOING_AWAY, reason: "going away", at: Boundary::Message };
            self.close_both(farewell, Why::Drained, now);
        }
        if self.idle_deadline().is_some_and(|at| at <= now) {
            self.close_both(Owed::soon(CloseCode::GOING_AWAY, "idle timeout"), Why::Idle, now);
        }
        if self.hurry_at().is_some_and(|at| at <= now) {
            for owed in [&mut self.client.owed, &mut self.backend.owed].into_iter().flatten() {
                owed.at = Boundary::Frame;
            }
        }
        if self.cut_at.is_some_and(|at| at <= now) {
            self.cut(now);
        }
    }

    /// Ends the session now, whatever is in progress.
    pub fn cut(&mut self, now: Instant) {
        self.begin_end(Cause { side: Side::Proxy, why: Why::Drained, code: None }, now);
        // Where both had their say, only a connection lingered.
        self.is_cut = [&self.client, &self.backend]
            .iter()
            .any(|half| matches!(half.input, Input::Open | Input::Broken));
        self.client.cut();
        self.backend.cut();
    }

    /// When [`Self::handle_time`] is wanted next. May move back with traffic: then being early does no harm.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let hurry_at = self.hurry_at();
        [self.drain_at(), self.idle_deadline(), hurry_at, self.cut_at].into_iter().flatten().min()
    }

    /// A frame to write to `to` now, behind all that was forwarded to it. `key` masks it where `to` is a server.
    pub fn poll_frame(&mut self, to: Peer, key: MaskKey) -> Option<Vec<u8>> {
        let owed = self.half(to).owed?;
        let in_progress = &self.half(to.other()).scanner;
        let in_place = match owed.at {
            Boundary::Frame => in_progress.at_frame_boundary(),
            Boundary::Message => in_progress.at_message_boundary(),
            Boundary::LastWord => {
                self.half(to.other()).input != Input::Open && in_progress.at_frame_boundary()
            }
        };
        if !in_place {
            return None;
        }
        let half = self.half_mut(to);
        half.owed = None;
        half.output = Output::Closed;
        // §5.1: a client masks all frames that it sends to the server.
        let key = (to == Peer::Backend).then_some(key);
        Some(close_frame(owed.code, owed.reason, key))
    }

    /// Whether `from` is to be read: always, until its stream ends, though what comes may have to be dropped.
    #[must_use]
    pub fn reads(&self, from: Peer) -> bool {
        self.half(from).input != Input::Ended
    }

    /// What becomes of `peer`'s connection once everything written to it has left.
    #[must_use]
    pub fn disposition(&self, peer: Peer) -> Disposition {
        let half = self.half(peer);
        if half.output == Output::Dead {
            return Disposition::Abandon;
        }
        let sender_ended = self.half(peer.other()).input == Input::Ended;
        if half.owed.is_some() || (half.output == Output::Open && !sender_ended) {
            return Disposition::Keep;
        }
        // There is nothing more to send to this peer.
        match (half.input, half.output, peer) {
            (Input::Ended, _, _) => Disposition::Drop,
            // §7.1.1: after both Closes the server, toward the client us, closes first...
            (Input::Closed, Output::Closed, Peer::Client) => Disposition::Drop,
            // ... and the client, toward the backend us, waits for that.
            (Input::Closed, Output::Closed, Peer::Backend) => Disposition::Keep,
            // Its echo is still to come.
            (Input::Open, Output::Closed, _) => Disposition::Keep,
            (Input::Broken, _, _) | (Input::Open | Input::Closed, Output::Open | Output::Dead, _) => {
                Disposition::Finish
            }
        }
    }

    /// Why the session is ending, once it is.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether the session has begun to end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.cause.is_some()
    }

    /// Whether [`Self::handle_drain`] has been heard.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain != Draining::No
    }

    /// Whether a peer had not finished when the session was cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What `from` sent that was forwarded so far.
    #[must_use]
    pub fn traffic(&self, from: Peer) -> Traffic {
        self.half(from).traffic
    }

    fn half(&self, peer: Peer) -> &Half {
        match peer {
            Peer::Client => &self.client,
            Peer::Backend => &self.backend,
        }
    }

    fn half_mut(&mut self, peer: Peer) -> &mut Half {
        match peer {
            Peer::Client => &mut self.client,
            Peer::Backend => &mut self.backend,
        }
    }

    fn closed_by(&mut self, from: Peer, code: Option<CloseCode>, now: Instant) {
        self.half_mut(from).input = Input::Closed;
        let to = self.half_mut(from.other());
        let has_own_word = to.owed.is_some_and(|owed| owed.at == Boundary::LastWord);
        if to.output == Output::Open && !has_own_word {
            to.output = Output::Closed;
            to.owed = None;
        }
        self.begin_end(Cause { side: from.into(), why: Why::Closed, code }, now);
    }

    fn violated_by(&mut self, from: Peer, violation: Violation, now: Instant) {
        self.half_mut(from).input = Input::Broken;
        let code = violation.close_code();
        self.begin_end(Cause { side: from.into(), why: Why::Violation(violation), code: Some(code) }, now);
        // A client may have sent good messages before the bad one: their answers come first, as they would from the
        // backend itself.
        let at = if from == Peer::Client { Boundary::LastWord } else { Boundary::Frame };
        self.owe(from, Owed { code, reason: reason_for(violation), at });
        let to_other = match from {
            Peer::Client => Owed::soon(CloseCode::GOING_AWAY, "client broke the protocol"),
            Peer::Backend => Owed::soon(CloseCode::INTERNAL_ERROR, "backend broke the protocol"),
        };
        self.owe(from.other(), to_other);
    }

    fn close_both(&mut self, owed: Owed, why: Why, now: Instant) {
        self.begin_end(Cause { side: Side::Proxy, why, code: Some(owed.code) }, now);
        Peer::BOTH.into_iter().for_each(|peer| self.owe(peer, owed));
    }

    /// Owes `to` a Close, unless its connection has been finished because the other's stream ended.
    fn owe(&mut self, to: Peer, owed: Owed) {
        if self.half(to.other()).input != Input::Ended {
            self.half_mut(to).owe(owed);
        }
    }

    fn begin_end(&mut self, cause: Cause, now: Instant) {
        self.cause.get_or_insert(cause);
        self.cut_at.get_or_insert(now + self.settings.close);
    }

    fn drain_at(&self) -> Option<Instant> {
        match self.drain {
            Draining::At(at) => Some(at),
            Draining::No | Draining::Begun => None,
        }
    }

    fn idle_deadline(&self) -> Option<Instant> {
        if self.is_ending() { None } else { self.last_activity.checked_add(self.settings.idle) }
    }

    /// When a Close that waits for the end of a message, or for a last word, is content with the end of a frame.
    fn hurry_at(&self) -> Option<Instant> {
        let waits = |half: &Half| half.owed.is_some_and(|owed| owed.at != Boundary::Frame);
        let cut_at = self.cut_at.filter(|_| waits(&self.client) || waits(&self.backend))?;
        cut_at.checked_sub(self.settings.close / 2)
    }

    /// Whether the client sends no more but still listens: it is served as long as its backend has something to say.
    fn is_half_closed(&self) -> bool {
        self.client.input == Input::Ended
            && self.client.output == Output::Open
            && self.client.owed.is_none()
            && self.backend.input == Input::Open
    }
}

/// The close reason that tells the offender what it did.
fn reason_for(violation: Violation) -> &'static str {
    match violation {
        Violation::MessageTooLong { .. } => "message too big",
        Violation::CloseReasonNotUtf8 => "close reason is not UTF-8",
        Violation::Unmasked => "frame is not masked",
        Violation::Masked => "frame is masked",
        Violation::ReservedBits => "reserved bits",
        Violation::UnknownOpcode { .. } => "unknown opcode",
        Violation::ControlFragmented | Violation::ControlTooLong => "bad control frame",
        Violation::ContinuationUnexpected | Violation::MessageInterrupted => "bad fragmentation",
        Violation::LengthNotMinimal { .. } | Violation::LengthTooLarge => "bad frame length",
        Violation::ClosePayloadTooShort | Violation::CloseCodeIllegal { .. } => "bad close frame",
    }
}
