//! One simulated session: who is in it, what happens next, and what must have come of it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use selat::protocol::Role;
use selat::session::{Cause, Excess, Farewell, Peer, Rate, Settings, Side, Why};

use super::endpoint::Endpoint;
use super::foreign::{self, Stop};
use super::pipe::Connection;
use super::plan::{Character, PING};
use super::proxy::{CLOSE, IDLE, Proxy, Relayed, index};
use super::settings::settings;
use crate::seeds::Simulation;

/// Steps after which a session that has not ended never will.
const STEPS_MAX: usize = 200_000;

/// A client, the proxy, a backend, and the time.
pub(crate) struct World {
    rng: Rng,
    start: Instant,
    now: Instant,
    endpoints: [Endpoint; 2],
    /// When each endpoint does something again.
    awake_at: [Instant; 2],
    connections: [Connection; 2],
    proxy: Proxy,
    settings: Rc<Settings>,
    /// Until when each endpoint last did nothing for long.
    paused_until: [Instant; 2],
    /// When the session is told to go, and why.
    orders: Vec<(Instant, Farewell)>,
    /// Why it has been told to.
    farewells: Vec<Farewell>,
    /// The cause, since it appeared.
    cause: Option<Cause>,
    ends_since: Instant,
    trace: Vec<String>,
}

/// Something that can happen now.
#[derive(Debug, Clone, Copy)]
enum Event {
    Act(Peer),
    Read(Peer),
    ProxyRead(Peer),
    ProxyFlush(Peer),
    Wake,
    Order,
}

impl Simulation for World {
    fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let start = Instant::now();
        let mut rng = Rng::with_seed(seed);
        let size_max = *rng.choice(&[8, 200, 5_000]).unwrap_or(&8);
        let characters = [0, 1].map(|_| *rng.choice(&Character::ALL).unwrap_or(&Character::Steady));
        let read_max = rng.usize(1..size_max * 2);
        let socket_bytes = [0, 1].map(|_| rng.usize(1..size_max * 2));
        let mut orders = Vec::new();
        for farewell in [Farewell::ServiceRestart, Farewell::GoingAway] {
            if rng.u8(..5) == 0 {
                orders.push((start + Duration::from_millis(rng.u64(0..20_000)), farewell));
            }
        }
        let settings = Rc::new(settings(&mut rng));
        let trace = vec![format!(
            "client {:?}, backend {:?}, reads of {read_max}, sockets of {socket_bytes:?}, {settings:?}",
            characters[0], characters[1],
        )];
        let roles = [Role::Client, Role::Server];
        Self {
            endpoints: [0, 1].map(|at| Endpoint::new(roles[at], characters[at], size_max, &mut rng)),
            connections: socket_bytes.map(Connection::new),
            proxy: Proxy::new(read_max, settings.clone(), start),
            settings,
            awake_at: [start; 2],
            paused_until: [start; 2],
            start,
            now: start,
            orders,
            farewells: Vec::new(),
            cause: None,
            ends_since: start,
            trace,
            rng,
        }
    }

    /// Runs to the end of the session.
    fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.proxy.is_over() {
                self.check_outcome();
                return;
            }
            let events = self.events();
            match self.rng.choice(&events) {
                Some(event) => self.happen(*event),
                None => self.sleep(),
            }
            self.proxy.settle(&mut self.connections, self.now);
            self.check_cause();
            // Now and then time passes although something could happen.
            if self.rng.u8(..) == 0 {
                self.now += Duration::from_millis(self.rng.u64(0..1_000));
            }
        }
        panic!("the session does not end");
    }

    fn trace(&self) -> &[String] {
        &self.trace
    }
}

