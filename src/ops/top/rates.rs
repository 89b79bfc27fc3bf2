//! What has happened between two looks, per second. Pure.

use std::collections::BTreeMap;

use crate::telemetry::{
    BackendOverview, BackendState, Closes, Dials, Directions, HistogramView, Overview, RouteOverview, Traffic,
};

use super::super::units::float;
use super::dispatches::{self, DispatchRow};
use super::feeds::{self, FeedRow};

/// Everything that is shown of the time between two looks.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rates {
    /// All routes together.
    pub(super) total: Row,
    pub(super) routes: Vec<Row>,
    pub(super) feeds: Vec<FeedRow>,
    pub(super) dispatches: Vec<DispatchRow>,
    pub(super) backends: Vec<Row>,
    /// Of the relayed messages, both ways, in seconds.
    pub(super) relay: HistogramView,
    /// Sessions that ended, by code, since the start of the process.
    pub(super) closes: Vec<(String, u64)>,
}

/// A line of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Row {
    pub(super) name: String,
    /// A backend's; `None` for a route.
    pub(super) state: Option<BackendState>,
    pub(super) sessions: u64,
    /// Per second, as all that follows; 0 if there is nothing to compare with.
    pub(super) opened: f64,
    pub(super) messages: Directions<f64>,
    pub(super) bytes: Directions<f64>,
    /// Requests of a route that were refused; dials of a backend that failed.
    pub(super) failed: f64,
}

/// What a row is made of.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    sessions: u64,
    failed: u64,
    traffic: Directions<Traffic>,
}

impl Rates {
    /// Compares two looks; `earlier` may be of a process that has since been started anew.
    pub(super) fn between(earlier: &Overview, now: &Overview) -> Self {
        let elapsed = now.uptime_seconds - earlier.uptime_seconds;
        let speed = Speed { seconds: (elapsed > 0.0).then_some(elapsed) };
        let earlier_routes: BTreeMap<_, _> =
            earlier.routes.iter().map(|route| (route.name.as_str(), route)).collect();
        let route = |route: &RouteOverview| {
            let before = earlier_routes.get(route.name.as_str()).map(|route| route_totals(route));
            let row = Row { name: route.name.clone(), sessions: route.sessions_now, ..Row::default() };
            speed.fill(row, route_totals(route), before)
        };
        let routes: Vec<_> = now.routes.iter().map(route).collect();
        let total = routes.iter().fold(Row::default(), Row::plus);
        Self {
            total,
            routes,
            feeds: feeds::rows(earlier, now, speed),
            dispatches: dispatches::rows(earlier, now, speed),
            backends: backends(earlier, now, speed),
            relay: now.histograms.relay_seconds.since(&earlier.histograms.relay_seconds),
            closes: closes(now),
        }
    }
}

fn backends(earlier: &Overview, now: &Overview, speed: Speed) -> Vec<Row> {
    let earlier: BTreeMap<_, _> = earlier
        .backends()
        .map(|(pool, backend)| ((&*pool.name, &*backend.name, &*backend.address), backend))
        .collect();
    now.backends()
        .map(|(pool, backend)| {
            let key = (&*pool.name, &*backend.name, &*backend.address);
            let before = earlier.get(&key).map(|backend| backend_totals(backend));
            let name = format!("{}/{}", pool.name, backend.name);
            let row =
                Row { name, state: Some(backend.state), sessions: backend.sessions_now, ..Row::default() };
            speed.fill(row, backend_totals(backend), before)
        })
        .collect()
}

/// The most frequent first.
fn closes(now: &Overview) -> Vec<(String, u64)> {
    let mut by_code = BTreeMap::<&str, u64>::new();
    for Closes { code, count, .. } in now.routes.iter().flat_map(|route| &route.closes) {
        *by_code.entry(code).or_default() += count;
    }
    let mut closes: Vec<_> = by_code.into_iter().map(|(code, count)| (code.to_owned(), count)).collect();
    closes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    closes
}

fn route_totals(route: &RouteOverview) -> Totals {
    let failed = route.refusals.iter().map(|refusals| refusals.count).sum();
    Totals { sessions: route.sessions_total, failed, traffic: route.traffic }
}

