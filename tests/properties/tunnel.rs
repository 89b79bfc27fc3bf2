//! The tunnel under arbitrary operations, driven as a shell would (RFC 6455 §5.4, §5.5.1, §7.1).
//!
//! The shell of this file is an ideal one: what it writes has left at once. `tests/simulation.rs` has one whose
//! sockets fill up.

use std::rc::Rc;
use std::time::{Duration, Instant};

use selat::protocol::Role;
use selat::protocol::frame::{End, Header, MaskKey, Opcode, Rsv, Rules, Scanner, mask};
use selat::session::{
    Backlog, Cause, Disposition, Ending, Farewell, Peer, Random, Settings, Side, Then, Tunnel, Why,
};

/// What happens to a session.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A peer has this to say, once it gets round to it.
    Say { peer: Peer, bytes: Vec<u8> },
    /// So many bytes of that arrive in one read.
    Arrive { peer: Peer, bytes: usize },
    /// A peer answers the ping of the proxy's that it was sent so many pings ago, at its next chance.
    Answer { peer: Peer, ago: usize },
    /// A peer's stream ends.
    End { peer: Peer, ending: Ending },
    /// Time passes.
    Pass(Duration),
    /// This session is to go, after so long.
    Drain(Duration, Farewell),
    /// Something is wrong inside the proxy.
    Fault,
    /// The proxy goes down at once.
    Cut,
}

const CLOSE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const KEY: MaskKey = MaskKey([1, 2, 3, 4]);
const RANDOM: Random = Random { key: KEY, nonce: 0xC0FF_EE5E_1A7C_0DE5 };

/// Times that a session may ask to be woken before it has ended, if nothing else happens: once a timeout (of a second
/// or more) for each peer, as long as it is not idle and a ping finds no place; to read a client again, to ping each
/// peer, to miss the answer; to be drained, to hurry, to be cut; and one to spare.
const WAKEUPS_MAX: usize = 2 * 60 + 8;

/// Settings of this file's times.
pub(crate) fn settings() -> Settings {
    Settings { close: CLOSE, idle: IDLE, ..Settings::default() }
}

/// Whatever happens and in whatever order, each peer gets a legal stream and its due, and the session ends.
pub(crate) fn check(rsv: Rsv, settings: Settings, ops: &[Op]) {
    let mut session = Session::new(rsv, settings);
    for op in ops {
        session.apply(op);
        session.settle();
        session.check();
    }
    session.run_down();
}

/// One peer, and the connection with it.
#[derive(Debug, Default)]
struct Connection {
    /// What the peer will have said.
    to_say: Vec<u8>,
    /// How much of that has arrived.
    arrived: usize,
    /// What of it went to the other peer.
    forwarded: Vec<u8>,
    /// What arrived and is to be presented again.
    kept: Vec<u8>,
    /// What the peer was sent.
    received: Vec<u8>,
    /// The pings of the proxy's own among that: when they went, and what was in them.
    pings: Vec<(Instant, Vec<u8>)>,
    heard_at: Option<Instant>,
    has_fin: bool,
    is_reset: bool,
    disposition: Option<Disposition>,
}

struct Session {
    tunnel: Tunnel,
    rsv: Rsv,
    settings: Rc<Settings>,
    start: Instant,
    now: Instant,
    client: Connection,
    backend: Connection,
    last_arrival: Instant,
    last_forward: Instant,
    /// When it began to end, and why.
    begun: Option<(Instant, Cause)>,
    is_cut: bool,
    farewells: Vec<Farewell>,
}