impl World {
    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for peer in Peer::BOTH {
            let endpoint = &self.endpoints[index(peer)];
            let connection = &self.connections[index(peer)];
            let is_awake = self.awake_at[index(peer)] <= self.now;
            if is_awake && endpoint.can_act(connection) {
                events.push(Event::Act(peer));
            }
            if is_awake && endpoint.can_read(connection) {
                events.push(Event::Read(peer));
            }
            if self.proxy.can_read(peer, connection) {
                events.push(Event::ProxyRead(peer));
            }
            if self.proxy.can_flush(peer, connection) {
                events.push(Event::ProxyFlush(peer));
            }
        }
        if self.proxy.tunnel.deadline().is_some_and(|at| at <= self.now) {
            events.push(Event::Wake);
        }
        if self.orders.iter().any(|(at, _)| *at <= self.now) {
            events.push(Event::Order);
        }
        events
    }

    fn happen(&mut self, event: Event) {
        let len = self.rng.usize(1..1000);
        let told = match event {
            Event::Act(peer) => {
                let told = self.endpoints[index(peer)].act(&mut self.connections[index(peer)], len);
                self.tire(peer);
                told
            }
            Event::Read(peer) => {
                let told = self.endpoints[index(peer)].read(&mut self.connections[index(peer)], len);
                self.tire(peer);
                told
            }
            Event::ProxyRead(peer) => self.proxy.read(peer, &mut self.connections[index(peer)], self.now),
            Event::ProxyFlush(peer) => self.proxy.flush(peer, &mut self.connections[index(peer)], self.now),
            Event::Wake => {
                self.proxy.wake(&mut self.connections, self.now);
                String::new()
            }
            Event::Order => {
                let after = Duration::from_millis(self.rng.u64(0..5_000));
                let at = self.orders.iter().position(|(at, _)| *at <= self.now).expect("it was looked at");
                let (_, farewell) = self.orders.remove(at);
                self.proxy.tunnel.handle_drain(self.now + after, farewell);
                self.farewells.push(farewell);
                format!("to go in {after:?} for {farewell:?}")
            }
        };
        self.trace.push(format!("{:>9?} {event:?}: {told}", self.now - self.start));
    }

    fn tire(&mut self, peer: Peer) {
        let is_slow = self.endpoints[index(peer)].character == Character::Slow;
        let is_pausing = self.cause.is_none() && self.rng.u8(..64) == 0;
        let pause_ms_max = if is_slow {
            500
        } else if is_pausing {
            30_000
        } else {
            1
        };
        let pause = Duration::from_millis(self.rng.u64(0..pause_ms_max));
        self.awake_at[index(peer)] = self.now + pause;
        if pause > Duration::from_secs(1) {
            self.paused_until[index(peer)] = self.now + pause;
        }
    }

    /// Nothing can happen before the next of these times.
    fn sleep(&mut self) {
        let order_at = self.orders.iter().map(|(at, _)| *at).min();
        let times = [self.proxy.tunnel.deadline(), order_at, Some(self.awake_at[0]), Some(self.awake_at[1])];
        let next = times.into_iter().flatten().filter(|at| *at > self.now).min();
        self.now = next.expect("an open session has a deadline");
    }

    /// The cause comes when someone gives one, and stays.
    fn check_cause(&mut self) {
        let cause = self.proxy.tunnel.cause();
        if self.cause.is_some() {
            assert_eq!(cause, self.cause, "the cause changed");
            return;
        }
        let Some(Cause { side, why, code }) = cause else { return };
        self.trace.push(format!("{:>9?} ends: {cause:?}", self.now - self.start));
        self.cause = cause;
        self.ends_since = self.now;
        self.awake_at = [self.now; 2];
        let peer = match side {
            Side::Client => Peer::Client,
            Side::Backend => Peer::Backend,
            Side::Proxy => {
                let age = self.now - self.start;
                let had_reason = match why {
                    Why::Drained => self.farewells.contains(&Farewell::GoingAway),
                    Why::Retired => self.farewells.contains(&Farewell::ServiceRestart),
                    Why::Idle => age >= IDLE,
                    Why::Expired => self.settings.lifetime.is_some_and(|lifetime| age >= lifetime),
                    Why::Closed
                    | Why::Vanished
                    | Why::Truncated
                    | Why::Violation(_)
                    | Why::RateLimited
                    | Why::PingTimeout
                    | Why::Fault
                    | Why::Evicted
                    | Why::Unauthorized
                    | Why::Policy => false,
                };
                assert!(had_reason, "the proxy had no reason: {cause:?}");
                return;
            }
        };
        let done = &self.endpoints[index(peer)].done;
        match why {
            Why::Closed => {
                assert!(done.closed.is_some(), "it did not close");
                assert_eq!(done.closed, code.map(|code| code.get()));
            }
            Why::Violation(_) => assert!(done.broke_rules, "it broke no rule"),
            Why::Vanished | Why::Truncated => assert!(done.ended, "it did not end"),
            Why::RateLimited => {
                assert!(self.settings.rate.is_some_and(|limit| limit.excess == Excess::Close));
            }
            Why::PingTimeout => self.check_death(peer),
            Why::Idle
            | Why::Expired
            | Why::Drained
            | Why::Retired
            | Why::Fault
            | Why::Evicted
            | Why::Unauthorized
            | Why::Policy => {
                panic!("not a peer's doing: {cause:?}")
            }
        }
    }

    /// Who is taken for dead has shown no life for the timeout, be it that it does not answer, or that it slept.
    fn check_death(&self, peer: Peer) {
        let pings = self.settings.ping;
        let ping = if peer == Peer::Client { pings.client } else { pings.backend };
        let timeout = ping.expect("it is pinged").timeout;
        assert!(self.now >= self.proxy.life_at[index(peer)] + timeout, "it has shown life");
        let is_awake = self.paused_until[index(peer)] + timeout < self.now;
        let character = self.endpoints[index(peer)].character;
        assert!(!(character.is_correct() && is_awake), "it answers, and was taken for dead");
    }

    /// Never more than the burst and the rate allow, in any span of time; but for one read, begun with a token in hand.
    fn check_rate(&self) {
        let Some(limit) = self.settings.rate else { return };
        let check = |rate: Option<Rate>, of: fn(&Relayed) -> u64| {
            let Some(Rate { per_second, burst }) = rate else { return };
            let parts = |tokens: u64| i128::from(tokens) * 1_000_000_000;
            // What came up to a moment, less what the rate brings up to it: a span exceeds by the rise of this in it.
            let (mut sum, mut least) = (0, 0);
            for relayed in &self.proxy.relayed {
                let nanos = i128::try_from((relayed.at - self.start).as_nanos()).unwrap_or(i128::MAX);
                let level = sum - i128::from(per_second.get()) * nanos;
                least = level.min(least);
                let begun = if limit.excess == Excess::Slow { 1 } else { of(relayed) };
                assert!(level + parts(begun) - least <= parts(burst.get()), "over its rate");
                sum += parts(of(relayed));
            }
        };
        check(limit.messages, |relayed| relayed.messages);
        check(limit.bytes, |relayed| relayed.bytes);
    }

    fn check_outcome(&mut self) {
        let cause = self.cause.expect("a session that is over has a cause");
        let is_late = self.now >= self.ends_since + CLOSE;
        assert!(is_late || !self.proxy.tunnel.is_cut(), "cut before its time");
        for (endpoint, connection) in self.endpoints.iter_mut().zip(&mut self.connections) {
            while endpoint.can_read(connection) {
                endpoint.read(connection, usize::MAX);
            }
        }
        self.check_rate();
        for to in Peer::BOTH {
            self.check_delivery(to);
            self.check_farewell(to, cause);
        }
    }

    /// Every message arrives exactly once and in order; one is missing only where somebody broke off.
    fn check_delivery(&self, to: Peer) {
        let receiver = &self.endpoints[index(to)];
        let sender = &self.endpoints[index(to.other())];
        let reading = foreign::read(sender.role, &receiver.received, u64::MAX);
        assert_ne!(reading.stop, Some(Stop::Protocol));
        let received: Vec<_> =
            reading.messages.into_iter().map(|message| message.into_data().to_vec()).collect();
        assert!(sender.messages.starts_with(&received), "the {to:?} received other messages than were sent");

        let traffic = self.proxy.tunnel.traffic(to.other());
        assert!(traffic.messages >= u64::try_from(received.len()).unwrap_or(u64::MAX));
        let was_cut_short = !receiver.character.is_correct()
            || self.proxy.tunnel.is_cut()
            || self.connections[index(to.other())].is_reset
            || self.cause.is_some_and(|cause| cause.side == Side::Proxy)
            // The dead are not read any more, nor who sends too much.
            || self.cause.is_some_and(|cause| cause.why == Why::PingTimeout || cause.why == Why::RateLimited)
            // Whoever is told to go, for what it did, reads no more than that.
            || self.cause.is_some_and(|cause| cause.side == Side::from(to));
        let pongs = receiver.pongs();
        assert!(
            pongs.iter().all(|pong| pong == PING),
            "the {to:?} received an answer to a ping of the proxy's"
        );
        if !was_cut_short {
            assert_eq!(pongs.len(), sender.done.pongs, "the {to:?} missed pongs of the {:?}", to.other());
            assert_eq!(
                received.len(),
                sender.done.messages,
                "the {to:?} missed messages of the {:?}",
                to.other()
            );
        }
    }

    /// An endpoint that did nothing wrong, or broke the rules, is told how the session ended: by a Close, or by a FIN where a frame was
    /// in progress or a client had gone; never by a reset.
    fn check_farewell(&self, to: Peer, cause: Cause) {
        let other = &self.endpoints[index(to.other())].done;
        let other_is_gone = to == Peer::Backend && other.ended && other.closed.is_none() && !other.answered;
        let endpoint = &self.endpoints[index(to)];
        let is_offender = cause.side == Side::from(to) && matches!(cause.why, Why::Violation(_));
        let is_buried = cause.side == Side::from(to) && cause.why == Why::PingTimeout;
        if is_buried || !(endpoint.character.is_correct() || is_offender) || self.proxy.tunnel.is_cut() {
            return;
        }
        assert!(!endpoint.has_seen_reset, "the {to:?} was reset");
        let is_told = endpoint.has_received_close
            || (endpoint.has_seen_fin && (other_is_gone || endpoint.is_in_frame()));
        assert!(is_told, "the {to:?} was not told that the session ended: {cause:?}");
    }
}
