//! What is counted, and how it is shown: plain numbers, merged by the control plane.
//!
//! A shard owns its [`Counters`] and adds to them without locks or atomics. The control plane makes an [`Overview`]
//! of them, and [`prometheus`] writes that as a scrape. Never does this room look at a clock, send or write
//! anything.

mod certificates;
mod counters;
mod dispatch;
mod dispatch_overview;
mod feed;
mod feed_overview;
mod histogram;
mod histogram_view;
mod overview;
pub mod prometheus;

pub use certificates::{AcmeOverview, CertificateOverview, OrderOverview};
pub use counters::{
    BackendCounters, Counters, Ended, PingRtt, Refused, RouteCounters, Sessions, Tally, TlsHandshakes,
    Traffic,
};
pub use dispatch::DispatchCounters;
pub use dispatch_overview::{DispatchOverview, Replier};
pub use feed::{FeedCounters, SourceCounters, SourceState};
pub use feed_overview::{CountByWhy, FeedOverview, FeedState, Lag};
pub use histogram::{Histogram, SizeHistogram};
pub use histogram_view::HistogramView;
pub use overview::{
    BackendOverview, BackendState, Closes, ConfigStatus, Dials, Directions, Handshakes, Histograms,
    LimitHits, Overview, Phase, PoolOverview, Refusals, ReloadStatus, RouteOverview, ShardOverview, Sides,
    close_label,
};
