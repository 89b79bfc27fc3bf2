//! What the configuration in force means for this shard: its routes and pools, ready for use.

use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::books::{Books, RouteBooks};
use super::dispatch::DispatchState;
use super::feed::FeedState;
use crate::balance::{BackendId, BackendView, Selector, ShardId, Snapshot};
use crate::config::{self, Config, Pool, PoolId, Route, Target};
use crate::guard::Guard;
use crate::routing::{ListenId, Router};
use crate::runtime::Driver;
use crate::session;
use crate::tls::{self, ClientConfig, Pace};

/// One configuration. Sessions keep their route, and with it what held when they began.
pub(super) struct Plan {
    pub(super) config: Arc<Config>,
    /// By [`ListenId`]; `None` where TLS is not spoken.
    secure: Vec<Option<Rc<Secure>>>,
    router: Router,
    routes: Vec<Rc<RouteState>>,
    pools: Vec<Rc<PoolState>>,
    feeds: Vec<Rc<FeedState>>,
    dispatches: Vec<Rc<DispatchState>>,
    place: Place,
}

/// A shard among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) shard: ShardId,
    /// How many there are.
    pub(super) shards: NonZeroU32,
}

/// A listener that speaks TLS.
pub(super) struct Secure {
    pub(super) server: Arc<tls::Server>,
    /// `None`: handshakes begin at once.
    pace: Option<RefCell<Pace>>,
}

/// One route.
pub(super) struct RouteState {
    pub(super) route: Arc<Route>,
    pub(super) settings: Rc<session::Settings>,
    pub(super) guard: RefCell<Guard>,
    pub(super) books: RouteBooks,
    /// Where [`Target::Pool`] leads, or the backends of a dispatch.
    pub(super) pool: Option<Rc<PoolState>>,
    /// Where [`Target::Feed`] leads.
    pub(super) feed: Option<Rc<FeedState>>,
    /// Where [`Target::Dispatch`] leads.
    pub(super) dispatch: Option<Rc<DispatchState>>,
}

/// One pool. A reload keeps it, by its name, so that its sessions stay counted.
pub(super) struct PoolState {
    pub(super) pool: RefCell<Arc<Pool>>,
    pub(super) selector: RefCell<Selector>,
    /// For those of its backends that want TLS; with this shard's own memory of sessions to take up again.
    pub(super) tls: RefCell<Option<Arc<ClientConfig>>>,
    unasked: Unasked,
    shard: ShardId,
    /// Its place in the snapshots.
    id: Cell<PoolId>,
}

/// Sessions for which no permit was asked, because none of the pool's backends had a limit.
#[derive(Debug, Default)]
struct Unasked {
    /// Those that began since the last adoption.
    sessions: RefCell<BTreeMap<BackendId, u32>>,
    /// How often a limit that was new has had the sessions of then counted.
    adoptions: Cell<u32>,
}

impl Plan {
    /// What the first configuration means, given the first snapshot.
    pub(super) fn first(
        config: Arc<Config>,
        snapshot: &Arc<Snapshot>,
        books: &mut Books,
        place: Place,
        driver: &Driver,
    ) -> Self {
        let empty = Self {
            config: config.clone(),
            secure: Vec::new(),
            router: Router::default(),
            routes: Vec::new(),
            pools: Vec::new(),
            feeds: Vec::new(),
            dispatches: Vec::new(),
            place,
        };
        empty.next(config, snapshot, books, driver)
    }

    /// What `config` means, given the first snapshot that belongs to it. What has not changed is kept.
    pub(super) fn next(
        &self,
        config: Arc<Config>,
        snapshot: &Arc<Snapshot>,
        books: &mut Books,
        driver: &Driver,
    ) -> Self {
        let (Place { shard, shards }, now) = (self.place, driver.now());
        let ids = (0..).map(PoolId);
        // By name, for no session shall wait while each of ten thousand is looked for among ten thousand.
        let kept: HashMap<_, _> =
            self.pools.iter().map(|pool| (pool.pool.borrow().name.clone(), pool)).collect();
        let pools = ids.zip(&config.pools).map(|(id, pool)| match kept.get(&pool.name) {
            Some(kept) => {
                kept.adopt(id, pool, snapshot, now);
                Rc::clone(kept)
            }
            None => Rc::new(PoolState::new(id, pool, snapshot, shard, now)),
        });
        let pools: Vec<_> = pools.collect();
        let feeds: Vec<_> =
            config.feeds.iter().filter_map(|feed| self.next_feed(feed, &pools, driver)).collect();
        let dispatches: Vec<_> =
            config.dispatches.iter().filter_map(|dispatch| self.next_dispatch(dispatch, &pools)).collect();
        let kept: HashMap<_, _> = self.routes.iter().map(|kept| (&*kept.route.name, kept)).collect();
        let routes = config.routes.iter().map(|route| {
            let goal = Goal::of(&route.target, &pools, &feeds, &dispatches);
            match kept.get(&*route.name) {
                Some(kept) if kept.is_as(route, &goal) => Rc::clone(kept),
                Some(_) | None => Rc::new(RouteState::new(route, goal, books, shards)),
            }
        });
        let routes = routes.collect();
        let secure = config.listeners.iter().map(|listen| listen.tls.as_ref().map(Secure::new)).collect();
        let router = Router::new(config.routes.iter().map(|route| &route.matcher), config.listeners.len());
        Self { config, secure, router, routes, pools, feeds, dispatches, place: self.place }
    }

