//! What a tunnel does about time, rates and silence, told one session at a time (RFC 6455 §5.5, §7.4).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::{Duration, Instant};

use selat::protocol::frame::{CloseCode, Header, MaskKey, Opcode, Rsv, Violation, close_frame, mask};
use selat::session::{
    Backlog, Disposition, Ending, Excess, Farewell, Peer, Ping, Pings, Random, Rate, RateLimit, Settings,
    Side, Then, Tunnel, Why,
};

const SECOND: Duration = Duration::from_secs(1);
const RANDOM: Random = Random { key: MaskKey([1, 2, 3, 4]), nonce: 0x0123_4567_89AB_CDEF };
const PING: Ping = Ping { every: Duration::from_secs(20), timeout: Duration::from_secs(5) };

/// A tunnel, and a shell whose sockets take everything.
struct Session {
    tunnel: Tunnel,
    start: Instant,
    now: Instant,
    to_client: Vec<u8>,
    to_backend: Vec<u8>,
    kept: [Vec<u8>; 2],
}

impl Session {
    fn new(settings: Settings) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let now = Instant::now();
        let tunnel = Tunnel::new(Rsv::NONE, Rc::new(settings), now);
        let kept = [Vec::new(), Vec::new()];
        Self { tunnel, start: now, now, to_client: Vec::new(), to_backend: Vec::new(), kept }
    }

    fn said_to(&mut self, peer: Peer) -> &mut Vec<u8> {
        match peer {
            Peer::Client => &mut self.to_client,
            Peer::Backend => &mut self.to_backend,
        }
    }

    /// What `peer` was sent since it was last asked.
    fn take_said_to(&mut self, peer: Peer) -> Vec<u8> {
        std::mem::take(self.said_to(peer))
    }

    fn arrive(&mut self, from: Peer, bytes: &[u8]) {
        let place = usize::from(from == Peer::Backend);
        let mut bytes = [std::mem::take(&mut self.kept[place]), bytes.to_vec()].concat();
        loop {
            let flow = self.tunnel.handle_bytes(from, &bytes, self.now);
            self.said_to(from.other()).extend_from_slice(&bytes[..flow.forward]);
            bytes = flow.rest(&bytes).to_vec();
            self.speak();
            if flow.then != Then::Judge {
                break;
            }
        }
        self.kept[place] = bytes;
    }

    fn speak(&mut self) {
        for to in Peer::BOTH {
            if let Some(frame) = self.tunnel.poll_frame(to, RANDOM, Backlog::default(), self.now) {
                self.said_to(to).extend(frame);
            }
        }
    }

    /// Lets the time pass until `at` behind the start, with every wake-up that is asked for.
    fn pass_to(&mut self, at: Duration) {
        let until = self.start + at;
        while let Some(at) = self.tunnel.deadline().filter(|at| *at <= until) {
            if Peer::BOTH.map(|peer| self.tunnel.disposition(peer)) == [Disposition::Abandon; 2] {
                break;
            }
            self.now = at.max(self.now);
            self.tunnel.handle_time(self.now, Backlog::default());
            self.speak();
        }
        self.now = until;
    }

    fn why(&self) -> Option<(Side, &'static str)> {
        self.tunnel.cause().map(|cause| (cause.side, cause.why.name()))
    }
}

fn frame(from: Peer, opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let key = (from == Peer::Client).then_some(MaskKey([4, 3, 2, 1]));
    let mut frame = Vec::new();
    Header { fin, ..Header::whole(opcode, key, payload.len().try_into().unwrap()) }.encode(&mut frame);
    let mut payload = payload.to_vec();
    mask(&mut payload, key.unwrap_or(MaskKey([0; 4])), 0);
    [frame, payload].concat()
}

fn text(from: Peer, payload: &[u8]) -> Vec<u8> {
    frame(from, Opcode::Text, true, payload)
}

