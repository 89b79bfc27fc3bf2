//! The decisions of one client's session with a feed, selat being the server (RFC 6455 §5.5, §7).
//!
//! Sees what the client sends, and writes control frames; messages go to it past this machine, as long as
//! [`Subscriber::may_send`]. Of what a client says only that is kept which somebody wants: its first message, texts that
//! may subscribe, what is to be forwarded. The rest is judged as it passes, and a client that says nothing costs no more
//! than this struct and its keepalive.

mod hearing;
mod talk;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::hearing::{Awaited, Hearing, Refusal};
use super::{Key, Kind, Settings};
use crate::protocol::Role;
use crate::protocol::frame::{
    CloseCode, End, Header, MaskKey, Opcode, Rsv, Rules, Scanner, Stops, Unit, Violation, close_frame, mask,
};
use crate::session::{
    self, Backlog, Cause, Charge, Disposition, Flow, Keepalive, Link, Meter, Random, Side, Then, Verdict,
    Why, after,
};

/// What one client's session is held to.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'t> {
    /// Of its route: times, sizes, pings, and the rate at which it may send.
    pub session: &'t Rc<session::Settings>,
    /// Of its feed.
    pub feed: &'t Arc<Settings>,
    /// For its first message to come, where that has to show a key; `None`: it is let in already.
    pub first_message_within: Option<Duration>,
}

/// What a client has said that concerns somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Utterance {
    /// Its first message, to be judged: [`Subscriber::admit`], or [`Subscriber::close`] with Close 1008.
    First(Vec<u8>),
    /// It wants these keys, none of which it has had.
    Subscribe(Vec<Key>),
    /// It does not want these keys, all of which it has had.
    Unsubscribe(Vec<Key>),
    /// To be said to the source.
    Forward(Kind, Box<[u8]>),
}

/// The decisions of one client's session with a feed.
#[derive(Debug)]
pub struct Subscriber {
    scanner: Scanner,
    hearing: Hearing,
    session: Rc<session::Settings>,
    keepalive: Option<Box<Keepalive>>,
    meter: Option<Box<Meter>>,
    /// When something was last delivered to it, or it sent anything but answers to our pings.
    last_activity: Instant,
    since: Instant,
    state: State,
}

/// How far a session is.
#[derive(Debug)]
enum State {
    /// Its first message is to come.
    Unproven {
        until: Instant,
    },
    /// Its first message has come, and is judged elsewhere.
    Presented,
    Open,
    /// A Close has been sent, or none can be. Boxed, for most sessions are not over.
    Over(Box<Over>),
}

#[derive(Debug)]
struct Over {
    cause: Cause,
    disposition: Disposition,
}

impl Subscriber {
    /// A session that begins `now`, with the 101.
    #[must_use]
    pub fn new(terms: Terms<'_>, now: Instant) -> Self {
        let Terms { session, feed, first_message_within } = terms;
        let &session::Settings { message_bytes_max, frame_bytes_max, .. } = &**session;
        let rules = Rules { sender: Role::Client, rsv: Rsv::NONE, message_bytes_max, frame_bytes_max };
        let unproven = |within| State::Unproven { until: after(now, within) };
        Self {
            scanner: Scanner::new(rules),
            hearing: Hearing::new(feed.clone(), message_bytes_max),
            keepalive: session.ping.client.map(|ping| Box::new(Keepalive::new(ping, now))),
            meter: session.rate.map(|limit| Box::new(Meter::new(limit, now))),
            last_activity: now,
            since: now,
            state: first_message_within.map_or(State::Open, unproven),
            session: session.clone(),
        }
    }

