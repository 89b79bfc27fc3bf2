//! What the control plane knows of every pool's backends, and the snapshots it makes of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::probe::Question;
use super::resolve::{Difference, Unresolved};
use crate::balance::{BackendId, BackendState, BackendView, Epoch, PoolView, ShardId, Snapshot, Weight};
use crate::config::{self, BackendUrl, Config, Feed};
use crate::health::{self, Health, Outcome, ProbeFault};

/// Where names point, as far as it has been looked up.
pub type Addresses = HashMap<BackendUrl, Vec<SocketAddr>>;

/// One line of a pool's configuration, as long as it stands there: whose name is resolved again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LineId(u32);

/// All pools.
pub struct Registry {
    /// In the order of the configuration.
    pools: Vec<Pool>,
    /// Where each backend stands: pool, and place in it.
    places: HashMap<BackendId, (usize, usize)>,
    last_backend: u32,
    last_line: u32,
    shards: usize,
    epoch: Epoch,
    /// Whether something has changed since the last snapshot.
    is_stale: bool,
    /// When a weight changes by itself next, in a slow start.
    weights_change_at: Option<Instant>,
    /// Whether the lines are others than when they were last looked at.
    lines_changed: bool,
    /// Backends whose probe may be wanted at another time than before.
    replanned: Vec<BackendId>,
}

pub(super) struct Pool {
    pub(super) settings: Arc<config::Pool>,
    judge: health::Pool,
    lines: Vec<Line>,
    pub(super) backends: Vec<Backend>,
}

/// What a pool is to become.
struct Wanted<'w> {
    settings: &'w Arc<config::Pool>,
    /// Of lines that are new.
    addresses: &'w Addresses,
    now: Instant,
}

struct Line {
    id: LineId,
    url: BackendUrl,
    addresses: Vec<SocketAddr>,
}

/// One address of one line.
pub(super) struct Backend {
    pub(super) id: BackendId,
    /// Its line in the pool's configuration, by index.
    line: usize,
    pub(super) url: BackendUrl,
    pub(super) address: SocketAddr,
    pub(super) health: Health,
    /// Whether it gets no new sessions, by order.
    pub(super) is_draining: bool,
    /// By [`ShardId`], as last reported.
    pub(super) sessions: Vec<u32>,
}

