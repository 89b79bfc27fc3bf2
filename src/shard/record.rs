//! The books of one session: counters while it lasts, one log record at its end.

use std::net::SocketAddr;
use std::time::Instant;

use super::Shard;
use super::books::{self, RouteBooks};
use super::placement::Placement;
use super::plan::RouteState;
use super::visitor::{Guest, Visitor};
use crate::guard::Identity;
use crate::runtime::Stream;
use crate::session::{Cause, Peer, Side};
use crate::telemetry::{Ended, Sessions, Traffic, close_label};
use crate::wires::{End, SessionRecord};

/// With whom a session is, and where it counts.
pub(super) struct Ledger {
    guest: Guest,
    route: Option<RouteBooks>,
}

impl Ledger {
    /// Opens the books of a session that has its 101.
    pub(super) fn open(visitor: Visitor) -> Self {
        let guest = visitor.guest;
        let route = guest.route.as_ref().map(|route| route.books.clone());
        if let Some(route) = &route {
            books::open(&mut route.borrow_mut().sessions);
        }
        Self { guest, route }
    }

    /// The route that the session took.
    pub(super) fn route_state(&self) -> Option<&RouteState> {
        self.guest.route.as_deref()
    }

    /// The client, and what it has connected to by `socket`, for backends that want to hear it.
    pub(super) fn endpoints(&self, socket: &Stream) -> Option<(SocketAddr, SocketAddr)> {
        self.guest.endpoints(socket)
    }

    /// The client has proved who it is.
    pub(super) fn identify(&mut self, identity: Identity) {
        self.guest.identify(identity);
    }

    /// Counts what was forwarded, of a session on this backend if it is on one.
    #[inline]
    pub(super) fn count(&self, placement: Option<&Placement>, from: Peer, bytes: usize, messages: u64) {
        let count = |sessions: &mut Sessions| match from {
            Peer::Client => sessions.from_clients.add(bytes, messages),
            Peer::Backend => sessions.from_backends.add(bytes, messages),
        };
        if let Some(route) = &self.route {
            count(&mut route.borrow_mut().sessions);
        }
        if let Some(placement) = placement {
            count(&mut placement.books().counters.borrow_mut().sessions);
        }
    }

    /// Counts how often the client was slowed down.
    pub(super) fn count_throttled(&self, times: u64) {
        if let Some(route) = self.route.as_ref().filter(|_| times > 0) {
            route.borrow_mut().throttled += times;
        }
    }

    /// Counts how the session ended, and sends its record off to be logged.
    pub(super) fn close(&self, shard: &Shard, placement: Option<&Placement>, summary: &Summary) {
        let Summary { since, cause, is_cut, from_client, from_backend } = *summary;
        if let Some(route) = &self.route {
            let mut route = route.borrow_mut();
            books::close(&mut route.sessions);
            *route.ended.entry(ended(cause, is_cut)).or_default() += 1;
        }
        if cause.is_some_and(|cause| cause.why == crate::session::Why::Fault) {
            shard.count(|counters| counters.faults += 1);
        }
        shard.log(SessionRecord {
            backend: placement.map(Placement::backend),
            duration: shard.now().saturating_duration_since(since),
            from_client,
            from_backend,
            ..self.guest.record(End::Session { cause, is_cut })
        });
    }
}

/// What a session came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summary {
    /// When the session began.
    pub(super) since: Instant,
    pub(super) cause: Option<Cause>,
    /// Whether a peer had to be cut off.
    pub(super) is_cut: bool,
    pub(super) from_client: Traffic,
    pub(super) from_backend: Traffic,
}

/// How the end of a session is counted.
fn ended(cause: Option<Cause>, is_cut: bool) -> Ended {
    let code = cause.and_then(|cause| cause.code).map(|code| code.get());
    Ended {
        side: cause.map_or(Side::Proxy, |cause| cause.side).name(),
        code: close_label(code),
        why: cause.map_or("cut", |cause| cause.why.name()),
        is_cut,
    }
}