/// A Close of the proxy's own.
fn close(to: Peer, code: CloseCode, reason: &str) -> Vec<u8> {
    close_frame(code, reason, (to == Peer::Backend).then_some(RANDOM.key))
}

/// The payload of the ping that `frame` is.
fn ping_payload(to: Peer, frame: &[u8]) -> Vec<u8> {
    let (header, len) = Header::parse(frame).unwrap().unwrap();
    assert_eq!(header, Header::whole(Opcode::Ping, (to == Peer::Backend).then_some(RANDOM.key), 8));
    let mut payload = frame[len..].to_vec();
    assert_eq!(payload.len(), 8);
    mask(&mut payload, header.mask.unwrap_or(MaskKey([0; 4])), 0);
    payload
}

fn pinged() -> Settings {
    Settings { ping: Pings { client: Some(PING), backend: Some(PING) }, ..Settings::default() }
}

fn limited(messages: Option<(u64, u64)>, bytes: Option<(u64, u64)>, excess: Excess) -> Settings {
    let rate = |(per_second, burst)| Rate {
        per_second: NonZeroU64::new(per_second).unwrap(),
        burst: NonZeroU64::new(burst).unwrap(),
    };
    let rate = RateLimit { messages: messages.map(rate), bytes: bytes.map(rate), excess };
    Settings { rate: Some(rate), ..Settings::default() }
}

#[test]
fn a_lifetime_ends_between_messages_with_1001() {
    let mut session = Session::new(Settings { lifetime: Some(SECOND * 60), ..Settings::default() });
    session.pass_to(SECOND * 59);
    let first = frame(Peer::Backend, Opcode::Text, false, b"be");
    session.arrive(Peer::Backend, &first);
    session.pass_to(SECOND * 61);
    assert_eq!(session.why(), Some((Side::Proxy, "expired")));
    let farewell = |to| close(to, CloseCode::GOING_AWAY, "lifetime over");
    assert_eq!(session.take_said_to(Peer::Backend), farewell(Peer::Backend));
    assert_eq!(session.take_said_to(Peer::Client), first, "a message is in progress");
    let last = frame(Peer::Backend, Opcode::Continuation, true, b"hind");
    let more = text(Peer::Backend, b"more");
    session.arrive(Peer::Backend, &[last.as_slice(), &more].concat());
    assert_eq!(session.take_said_to(Peer::Client), [last, farewell(Peer::Client)].concat());
}

#[test]
fn a_frame_over_the_limit_earns_1009() {
    let mut session = Session::new(Settings { frame_bytes_max: 4, ..Settings::default() });
    let good = text(Peer::Backend, b"four");
    session.arrive(Peer::Backend, &[good.clone(), text(Peer::Backend, b"fives")].concat());
    let cause = session.tunnel.cause().unwrap();
    assert_eq!(cause.why, Why::Violation(Violation::FrameTooLong { max: 4 }));
    let told = close(Peer::Backend, CloseCode::MESSAGE_TOO_BIG, "frame too big");
    assert_eq!(session.take_said_to(Peer::Backend), told);
    let told = close(Peer::Client, CloseCode::INTERNAL_ERROR, "backend broke the protocol");
    assert_eq!(session.take_said_to(Peer::Client), [good, told].concat());
}

#[test]
fn a_backend_that_leaves_sends_its_clients_elsewhere_with_1012() {
    let mut session = Session::new(Settings::default());
    assert!(!session.tunnel.has_heard(Farewell::ServiceRestart));
    session.tunnel.handle_drain(session.now + SECOND, Farewell::ServiceRestart);
    assert!(session.tunnel.has_heard(Farewell::ServiceRestart));
    assert!(!session.tunnel.has_heard(Farewell::GoingAway));
    session.pass_to(SECOND);
    assert_eq!(session.why(), Some((Side::Proxy, "retired")));
    for peer in Peer::BOTH {
        let told = close(peer, CloseCode::SERVICE_RESTART, "service restart");
        assert_eq!(session.take_said_to(peer), told);
    }
}