    /// Judges bytes from the client; pongs and a Close that are due go to `out`. The flow says what becomes of the bytes,
    /// `forward` being those that count as traffic: all but answers to our pings, and what came behind our Close. With
    /// [`Then::Judge`] the rest is to be presented again as soon as all that was said has been polled, and a first message
    /// judged.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<u8>) -> Flow {
        if let Some(keepalive) = self.keepalive.as_mut().filter(|_| !bytes.is_empty()) {
            keepalive.handle_bytes(now);
        }
        let (mut taken, mut of_pongs, mut messages) = (0, 0, 0);
        while taken < bytes.len() && self.is_listening() {
            let rest = bytes.get(taken..).unwrap_or_default();
            let scan = self.scanner.scan_until(rest, &self.stops());
            let legal = rest.get(..scan.forward).unwrap_or_default();
            self.hear(legal, out);
            taken += scan.forward;
            messages += scan.messages;
            match scan.end {
                End::More => break,
                End::Unit => {}
                End::Pong { answered, frame_bytes } => {
                    taken += frame_bytes;
                    of_pongs += frame_bytes;
                    if let Some(keepalive) = &mut self.keepalive {
                        keepalive.handle_pong(answered, now);
                    }
                }
                End::Close { code, frame_bytes } => {
                    let frame = legal.get(legal.len() - frame_bytes..).unwrap_or_default();
                    self.closed(frame, code, out);
                }
                End::Violation(violation) => self.violated(violation, Disposition::Finish, out),
            }
        }
        if taken > of_pongs {
            self.last_activity = now;
            self.charge(taken - of_pongs, messages, now, out);
        }
        let forward = taken - of_pongs;
        taken += self.await_close(bytes.get(taken..).unwrap_or_default());
        let then = match &self.state {
            State::Over(over) if over.disposition != Disposition::Keep => Then::Drop,
            State::Open | State::Unproven { .. } if self.is_listening() => Then::Keep,
            State::Over(_) => Then::Keep,
            State::Open | State::Unproven { .. } | State::Presented => Then::Judge,
        };
        Flow { forward, judged: taken, messages, then }
    }

    /// Some of the bytes that waited for the client to make room have left.
    pub fn handle_progress(&mut self, now: Instant) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.handle_progress(now);
        }
    }

    /// A message went to the client: a session that is listened to is not idle.
    #[inline]
    pub fn handle_delivered(&mut self, now: Instant) {
        self.last_activity = now;
    }

    /// Time has come to at least [`Self::deadline`], or what waited for the client has left. What has arrived by then is
    /// best presented first: it may be a sign of life. A ping or a Close that is due goes to `out`.
    ///
    /// `backlog` is what waits for the client, and for the source because of which the client is not read.
    pub fn handle_time(&mut self, backlog: Backlog, now: Instant, random: Random, out: &mut Vec<u8>) {
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let first_by = self.first_by();
        if has_come(first_by) {
            self.close(CloseCode::POLICY, "authentication timeout", Why::Unauthorized, out);
        } else if has_come(self.expires_at()) {
            self.close(CloseCode::GOING_AWAY, "lifetime over", Why::Expired, out);
        } else if has_come(Some(self.idle_at())) {
            self.close(CloseCode::GOING_AWAY, "idle timeout", Why::Idle, out);
        }
        self.keep_alive(backlog, now, random, out);
        if has_come(self.resume_at()) {
            // It could not show before that it is there: its silence begins now.
            self.last_activity = now;
            if let Some(meter) = &mut self.meter {
                meter.release();
            }
        }
    }

    /// What the client has said, in order. Nothing more is taken from it before all of that was polled.
    pub fn poll_said(&mut self) -> Option<Utterance> {
        // What the first message asks for counts if its key does.
        let is_held = matches!(self.state, State::Presented) && !self.hearing.has_first();
        if is_held { None } else { self.hearing.poll() }
    }

    /// The first message that was polled has shown a key of ours.
    pub fn admit(&mut self) {
        if matches!(self.state, State::Presented) {
            self.state = State::Open;
        }
    }

    /// As if a client that is let in had subscribed to these keys, those of its request, before it said anything. They
    /// may be too many, together with what its first message asks for.
    pub fn choose(&mut self, keys: &[Key], out: &mut Vec<u8>) {
        if self.may_send()
            && let Err(refusal) = self.hearing.choose(keys)
        {
            self.refuse(refusal, out);
        }
    }

    /// Says goodbye, unless that has been said: there is one Close a session.
    pub fn close(&mut self, code: CloseCode, reason: &str, why: Why, out: &mut Vec<u8>) {
        if !self.is_over() {
            out.extend_from_slice(&close_frame(code, reason, None));
            self.end(Cause { side: side_of(why), why, code: Some(code) }, Disposition::Keep);
        }
    }

    /// Whether messages may go to the client: it is let in, and no Close has gone.
    #[inline]
    #[must_use]
    pub fn may_send(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether the client is to be read: not while something it said was not polled or judged, nor while it is slowed
    /// down for its rate; behind our Close until its own.
    #[must_use]
    pub fn reads(&self) -> bool {
        match &self.state {
            State::Over(over) => over.disposition == Disposition::Keep,
            State::Presented => false,
            State::Unproven { .. } | State::Open => self.is_listening() && self.resume_at().is_none(),
        }
    }

    /// Whether a Close has been sent, or none can be: nothing more goes to the client.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// What becomes of the connection once everything written to it has left. Who is kept has not answered our Close:
    /// its time to do so is the shell's to give.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match &self.state {
            State::Over(over) => over.disposition,
            State::Unproven { .. } | State::Presented | State::Open => Disposition::Keep,
        }
    }

    /// Why the session is over, once it is.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match &self.state {
            State::Over(over) => Some(over.cause),
            State::Unproven { .. } | State::Presented | State::Open => None,
        }
    }

    /// When [`Self::handle_time`] is wanted next. May move back with traffic: then being early does no harm.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let ping_at = self.keepalive.as_ref().map(|keepalive| keepalive.deadline());
        let times = [self.first_by(), self.expires_at(), Some(self.idle_at()), self.resume_at(), ping_at];
        times.into_iter().flatten().min()
    }

    /// When the session began.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What the client has subscribed to, as far as it was polled, in order; also when the session is over.
    pub fn topics(&self) -> impl Iterator<Item = &Key> {
        self.hearing.topics()
    }

    /// How often the client was slowed down for its rate since this was asked last.
    pub fn take_throttled(&mut self) -> u64 {
        self.meter.as_mut().map_or(0, |meter| meter.take_throttled())
    }

    /// From the latest ping to its answer, once for each.
    pub fn take_rtt(&mut self) -> Option<Duration> {
        self.keepalive.as_mut()?.take_rtt()
    }

    /// Whether the next frame of the client's may be taken.
    fn is_listening(&self) -> bool {
        match self.state {
            State::Unproven { .. } | State::Open => !self.hearing.has_said(),
            State::Presented | State::Over(_) => false,
        }
    }

    /// Where to stop scanning: behind each message, for it may be one of which something follows.
    fn stops(&self) -> Stops {
        let pongs_to = self.keepalive.as_ref().and_then(|keepalive| keepalive.pings());
        let is_heard = matches!(self.state, State::Unproven { .. }) || self.hearing.is_wanted();
        Stops { pongs_to, end_of: is_heard.then_some(Unit::Message) }
    }

    /// Hears what the scanner found legal.
    fn hear(&mut self, legal: &[u8], out: &mut Vec<u8>) {
        let is_first = matches!(self.state, State::Unproven { .. });
        let awaited = if is_first { Awaited::First } else { Awaited::Any };
        match self.hearing.follow(legal, awaited, out) {
            Ok(()) if is_first && self.hearing.has_said() => self.state = State::Presented,
            Ok(()) => {}
            Err(refusal) => self.refuse(refusal, out),
        }
    }

    fn refuse(&mut self, refusal: Refusal, out: &mut Vec<u8>) {
        match refusal {
            // The stream can still be understood: the answer to our Close will be.
            Refusal::Violation(violation) => self.violated(violation, Disposition::Keep, out),
            Refusal::Unwanted => {
                self.close(CloseCode::POLICY, "messages are not accepted", Why::Policy, out);
            }
            Refusal::TooManyTopics => self.close(CloseCode::POLICY, "too many topics", Why::Policy, out),
        }
    }

    fn closed(&mut self, frame: &[u8], code: Option<CloseCode>, out: &mut Vec<u8>) {
        if let State::Over(over) = &mut self.state {
            over.disposition = Disposition::Drop;
        } else {
            // §5.5.1: it typically echoes the status code it received.
            answer(frame, Opcode::Close, out);
            // §7.1.1: the server closes the connection first.
            self.end(Cause { side: Side::Client, why: Why::Closed, code }, Disposition::Drop);
        }
    }

    fn violated(&mut self, violation: Violation, disposition: Disposition, out: &mut Vec<u8>) {
        if let State::Over(over) = &mut self.state {
            over.disposition = disposition;
        } else {
            let code = violation.close_code();
            out.extend_from_slice(&close_frame(code, &violation.to_string(), None));
            let cause = Cause { side: Side::Client, why: Why::Violation(violation), code: Some(code) };
            self.end(cause, disposition);
        }
    }

    fn end(&mut self, cause: Cause, disposition: Disposition) {
        self.state = State::Over(Box::new(Over { cause, disposition }));
        self.hearing.end();
    }

    /// Looks for the answer to our Close; says how many bytes were taken.
    fn await_close(&mut self, bytes: &[u8]) -> usize {
        let State::Over(over) = &mut self.state else { return 0 };
        if over.disposition != Disposition::Keep {
            return 0;
        }
        let scan = self.scanner.scan(bytes);
        match scan.end {
            End::More | End::Unit | End::Pong { .. } => {}
            End::Close { .. } => over.disposition = Disposition::Drop,
            End::Violation(_) => over.disposition = Disposition::Finish,
        }
        scan.forward
    }

    fn charge(&mut self, bytes: usize, messages: u64, now: Instant, out: &mut Vec<u8>) {
        let is_over = self.is_over();
        let Some(meter) = self.meter.as_mut().filter(|_| !is_over) else { return };
        match meter.charge(bytes, messages, now) {
            Charge::Accepted => {}
            Charge::Exceeded => self.close(CloseCode::POLICY, "rate limit", Why::RateLimited, out),
        }
    }

    fn keep_alive(&mut self, backlog: Backlog, now: Instant, random: Random, out: &mut Vec<u8>) {
        let link = Link { is_stuck: backlog.client, is_unread: backlog.backend || !self.reads() };
        let is_over = self.is_over();
        let Some(keepalive) = self.keepalive.as_mut().filter(|_| !is_over) else { return };
        match keepalive.handle_time(link, now) {
            // Behind what waits for the client, a ping would only add to that.
            Verdict::Alive if keepalive.is_due() && !backlog.client => {
                out.extend_from_slice(&keepalive.next_frame(None, random.nonce, now));
            }
            Verdict::Alive => {}
            Verdict::Dead => {
                let cause = Cause { side: Side::Client, why: Why::PingTimeout, code: None };
                self.end(cause, Disposition::Abandon);
            }
        }
    }

    fn first_by(&self) -> Option<Instant> {
        match self.state {
            State::Unproven { until } => Some(until),
            State::Presented | State::Open | State::Over(_) => None,
        }
    }

    fn expires_at(&self) -> Option<Instant> {
        Some(after(self.since, self.session.lifetime?))
    }

    fn idle_at(&self) -> Instant {
        let since = self.resume_at().map_or(self.last_activity, |at| at.max(self.last_activity));
        after(since, self.session.idle)
    }

    fn resume_at(&self) -> Option<Instant> {
        self.meter.as_ref().and_then(|meter| meter.resume_at())
    }
}

/// Appends a frame with the payload of this one, which is whole and legal, unmasked.
fn answer(frame: &[u8], opcode: Opcode, out: &mut Vec<u8>) {
    let Ok(Some((header, len))) = Header::parse(frame) else { return };
    Header { opcode, mask: None, ..header }.encode(out);
    let start = out.len();
    out.extend_from_slice(frame.get(len..).unwrap_or_default());
    mask(out.get_mut(start..).unwrap_or_default(), header.mask.unwrap_or(MaskKey([0; 4])), 0);
}

/// Whose doing it is that selat closes a session.
fn side_of(why: Why) -> Side {
    match why {
        Why::Closed
        | Why::Vanished
        | Why::Truncated
        | Why::Violation(_)
        | Why::RateLimited
        | Why::PingTimeout
        | Why::Evicted
        | Why::Unauthorized
        | Why::Policy => Side::Client,
        Why::Idle | Why::Expired | Why::Drained | Why::Retired | Why::Fault => Side::Proxy,
    }
}
