//! What a pool session does with bytes, ends and time (RFC 6455 §5.4, §5.5.1, §7.1).
//!
//! Frames pass verbatim; a Close that passes starts the closing handshake. selat adds frames of its own (Close on
//! violation, on a backend's death, on idleness, on drain; pings) only where no frame is in progress, and takes the
//! answers to its pings out. Which connection ends how is derived from the two [`Half`]s in [`Tunnel::disposition`],
//! never stored.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::cause::reason_for;
use super::drain::Drain;
use super::half::{Half, Input, Output};
use super::keepalive::{Link, Verdict};
use super::meter::{Charge, Meter};
use super::parting::{Boundary, Owed, Parting};
use super::settings::after;
use super::{Backlog, Cause, Disposition, Ending, Farewell, Flow, Peer, Random, Settings, Side, Then, Why};
use crate::protocol::frame::{CloseCode, End, MaskKey, Rsv, Scan, Stops, Unit, Violation, close_frame};
use crate::telemetry::Traffic;

/// The decisions of one pool session.
#[derive(Debug)]
pub struct Tunnel {
    client: Half,
    backend: Half,
    settings: Rc<Settings>,
    since: Instant,
    /// When something was last forwarded.
    last_activity: Instant,
    /// Of what the client sends; boxed, for most are not held to a rate.
    meter: Option<Box<Meter>>,
    drain: Drain,
    /// Once it has begun to end. Boxed, for most have not.
    parting: Option<Box<Parting>>,
    /// What was forwarded.
    from_client: Traffic,
    from_backend: Traffic,
    /// Whether bytes are only to be scanned and forwarded: no pings, no rate, no end begun.
    is_plain: bool,
    is_ping_due: bool,
}

impl Tunnel {
    /// A tunnel between two peers that have both completed the opening handshake with these reserved bits.
    #[must_use]
    pub fn new(rsv: Rsv, settings: Rc<Settings>, now: Instant) -> Self {
        let client = Half::new(Peer::Client, rsv, &settings, now);
        let backend = Half::new(Peer::Backend, rsv, &settings, now);
        Self {
            is_plain: client.keepalive.is_none() && backend.keepalive.is_none() && settings.rate.is_none(),
            client,
            backend,
            since: now,
            last_activity: now,
            meter: settings.rate.map(|limit| Box::new(Meter::new(limit, now))),
            drain: Drain::default(),
            parting: None,
            from_client: Traffic::default(),
            from_backend: Traffic::default(),
            is_ping_due: false,
            settings,
        }
    }

    /// Judges bytes that `from` sent, beginning with those it was told to keep.
    #[inline]
    pub fn handle_bytes(&mut self, from: Peer, bytes: &[u8], now: Instant) -> Flow {
        if self.is_half_closed()
            && let Some(parting) = &mut self.parting
        {
            parting.cut_at = now + self.settings.close;
        }
        let is_open = self.half(from.other()).output == Output::Open;
        if self.half(from).input != Input::Open {
            return Flow::DROP;
        }
        let scan = if self.is_plain {
            self.half_mut(from).scanner.scan(bytes)
        } else {
            self.watch(from, bytes, now)
        };
        let (mut forward, messages) = if is_open { (scan.forward, scan.messages) } else { (0, 0) };
        if scan.forward > 0 {
            self.last_activity = now;
        }
        let mut judged = scan.forward;
        let then = match scan.end {
            End::More => Then::Keep,
            End::Unit => Then::Judge,
            End::Pong { frame_bytes, .. } => {
                judged += frame_bytes;
                Then::Judge
            }
            End::Close { code, frame_bytes } => {
                if self.owed(from.other()).is_some_and(|owed| owed.at == Boundary::LastWord) {
                    forward = forward.saturating_sub(frame_bytes);
                }
                self.closed_by(from, code, now);
                Then::Drop
            }
            End::Violation(violation) => {
                self.violated_by(from, violation, now);
                Then::Drop
            }
        };
        let traffic = match from {
            Peer::Client => &mut self.from_client,
            Peer::Backend => &mut self.from_backend,
        };
        traffic.add(forward, messages);
        if !self.is_plain && from == Peer::Client {
            self.charge(forward, messages, now);
        }
        Flow { forward, judged, messages, then }
    }