#[test]
fn of_two_farewells_the_earlier_counts_but_a_shutdown_gives_way_to_none() {
    let (restart, away) = (Farewell::ServiceRestart, Farewell::GoingAway);
    let rows = [
        ([(9, restart), (5, away)], (5, "drained")),
        ([(5, restart), (9, away)], (5, "retired")),
        ([(9, away), (5, restart)], (9, "drained")),
        ([(9, away), (5, away)], (5, "drained")),
        ([(5, away), (9, away)], (5, "drained")),
        ([(9, restart), (5, restart)], (5, "retired")),
    ];
    for (orders, (at, why)) in rows {
        let mut session = Session::new(Settings::default());
        for (at, farewell) in orders {
            session.tunnel.handle_drain(session.start + SECOND * at, farewell);
        }
        assert!(session.tunnel.has_heard(orders[0].1) && session.tunnel.has_heard(orders[1].1));
        session.pass_to(SECOND * at - Duration::from_nanos(1));
        assert_eq!(session.why(), None, "{orders:?}");
        session.pass_to(SECOND * at);
        assert_eq!(session.why(), Some((Side::Proxy, why)), "{orders:?}");
    }
}

#[test]
fn a_client_that_sends_too_much_is_not_read_until_it_has_paid() {
    let mut session = Session::new(limited(Some((10, 5)), None, Excess::Slow));
    let message = text(Peer::Client, b"hello");
    session.arrive(Peer::Client, &message.repeat(4));
    assert!(session.tunnel.reads(Peer::Client));
    // One token was left, and five messages came: four are owed, and the next needs one.
    session.arrive(Peer::Client, &message.repeat(5));
    assert_eq!(session.take_said_to(Peer::Backend), message.repeat(9), "what was read is forwarded");
    assert!(!session.tunnel.reads(Peer::Client));
    assert!(session.tunnel.reads(Peer::Backend));
    assert_eq!(session.tunnel.take_throttled(), 1);
    assert_eq!(session.tunnel.deadline(), Some(session.start + SECOND / 2));
    session.pass_to(SECOND / 2 - Duration::from_nanos(1));
    assert!(!session.tunnel.reads(Peer::Client));
    session.pass_to(SECOND / 2);
    assert!(session.tunnel.reads(Peer::Client));
    // What the backend sends has no price.
    session.arrive(Peer::Backend, &text(Peer::Backend, b"hello").repeat(100));
    assert!(session.tunnel.reads(Peer::Client));
    assert_eq!(session.tunnel.cause(), None);
}

#[test]
fn bytes_have_a_rate_of_their_own_and_a_session_that_ends_is_not_held_up() {
    let mut session = Session::new(limited(None, Some((100, 100)), Excess::Slow));
    session.arrive(Peer::Client, &frame(Peer::Client, Opcode::Ping, true, &[b'?'; 94]));
    assert_eq!(session.tunnel.deadline(), Some(session.start + SECOND / 100));
    assert!(!session.tunnel.reads(Peer::Client));
    session.tunnel.handle_ending(Peer::Backend, Ending::Fin, session.now);
    session.speak();
    assert!(session.tunnel.reads(Peer::Client), "its Close is to be heard");
}

#[test]
fn silence_while_a_client_is_not_read_is_not_held_against_it() {
    let mut settings = limited(None, Some((1, 1)), Excess::Slow);
    settings.idle = SECOND * 10;
    settings.ping.client = Some(PING);
    let mut session = Session::new(settings);
    session.arrive(Peer::Client, &text(Peer::Client, &[b'x'; 94]));
    session.pass_to(SECOND * 99);
    assert!(!session.tunnel.reads(Peer::Client));
    assert_eq!(session.why(), None);
    session.pass_to(SECOND * 111);
    assert_eq!(session.why(), Some((Side::Client, "ping timeout")), "now it is");
}