fn backend_totals(backend: &BackendOverview) -> Totals {
    let failed = backend.dials.iter().filter(|dials| dials.outcome != Dials::ANSWERED);
    let failed = failed.map(|dials| dials.count).sum();
    Totals { sessions: backend.sessions_total, failed, traffic: backend.traffic }
}

/// Differences to rates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// Between the two looks; `None` if they cannot be compared.
    seconds: Option<f64>,
}

impl Speed {
    /// How fast a total grew; 0 if the looks cannot be compared.
    pub(super) fn between(self, before: u64, now: u64) -> f64 {
        self.seconds.map_or(0.0, |seconds| float(now.saturating_sub(before)) / seconds)
    }

    fn fill(self, row: Row, now: Totals, before: Option<Totals>) -> Row {
        let Some(before) = before else { return row };
        let per_second = |now, before| self.between(before, now);
        let (new, old) = (now.traffic, before.traffic);
        Row {
            opened: per_second(now.sessions, before.sessions),
            failed: per_second(now.failed, before.failed),
            messages: Directions {
                from_clients: per_second(new.from_clients.messages, old.from_clients.messages),
                from_backends: per_second(new.from_backends.messages, old.from_backends.messages),
            },
            bytes: Directions {
                from_clients: per_second(new.from_clients.bytes, old.from_clients.bytes),
                from_backends: per_second(new.from_backends.bytes, old.from_backends.bytes),
            },
            ..row
        }
    }
}

impl Row {
    fn plus(self, other: &Self) -> Self {
        let sum = |one: Directions<f64>, two: Directions<f64>| Directions {
            from_clients: one.from_clients + two.from_clients,
            from_backends: one.from_backends + two.from_backends,
        };
        Self {
            sessions: self.sessions.saturating_add(other.sessions),
            opened: self.opened + other.opened,
            messages: sum(self.messages, other.messages),
            bytes: sum(self.bytes, other.bytes),
            failed: self.failed + other.failed,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::PoolOverview;

    use super::*;

    fn overview(uptime_seconds: f64, sessions: u64, messages: u64) -> Overview {
        let traffic = Directions {
            from_clients: Traffic { messages, bytes: messages * 100 },
            from_backends: Traffic { messages: messages * 2, bytes: messages * 200 },
        };
        let closes = |code: &str, count| Closes { code: code.to_owned(), side: "client".to_owned(), count };
        let route = RouteOverview {
            name: "chat".to_owned(),
            sessions_now: 3,
            sessions_total: sessions,
            traffic,
            closes: vec![closes("1000", 1), closes("1001", 2), closes("1000", 5)],
            ..RouteOverview::default()
        };
        let dials = |outcome: &str, count| Dials { outcome: outcome.to_owned(), count };
        let backend = BackendOverview {
            name: "ws://b".to_owned(),
            dials: vec![dials("answered", sessions), dials("refused", sessions)],
            ..BackendOverview::default()
        };
        let pool = PoolOverview { name: "p".to_owned(), backends: vec![backend], ..PoolOverview::default() };
        Overview { uptime_seconds, routes: vec![route], pools: vec![pool], ..Overview::default() }
    }

    #[test]
    fn rates_are_differences_by_the_process_s_own_clock() {
        let rates = Rates::between(&overview(10.0, 4, 100), &overview(12.0, 8, 300));
        let route = &rates.routes[0];
        assert_eq!(
            (route.opened, route.messages.from_clients, route.bytes.from_backends),
            (2.0, 100.0, 20_000.0)
        );
        assert_eq!((rates.total.sessions, rates.total.messages.from_backends), (3, 200.0));
        assert_eq!((rates.backends[0].name.as_str(), rates.backends[0].failed), ("p/ws://b", 2.0));
        assert_eq!(rates.closes, [("1000".to_owned(), 6), ("1001".to_owned(), 2)]);
    }

    #[test]
    fn a_process_that_was_started_anew_has_no_rates_yet() {
        let rates = Rates::between(&overview(10.0, 4, 100), &overview(1.0, 8, 300));
        assert_eq!((rates.routes[0].opened, rates.routes[0].sessions), (0.0, 3));
        let unknown = Rates::between(&Overview::default(), &overview(1.0, 8, 300));
        assert_eq!((unknown.routes[0].opened, unknown.backends[0].failed), (0.0, 0.0));
    }
}