impl Session {
    fn new(rsv: Rsv, settings: Settings) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let now = Instant::now();
        let settings = Rc::new(settings);
        Self {
            tunnel: Tunnel::new(rsv, settings.clone(), now),
            rsv,
            settings,
            start: now,
            now,
            client: Connection::default(),
            backend: Connection::default(),
            last_arrival: now,
            last_forward: now,
            begun: None,
            is_cut: false,
            farewells: Vec::new(),
        }
    }

    fn connection(&mut self, peer: Peer) -> &mut Connection {
        match peer {
            Peer::Client => &mut self.client,
            Peer::Backend => &mut self.backend,
        }
    }

    fn is_closed(&mut self, peer: Peer) -> bool {
        matches!(self.connection(peer).disposition, Some(Disposition::Drop | Disposition::Abandon))
    }

    fn apply(&mut self, op: &Op) {
        let now = self.now;
        match *op {
            Op::Say { peer, ref bytes } => self.connection(peer).to_say.extend_from_slice(bytes),
            Op::Arrive { peer, bytes } => self.arrive(peer, bytes),
            Op::Answer { peer, ago } => self.answer(peer, ago),
            Op::End { peer, ending } => self.end(peer, ending),
            Op::Pass(duration) => self.pass(duration),
            Op::Drain(after, farewell) => {
                self.tunnel.handle_drain(now + after, farewell);
                self.farewells.push(farewell);
                assert!(self.tunnel.has_heard(farewell));
            }
            Op::Fault => {
                self.tunnel.handle_fault(now);
                self.note(&[Side::Proxy]);
            }
            Op::Cut => {
                self.tunnel.cut(self.now);
                self.is_cut = true;
            }
        }
    }

    /// One read, as long as the connection is there to be read.
    fn arrive(&mut self, peer: Peer, bytes: usize) {
        let can_read = self.tunnel.reads(peer) && !self.is_closed(peer);
        let connection = self.connection(peer);
        let rest = connection.to_say.get(connection.arrived..).unwrap_or_default();
        let read = rest[..bytes.min(rest.len())].to_vec();
        if !can_read || connection.has_fin || connection.is_reset || read.is_empty() {
            return;
        }
        connection.arrived += read.len();
        let mut presented = std::mem::take(&mut connection.kept);
        presented.extend_from_slice(&read);
        self.last_arrival = self.now;
        self.connection(peer).heard_at = Some(self.last_arrival);
        loop {
            let flow = self.tunnel.handle_bytes(peer, &presented, self.now);
            assert!(flow.forward <= flow.judged && flow.judged <= presented.len());
            let forward = &presented[..flow.forward];
            if !forward.is_empty() {
                self.last_forward = self.now;
            }
            self.connection(peer).forwarded.extend_from_slice(forward);
            self.write(peer.other(), forward);
            self.note(&[peer.into()]);
            self.check_rtt(peer);
            presented = flow.rest(&presented).to_vec();
            if flow.then != Then::Judge {
                break;
            }
            assert!(flow.judged > 0, "to be judged again and again");
            self.speak();
        }
        assert!(presented.len() <= Scanner::KEEP_BYTES_MAX, "to keep {} bytes", presented.len());
        self.connection(peer).kept = presented;
    }

    /// The peer says a pong behind the frame that it is in.
    fn answer(&mut self, peer: Peer, ago: usize) {
        let connection = self.connection(peer);
        // Or the last, if there were not as many.
        let Some((_, payload)) = connection.pings.iter().rev().take(ago + 1).next_back() else { return };
        let mut payload = payload.clone();
        let key = (peer == Peer::Client).then_some(KEY);
        let mut pong = Vec::new();
        Header::whole(Opcode::Pong, key, 8).encode(&mut pong);
        mask(&mut payload, key.unwrap_or(MaskKey([0; 4])), 0);
        pong.append(&mut payload);
        let arrived = connection.arrived;
        let end = frames(&connection.to_say).map(|frame| frame.end).find(|end| *end >= arrived);
        let at = if arrived == 0 { Some(0) } else { end };
        if let Some(at) = at {
            connection.to_say.splice(at..at, pong);
        }
    }

    fn end(&mut self, peer: Peer, ending: Ending) {
        let is_closed = self.is_closed(peer);
        let connection = self.connection(peer);
        if is_closed || connection.is_reset || (connection.has_fin && ending == Ending::Fin) {
            return;
        }
        match ending {
            Ending::Fin => connection.has_fin = true,
            Ending::Reset | Ending::Truncated => connection.is_reset = true,
        }
        self.tunnel.handle_ending(peer, ending, self.now);
        self.note(&[peer.into()]);
    }

    /// Time passes, with all the wake-ups that were asked for, and one that was not.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        for _ in 0..=WAKEUPS_MAX {
            let Some(at) = self.tunnel.deadline().filter(|at| *at <= until) else { break };
            self.now = at.max(self.now);
            self.wake();
        }
        self.now = until;
        self.wake();
    }

    fn wake(&mut self) {
        self.tunnel.handle_time(self.now, Backlog::default());
        self.note(&[Side::Proxy]);
        self.settle();
        self.check();
        let is_over = self.is_over();
        let deadline = self.tunnel.deadline();
        assert!(
            is_over || deadline.is_none_or(|at| at > self.now),
            "asks to be woken for nothing, over and over"
        );
    }

    fn is_over(&mut self) -> bool {
        self.is_closed(Peer::Client) && self.is_closed(Peer::Backend)
    }

    fn write(&mut self, to: Peer, bytes: &[u8]) {
        let connection = self.connection(to);
        if !bytes.is_empty() {
            assert_eq!(
                connection.disposition.unwrap_or(Disposition::Keep),
                Disposition::Keep,
                "written behind the FIN"
            );
        }
        connection.received.extend_from_slice(bytes);
    }

    /// What a shell does after each event: writes what is due, then does with the connections what it is told.
    fn settle(&mut self) {
        self.speak();
        assert!(self.tunnel.is_ending() || !self.is_anyone_closed());
        for peer in Peer::BOTH {
            // What was dropped is gone.
            if self.is_closed(peer) {
                continue;
            }
            let disposition = self.tunnel.disposition(peer);
            let before = self.connection(peer).disposition.replace(disposition);
            if disposition != before.unwrap_or(Disposition::Keep) {
                self.check_disposition(peer, before, disposition);
            }
        }
    }

    fn is_anyone_closed(&mut self) -> bool {
        Peer::BOTH.into_iter().any(|peer| self.is_closed(peer))
    }

    /// Writes the frames of the proxy's own that are due: pings and Closes, always between frames.
    fn speak(&mut self) {
        let was_busy = self.tunnel.is_busy();
        for to in Peer::BOTH {
            while let Some(frame) = self.tunnel.poll_frame(to, RANDOM, Backlog::default(), self.now) {
                assert!(was_busy, "had something to say, but did not show it");
                assert!(!self.is_in_frame(to), "injected into a frame");
                self.write(to, &frame);
                let (header, payload) = whole_frame(&frame);
                assert_eq!(header.mask.is_some(), to == Peer::Backend);
                let now = self.now;
                if header.opcode == Opcode::Ping {
                    self.connection(to).pings.push((now, payload));
                } else {
                    assert_eq!(header.opcode, Opcode::Close);
                }
            }
        }
    }

    /// The cause is the first, and names who did something just now.
    fn note(&mut self, sides: &[Side]) {
        assert_eq!(self.tunnel.is_ending(), self.tunnel.cause().is_some());
        let Some(cause) = self.tunnel.cause() else { return };
        match self.begun {
            Some((_, first)) => assert_eq!(cause, first, "the cause changed"),
            None => {
                self.begun = Some((self.now, cause));
                if cause.why == Why::PingTimeout {
                    self.check_death(cause.side);
                    return;
                }
                assert!(sides.contains(&cause.side), "{cause:?}, but {sides:?} did something");
                let is_own =
                    matches!(cause.why, Why::Idle | Why::Expired | Why::Drained | Why::Retired | Why::Fault);
                assert_eq!(is_own, cause.side == Side::Proxy);
                self.check_reason(cause.why);
            }
        }
    }

    /// Nothing else happens: the session ends by itself, or was never to.
    fn run_down(&mut self) {
        for _ in 0..WAKEUPS_MAX {
            if self.is_over() {
                return;
            }
            let at = self.tunnel.deadline().expect("it idles at least");
            self.now = at.max(self.now);
            self.wake();
        }
        assert!(self.is_over(), "does not end");
    }
}