#[test]
fn where_excess_closes_the_offender_is_told_1008_behind_its_answers() {
    let mut session = Session::new(limited(Some((1, 2)), None, Excess::Close));
    let message = text(Peer::Client, b"hello");
    session.arrive(Peer::Client, &message.repeat(2));
    assert_eq!(session.why(), None);
    // The third is too many, and the read that brought it breaks off inside a fourth.
    session.arrive(Peer::Client, &[message.as_slice(), &message[..8]].concat());
    assert_eq!(session.why(), Some((Side::Client, "rate limit")));
    assert_eq!(session.tunnel.cause().and_then(|cause| cause.code), Some(CloseCode::POLICY));
    session.arrive(Peer::Client, &[&message[8..], &message, &message].concat());
    let told = close(Peer::Backend, CloseCode::GOING_AWAY, "client over its rate limit");
    assert_eq!(session.take_said_to(Peer::Backend), [message.repeat(4), told].concat());

    let answer = text(Peer::Backend, b"you are welcome");
    let echo = close_frame(CloseCode::GOING_AWAY, "", None);
    session.arrive(Peer::Backend, &[answer.clone(), echo].concat());
    let told = close(Peer::Client, CloseCode::POLICY, "rate limit");
    assert_eq!(session.take_said_to(Peer::Client), [answer, told].concat());
}

#[test]
fn pings_go_out_on_time_and_their_answers_go_nowhere() {
    let mut session = Session::new(pinged());
    session.pass_to(PING.every - Duration::from_nanos(1));
    assert_eq!((session.to_client.len(), session.to_backend.len()), (0, 0));
    session.pass_to(PING.every);
    session.pass_to(PING.every + SECOND);
    let asked = Peer::BOTH.map(|peer| ping_payload(peer, &session.take_said_to(peer)));
    for (peer, asked) in Peer::BOTH.into_iter().zip(asked) {
        assert_eq!(session.tunnel.take_rtt(peer), None);
        let pong = |payload: &[u8]| frame(peer, Opcode::Pong, true, payload);
        let (before, behind) = (text(peer, b"before"), text(peer, b"behind"));
        let foreign = [pong(b"other"), pong(&[&asked[..7], b"!"].concat()), pong(b"")].concat();
        let stream = [&before, &pong(&asked), &foreign, &pong(&asked), &behind].map(Vec::as_slice).concat();
        session.arrive(peer, &stream);
        assert_eq!(session.take_said_to(peer.other()), [before, foreign, behind].concat());
        assert_eq!(session.tunnel.take_rtt(peer), Some(SECOND));
        assert_eq!(session.tunnel.take_rtt(peer), None);
    }
    // Answered, they are asked again, and not before time.
    session.pass_to(PING.every * 2 - Duration::from_nanos(1));
    assert_eq!((session.to_client.len(), session.to_backend.len()), (0, 0));
    session.pass_to(PING.every * 2);
    assert_eq!((session.to_client.len(), session.to_backend.len()), (10, 14));
    assert_eq!(session.why(), None);
}

#[test]
fn the_other_peers_pong_with_the_same_payload_passes() {
    let mut session =
        Session::new(Settings { ping: Pings { client: Some(PING), backend: None }, ..Settings::default() });
    session.pass_to(PING.every);
    let asked = session.take_said_to(Peer::Client);
    let pong = frame(Peer::Backend, Opcode::Pong, true, &ping_payload(Peer::Client, &asked));
    session.arrive(Peer::Backend, &pong);
    assert_eq!(session.take_said_to(Peer::Client), pong);
}

