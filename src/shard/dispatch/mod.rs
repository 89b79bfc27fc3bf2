//! A dispatch on this shard: its clients, each with connections to many backends.

mod ends;
mod line;
mod outbox;
mod session;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

pub(super) use line::Origin;
pub(super) use session::DispatchSession;

use self::outbox::Outbox;
use super::plan::PoolState;
use crate::balance::BackendId;
use crate::config;
use crate::dispatch::{Board, Candidate, Settings};
use crate::runtime::Driver;
use crate::telemetry::DispatchCounters;

/// One dispatch. A reload keeps it, by its name, so that what its backends have yet to answer stays counted.
pub(super) struct DispatchState {
    pub(super) name: Arc<str>,
    settings: RefCell<Arc<Settings>>,
    pool: RefCell<Rc<PoolState>>,
    board: RefCell<Board>,
    outbox: RefCell<Outbox>,
    /// Room for a list of candidates.
    spare: RefCell<Vec<Candidate>>,
    is_gone: Cell<bool>,
}

impl DispatchState {
    pub(super) fn new(dispatch: &config::Dispatch, pool: &Rc<PoolState>) -> Rc<Self> {
        Rc::new(Self {
            name: dispatch.name.clone(),
            settings: RefCell::new(dispatch.settings.clone()),
            pool: RefCell::new(pool.clone()),
            board: RefCell::default(),
            outbox: RefCell::default(),
            spare: RefCell::default(),
            is_gone: Cell::new(false),
        })
    }

    /// Goes on as `dispatch`, which has its name. Sessions keep the settings that held when they began.
    pub(super) fn adopt(&self, dispatch: &config::Dispatch, pool: &Rc<PoolState>) {
        self.settings.replace(dispatch.settings.clone());
        self.pool.replace(pool.clone());
    }

    /// Forgets backends that are gone.
    pub(super) fn forget(&self, is_gone: impl Fn(BackendId) -> bool) {
        self.board.borrow_mut().forget(is_gone);
    }

    /// It is in the configuration no more.
    pub(super) fn handle_gone(&self, driver: &Driver) {
        self.is_gone.set(true);
        driver.wake_all();
    }

    pub(super) fn pool(&self) -> Rc<PoolState> {
        self.pool.borrow().clone()
    }

    /// What is to be reported.
    pub(super) fn counters(&self) -> DispatchCounters {
        self.board.borrow().counters.clone()
    }

    /// The backends that may get messages now.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = self.spare.take();
        candidates.clear();
        let pool = self.pool.borrow();
        let selector = pool.selector.borrow();
        let open = selector.open();
        candidates.extend(open.map(|(backend, weight, identity)| Candidate { backend, weight, identity }));
        candidates
    }
}
