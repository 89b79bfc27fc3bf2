//! What a shard counts, and with whom: routes by name, backends by identity.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use crate::balance::BackendId;
use crate::protocol::handshake::Refusal;
use crate::runtime::thread_time;
use crate::runtime::tls::Tls;
use crate::telemetry::{BackendCounters, Counters, Refused, RouteCounters, Sessions, Tally, TlsHandshakes};
use crate::wires::{Far, Insecure, Report, ToControl};

/// The books of one route, open as long as the shard is.
pub(super) type RouteBooks = Rc<RefCell<RouteCounters>>;

/// The books of one backend, open as long as it has sessions or a place in its pool.
#[derive(Debug, Default)]
pub(super) struct BackendBooks {
    pub(super) counters: RefCell<BackendCounters>,
    /// How often its sessions have been sent away: one that began before the last time has to go.
    pub(super) retirements: Cell<u32>,
}

/// All of a shard's books.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) counters: Counters,
    routes: HashMap<Arc<str>, RouteBooks>,
    backends: HashMap<BackendId, Rc<BackendBooks>>,
}

impl Books {
    pub(super) fn route(&mut self, name: &Arc<str>) -> RouteBooks {
        self.routes.entry(name.clone()).or_default().clone()
    }

    pub(super) fn backend(&mut self, id: BackendId) -> Rc<BackendBooks> {
        self.backends.entry(id).or_default().clone()
    }

    /// Sends the sessions of these backends away.
    pub(super) fn retire(&self, backends: &[BackendId]) {
        for books in backends.iter().filter_map(|id| self.backends.get(id)) {
            books.retirements.set(books.retirements.get().wrapping_add(1));
        }
    }

    /// Closes the books of backends that are gone, with their last session.
    pub(super) fn forget(&mut self, is_gone: impl Fn(BackendId) -> bool) {
        self.backends.retain(|id, books| Rc::strong_count(books) > 1 || !is_gone(*id));
    }
}

impl Shard {
    pub(super) fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.books.borrow_mut().counters);
    }

    /// Counts a request that came to no session, on its route if it took one.
    pub(super) fn count_refusal(&self, refused: Refused, route: Option<&RouteBooks>) {
        match route {
            Some(books) => *books.borrow_mut().refused.entry(refused).or_default() += 1,
            None => self.count(|counters| *counters.refused.entry(refused).or_default() += 1),
        }
    }

    /// Counts a TLS handshake that was completed.
    pub(super) fn count_handshake(
        &self,
        tls: &Tls,
        with: fn(&mut TlsHandshakes) -> &mut Tally<&'static str>,
    ) {
        let result = if tls.is_resumed() { "resumed" } else { "full" };
        self.count(|counters| *with(&mut counters.tls).entry(result).or_default() += 1);
    }

    /// Counts a TLS handshake that failed, and has it told.
    pub(super) fn insecure(&self, with: Far, result: &'static str, error: String) {
        self.count(|counters| {
            let TlsHandshakes { clients, backends } = &mut counters.tls;
            let tally = match with {
                Far::Client(_) => clients,
                Far::Backend(_) => backends,
            };
            *tally.entry(result).or_default() += 1;
        });
        // What is lost has been counted.
        let _ = self.control.post(ToControl::Insecure(Box::new(Insecure { with, error })));
    }

    pub(super) fn report(&self) -> Report {
        let books = self.books.borrow();
        let mut counters = books.counters.clone();
        counters.connections_now = self.connections.get().into();
        counters.faults += self.driver.panics();
        counters.routes =
            books.routes.iter().map(|(name, route)| (name.clone(), route.borrow().clone())).collect();
        let plan = self.plan.borrow();
        let feeds = plan.feeds().iter();
        counters.feeds = feeds.map(|feed| (feed.name.clone(), feed.counters())).collect();
        let dispatches = plan.dispatches().iter();
        counters.dispatches =
            dispatches.map(|dispatch| (dispatch.name.clone(), dispatch.counters())).collect();
        let backends = books.backends.iter().map(|(id, books)| (*id, books.counters.borrow().clone()));
        Report { shard: self.id, busy: thread_time(), backends: backends.collect(), counters }
    }
}

/// How a refusal is counted.
pub(super) fn refused(refusal: Refusal) -> Refused {
    Refused { status: refusal.http_status(), reason: refusal.reason() }
}

/// Counts one more session as open.
pub(super) fn open(sessions: &mut Sessions) {
    sessions.now += 1;
    sessions.total += 1;
}

/// Counts one session less.
pub(super) fn close(sessions: &mut Sessions) {
    sessions.now = sessions.now.saturating_sub(1);
}