#[test]
fn a_ping_finds_its_place_between_the_frames_of_a_busy_stream() {
    let mut session = Session::new(pinged());
    let frames = text(Peer::Backend, &[b'x'; 100]).repeat(3);
    session.arrive(Peer::Backend, &frames[..50]);
    session.pass_to(PING.every);
    assert_eq!(session.take_said_to(Peer::Client), frames[..50], "a frame is in progress");
    // Not at the end of what was read, which is inside another frame.
    session.arrive(Peer::Backend, &frames[50..250]);
    let said = session.take_said_to(Peer::Client);
    let (rest, said) = said.split_at(52);
    let (ping, behind) = said.split_at(10);
    ping_payload(Peer::Client, ping);
    assert_eq!([rest, behind].concat(), frames[50..250]);
}

#[test]
fn a_dead_client_is_dropped_and_its_backend_told_1001() {
    let mut session = Session::new(pinged());
    session.pass_to(PING.every);
    session.take_said_to(Peer::Backend);
    // The backend lives: any bytes will do.
    session.arrive(Peer::Backend, &text(Peer::Backend, b"here"));
    session.pass_to(PING.every + PING.timeout - Duration::from_nanos(1));
    assert_eq!(session.why(), None);
    session.pass_to(PING.every + PING.timeout);
    assert_eq!(session.why(), Some((Side::Client, "ping timeout")));
    assert_eq!(session.tunnel.disposition(Peer::Client), Disposition::Abandon);
    let told = close(Peer::Backend, CloseCode::GOING_AWAY, "client ping timeout");
    assert_eq!(session.take_said_to(Peer::Backend), told);
    assert_eq!(session.tunnel.disposition(Peer::Backend), Disposition::Keep, "its echo is to come");
}

#[test]
fn a_dead_backend_is_dropped_and_its_client_told_1011() {
    for (in_progress, disposition) in [(false, Disposition::Keep), (true, Disposition::Finish)] {
        let mut session = Session::new(Settings {
            ping: Pings { client: None, backend: Some(PING) },
            ..Settings::default()
        });
        let half = if in_progress { &text(Peer::Backend, b"half")[..4] } else { &[] };
        session.arrive(Peer::Backend, half);
        session.pass_to(PING.every + PING.timeout);
        assert_eq!(session.why(), Some((Side::Backend, "ping timeout")));
        assert_eq!(session.tunnel.disposition(Peer::Backend), Disposition::Abandon);
        let told = close(Peer::Client, CloseCode::INTERNAL_ERROR, "ping timeout");
        let told = if in_progress { half.to_vec() } else { told };
        assert_eq!(session.take_said_to(Peer::Client), told);
        assert_eq!(session.tunnel.disposition(Peer::Client), disposition);
    }
}

#[test]
fn a_peer_that_makes_no_room_is_dead_though_no_ping_could_leave() {
    let mut session = Session::new(pinged());
    let backlog = Backlog { client: true, backend: false };
    // The client does not read; so the backend is not read, inside a frame, and its silence is no sign.
    session.arrive(Peer::Backend, &text(Peer::Backend, &[b'x'; 100])[..50]);
    let mut died_at = None;
    while died_at.is_none() {
        session.now = session.tunnel.deadline().unwrap();
        session.tunnel.handle_time(session.now, backlog);
        for peer in Peer::BOTH {
            session.tunnel.poll_frame(peer, RANDOM, backlog, session.now);
        }
        died_at = session.tunnel.cause().map(|_| session.now);
    }
    assert_eq!(session.why(), Some((Side::Client, "ping timeout")));
    assert_eq!(died_at, Some(session.start + PING.every + PING.timeout * 2));
}

#[test]
fn answering_pings_is_not_traffic() {
    let mut session = Session::new(Settings { idle: SECOND * 50, ..pinged() });
    for round in 1..=2 {
        session.pass_to(PING.every * round);
        for peer in Peer::BOTH {
            let asked = session.take_said_to(peer);
            let pong = frame(peer, Opcode::Pong, true, &ping_payload(peer, &asked));
            session.arrive(peer, &pong[..5]);
            session.arrive(peer, &pong[5..]);
        }
    }
    session.pass_to(SECOND * 50);
    assert_eq!(session.why(), Some((Side::Proxy, "idle")));
}
