//! What the control plane says of feeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, Feed};
use crate::telemetry::{FeedCounters, FeedOverview};

/// In the order of the configuration.
pub(super) fn overview(
    config: &Config,
    counters: &BTreeMap<Arc<str>, FeedCounters>,
    now: Instant,
) -> Vec<FeedOverview> {
    let sources = |feed: &Feed| {
        let pool = config.pools.get(feed.sources.index());
        let backends = pool.map_or(&[][..], |pool| &pool.backends);
        backends.iter().map(|backend| backend.url.to_string()).collect()
    };
    let feeds = config.feeds.iter();
    feeds.map(|feed| FeedOverview::new(&feed.name, sources(feed), counters.get(&feed.name), now)).collect()
}