/// The invariants.
impl Session {
    /// Only silence behind a ping is taken for death; and the dead are treated as if they had reset the connection.
    fn check_death(&mut self, side: Side) {
        let peer = if side == Side::Client { Peer::Client } else { Peer::Backend };
        let ping = if peer == Peer::Client { self.settings.ping.client } else { self.settings.ping.backend };
        let now = self.now;
        let connection = self.connection(peer);
        connection.is_reset = true;
        let asked_at = connection.pings.last().map(|(at, _)| *at);
        let silent_since = asked_at.max(connection.heard_at).expect("a ping went");
        assert!(asked_at >= connection.heard_at, "it has answered");
        assert!(now >= silent_since + ping.expect("it is pinged").timeout, "buried early");
    }

    /// What the proxy gives as its reason is one that it had.
    fn check_reason(&self, why: Why) {
        let age = self.now - self.start;
        match why {
            Why::Drained => assert!(self.is_cut || self.farewells.contains(&Farewell::GoingAway)),
            Why::Retired => assert!(self.farewells.contains(&Farewell::ServiceRestart)),
            Why::Idle => assert!(self.now >= self.last_forward + IDLE),
            Why::Expired => assert!(self.settings.lifetime.is_some_and(|lifetime| age >= lifetime)),
            Why::RateLimited => assert!(self.settings.rate.is_some()),
            Why::Evicted | Why::Unauthorized | Why::Policy => panic!("that is for feeds"),
            Why::Closed
            | Why::Vanished
            | Why::Truncated
            | Why::Violation(_)
            | Why::PingTimeout
            | Why::Fault => {}
        }
    }

