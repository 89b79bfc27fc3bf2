//! Everything that the control plane knows, put together for whoever looks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::acme::Acme;
use super::books::Books;
use super::feeds;
use super::grants::Grants;
use super::registry::{Backend, Pool, Registry};
use super::reload::Generation;
use crate::config::{Config, Dispatch, Feed, Listen};
use crate::health;
use crate::session::Why;
use crate::telemetry::{
    BackendCounters, BackendOverview, BackendState, CertificateOverview, Closes, Counters, Dials, Directions,
    DispatchCounters, DispatchOverview, Handshakes, HistogramView, Histograms, LimitHits, Overview, Phase,
    PoolOverview, Refusals, Refused, RouteCounters, RouteOverview, Sessions, ShardOverview, Sides, Tally,
    TlsHandshakes,
};
use crate::tls::Certificate;

/// What an overview is made of.
pub(super) struct View<'c> {
    pub(super) config: &'c Config,
    pub(super) since: Instant,
    pub(super) phase: Phase,
    pub(super) generation: &'c Generation,
    pub(super) cores: &'c [usize],
    pub(super) registry: &'c Registry,
    pub(super) grants: &'c Grants,
    pub(super) books: &'c Books,
    pub(super) acme: &'c Acme,
    /// By whoever writes the log.
    pub(super) lines_lost: u64,
}

impl View<'_> {
    pub(super) fn overview(&self, now: Instant) -> Overview {
        let counters = self.books.counters();
        Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: now.saturating_duration_since(self.since).as_secs_f64(),
            phase: self.phase,
            config: self.generation.status(now),
            snapshot_epoch: self.registry.epoch().0,
            shards: self.shards(),
            routes: self.routes(&counters),
            unrouted: refusals(&counters.refused),
            tls_handshakes: handshakes(&counters.tls),
            pools: self.pools(now),
            feeds: feeds::overview(self.config, &counters.feeds, now),
            dispatches: self.dispatches(&counters),
            certificates: certificates(self.config),
            acme: self
                .config
                .listeners
                .iter()
                .any(|listen| listen.acme.is_some())
                .then(|| self.acme.overview(now)),
            histograms: histograms(&counters),
            log_lines_dropped: counters.lines_dropped + self.lines_lost,
        }
    }

    /// In the order of the configuration; behind them those that a reload has removed.
    fn routes(&self, counters: &Counters) -> Vec<RouteOverview> {
        let unused = RouteCounters::default();
        let present = self.config.routes.iter().map(|route| &route.name);
        let is_present: HashSet<_> = present.clone().collect();
        let former = counters.routes.keys().filter(|name| !is_present.contains(name));
        let routes = present.chain(former);
        routes.map(|name| route_overview(name, counters.routes.get(name).unwrap_or(&unused))).collect()
    }

    /// In the order of the configuration, but for the sources of feeds, which stand with those.
    fn pools(&self, now: Instant) -> Vec<PoolOverview> {
        let (counters, unused) = (self.books.backends(), BackendCounters::default());
        let counters_of = |backend: &Backend| counters.get(&backend.id).unwrap_or(&unused);
        let pools = self.registry.pools().iter().enumerate();
        let pools = pools.filter(|(_, pool)| Feed::of_pool(&pool.settings.name).is_none());
        let overview = |(at, pool): (usize, &Pool)| PoolOverview {
            name: pool.settings.name.to_string(),
            policy: self.policy(at, pool),
            is_panicking: pool.is_panicking(),
            waiting: self.grants.waiting(at).try_into().unwrap_or(u64::MAX),
            backends: pool
                .backends
                .iter()
                .map(|backend| backend_overview(pool, backend, counters_of(backend), now))
                .collect(),
        };
        pools.map(overview).collect()
    }

    /// How a backend of the pool at this place is chosen: for a session, or for a message.
    fn policy(&self, at: usize, pool: &Pool) -> String {
        let dispatch = self.config.dispatches.iter().find(|dispatch| dispatch.backends.index() == at);
        dispatch
            .map_or_else(|| pool.settings.policy.to_string(), |dispatch| dispatch.settings.send.to_string())
    }

    /// In the order of the configuration.
    fn dispatches(&self, counters: &Counters) -> Vec<DispatchOverview> {
        let unused = DispatchCounters::default();
        let overview = |dispatch: &Arc<Dispatch>| {
            let backends = self.registry.pools().get(dispatch.backends.index());
            let backends = backends.into_iter().flat_map(|pool| &pool.backends);
            let named =
                backends.map(|backend| (backend.id.0, backend.url.to_string(), backend.address.to_string()));
            let counters = counters.dispatches.get(&dispatch.name).unwrap_or(&unused);
            DispatchOverview::new(&dispatch.name, named, counters)
        };
        self.config.dispatches.iter().map(overview).collect()
    }

    fn shards(&self) -> Vec<ShardOverview> {
        let shards = (0..).zip(self.cores).zip(self.books.shards());
        let overview = |((id, core), (counters, busy)): ((u16, &usize), (&Counters, _))| ShardOverview {
            id,
            core: *core,
            connections: counters.connections_now,
            sessions: counters.sessions().now,
            accepted: counters.accepted,
            handed_over: counters.handed_over,
            accept_failures: counters.accept_failures,
            busy_seconds: Some(std::time::Duration::as_secs_f64(&busy)),
        };
        shards.map(overview).collect()
    }
}