    /// The feed that is to be had, kept if there was one of its name.
    fn next_feed(
        &self,
        feed: &Arc<config::Feed>,
        pools: &[Rc<PoolState>],
        driver: &Driver,
    ) -> Option<Rc<FeedState>> {
        let pool = pools.get(feed.sources.index())?;
        let Some(kept) = self.feed(&feed.name) else {
            return Some(FeedState::new(self.place, driver, feed, pool));
        };
        kept.adopt(driver, feed, pool);
        Some(kept.clone())
    }

    /// The dispatch that is to be had, kept if there was one of its name.
    fn next_dispatch(
        &self,
        dispatch: &Arc<config::Dispatch>,
        pools: &[Rc<PoolState>],
    ) -> Option<Rc<DispatchState>> {
        let pool = pools.get(dispatch.backends.index())?;
        let Some(kept) = self.dispatches.iter().find(|kept| *kept.name == *dispatch.name) else {
            return Some(DispatchState::new(dispatch, pool));
        };
        kept.adopt(dispatch, pool);
        Some(kept.clone())
    }

    pub(super) fn dispatches(&self) -> &[Rc<DispatchState>] {
        &self.dispatches
    }

    /// The feed of this name.
    pub(super) fn feed(&self, name: &str) -> Option<&Rc<FeedState>> {
        self.feeds.iter().find(|feed| *feed.name == *name)
    }

    pub(super) fn feeds(&self) -> &[Rc<FeedState>] {
        &self.feeds
    }

    /// Whether a pool has this backend.
    pub(super) fn has(&self, backend: BackendId) -> bool {
        self.pools.iter().any(|pool| pool.view(backend).is_some())
    }

    /// The route for a request.
    pub(super) fn route(&self, listener: ListenId, host: &str, target: &str) -> Option<Rc<RouteState>> {
        self.routes.get(self.router.find(listener, host, target)?).cloned()
    }

    /// How TLS is spoken at a listener, if it is.
    pub(super) fn secure(&self, listener: ListenId) -> Option<&Secure> {
        self.secure.get(listener.index())?.as_deref()
    }

    /// The backends have changed.
    pub(super) fn handle_snapshot(&self, snapshot: &Arc<Snapshot>) {
        self.pools.iter().for_each(|pool| pool.handle_snapshot(snapshot));
    }

    /// This shard's sessions on each backend.
    pub(super) fn sessions(&self) -> Vec<(BackendId, u32)> {
        self.pools.iter().flat_map(|pool| pool.selector.borrow().sessions()).collect()
    }

    /// The sessions that began before their pool had a limit and have one to count against now, each time once.
    pub(super) fn take_unasked(&self) -> Vec<(BackendId, u32)> {
        let limited = self.pools.iter().filter(|pool| pool.pool.borrow().is_limited());
        limited.flat_map(|pool| pool.unasked.adopt()).collect()
    }

    /// Whether any pool chooses by the sessions of all shards.
    pub(super) fn needs_counts(&self) -> bool {
        self.config.pools.iter().any(|pool| pool.needs_counts())
    }
}

/// Where a target leads.
#[derive(Default)]
struct Goal {
    pool: Option<Rc<PoolState>>,
    feed: Option<Rc<FeedState>>,
    dispatch: Option<Rc<DispatchState>>,
}

impl Goal {
    fn of(
        target: &Target,
        pools: &[Rc<PoolState>],
        feeds: &[Rc<FeedState>],
        dispatches: &[Rc<DispatchState>],
    ) -> Self {
        match target {
            Target::Pool(id) => Self { pool: pools.get(id.index()).cloned(), ..Self::default() },
            Target::Feed(id) => Self { feed: feeds.get(id.index()).cloned(), ..Self::default() },
            Target::Dispatch(id) => {
                let dispatch = dispatches.get(id.index()).cloned();
                Self { pool: dispatch.as_ref().map(|dispatch| dispatch.pool()), dispatch, feed: None }
            }
            Target::Echo | Target::Ticker { .. } | Target::Fixed(_) => Self::default(),
        }
    }
}

