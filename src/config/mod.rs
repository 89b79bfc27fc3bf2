//! What selat was told to do: validated, immutable, free of any file or flag syntax.
//!
//! Pure: parses text, resolves nothing. Every error says what was wrong and what would be right.
//! Settings that a pure room acts on are that room's own types; this room only reads them.

mod acme;
mod address;
mod admin;
mod backend;
mod cores;
mod dispatch;
mod feed;
mod file;
mod pool;
mod route;
mod secret;
mod units;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use acme::{Acme, AcmeSettings, ChallengeKind, InvalidDomain, parse_domain};
pub use address::{InvalidAddress, ListenAddress};
pub use admin::{Access, Admin, Log, LogFormat, LogLevel};
pub use backend::{BackendUrl, InvalidBackend, Transport};
pub use cores::{Cores, InvalidCores};
pub use dispatch::{Dispatch, DispatchId};
pub use feed::{Feed, FeedId};
pub use file::{Mistake, Parsed, Sources, escape, parse, reference};
pub use pool::{Backend, Pool, PoolId};
pub use route::{Route, Target};
pub use secret::Secret;
pub use units::{InvalidUnit, parse_byte_rate, parse_bytes, parse_duration, parse_rate};

use crate::protocol::handshake::Forwarding;
use crate::tls;

/// Everything one server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect, by [`crate::routing::ListenId`]; at least one.
    pub listeners: Vec<Listen>,
    /// Which cores get a shard.
    pub cores: Cores,
    /// Which of them serves a connection.
    pub placement: Placement,
    /// What is done with a request: the first match wins, no match is a 404.
    pub routes: Vec<Arc<Route>>,
    /// What [`Target::Pool`] means, by [`PoolId`].
    pub pools: Vec<Arc<Pool>>,
    /// What [`Target::Feed`] means, by [`FeedId`].
    pub feeds: Vec<Arc<Feed>>,
    /// What [`Target::Dispatch`] means, by [`DispatchId`].
    pub dispatches: Vec<Arc<Dispatch>>,
    /// What backends are told of the client, and which proxies are believed about it.
    pub forwarding: Forwarding,
    /// Counts of the whole process.
    pub limits: Limits,
    /// Times of the whole process.
    pub timeouts: Timeouts,
    /// Where orders come in; `None` for nowhere.
    pub admin: Option<Admin>,
    /// What is logged.
    pub log: Log,
    /// The Unix socket over which a new process takes the listeners over from this one.
    pub handover: Option<PathBuf>,
    /// The file that it was read from, as [`Config::render`] gives it.
    pub effective: Arc<str>,
}

/// One address that clients connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it is.
    pub address: ListenAddress,
    /// Whether every connection begins with a PROXY protocol header that says where the client is.
    pub proxy_protocol: ProxyProtocol,
    /// How TLS is spoken there; `None`: it is not.
    pub tls: Option<Arc<tls::Server>>,
    /// The certificate among those of `tls` that is got automatically.
    pub acme: Option<Acme>,
}

impl Listen {
    /// Whether it takes the same socket.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { name, address, proxy_protocol, tls: _, acme: _ } = self;
        (name, address, proxy_protocol) == (&other.name, &other.address, &other.proxy_protocol)
    }
}

/// Whether a listener's connections begin with a PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// They do not; one that does is refused as malformed HTTP.
    #[default]
    Off,
    /// All do, v1 or v2; one that does not is refused. Where [`Forwarding::trusted`] has a list, only its members
    /// may send one.
    Required,
}

/// Which shard serves a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// The one that the kernel's hash gives it to.
    #[default]
    Kernel,
    /// The one with the fewest connections, to which the accepting one hands it over.
    Balanced,
}

/// Bounds on what all clients together can make selat hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Client connections of the whole process; beyond: 503. `None` for as many as the descriptor limit allows.
    pub connections_max: Option<u32>,
}

/// How long selat waits for whom, outside of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a client's whole request head; then 408.
    pub head: Duration,
    /// For a closing handshake that a drain began; then what is left gets cut.
    pub close: Duration,
    /// Over which the sessions are spread that a drain closes.
    pub drain_window: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            close: Duration::from_secs(10),
            drain_window: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// One listener, and these routes and pools, with nothing special about them.
    #[must_use]
    pub fn new(address: ListenAddress, routes: Vec<Route>, pools: Vec<Pool>) -> Self {
        Self {
            listeners: vec![Listen {
                name: "public".into(),
                address,
                proxy_protocol: ProxyProtocol::Off,
                tls: None,
                acme: None,
            }],
            cores: Cores::All,
            placement: Placement::default(),
            routes: routes.into_iter().map(Arc::new).collect(),
            pools: pools.into_iter().map(Arc::new).collect(),
            feeds: Vec::new(),
            dispatches: Vec::new(),
            forwarding: Forwarding::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            admin: None,
            log: Log::default(),
            handover: None,
            effective: Arc::default(),
        }
    }

    /// The file that it was read from, with every default written out; empty if it was not read from one.
    ///
    /// Reading this text again gives the same configuration. Values from the environment and from files of secrets
    /// are not in it: the references to them are.
    #[must_use]
    pub fn render(&self) -> &str {
        &self.effective
    }
}