    /// A round trip is that of a ping.
    fn check_rtt(&mut self, peer: Peer) {
        let now = self.now;
        if let Some(rtt) = self.tunnel.take_rtt(peer) {
            assert!(self.connection(peer).pings.iter().any(|(at, _)| *at + rtt == now), "no ping went then");
        }
    }

    fn check(&mut self) {
        for to in Peer::BOTH {
            self.check_received(to);
        }
        let Some((begun_at, _)) = self.begun else { return };
        let backend_has_ended = self.backend.has_fin || self.backend.is_reset;
        if backend_has_ended && !self.is_closed(Peer::Client) && !self.is_in_frame(Peer::Client) {
            assert!(self.is_told(Peer::Client), "left alone with a backend that has ended");
        }
        if self.is_told(Peer::Client) && self.has_closed(Peer::Client) {
            // RFC 6455 §7.1.1: the server closes the connection first.
            assert!(self.is_closed(Peer::Client), "left waiting after both Closes");
        }
        if !self.is_over() {
            assert!(self.tunnel.deadline().is_some(), "ends, but will not be woken");
            // A half-closed client is served as long as its backend has something to say.
            assert!(self.now < begun_at.max(self.last_arrival) + CLOSE, "not cut in time");
        }
    }

    /// What a peer received is what the other one sent, from its beginning and without a gap, less its answers to the
    /// proxy's pings; with pings of the proxy's between, and at most one Close behind; all of it legal.
    fn check_received(&mut self, to: Peer) {
        let rsv = self.rsv;
        let is_open = !self.tunnel.is_ending();
        let from = self.connection(to.other());
        let expected = without_own_pongs(&from.to_say, &from.pings);
        assert!(expected.starts_with(&from.forwarded), "not what was sent to the {to:?}");
        if is_open {
            let arrived = without_own_pongs(&from.to_say[..from.arrived], &from.pings).len();
            // An own pong that has arrived in part counts in both.
            assert_eq!(
                from.forwarded.len() + from.kept.len(),
                arrived,
                "something was withheld from the {to:?}"
            );
        }
        let forwarded = from.forwarded.len();
        let traffic = self.tunnel.traffic(to.other());
        assert_eq!(traffic.bytes, u64::try_from(forwarded).unwrap());

        let connection = self.connection(to);
        let received = &connection.received;
        let sender = match to {
            Peer::Client => Role::Server,
            Peer::Backend => Role::Client,
        };
        let rules = Rules::unlimited(sender, rsv);
        let mut scanner = Scanner::new(rules);
        let scan = scanner.scan(received);
        assert_eq!(scan.forward, received.len(), "{:?} toward the {to:?}", scan.end);
        assert_eq!(traffic.messages, scan.messages);
        if matches!(scan.end, End::Close { .. }) {
            // Whoever is told that the session ends is told the truth.
            assert!(self.tunnel.is_ending());
        }
    }