    /// Some of the bytes that waited for `peer` to make room have left.
    pub fn handle_progress(&mut self, peer: Peer, now: Instant) {
        if let Some(keepalive) = &mut self.half_mut(peer).keepalive {
            keepalive.handle_progress(now);
        }
    }

    /// `peer`'s stream has ended.
    pub fn handle_ending(&mut self, peer: Peer, ending: Ending, now: Instant) {
        let half = self.half_mut(peer);
        if half.input == Input::Ended && ending == Ending::Fin {
            return;
        }
        half.input = Input::Ended;
        if ending != Ending::Fin {
            self.give_up(peer);
        }
        let code = (peer == Peer::Backend).then_some(CloseCode::INTERNAL_ERROR);
        self.begin_end(Cause { side: peer.into(), why: ending.into(), code }, now);
        let is_inside_frame = !self.half(peer).scanner.at_frame_boundary();
        // Nothing more will come to wait for; and cut inside a frame, nothing can follow it.
        if let Some(owed) = self.owed_mut(peer.other()) {
            *owed = owed.filter(|_| !is_inside_frame).map(|owed| Owed { at: Boundary::Frame, ..owed });
        }
        if peer == Peer::Backend && !is_inside_frame {
            // A client that half-closed may still read; a backend that sends no more has left its client alone.
            self.owe_all_the_same(
                Peer::Client,
                Owed::soon(CloseCode::INTERNAL_ERROR, "backend connection lost"),
            );
        }
    }

    /// This session is to close at `at`, at the end of a message. If it was asked to before, the earlier time counts;
    /// but nothing is earlier than a shutdown for the sake of less.
    pub fn handle_drain(&mut self, at: Instant, farewell: Farewell) {
        self.drain.handle(at, farewell);
    }

    /// A fault inside selat: Close 1011 to both peers where it is still possible.
    pub fn handle_fault(&mut self, now: Instant) {
        Peer::BOTH.into_iter().for_each(|peer| self.forgive(peer));
        self.close_both(Owed::soon(CloseCode::INTERNAL_ERROR, "internal error"), Why::Fault, now);
    }

    /// Time has come to at least [`Self::deadline`]. What has arrived by then is best presented first: it may be a
    /// sign of life.
    pub fn handle_time(&mut self, now: Instant, backlog: Backlog) {
        if let Some(farewell) = self.drain.take_due(now) {
            let (code, reason) = (farewell.code(), farewell.reason());
            self.close_both(Owed { code, reason, at: Boundary::Message }, farewell.why(), now);
        }
        if self.expires_at().is_some_and(|at| at <= now) {
            let (code, reason) = (CloseCode::GOING_AWAY, "lifetime over");
            self.close_both(Owed { code, reason, at: Boundary::Message }, Why::Expired, now);
        }
        if self.idle_deadline().is_some_and(|at| at <= now) {
            self.close_both(Owed::soon(CloseCode::GOING_AWAY, "idle timeout"), Why::Idle, now);
        }
        Peer::BOTH.into_iter().for_each(|peer| self.keep_alive(peer, backlog, now));
        if self.resume_at().is_some_and(|at| at <= now) {
            self.resume(now);
        }
        if self.hurry_at().is_some_and(|at| at <= now) {
            self.parting.iter_mut().for_each(|parting| parting.hurry());
        }
        if self.parting.as_ref().is_some_and(|parting| parting.cut_at <= now) {
            self.cut(now);
        }
    }

