//! One source and how it is extended to any number of clients.

use std::sync::Arc;

use super::{PoolId, Secret};
use crate::feed;

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
    /// What the names of pools of sources begin with. No pool in a configuration can be called so.
    pub(super) const POOL_PREFIX: &str = "feed.";

    /// The name of the pool of a feed's sources.
    #[must_use]
    pub fn pool_name(feed: &str) -> String {
        format!("{}{feed}", Self::POOL_PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pool;
    use super::*;

    #[test]
    fn a_pool_of_sources_is_told_by_its_name() {
        assert_eq!(Pool::new(&Feed::pool_name("fx"), Vec::new()).feed(), Some("fx"));
        assert_eq!(Pool::new("feed", Vec::new()).feed(), None);
    }
}