    /// A connection goes from open to finished to closed, and closes only when there is nothing to tell its peer.
    fn check_disposition(&mut self, peer: Peer, before: Option<Disposition>, after: Disposition) {
        let rank = |disposition| match disposition {
            None | Some(Disposition::Keep) => 0,
            Some(Disposition::Finish) => 1,
            Some(Disposition::Drop) => 2,
            Some(Disposition::Abandon) => 3,
        };
        assert!(rank(Some(after)) > rank(before), "the {peer:?}'s went from {before:?} to {after:?}");
        let is_told = self.is_told(peer);
        let other_has_ended = {
            let other = self.connection(peer.other());
            other.has_fin || other.is_reset
        };
        let is_late = self.begun.is_some_and(|(at, _)| self.now >= at + CLOSE) || self.is_cut;
        let Connection { has_fin, is_reset, .. } = *self.connection(peer);
        match after {
            Disposition::Keep => {}
            Disposition::Finish => assert!(is_told || other_has_ended, "finished without a reason"),
            Disposition::Drop => {
                assert!(is_told || (has_fin && other_has_ended), "dropped, but could be told something");
            }
            Disposition::Abandon => {
                assert!(is_reset || is_late, "abandoned early");
                let is_gone = match peer {
                    // Half-closed, it is served as long as its backend has something to say.
                    Peer::Client => has_fin && self.now >= self.last_arrival + CLOSE,
                    Peer::Backend => has_fin,
                };
                let has_fin_from_us = before == Some(Disposition::Finish);
                // Its own Close came, and the echo of the other one did not.
                let waits_in_vain = self.is_told(peer.other());
                let is_excused = is_reset || is_gone || has_fin_from_us || waits_in_vain || self.is_cut;
                assert!(
                    is_told || is_excused || self.is_in_frame(peer),
                    "abandoned, but could be told something"
                );
            }
        }
    }

    /// Whether the peer was sent a Close.
    fn is_told(&mut self, peer: Peer) -> bool {
        matches!(self.scan_received(peer).1, End::Close { .. })
    }

    /// Whether the peer's own Close has arrived.
    fn has_closed(&mut self, peer: Peer) -> bool {
        let sender = if peer == Peer::Client { Role::Client } else { Role::Server };
        let &Settings { message_bytes_max, frame_bytes_max, .. } = &*self.settings;
        let rules = Rules { sender, rsv: self.rsv, message_bytes_max, frame_bytes_max };
        let connection = self.connection(peer);
        let arrived = &connection.to_say[..connection.arrived];
        matches!(Scanner::new(rules).scan(arrived).end, End::Close { .. })
    }

    /// Whether a frame toward the peer is in progress, so that nothing but its rest could be sent.
    fn is_in_frame(&mut self, peer: Peer) -> bool {
        !self.scan_received(peer).0.at_frame_boundary()
    }

    fn scan_received(&mut self, peer: Peer) -> (Scanner, End) {
        let sender = if peer == Peer::Client { Role::Server } else { Role::Client };
        let mut scanner = Scanner::new(Rules::unlimited(sender, self.rsv));
        let end = scanner.scan(&self.connection(peer).received).end;
        (scanner, end)
    }
}

/// The places of the whole frames at the front of `stream`, up to the first that cannot be one.
fn frames(stream: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let (header, len) = Header::parse(stream.get(start..)?).ok()??;
        let end = start.checked_add(len)?.checked_add(usize::try_from(header.payload_len).ok()?)?;
        let frame = start..end;
        start = end;
        (end <= stream.len()).then_some(frame)
    })
}

/// A frame that is all there, and its payload unmasked.
fn whole_frame(frame: &[u8]) -> (Header, Vec<u8>) {
    let (header, len) = Header::parse(frame).unwrap().expect("a whole header");
    let mut payload = frame[len..].to_vec();
    assert_eq!(u64::try_from(payload.len()), Ok(header.payload_len));
    mask(&mut payload, header.mask.unwrap_or(MaskKey([0; 4])), 0);
    (header, payload)
}

/// `stream` without the pongs that answer one of `pings`.
fn without_own_pongs(stream: &[u8], pings: &[(Instant, Vec<u8>)]) -> Vec<u8> {
    let mut rest = stream.to_vec();
    let whole: Vec<_> = frames(stream).collect();
    for frame in whole.into_iter().rev() {
        let (header, payload) = whole_frame(&stream[frame.clone()]);
        if header.opcode == Opcode::Pong && pings.iter().any(|(_, ping)| *ping == payload) {
            rest.drain(frame);
        }
    }
    rest
}
