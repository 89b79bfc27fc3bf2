//! A session's place on a backend.

use std::rc::Rc;

use super::Shard;
use super::books::{self, BackendBooks};
use super::permit::Permit;
use super::plan::PoolState;
use crate::balance::BackendId;
use crate::wires::Release;

/// Counts as one of the backend's sessions as long as it lives.
pub(super) struct Placement {
    shard: Rc<Shard>,
    pool: Rc<PoolState>,
    backend: BackendId,
    books: Rc<BackendBooks>,
    /// Of [`BackendBooks::retirements`], when the session began.
    retirements: u32,
    is_open: bool,
    /// Where the backend takes only so many.
    permit: Permit,
    /// Without a permit: what tells in the end whether the place is to be given back all the same.
    adoptions: u32,
}

impl Placement {
    /// Takes a place for a session that is still to be accepted.
    pub(super) fn take(shard: &Rc<Shard>, pool: &Rc<PoolState>, backend: BackendId, permit: Permit) -> Self {
        pool.selector.borrow_mut().handle_opened(backend);
        shard.has_changed.set(true);
        let books = shard.books.borrow_mut().backend(backend);
        let retirements = books.retirements.get();
        let adoptions = if permit.is_none() { pool.begin_unasked(backend) } else { 0 };
        let (shard, pool) = (shard.clone(), pool.clone());
        Self { shard, pool, backend, books, retirements, is_open: false, permit, adoptions }
    }

    /// The session has begun.
    pub(super) fn open(&mut self) {
        self.is_open = true;
        books::open(&mut self.books.counters.borrow_mut().sessions);
    }

    pub(super) fn backend(&self) -> BackendId {
        self.backend
    }

    pub(super) fn books(&self) -> &BackendBooks {
        &self.books
    }

    /// Whether the backend's sessions have been sent away since this one began.
    pub(super) fn is_retired(&self) -> bool {
        self.books.retirements.get() != self.retirements
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.pool.selector.borrow_mut().handle_closed(self.backend);
        self.shard.has_changed.set(true);
        // A permit gives its place back itself.
        if self.permit.is_none() && self.pool.end_unasked(self.backend, self.adoptions) {
            self.shard.release(Release::Backend(self.backend));
        }
        if self.is_open {
            books::close(&mut self.books.counters.borrow_mut().sessions);
        }
    }
}
