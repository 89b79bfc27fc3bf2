//! What is done with a request, and within which bounds.

use std::sync::Arc;
use std::time::Duration;

use super::PoolId;
use crate::routing::Matcher;
use crate::session;

/// One line of the route table.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name in the configuration, for logs and metrics.
    pub name: Arc<str>,
    /// The requests that it is for.
    pub matcher: Matcher,
    /// What is done with them.
    pub target: Target,
    /// What holds for its sessions.
    pub session: session::Settings,
}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Places a session on a backend of this pool.
    Pool(PoolId),
    /// Sends every message back.
    Echo,
    /// Sends a numbered message at this interval.
    Ticker {
        /// Between two messages.
        every: Duration,
    },
}