    /// Ends the session now, whatever is in progress.
    pub fn cut(&mut self, now: Instant) {
        self.begin_end(Cause { side: Side::Proxy, why: Why::Drained, code: None }, now);
        // Where both had their say, only a connection lingered.
        let is_cut = [&self.client, &self.backend]
            .iter()
            .any(|half| matches!(half.input, Input::Open | Input::Broken));
        self.parting.iter_mut().for_each(|parting| parting.is_cut = is_cut);
        Peer::BOTH.into_iter().for_each(|peer| self.give_up(peer));
    }

    /// When [`Self::handle_time`] is wanted next. May move back with traffic: then being early does no harm.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let drain_at = self.drain.deadline();
        if let Some(parting) = &self.parting {
            return [drain_at, self.hurry_at(), Some(parting.cut_at)].into_iter().flatten().min();
        }
        let ping_at = |half: &Half| half.keepalive.as_ref().map(|keepalive| keepalive.deadline());
        let pings = ping_at(&self.client).into_iter().chain(ping_at(&self.backend)).min();
        let times = [drain_at, self.expires_at(), self.idle_deadline(), self.resume_at(), pings];
        times.into_iter().flatten().min()
    }

    /// Whether there may be frames for [`Self::poll_frame`] to give, or connections to close.
    #[inline]
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_ending() || self.is_ping_due
    }

    /// A frame to write to `to` now, behind all that was forwarded to it. Where bytes wait for `to` already, a ping would
    /// only add to them, and is held back.
    pub fn poll_frame(
        &mut self,
        to: Peer,
        random: Random,
        backlog: Backlog,
        now: Instant,
    ) -> Option<Vec<u8>> {
        // §5.1: a client masks all frames that it sends to the server.
        let key = (to == Peer::Backend).then_some(random.key);
        match self.owed(to) {
            Some(owed) => self.poll_close(to, owed, key),
            None if backlog.toward(to) => None,
            None => self.poll_ping(to, key, random.nonce, now),
        }
    }

    /// Whether `from` is to be read: always, until its stream ends, though what comes may have to be dropped; unless it
    /// is being slowed down.
    #[inline]
    #[must_use]
    pub fn reads(&self, from: Peer) -> bool {
        self.half(from).input != Input::Ended && (from == Peer::Backend || self.resume_at().is_none())
    }

    /// Whether `from`'s stream has ended.
    #[must_use]
    pub fn has_ended(&self, from: Peer) -> bool {
        self.half(from).input == Input::Ended
    }

    /// What becomes of `peer`'s connection once everything written to it has left.
    #[must_use]
    pub fn disposition(&self, peer: Peer) -> Disposition {
        let half = self.half(peer);
        if half.output == Output::Dead {
            return Disposition::Abandon;
        }
        let sender_ended = self.half(peer.other()).input == Input::Ended;
        if self.owed(peer).is_some() || (half.output == Output::Open && !sender_ended) {
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
        self.parting.as_ref().map(|parting| parting.cause)
    }

    /// Whether the session has begun to end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.parting.is_some()
    }

    /// Whether [`Self::handle_drain`] has been heard with this reason or a stronger one.
    #[must_use]
    pub fn has_heard(&self, farewell: Farewell) -> bool {
        self.drain.has_heard(farewell)
    }

    /// Whether a peer had not finished when the session was cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.parting.as_ref().is_some_and(|parting| parting.is_cut)
    }

    /// When the session began.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What `from` sent that was forwarded so far.
    #[must_use]
    pub fn traffic(&self, from: Peer) -> Traffic {
        match from {
            Peer::Client => self.from_client,
            Peer::Backend => self.from_backend,
        }
    }

    /// Payload bytes, as on the wire, of the last message of `from`'s whose last frame has begun.
    #[must_use]
    pub fn message_bytes(&self, from: Peer) -> u64 {
        self.half(from).scanner.message_bytes()
    }

    /// How often the client was slowed down since this was asked last.
    pub fn take_throttled(&mut self) -> u64 {
        self.meter.as_mut().map_or(0, |meter| meter.take_throttled())
    }

    /// From the latest ping to its answer, once for each: as long as it took, the peer's own delays included.
    pub fn take_rtt(&mut self, peer: Peer) -> Option<Duration> {
        self.half_mut(peer).keepalive.as_mut()?.take_rtt()
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

    /// Scans with an eye on the answers to our pings, and on the place for a frame of ours.
    fn watch(&mut self, from: Peer, bytes: &[u8], now: Instant) -> Scan {
        let to = self.half(from.other());
        let wants_ping =
            !self.is_ending() && to.keepalive.as_ref().is_some_and(|keepalive| keepalive.is_due());
        let end_of = match self.owed(from.other()) {
            Some(owed) => owed.at.unit(),
            None => wants_ping.then_some(Unit::Frame),
        };
        let half = self.half_mut(from);
        let pongs_to = half.keepalive.as_ref().and_then(|keepalive| keepalive.pings());
        let scan = half.scanner.scan_until(bytes, &Stops { pongs_to, end_of });
        if let Some(keepalive) = &mut half.keepalive {
            keepalive.handle_bytes(now);
            if let End::Pong { answered, .. } = scan.end {
                keepalive.handle_pong(answered, now);
            }
        }
        scan
    }

    /// Charges the client for what it sent. A session that ends is not held up any more: its time is short anyway.
    fn charge(&mut self, bytes: usize, messages: u64, now: Instant) {
        let is_ending = self.is_ending();
        let Some(meter) = self.meter.as_mut().filter(|_| !is_ending) else { return };
        match meter.charge(bytes, messages, now) {
            Charge::Accepted => {}
            Charge::Exceeded => {
                let code = CloseCode::POLICY;
                self.begin_end(Cause { side: Side::Client, why: Why::RateLimited, code: Some(code) }, now);
                self.owe(Peer::Client, Owed { code, reason: "rate limit", at: Boundary::LastWord });
                self.owe(Peer::Backend, Owed::soon(CloseCode::GOING_AWAY, "client over its rate limit"));
            }
        }
    }

    /// Reads the client again. It could not show that it is there before: its silence begins now.
    fn resume(&mut self, now: Instant) {
        self.last_activity = now;
        if let Some(meter) = &mut self.meter {
            meter.release();
        }
    }

    /// Judges the silence of `peer`, if it is pinged.
    fn keep_alive(&mut self, peer: Peer, backlog: Backlog, now: Instant) {
        if self.is_ending() {
            return;
        }
        let is_unread = backlog.toward(peer.other()) || !self.reads(peer);
        let link = Link { is_stuck: backlog.toward(peer), is_unread };
        let Some(keepalive) = &mut self.half_mut(peer).keepalive else { return };
        let verdict = keepalive.handle_time(link, now);
        let is_due = keepalive.is_due();
        self.is_ping_due |= is_due;
        match verdict {
            Verdict::Alive => {}
            Verdict::Dead => self.bury(peer, now),
        }
    }

    /// `peer` is dead: nothing more is expected from it, or sent to it.
    fn bury(&mut self, peer: Peer, now: Instant) {
        let told = match peer {
            Peer::Client => Owed::soon(CloseCode::GOING_AWAY, "client ping timeout"),
            Peer::Backend => Owed::soon(CloseCode::INTERNAL_ERROR, "ping timeout"),
        };
        self.begin_end(Cause { side: peer.into(), why: Why::PingTimeout, code: Some(told.code) }, now);
        self.half_mut(peer).input = Input::Ended;
        self.give_up(peer);
        // Where it stopped inside a frame, nothing can follow that.
        if self.half(peer).scanner.at_frame_boundary() {
            self.owe_all_the_same(peer.other(), told);
        }
    }

    fn poll_close(&mut self, to: Peer, owed: Owed, key: Option<MaskKey>) -> Option<Vec<u8>> {
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
        self.forgive(to);
        self.half_mut(to).output = Output::Closed;
        Some(close_frame(owed.code, owed.reason, key))
    }

    fn poll_ping(&mut self, to: Peer, key: Option<MaskKey>, nonce: u64, now: Instant) -> Option<Vec<u8>> {
        if !self.is_ping_due || self.is_ending() || !self.half(to.other()).scanner.at_frame_boundary() {
            return None;
        }
        let keepalive = self.half_mut(to).keepalive.as_mut().filter(|keepalive| keepalive.is_due())?;
        let frame = keepalive.next_frame(key, nonce, now);
        self.is_ping_due = [&self.client, &self.backend]
            .iter()
            .any(|half| half.keepalive.as_ref().is_some_and(|keepalive| keepalive.is_due()));
        Some(frame)
    }

    fn closed_by(&mut self, from: Peer, code: Option<CloseCode>, now: Instant) {
        self.half_mut(from).input = Input::Closed;
        let to = from.other();
        let has_own_word = self.owed(to).is_some_and(|owed| owed.at == Boundary::LastWord);
        if self.half(to).output == Output::Open && !has_own_word {
            self.half_mut(to).output = Output::Closed;
            self.forgive(to);
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
            self.owe_all_the_same(to, owed);
        }
    }

    /// Owes `to` a Close, unless it has had one or is owed one already.
    fn owe_all_the_same(&mut self, to: Peer, close: Owed) {
        if self.half(to).output == Output::Open
            && let Some(owed) = self.owed_mut(to)
        {
            owed.get_or_insert(close);
        }
    }

    /// The Close that `to` is owed; only a session that ends owes one.
    fn owed(&self, to: Peer) -> Option<Owed> {
        self.parting.as_ref()?.owed(to)
    }

    fn owed_mut(&mut self, to: Peer) -> Option<&mut Option<Owed>> {
        Some(self.parting.as_mut()?.owed_mut(to))
    }

    /// Owes `to` nothing.
    fn forgive(&mut self, to: Peer) {
        self.owed_mut(to).into_iter().for_each(|owed| *owed = None);
    }

    /// Nothing more can be sent to `peer`.
    fn give_up(&mut self, peer: Peer) {
        self.half_mut(peer).output = Output::Dead;
        self.forgive(peer);
    }

    fn begin_end(&mut self, cause: Cause, now: Instant) {
        let cut_at = now + self.settings.close;
        self.parting.get_or_insert_with(|| Box::new(Parting::new(cause, cut_at)));
        self.is_plain = false;
        self.is_ping_due = false;
        if let Some(meter) = &mut self.meter {
            meter.release();
        }
    }

    fn expires_at(&self) -> Option<Instant> {
        let lifetime = self.settings.lifetime.filter(|_| !self.is_ending())?;
        Some(after(self.since, lifetime))
    }

    fn idle_deadline(&self) -> Option<Instant> {
        if self.is_ending() {
            return None;
        }
        let since = self.resume_at().map_or(self.last_activity, |at| at.max(self.last_activity));
        since.checked_add(self.settings.idle)
    }

    fn resume_at(&self) -> Option<Instant> {
        self.meter.as_ref().and_then(|meter| meter.resume_at())
    }

    /// When a Close that waits for the end of a message, or for a last word, is content with the end of a frame.
    fn hurry_at(&self) -> Option<Instant> {
        let parting = self.parting.as_ref().filter(|parting| parting.is_patient())?;
        parting.cut_at.checked_sub(self.settings.close / 2)
    }

    /// Whether the client sends no more but still listens: it is served as long as its backend has something to say.
    fn is_half_closed(&self) -> bool {
        self.client.input == Input::Ended
            && self.client.output == Output::Open
            && self.owed(Peer::Client).is_none()
            && self.backend.input == Input::Open
    }
}
