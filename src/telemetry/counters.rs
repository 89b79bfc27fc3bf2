//! Counters of one shard, and their sum.
//!
//! Labels are words of selat's own, or names from the configuration: no peer can make the books grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DispatchCounters, FeedCounters, Histogram, SizeHistogram};

use serde::{Deserialize, Serialize};

/// Payload-bearing traffic in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes on the wire, headers included.
    pub bytes: u64,
    /// Data messages that ended.
    pub messages: u64,
}

impl Traffic {
    /// Counts `bytes` more, in which `messages` messages ended.
    #[inline]
    pub fn add(&mut self, bytes: usize, messages: u64) {
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.messages += messages;
    }

    /// Counts what `other` has counted, too.
    #[inline]
    pub fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.messages += other.messages;
    }

    /// What has been counted since it was `earlier`.
    #[inline]
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            messages: self.messages.saturating_sub(earlier.messages),
        }
    }
}

/// Sessions and what they moved: of a route, or of a backend. Totals, but for `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sessions {
    /// Open at this moment.
    pub now: u64,
    /// That got their 101.
    pub total: u64,
    /// From clients to backends.
    pub from_clients: Traffic,
    /// From backends to clients.
    pub from_backends: Traffic,
}

impl Sessions {
    fn merge(&mut self, other: &Self) {
        self.now += other.now;
        self.total += other.total;
        self.from_clients.merge(other.from_clients);
        self.from_backends.merge(other.from_backends);
    }
}

/// How often something happened, by a word for it.
pub type Tally<K> = BTreeMap<K, u64>;

pub(super) fn merge_tally<K: Ord + Clone>(tally: &mut Tally<K>, other: &Tally<K>) {
    for (key, count) in other {
        *tally.entry(key.clone()).or_default() += count;
    }
}

/// A request answered without a 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The status it was answered with.
    pub status: u16,
    /// Why, in a word.
    pub reason: &'static str,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// Whose doing: `client`, `backend` or `proxy`.
    pub side: &'static str,
    /// The close code, as [`super::close_label`] writes it.
    pub code: &'static str,
    /// What happened, in a word.
    pub why: &'static str,
    /// Whether a peer had to be cut off for it.
    pub is_cut: bool,
}

impl Ended {
    /// How it ended, in one word: that a peer was cut off says more than what for, but for a fault of ours.
    fn outcome(&self) -> &'static str {
        if self.is_cut && self.why != "fault" { "cut" } else { self.why }
    }
}

/// Round trips of the proxy's own pings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PingRtt {
    /// To clients and back.
    pub client: Histogram,
    /// To backends and back.
    pub backend: Histogram,
}

/// TLS handshakes: `full`, `resumed`, or why they failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsHandshakes {
    /// With clients.
    pub clients: Tally<&'static str>,
    /// With backends.
    pub backends: Tally<&'static str>,
}

/// What happened on one route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteCounters {
    /// Its sessions.
    pub sessions: Sessions,
    /// Its requests that came to none.
    pub refused: Tally<Refused>,
    /// How its sessions ended.
    pub ended: Tally<Ended>,
    /// Times that a client was slowed down for sending too much.
    pub throttled: u64,
}

/// What happened with one backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendCounters {
    /// Its sessions.
    pub sessions: Sessions,
    /// Dials for sessions, by outcome.
    pub dials: Tally<&'static str>,
}

impl BackendCounters {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        self.sessions.merge(&other.sessions);
        merge_tally(&mut self.dials, &other.dials);
    }
}

/// What happened on a shard since it started. Totals, but for those that end in `now`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open at this moment.
    pub connections_now: u64,
    /// Connections given to another shard, which has fewer.
    pub handed_over: u64,
    /// Requests refused before they took a route.
    pub refused: Tally<Refused>,
    /// TLS handshakes, by what they came to.
    pub tls: TlsHandshakes,
    /// Dials that led to a handshake.
    pub dials: u64,
    /// Dials that did not, so that another backend was tried.
    pub dials_failed: u64,
    /// Sessions ended by a fault inside selat.
    pub faults: u64,
    /// Accepts that failed for want of a resource.
    pub accept_failures: u64,
    /// Log lines lost because the control plane could not keep up.
    pub lines_dropped: u64,
    /// From learning that bytes had come to the kernel's having taken the last of them for the other peer; of one read
    /// in many.
    pub relay_latency: Histogram,
    /// Payload sizes of messages, as on the wire; of one read in many, each standing for all that ended in its read.
    pub message_size: SizeHistogram,
    /// Round trips of the proxy's own pings.
    pub ping_rtt: PingRtt,
    /// From the start of a dial to the backend's 101.
    pub dial_latency: Histogram,
    /// By name. A route that a reload removed keeps its place: totals never fall.
    pub routes: BTreeMap<Arc<str>, RouteCounters>,
    /// By name, likewise.
    pub feeds: BTreeMap<Arc<str>, FeedCounters>,
    /// By name.
    pub dispatches: BTreeMap<Arc<str>, DispatchCounters>,
}

impl Counters {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.connections_now += other.connections_now;
        self.handed_over += other.handed_over;
        merge_tally(&mut self.refused, &other.refused);
        merge_tally(&mut self.tls.clients, &other.tls.clients);
        merge_tally(&mut self.tls.backends, &other.tls.backends);
        self.dials += other.dials;
        self.dials_failed += other.dials_failed;
        self.faults += other.faults;
        self.accept_failures += other.accept_failures;
        self.lines_dropped += other.lines_dropped;
        self.relay_latency.merge(&other.relay_latency);
        self.message_size.merge(&other.message_size);
        self.ping_rtt.client.merge(&other.ping_rtt.client);
        self.ping_rtt.backend.merge(&other.ping_rtt.backend);
        self.dial_latency.merge(&other.dial_latency);
        for (name, route) in &other.routes {
            self.routes.entry(name.clone()).or_default().merge(route);
        }
        for (name, dispatch) in &other.dispatches {
            self.dispatches.entry(name.clone()).or_default().merge(dispatch);
        }
        for (name, feed) in &other.feeds {
            self.feeds.entry(name.clone()).or_default().merge(feed);
        }
    }

    /// The sessions of all routes.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        let mut all = Sessions::default();
        self.routes.values().for_each(|route| all.merge(&route.sessions));
        all
    }

    /// Requests answered without a 101, on every route or on none.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        let on_routes = self.routes.values().flat_map(|route| route.refused.values());
        on_routes.chain(self.refused.values()).sum()
    }

    /// Sessions that ended this way: those whose peer had to be cut off are `cut`, whatever for.
    #[must_use]
    pub fn ended_total(&self, outcome: &str) -> u64 {
        let ended = self.routes.values().flat_map(|route| &route.ended);
        ended.filter(|(ended, _)| ended.outcome() == outcome).map(|(_, count)| count).sum()
    }

    /// Data messages forwarded, both ways.
    #[must_use]
    pub fn messages(&self) -> u64 {
        let sessions = self.sessions();
        sessions.from_clients.messages + sessions.from_backends.messages
    }
}

impl RouteCounters {
    fn merge(&mut self, other: &Self) {
        self.sessions.merge(&other.sessions);
        merge_tally(&mut self.refused, &other.refused);
        merge_tally(&mut self.ended, &other.ended);
        self.throttled += other.throttled;
    }
}
