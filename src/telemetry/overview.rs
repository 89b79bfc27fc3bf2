//! The whole process at one moment, as the control plane knows it: what `/status`, `/metrics` and `selat top` show.
//!
//! Plain data, the same at both ends of the admin interface. Names are labels too: those who fill it in keep their
//! number bounded by the configuration, never by what a peer sends.

use serde::{Deserialize, Serialize};

use super::{AcmeOverview, CertificateOverview, DispatchOverview, FeedOverview, HistogramView, Traffic};

/// One look at a running selat.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Overview {
    /// Of the program.
    pub version: String,
    /// Since its start.
    pub uptime_seconds: f64,
    /// Whether it is going down.
    pub phase: Phase,
    /// What it was told to do, and whether it took the last change.
    pub config: ConfigStatus,
    /// Of the backends' states that the shards were told last.
    pub snapshot_epoch: u64,
    /// By number.
    pub shards: Vec<ShardOverview>,
    /// In the order of the configuration.
    pub routes: Vec<RouteOverview>,
    /// Requests refused before a route was found.
    pub unrouted: Vec<Refusals>,
    /// TLS handshakes; those with clients by what they came to, then those with backends.
    #[serde(default)]
    pub tls_handshakes: Vec<Handshakes>,
    /// In the order of the configuration; behind them the backends of each dispatch, as `dispatch.NAME`. The sources of
    /// a feed are no pool: they stand with it.
    pub pools: Vec<PoolOverview>,
    /// In the order of the configuration.
    #[serde(default)]
    pub feeds: Vec<FeedOverview>,
    /// In the order of the configuration.
    #[serde(default)]
    pub dispatches: Vec<DispatchOverview>,
    /// By listener, in the order of the configuration.
    pub certificates: Vec<CertificateOverview>,
    /// How certificates are ordered; `None` where none are.
    pub acme: Option<AcmeOverview>,
    /// Of the whole process.
    pub histograms: Histograms,
    /// Log lines lost because the control plane, or whoever reads the log, could not keep up.
    pub log_lines_dropped: u64,
}

/// TLS handshakes that came to the same.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Handshakes {
    /// With whom: `client` or `backend`.
    pub side: String,
    /// `full`, `resumed`, or why they failed, in a word.
    pub result: String,
    /// How many.
    pub count: u64,
}

/// Whether the process is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It takes new sessions.
    #[default]
    Serving,
    /// It takes none, and closes those it has.
    Draining,
}

/// What the process was told to do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// 1 at the start; one more with each reload that was applied.
    pub generation: u64,
    /// The file; `None` where the command line said it all.
    pub file: Option<String>,
    /// The last reload, applied or not.
    pub last_reload: Option<ReloadStatus>,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// How long ago.
    pub seconds_ago: f64,
    /// Why it changed nothing; `None` if it was applied.
    pub error: Option<String>,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ShardOverview {
    /// Its number.
    pub id: u16,
    /// The core it is pinned to.
    pub core: usize,
    /// Client connections open now.
    pub connections: u64,
    /// Sessions open now.
    pub sessions: u64,
    /// Connections its listener was given.
    pub accepted: u64,
    /// Of these, those it gave to a shard with less to do.
    pub handed_over: u64,
    /// Accepts that failed for want of a resource.
    pub accept_failures: u64,
    /// Processor time it has taken, in seconds, where that is known.
    pub busy_seconds: Option<f64>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteOverview {
    /// As the configuration calls it.
    pub name: String,
    /// Sessions open now.
    pub sessions_now: u64,
    /// Sessions that got their 101.
    pub sessions_total: u64,
    /// What was relayed.
    pub traffic: Directions<Traffic>,
    /// Requests answered without a 101.
    pub refusals: Vec<Refusals>,
    /// How sessions ended.
    pub closes: Vec<Closes>,
    /// Limits that held something back or ended it.
    pub limits_hit: Vec<LimitHits>,
}

/// Requests refused with one status for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refusals {
    /// The HTTP status.
    pub status: u16,
    /// One word of a fixed set, such as `origin_forbidden`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Sessions that ended with one code, by one side's doing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Closes {
    /// As [`close_label`] says it.
    pub code: String,
    /// `client`, `backend` or `proxy`.
    pub side: String,
    /// How many.
    pub count: u64,
}

