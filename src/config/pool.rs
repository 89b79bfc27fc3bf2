//! Backends that serve the same, and how one of them is chosen.

use std::sync::Arc;
use std::time::Duration;

use super::{BackendUrl, Dispatch, Feed};
use crate::balance::{Policy, Queue};
use crate::health;
use crate::protocol::proxy_protocol;
use crate::tls;

/// A pool's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

impl PoolId {
    /// As an index into a table of all pools.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// A set of backends.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name in the configuration, for logs and metrics.
    pub name: Arc<str>,
    /// How a backend is chosen.
    pub policy: Policy,
    /// Its backends; at least one.
    pub backends: Vec<Backend>,
    /// How their health is judged.
    pub health: health::Settings,
    /// Who waits for a backend when all have as many sessions as they may.
    pub queue: Queue,
    /// For a backend to accept a connection and answer the handshake; then the next one is tried.
    pub connect: Duration,
    /// The PROXY protocol header that each connection to a backend begins with, telling it of the client.
    pub send_proxy: Option<proxy_protocol::Version>,
    /// How TLS is spoken with those of its backends that want it; `None`: none does.
    pub tls: Option<Arc<tls::Client>>,
    /// Between two looks at where the backends' names point.
    pub resolve_every: Duration,
}

/// One line of a pool: each address that its name resolves to is a backend of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it is.
    pub url: BackendUrl,
    /// Its share of the sessions, beside those of the others, from 1 to 1000.
    pub weight: u16,
    /// Sessions of the whole process; beyond, clients wait in the pool's queue.
    pub connections_max: Option<u32>,
}

impl Pool {
    /// These backends, each in turn.
    #[must_use]
    pub fn new(name: &str, backends: Vec<Backend>) -> Self {
        Self {
            name: name.into(),
            policy: Policy::default(),
            backends,
            health: health::Settings::default(),
            queue: Self::QUEUE,
            connect: Self::CONNECT,
            send_proxy: None,
            tls: None,
            resolve_every: Self::RESOLVE_EVERY,
        }
    }

    /// The table of the configuration that it is from: `pool.NAME`, or `feed.NAME` if it has a feed's sources, or
    /// `dispatch.NAME` if a dispatch's backends.
    #[must_use]
    pub fn table(&self) -> String {
        if Feed::of_pool(&self.name).is_some() || Dispatch::of_pool(&self.name).is_some() {
            self.name.to_string()
        } else {
            format!("pool.{}", self.name)
        }
    }

    /// Whether a backend is chosen by the sessions of all shards.
    #[must_use]
    pub fn needs_counts(&self) -> bool {
        let by_count = matches!(self.policy, Policy::LeastConnections | Policy::PowerOfTwo | Policy::Ewma);
        by_count || self.is_limited()
    }

    /// Whether some of its backends take only so many sessions.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.backends.iter().any(|backend| backend.connections_max.is_some())
    }

    /// For [`Pool::connect`].
    pub const CONNECT: Duration = Duration::from_secs(5);

    /// For [`Pool::queue`]: as long as a person waits for a page, and no longer a queue than can be served by then.
    pub const QUEUE: Queue = Queue { sessions_max: 1024, timeout: Duration::from_secs(10) };

    /// For [`Pool::resolve_every`]: what resolvers and load balancers commonly cache.
    pub const RESOLVE_EVERY: Duration = Duration::from_secs(30);
}

impl From<BackendUrl> for Backend {
    fn from(url: BackendUrl) -> Self {
        Self { url, weight: 1, connections_max: None }
    }
}