impl Registry {
    /// No pools yet, on this many shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            pools: Vec::new(),
            places: HashMap::new(),
            last_backend: 0,
            last_line: 0,
            shards,
            epoch: Epoch(0),
            is_stale: true,
            weights_change_at: None,
            lines_changed: false,
            replanned: Vec::new(),
        }
    }

    /// Takes over the pools of a configuration. What stays keeps its health, its sessions and its identity; a line
    /// that is new is at `addresses`. Returns the backends that are gone.
    pub fn apply(&mut self, config: &Config, addresses: &Addresses, now: Instant) -> Vec<BackendId> {
        let mut former = std::mem::take(&mut self.pools);
        let mut gone = Vec::new();
        for settings in &config.pools {
            let at = former.iter().position(|pool| pool.settings.name == settings.name);
            let pool = match at {
                Some(at) => former.swap_remove(at),
                None => Pool::new(settings.clone()),
            };
            let (pool, left) = self.adopt(pool, &Wanted { settings, addresses, now });
            gone.extend(left);
            self.pools.push(pool);
        }
        gone.extend(former.iter().flat_map(|pool| pool.backends.iter().map(|backend| backend.id)));
        self.find_places();
        self.lines_changed = true;
        // Shards get a configuration together with a snapshot, even one of no pools.
        self.is_stale = true;
        gone
    }

    /// Whether there are other lines than the last time this was asked.
    pub(super) fn take_lines_changed(&mut self) -> bool {
        std::mem::take(&mut self.lines_changed)
    }

    /// How many backends new sessions may be placed on. The sources of a feed are not among them.
    #[must_use]
    pub fn up(&self) -> usize {
        self.for_sessions().map(Pool::up).sum()
    }

    /// How many backends there are, likewise.
    #[must_use]
    pub fn count(&self) -> usize {
        self.for_sessions().map(|pool| pool.backends.len()).sum()
    }

    fn for_sessions(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().filter(|pool| Feed::of_pool(&pool.settings.name).is_none())
    }

    /// A new snapshot, if anything has changed since the last.
    pub fn take_snapshot(&mut self, now: Instant) -> Option<Arc<Snapshot>> {
        self.is_stale |= self.weights_change_at.is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.is_stale) {
            return None;
        }
        self.epoch.0 += 1;
        let weights = self.pools.iter().flat_map(|pool| pool.weights(now));
        self.weights_change_at = weights.filter_map(|weight| weight.changes_at).min();
        let pools = self.pools.iter().map(|pool| pool.view(now)).collect();
        Some(Arc::new(Snapshot { epoch: self.epoch, pools }))
    }

    /// When a snapshot is due without anything being heard.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.weights_change_at
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn pools(&self) -> &[Pool] {
        &self.pools
    }

    pub(super) fn handle_outcome(&mut self, backend: BackendId, outcome: Outcome, now: Instant) {
        self.change(backend, |backend, judge| backend.health.handle_outcome(outcome, judge, now));
    }

    pub(super) fn handle_probe(&mut self, backend: BackendId, result: Result<(), ProbeFault>, now: Instant) {
        let random = fastrand::u32(..);
        self.change(backend, |backend, judge| backend.health.handle_probe(result, judge, now, random));
    }

    /// What a shard's sessions are on now; those that are not named have none.
    pub(super) fn handle_sessions(&mut self, shard: ShardId, counts: &[(BackendId, u32)]) {
        let counts: HashMap<_, _> = counts.iter().copied().collect();
        for backend in self.pools.iter_mut().flat_map(|pool| &mut pool.backends) {
            let count = counts.get(&backend.id).copied().unwrap_or_default();
            if let Some(sessions) = backend.sessions.get_mut(shard.index()) {
                self.is_stale |= *sessions != count;
                *sessions = count;
            }
        }
    }

    /// A name has been resolved again. Sessions on an address that it has no more go on.
    pub(super) fn handle_resolved(
        &mut self,
        id: LineId,
        resolved: Result<Vec<SocketAddr>, Unresolved>,
        now: Instant,
    ) {
        let find = |pool: &Pool| pool.lines.iter().position(|line| line.id == id);
        let Some((at, line)) = self.pools.iter().enumerate().find_map(|(at, pool)| Some((at, find(pool)?)))
        else {
            return;
        };
        let addresses = match resolved {
            Ok(addresses) => addresses,
            Err(error) => return warn!(%error, "the backend keeps its addresses"),
        };
        let Some(pool) = self.pools.get_mut(at) else { return };
        let Some(entry) = pool.lines.get_mut(line) else { return };
        let difference = Difference::between(&entry.addresses, &addresses);
        if difference.is_empty() {
            return;
        }
        info!(backend = %entry.url, ?addresses, "the backend's name points elsewhere");
        entry.addresses = addresses;
        let settings = pool.settings.clone();
        let pool = self.pools.swap_remove(at);
        let wanted = Wanted { settings: &settings, addresses: &Addresses::new(), now };
        let (pool, _) = self.adopt(pool, &wanted);
        self.pools.push(pool);
        let last = self.pools.len().saturating_sub(1);
        self.pools.swap(at, last);
        self.find_places();
    }

    /// Stops or resumes placing sessions on the backends that a person calls by this name: an address, a URL, or
    /// either behind the name of a pool and a slash. Those that were meant, as `pool/url`.
    pub(super) fn set_draining(&mut self, name: &str, is_draining: bool) -> Vec<(BackendId, String)> {
        let mut meant = Vec::new();
        for pool in &mut self.pools {
            let pool_name = &pool.settings.name;
            let short = name.strip_prefix(&**pool_name).and_then(|rest| rest.strip_prefix('/'));
            for backend in &mut pool.backends {
                if backend.goes_by(name) || short.is_some_and(|short| backend.goes_by(short)) {
                    backend.is_draining = is_draining;
                    meant.push((backend.id, format!("{pool_name}/{}", backend.name())));
                }
            }
        }
        self.is_stale |= !meant.is_empty();
        meant
    }

    /// Every backend, as `pool/url`.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |pool: &Pool, backend: &Backend| format!("{}/{}", pool.settings.name, backend.name());
        let names =
            self.pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| name(pool, backend)));
        names.collect()
    }

    /// The backends whose probe may be wanted at another time than before, and when; `None` for those that are gone.
    pub(super) fn take_replanned(&mut self) -> Vec<(BackendId, Option<Instant>)> {
        let replanned = std::mem::take(&mut self.replanned);
        let probe_at = |id| self.backend_of(id).and_then(|backend| backend.health.probe_at());
        replanned.into_iter().map(|id| (id, probe_at(id))).collect()
    }

    fn backend_of(&self, id: BackendId) -> Option<&Backend> {
        let (pool, at) = self.places.get(&id)?;
        self.pools.get(*pool)?.backends.get(*at)
    }

    /// What to ask a backend.
    pub(super) fn question(&self, id: BackendId) -> Option<Question> {
        let (pool, at) = self.places.get(&id)?;
        let pool = self.pools.get(*pool)?;
        let backend = pool.backends.get(*at)?;
        let (probe, timeout) = (pool.judge.probe().clone(), pool.judge.settings().timeout);
        let (address, url) = (backend.address, backend.url.clone());
        let (send_proxy, tls) = (pool.settings.send_proxy, pool.settings.tls.clone());
        Some(Question { address, url, probe, timeout, send_proxy, tls })
    }

    /// Every line, and how often its name is to be resolved.
    pub(super) fn lines(&self) -> impl Iterator<Item = (LineId, &BackendUrl, Duration)> {
        self.pools.iter().flat_map(|pool| {
            let every = pool.settings.resolve_every;
            pool.lines.iter().map(move |line| (line.id, &line.url, every))
        })
    }

    /// What a line's name is to be resolved for.
    pub(super) fn url(&self, id: LineId) -> Option<BackendUrl> {
        let mut lines = self.pools.iter().flat_map(|pool| &pool.lines);
        lines.find(|line| line.id == id).map(|line| line.url.clone())
    }

    /// How the log calls a backend.
    pub(super) fn name(&self, id: BackendId) -> Option<String> {
        self.backend_of(id).map(Backend::name)
    }

    /// Makes a pool what is wanted: at the addresses that its lines have, or, where they are new, at those given.
    /// With it come the backends that have left it.
    fn adopt(&mut self, mut pool: Pool, wanted: &Wanted<'_>) -> (Pool, Vec<BackendId>) {
        let Wanted { settings, addresses, now } = *wanted;
        self.is_stale = true;
        let is_new_judge = *pool.judge.settings() != settings.health;
        pool.judge.set_settings(settings.health.clone());
        let lines = std::mem::take(&mut pool.lines).into_iter();
        let mut lines: HashMap<_, _> = lines.map(|line| (line.url.clone(), line)).collect();
        let backends = std::mem::take(&mut pool.backends).into_iter();
        let mut backends: HashMap<_, _> =
            backends.map(|backend| ((backend.url.clone(), backend.address), backend)).collect();
        for (at, backend) in settings.backends.iter().enumerate() {
            let url = &backend.url;
            let line = lines.remove(url).unwrap_or_else(|| self.line(url, addresses));
            for address in &line.addresses {
                let kept = backends.remove(&(url.clone(), *address));
                let mut backend = kept.unwrap_or_else(|| self.backend(url, *address, &mut pool.judge, now));
                backend.line = at;
                if is_new_judge {
                    backend.health.handle_settings(&pool.judge, now);
                }
                pool.backends.push(backend);
            }
            pool.lines.push(line);
        }
        let gone = backends.values().map(|backend| backend.id).collect();
        for backend in backends.into_values() {
            backend.health.leave(&mut pool.judge);
        }
        pool.settings = settings.clone();
        (pool, gone)
    }

    fn line(&mut self, url: &BackendUrl, addresses: &Addresses) -> Line {
        self.last_line += 1;
        let addresses = addresses.get(url).cloned().unwrap_or_default();
        Line { id: LineId(self.last_line), url: url.clone(), addresses }
    }

    fn backend(
        &mut self,
        url: &BackendUrl,
        address: SocketAddr,
        judge: &mut health::Pool,
        now: Instant,
    ) -> Backend {
        self.last_backend += 1;
        Backend {
            id: BackendId(self.last_backend),
            line: 0,
            url: url.clone(),
            address,
            health: Health::join(judge, now),
            is_draining: false,
            sessions: vec![0; self.shards],
        }
    }

    fn find_places(&mut self) {
        let places = self.pools.iter().enumerate().flat_map(|(pool, entry)| {
            entry.backends.iter().enumerate().map(move |(at, backend)| (backend.id, (pool, at)))
        });
        let former = std::mem::replace(&mut self.places, places.collect());
        self.replanned.extend(former.keys().chain(self.places.keys()));
    }

    /// Changes one backend, and says so if that took it up or down.
    fn change(&mut self, id: BackendId, change: impl FnOnce(&mut Backend, &mut health::Pool)) {
        let Some((pool, at)) = self.places.get(&id) else { return };
        let Some(Pool { judge, backends, settings, .. }) = self.pools.get_mut(*pool) else { return };
        let Some(backend) = backends.get_mut(*at) else { return };
        let was_up = backend.health.is_up();
        change(backend, judge);
        let is_up = backend.health.is_up();
        self.is_stale |= was_up != is_up;
        self.replanned.push(id);
        // Of a feed's sources the feed tells more.
        if config::Feed::of_pool(&settings.name).is_some() {
            return;
        }
        let (pool, backend, state) = (&settings.name, backend.name(), backend.health.state());
        match (was_up, is_up) {
            (true, false) => warn!(%pool, backend, %state, "backend is down; new sessions go elsewhere"),
            (false, true) => info!(%pool, backend, "backend is up again"),
            (true, true) | (false, false) => {}
        }
    }
}