/// How often one kind of limit was hit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitHits {
    /// One word of a fixed set, such as `message_size`.
    pub kind: String,
    /// How often.
    pub count: u64,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PoolOverview {
    /// As the configuration calls it.
    pub name: String,
    /// How a backend is chosen, in the configuration's words.
    pub policy: String,
    /// Whether no backend is up, so that all are tried.
    pub is_panicking: bool,
    /// Sessions that wait for a backend with room.
    pub waiting: u64,
    /// Each address of each backend.
    pub backends: Vec<BackendOverview>,
}

/// One address of one backend.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BackendOverview {
    /// Its URL, as the configuration has it. With the address it is unique in its pool.
    pub name: String,
    /// Where it points, `host:port`; empty while the name cannot be resolved.
    pub address: String,
    /// Whether it gets new sessions.
    pub state: BackendState,
    /// What made it so, for people: `connection refused`, `probe answered 503`.
    pub why: String,
    /// How long it has been so.
    pub since_seconds: f64,
    /// As configured.
    pub weight: f64,
    /// As it counts now: less during a slow start, 0 while it gets nothing.
    pub weight_effective: f64,
    /// Sessions open now, of all shards.
    pub sessions_now: u64,
    /// Sessions that got their 101.
    pub sessions_total: u64,
    /// What was relayed.
    pub traffic: Directions<Traffic>,
    /// What dials came to.
    pub dials: Vec<Dials>,
}

/// Whether a backend gets new sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// Nothing is known yet; it gets them.
    #[default]
    Unknown,
    /// It gets them.
    Up,
    /// Its probes fail.
    Down,
    /// Its sessions fail; it is left out for a while.
    Ejected,
    /// It is being emptied, on purpose.
    Draining,
}

/// Dials that came to one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dials {
    /// One word of a fixed set, such as `refused`; [`Dials::ANSWERED`] where a handshake was answered.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// The process's histograms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histograms {
    /// Payload sizes of data messages, both ways, as on the wire; sampled.
    pub message_bytes: HistogramView,
    /// From learning that bytes had come to the kernel's having taken the last of them, both ways; sampled.
    pub relay_seconds: HistogramView,
    /// From a ping to its pong.
    pub ping_rtt_seconds: Sides<HistogramView>,
    /// From the start of a dial to the backend's 101.
    pub handshake_seconds: HistogramView,
}

/// One of a kind for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Directions<T> {
    /// From clients to backends.
    pub from_clients: T,
    /// From backends to clients.
    pub from_backends: T,
}

/// One of a kind for each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sides<T> {
    /// Of the client's connection.
    pub client: T,
    /// Of the backend's.
    pub backend: T,
}

impl Overview {
    /// Why no new session should be sent here; empty if one may be: it serves, and each pool has a backend that is
    /// not known to be out. How a feed's source stands is no reason: its clients are kept whatever it does.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.phase == Phase::Draining {
            reasons.push("draining".to_owned());
        }
        for pool in self.pools.iter().filter(|pool| pool.backends_up() == 0) {
            reasons.push(format!("pool {}: none of {} backends is up", pool.name, pool.backends.len()));
        }
        reasons
    }

    /// Each backend with its pool.
    pub fn backends(&self) -> impl Iterator<Item = (&PoolOverview, &BackendOverview)> {
        self.pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
    }
}

impl PoolOverview {
    /// Backends that get new sessions.
    #[must_use]
    pub fn backends_up(&self) -> usize {
        self.backends.iter().filter(|backend| backend.state.takes_sessions()).count()
    }
}

impl BackendOverview {
    /// Whether a person who says `asked` means this backend of `pool`: its URL, the URL without `ws://`, its
    /// address, or any of these behind `pool/`. A URL that resolves to several addresses means them all.
    #[must_use]
    pub fn is_called(&self, asked: &str, pool: &str) -> bool {
        let host = self.name.split_once("://").map_or(self.name.as_str(), |(_, host)| host);
        let is_one =
            |asked: &str| !asked.is_empty() && (asked == self.name || asked == host || asked == self.address);
        let in_pool = asked.strip_prefix(pool).and_then(|rest| rest.strip_prefix('/'));
        is_one(asked) || in_pool.is_some_and(is_one)
    }
}