/// Those of every listener.
fn certificates(config: &Config) -> Vec<CertificateOverview> {
    let of = |listen: &Listen| {
        let certificates = listen.tls.as_ref().map_or(&[][..], |tls| &tls.settings().certificates);
        let overview = |certificate: &Certificate| CertificateOverview {
            listener: listen.name.to_string(),
            name: certificate.names().iter().min().map_or(certificate.subject(), String::as_str).to_owned(),
            expires_at: certificate.expires_at(),
        };
        certificates.iter().map(overview).collect::<Vec<_>>()
    };
    config.listeners.iter().flat_map(of).collect()
}

fn route_overview(name: &str, route: &RouteCounters) -> RouteOverview {
    let mut closes: HashMap<_, u64> = HashMap::new();
    for (ended, count) in &route.ended {
        *closes.entry((ended.code, ended.side)).or_default() += count;
    }
    let mut closes: Vec<_> = closes
        .into_iter()
        .map(|((code, side), count)| Closes { code: code.to_owned(), side: side.to_owned(), count })
        .collect();
    closes.sort_by(|a, b| (&a.code, &a.side).cmp(&(&b.code, &b.side)));
    RouteOverview {
        name: name.to_owned(),
        sessions_now: route.sessions.now,
        sessions_total: route.sessions.total,
        traffic: traffic(&route.sessions),
        refusals: refusals(&route.refused),
        closes,
        limits_hit: limits_hit(route),
    }
}

/// The limits of sessions; those of requests are among the refusals.
fn limits_hit(route: &RouteCounters) -> Vec<LimitHits> {
    let ended = |why: &str, code: Option<&str>| -> u64 {
        let is_it = |code_of: &str| code.is_none_or(|code| code == code_of);
        let ended = route.ended.iter().filter(|(ended, _)| ended.why == why && is_it(ended.code));
        ended.map(|(_, count)| count).sum()
    };
    let hits = [
        ("message_size", ended("violation", Some("1009"))),
        ("rate_slowed", route.throttled),
        ("rate_closed", ended(Why::RateLimited.name(), None)),
        ("idle", ended(Why::Idle.name(), None)),
        ("lifetime", ended(Why::Expired.name(), None)),
        ("ping_timeout", ended(Why::PingTimeout.name(), None)),
    ];
    let hits = hits.into_iter().filter(|(_, count)| *count > 0);
    hits.map(|(kind, count)| LimitHits { kind: kind.to_owned(), count }).collect()
}

fn backend_overview(
    pool: &Pool,
    backend: &Backend,
    counters: &BackendCounters,
    now: Instant,
) -> BackendOverview {
    let configured = f64::from(pool.configured_weight(backend));
    let factor = f64::from(pool.weight(backend, now).factor) / 256.0;
    let (state, why) = match backend.health.state() {
        health::State::Unknown => (BackendState::Unknown, String::new()),
        health::State::Up => (BackendState::Up, String::new()),
        health::State::Ejected { why, .. } => (BackendState::Ejected, why.to_string()),
        health::State::Down { why } => (BackendState::Down, why.to_string()),
    };
    let state = if backend.is_draining { BackendState::Draining } else { state };
    let dials = counters.dials.iter();
    BackendOverview {
        name: backend.url.to_string(),
        address: backend.address.to_string(),
        weight: configured,
        weight_effective: if state.takes_sessions() { configured * factor } else { 0.0 },
        state,
        why,
        since_seconds: now.saturating_duration_since(backend.health.since()).as_secs_f64(),
        sessions_now: counters.sessions.now,
        sessions_total: counters.sessions.total,
        traffic: traffic(&counters.sessions),
        dials: dials
            .map(|(outcome, count)| Dials { outcome: (*outcome).to_owned(), count: *count })
            .collect(),
    }
}

fn traffic(sessions: &Sessions) -> Directions<crate::telemetry::Traffic> {
    Directions { from_clients: sessions.from_clients, from_backends: sessions.from_backends }
}

fn handshakes(tls: &TlsHandshakes) -> Vec<Handshakes> {
    let sides = [("client", &tls.clients), ("backend", &tls.backends)];
    let of_side = |(side, tally): (&'static str, &Tally<&'static str>)| -> Vec<_> {
        let handshakes = |(result, count): (&&str, &u64)| Handshakes {
            side: side.to_owned(),
            result: (*result).to_owned(),
            count: *count,
        };
        tally.iter().map(handshakes).collect()
    };
    sides.into_iter().flat_map(of_side).collect()
}

fn refusals(refused: &Tally<Refused>) -> Vec<Refusals> {
    let refusal = |(Refused { status, reason }, count): (&Refused, &u64)| Refusals {
        status: *status,
        reason: (*reason).to_owned(),
        count: *count,
    };
    refused.iter().map(refusal).collect()
}

fn histograms(counters: &Counters) -> Histograms {
    let sizes = &counters.message_size;
    Histograms {
        message_bytes: HistogramView::from_cumulative(sizes.buckets(), sizes.sum()),
        relay_seconds: HistogramView::from(&counters.relay_latency),
        ping_rtt_seconds: Sides {
            client: HistogramView::from(&counters.ping_rtt.client),
            backend: HistogramView::from(&counters.ping_rtt.backend),
        },
        handshake_seconds: HistogramView::from(&counters.dial_latency),
    }
}
