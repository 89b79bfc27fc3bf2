//! What the control plane says of feeds: in its overview, and in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use crate::config::{Config, Feed};
use crate::telemetry::{FeedCounters, FeedOverview};
use crate::wires::{SourceEvent, SourceNews};

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

/// A line for what has happened to a source. One that is lost is the vendor's fault, but all its clients miss it.
pub(super) fn log(news: &SourceNews) {
    let SourceNews { feed, source, event } = news;
    match event {
        SourceEvent::Opened { after } => {
            info!(%feed, source, seconds = after.as_secs_f64(), "the source of a feed is connected");
        }
        SourceEvent::Lost { why, retry_in } => {
            warn!(%feed, source, why, ?retry_in, "the source of a feed is lost")
        }
        SourceEvent::Stopped { words } => {
            error!(%feed, source, words, "the source of a feed has stopped it: none is dialled before a reload");
        }
        SourceEvent::Gap => warn!(%feed, source, "a feed may have missed messages"),
    }
}