impl Pool {
    fn new(settings: Arc<config::Pool>) -> Self {
        let judge = health::Pool::new(settings.health.clone());
        Self { settings, judge, lines: Vec::new(), backends: Vec::new() }
    }

    /// Backends that new sessions may be placed on.
    pub(super) fn up(&self) -> usize {
        self.backends.iter().filter(|backend| !backend.is_draining && backend.health.is_up()).count()
    }

    /// Whether so few are up that their health is disregarded.
    pub(super) fn is_panicking(&self) -> bool {
        let total = self.backends.iter().filter(|backend| !backend.is_draining).count();
        health::is_panicking(self.up(), total, self.judge.settings())
    }

    /// A backend's weight, as its line has it.
    pub(super) fn configured_weight(&self, backend: &Backend) -> u32 {
        self.settings.backends.get(backend.line).map_or(1, |line| line.weight.into())
    }

    /// How much of its weight a backend gets now.
    pub(super) fn weight(&self, backend: &Backend, now: Instant) -> health::Weight {
        backend.health.weight(self.judge.settings(), now)
    }

    fn weights(&self, now: Instant) -> impl Iterator<Item = health::Weight> {
        self.backends.iter().map(move |backend| self.weight(backend, now))
    }

    fn view(&self, now: Instant) -> PoolView {
        let backends = self.backends.iter().zip(self.weights(now)).map(|(backend, weight)| {
            let line = self.settings.backends.get(backend.line);
            BackendView {
                id: backend.id,
                spec: backend.line,
                address: backend.address,
                state: backend.state(),
                weight: Weight(self.configured_weight(backend) * weight.factor),
                connections_max: line.and_then(|line| line.connections_max),
                sessions: backend.sessions.clone(),
            }
        });
        PoolView { backends: backends.collect(), is_panicking: self.is_panicking() }
    }
}

impl Backend {
    pub(super) fn state(&self) -> BackendState {
        match self.health.is_up() {
            _ if self.is_draining => BackendState::Draining,
            true => BackendState::Up,
            false => BackendState::Down,
        }
    }

    /// Its URL, with the address that is meant where its host is a name.
    pub(super) fn name(&self) -> String {
        if self.url.host.parse::<std::net::IpAddr>().is_ok() {
            self.url.to_string()
        } else {
            format!("{} ({})", self.url, self.address.ip())
        }
    }

    fn goes_by(&self, name: &str) -> bool {
        let url = self.url.to_string();
        [self.name(), self.address.to_string()].iter().any(|own| own == name)
            || url == name
            || url.strip_prefix("ws://") == Some(name)
    }
}
