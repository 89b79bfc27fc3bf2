//! A dispatch on this shard: what its clients know together of its backends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::plan::PoolState;
use crate::config;
use crate::dispatch::{Board, Settings};
use crate::telemetry::DispatchCounters;

/// One dispatch. A reload keeps it, by its name, so that what its backends have yet to answer stays counted.
pub(super) struct DispatchState {
    pub(super) name: Arc<str>,
    settings: RefCell<Arc<Settings>>,
    pool: RefCell<Rc<PoolState>>,
    board: RefCell<Board>,
}

impl DispatchState {
    pub(super) fn new(dispatch: &config::Dispatch, pool: &Rc<PoolState>) -> Rc<Self> {
        Rc::new(Self {
            name: dispatch.name.clone(),
            settings: RefCell::new(dispatch.settings.clone()),
            pool: RefCell::new(pool.clone()),
            board: RefCell::default(),
        })
    }

    /// Goes on as `dispatch`, which has its name. Sessions keep what held when they began.
    pub(super) fn adopt(&self, dispatch: &config::Dispatch, pool: &Rc<PoolState>) {
        self.settings.replace(dispatch.settings.clone());
        self.pool.replace(pool.clone());
    }

    pub(super) fn pool(&self) -> Rc<PoolState> {
        self.pool.borrow().clone()
    }

    /// What is to be reported.
    pub(super) fn counters(&self) -> DispatchCounters {
        self.board.borrow().counters.clone()
    }
}
