//! What is done with a request, and within which bounds.

use std::sync::Arc;
use std::time::Duration;

use super::{DispatchId, FeedId, PoolId};
use crate::guard;
use crate::protocol::handshake::{FixedResponse, HeaderEdits, PathRewrite};
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
    /// Who may open a session.
    pub guard: guard::Settings,
    /// What becomes of the path on its way to a backend.
    pub rewrite: PathRewrite,
    /// What becomes of the request's head fields on their way to a backend.
    pub request_headers: HeaderEdits,
    /// What becomes of the answer's head fields on their way to the client.
    pub response_headers: HeaderEdits,
    /// What holds for its sessions.
    pub session: session::Settings,
}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Places a session on a backend of this pool.
    Pool(PoolId),
    /// Sends what this feed's source says.
    Feed(FeedId),
    /// Spreads each client's messages over the backends of this dispatch.
    Dispatch(DispatchId),
    /// Sends every message back.
    Echo,
    /// Sends a numbered message at this interval.
    Ticker {
        /// Between two messages.
        every: Duration,
    },
    /// Answers every request with this, be it an upgrade or not.
    Fixed(FixedResponse),
}

impl Route {
    /// A route for every request, with nothing special about it.
    #[must_use]
    pub fn new(name: &str, target: Target) -> Self {
        Self {
            name: name.into(),
            matcher: Matcher::default(),
            target,
            guard: guard::Settings::default(),
            rewrite: PathRewrite::default(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            session: session::Settings::default(),
        }
    }

    /// Whether a request could not tell it from `other`, but for what is in the pools or feeds they name: in another
    /// configuration the same one may stand elsewhere.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let mut moved = self.clone();
        match (&mut moved.target, &other.target) {
            (Target::Pool(id), Target::Pool(other)) => *id = *other,
            (Target::Feed(id), Target::Feed(other)) => *id = *other,
            (Target::Dispatch(id), Target::Dispatch(other)) => *id = *other,
            _ => {}
        }
        moved == *other
    }
}
