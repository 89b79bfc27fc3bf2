//! A session's place on a backend.

use std::rc::Rc;

use super::Shard;
use crate::balance::BackendId;

/// Counts as one of the backend's sessions as long as it lives.
pub(super) struct Placement {
    shard: Rc<Shard>,
    backend: BackendId,
}

impl Placement {
    pub(super) fn take(shard: &Rc<Shard>, backend: BackendId) -> Self {
        shard.selector.borrow_mut().handle_opened(backend);
        shard.sessions_changed.set(true);
        Self { shard: shard.clone(), backend }
    }

    pub(super) fn backend(&self) -> BackendId {
        self.backend
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.shard.selector.borrow_mut().handle_closed(self.backend);
        self.shard.sessions_changed.set(true);
    }
}
