//! One source and how it is extended to any number of clients.

use std::sync::Arc;

use super::{PoolId, Secret};
use crate::feed;

/// What the names of pools of sources begin with. A name in a file has no dot.
const POOL_PREFIX: &str = "feed.";

/// A feed's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId(pub u16);

impl FeedId {
    /// As an index into a table of all feeds.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// One feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// Its name in the configuration, for logs and metrics.
    pub name: Arc<str>,
    /// Its sources, the preferred one first: a pool of their own, called `feed.NAME`.
    pub sources: PoolId,
    /// Header fields of the request to a source, such as an API key.
    pub headers: Vec<(String, Secret)>,
    /// What is done with what it says.
    pub settings: Arc<feed::Settings>,
}

impl Feed {
    /// The name of the pool of a feed's sources. No pool in a configuration can have it.
    #[must_use]
    pub fn pool_name(feed: &str) -> String {
        format!("{POOL_PREFIX}{feed}")
    }

    /// The name of the feed whose sources the pool of this name has.
    #[must_use]
    pub fn of_pool(name: &str) -> Option<&str> {
        name.strip_prefix(POOL_PREFIX)
    }

    /// Whether nobody could tell it from `other`, but for its sources: in another configuration the same pool may
    /// stand elsewhere.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { name, sources: _, headers, settings } = self;
        (name, headers, settings) == (&other.name, &other.headers, &other.settings)
    }
}