impl Dials {
    /// The outcome of every dial that did not fail.
    pub const ANSWERED: &str = "answered";
}

impl BackendState {
    /// Every state, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Up, Self::Down, Self::Ejected, Self::Draining];

    /// As a label and for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }

    /// Whether new sessions are placed there while any backend of the pool takes them.
    #[must_use]
    pub fn takes_sessions(self) -> bool {
        match self {
            Self::Unknown | Self::Up => true,
            Self::Down | Self::Ejected | Self::Draining => false,
        }
    }
}

impl Phase {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

/// A close code as a label. Peers choose codes, so those without a meaning of their own share one (RFC 6455 §7.4.2):
/// what a peer sends cannot grow the number of series.
#[must_use]
pub fn close_label(code: Option<u16>) -> &'static str {
    match code {
        None => "none",
        Some(1000) => "1000",
        Some(1001) => "1001",
        Some(1002) => "1002",
        Some(1003) => "1003",
        Some(1005) => "1005",
        Some(1006) => "1006",
        Some(1007) => "1007",
        Some(1008) => "1008",
        Some(1009) => "1009",
        Some(1010) => "1010",
        Some(1011) => "1011",
        Some(1012) => "1012",
        Some(1013) => "1013",
        Some(1014) => "1014",
        Some(1015) => "1015",
        Some(3000..=3999) => "3xxx",
        Some(4000..=4999) => "4xxx",
        Some(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(states: &[BackendState]) -> PoolOverview {
        let backend = |state: &BackendState| BackendOverview { state: *state, ..BackendOverview::default() };
        PoolOverview {
            name: "chat".to_owned(),
            backends: states.iter().map(backend).collect(),
            ..PoolOverview::default()
        }
    }

    #[test]
    fn it_is_ready_while_it_serves_and_each_pool_has_a_backend() {
        use BackendState::{Down, Draining, Ejected, Unknown, Up};
        let rows = [
            (Phase::Serving, vec![pool(&[Up, Down])], 0),
            (Phase::Serving, vec![pool(&[Unknown])], 0),
            (Phase::Serving, vec![pool(&[Down, Ejected, Draining])], 1),
            (Phase::Serving, vec![pool(&[Up]), pool(&[Down])], 1),
            (Phase::Serving, vec![], 0),
            (Phase::Draining, vec![pool(&[Up])], 1),
            (Phase::Draining, vec![pool(&[])], 2),
        ];
        for (phase, pools, expected) in rows {
            let overview = Overview { phase, pools, ..Overview::default() };
            assert_eq!(overview.unready().len(), expected, "{:?}", overview.unready());
        }
    }

    #[test]
    fn a_backend_answers_to_its_url_its_address_and_both_in_its_pool() {
        let backend = BackendOverview {
            name: "ws://b.example:9001/base".to_owned(),
            address: "10.0.0.1:9001".to_owned(),
            ..BackendOverview::default()
        };
        let names = [
            "ws://b.example:9001/base",
            "b.example:9001/base",
            "10.0.0.1:9001",
            "chat/ws://b.example:9001/base",
            "chat/10.0.0.1:9001",
        ];
        for name in names {
            assert!(backend.is_called(name, "chat"), "{name}");
        }
        for name in ["", "chat/", "other/10.0.0.1:9001", "b.example", "10.0.0.1"] {
            assert!(!backend.is_called(name, "chat"), "{name}");
        }
        let unresolved = BackendOverview { address: String::new(), ..backend };
        assert!(!unresolved.is_called("", "chat") && !unresolved.is_called("chat/", "chat"));
    }

    #[test]
    fn no_peer_makes_new_close_labels() {
        let labels: std::collections::BTreeSet<_> =
            (0..=u16::MAX).map(|code| close_label(Some(code))).collect();
        assert_eq!(labels.len(), 18);
    }
}