/// Whether both are the same, or both nothing.
fn is_same<T>(one: Option<&Rc<T>>, other: Option<&Rc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Rc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Secure {
    fn new(server: &Arc<tls::Server>) -> Rc<Self> {
        let pace = server.settings().handshakes_per_second.map(|rate| RefCell::new(Pace::new(rate)));
        Rc::new(Self { server: server.clone(), pace })
    }

    /// When a handshake may begin that has to be over at `at`; `None`, if that is too late.
    pub(super) fn turn(&self, now: Instant, at: Instant) -> Option<Instant> {
        let Some(pace) = &self.pace else { return Some(now) };
        let mut pace = pace.borrow_mut();
        (!pace.is_taken_until(at)).then(|| pace.next(now))
    }
}

impl RouteState {
    fn new(route: &Arc<Route>, goal: Goal, books: &mut Books, shards: NonZeroU32) -> Self {
        Self {
            route: route.clone(),
            settings: Rc::new(route.session.clone()),
            guard: RefCell::new(Guard::new(&route.guard, shards)),
            books: books.route(&route.name),
            pool: goal.pool,
            feed: goal.feed,
            dispatch: goal.dispatch,
        }
    }

    /// Whether a session could not tell it from `route` before `goal`.
    fn is_as(&self, route: &Route, goal: &Goal) -> bool {
        is_same(self.pool.as_ref(), goal.pool.as_ref())
            && is_same(self.feed.as_ref(), goal.feed.as_ref())
            && is_same(self.dispatch.as_ref(), goal.dispatch.as_ref())
            && self.route.is_like(route)
    }
}

impl Unasked {
    fn adopt(&self) -> BTreeMap<BackendId, u32> {
        let sessions = self.sessions.take();
        if !sessions.is_empty() {
            self.adoptions.set(self.adoptions.get() + 1);
        }
        sessions
    }
}

impl PoolState {
    fn new(id: PoolId, pool: &Arc<Pool>, snapshot: &Arc<Snapshot>, shard: ShardId, now: Instant) -> Self {
        let selector = Selector::new(&pool.policy, shard, id.index(), snapshot.clone(), now);
        let tls = RefCell::new(pool.tls.as_ref().map(|tls| tls.config()));
        let (pool, selector) = (RefCell::new(pool.clone()), RefCell::new(selector));
        Self { pool, selector, tls, unasked: Unasked::default(), shard, id: Cell::new(id) }
    }

    /// Goes on as `pool`, which has its name. A selector that has to be made anew knows the sessions of the old one.
    fn adopt(&self, id: PoolId, pool: &Arc<Pool>, snapshot: &Arc<Snapshot>, now: Instant) {
        let former = self.pool.replace(pool.clone());
        if former.tls != pool.tls {
            self.tls.replace(pool.tls.as_ref().map(|tls| tls.config()));
        }
        if self.id.replace(id) == id && former.policy == pool.policy {
            return self.handle_snapshot(snapshot);
        }
        let mut selector = Selector::new(&pool.policy, self.shard, id.index(), snapshot.clone(), now);
        for (backend, sessions) in self.selector.borrow().sessions() {
            (0..sessions).for_each(|_| selector.handle_opened(backend));
        }
        self.selector.replace(selector);
    }

    fn handle_snapshot(&self, snapshot: &Arc<Snapshot>) {
        self.selector.borrow_mut().handle_snapshot(snapshot.clone());
    }

    /// A session without a permit begins; what [`Self::end_unasked`] wants to know in the end.
    pub(super) fn begin_unasked(&self, backend: BackendId) -> u32 {
        *self.unasked.sessions.borrow_mut().entry(backend).or_default() += 1;
        self.unasked.adoptions.get()
    }

    /// It ends; whether it has been adopted, and so has a place to give back.
    pub(super) fn end_unasked(&self, backend: BackendId, adoptions: u32) -> bool {
        if self.unasked.adoptions.get() != adoptions {
            return true;
        }
        if let Entry::Occupied(mut sessions) = self.unasked.sessions.borrow_mut().entry(backend) {
            *sessions.get_mut() -= 1;
            if *sessions.get() == 0 {
                sessions.remove();
            }
        }
        false
    }

    /// How the control plane sees the addresses of one of its lines.
    pub(super) fn views(&self, line: usize) -> Vec<BackendView> {
        self.selector.borrow().views().iter().filter(|view| view.spec == line).cloned().collect()
    }

    /// How the control plane sees one of its backends.
    pub(super) fn view(&self, backend: BackendId) -> Option<BackendView> {
        self.selector.borrow().view(backend).cloned()
    }
}
