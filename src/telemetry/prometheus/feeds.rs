//! The families of feeds.

use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Families, Label, encode_histogram, flag};
use crate::telemetry::{CountByWhy, FeedState, Overview};

impl Families<'_> {
    pub(super) fn feeds(&mut self, overview: &Overview) -> fmt::Result {
        self.feed_sources(overview)?;
        self.feed_clients(overview)
    }

    fn feed_sources(&mut self, overview: &Overview) -> fmt::Result {
        let feeds = || overview.feeds.iter().map(|feed| ([("feed", feed.name.as_str())], feed));
        let states = feeds().flat_map(|(label, feed)| {
            let state =
                move |state: FeedState| ((label, [("state", state.name())]), flag(feed.state == state));
            FeedState::ALL.map(state)
        });
        self.gauges("feed_source_state", "1 for the state that the source is in.", None, states)?;
        let connects = feeds().map(|(label, feed)| (label, feed.connects));
        let help = "Connections to a source that got their 101.";
        self.counters("feed_source_connects", help, None, connects)?;
        let failures = feeds().flat_map(|(label, feed)| by_why(label, &feed.failures));
        let help = "Attempts to connect to a source that failed, and connections that were lost.";
        self.counters("feed_source_failures", help, None, failures)?;
        let messages = feeds().map(|(label, feed)| (label, feed.messages.messages));
        self.counters("feed_messages", "Messages of the source, each once.", None, messages)?;
        let gaps = feeds().map(|(label, feed)| (label, feed.gaps));
        self.counters("feed_gaps", "Times in which messages may have been missed.", None, gaps)?;
        let rotations = feeds().map(|(label, feed)| (label, feed.rotations));
        let help = "Connections that were replaced before the vendor would cut them.";
        self.counters("feed_rotations", help, None, rotations)?;
        let duplicates = feeds().map(|(label, feed)| (label, feed.duplicates));
        let help = "Messages that two connections brought, and that were published once.";
        self.counters("feed_duplicates", help, None, duplicates)?;
        let skipped = feeds().map(|(label, feed)| (label, feed.skipped));
        self.counters("feed_skipped", "Messages of the source that were no data.", None, skipped)?;
        let unsaid = feeds().map(|(label, feed)| (label, feed.unsaid));
        let help = "Messages to the source that it was not there for, or too slow to take.";
        self.counters("feed_unsaid", help, None, unsaid)?;
        let topics = feeds().map(|(label, feed)| (label, feed.topics));
        self.gauges("feed_topics", "Keys that clients have subscribed to.", None, topics)?;
        let age = feeds().filter_map(|(label, feed)| Some((label, feed.last_message_age_seconds?)));
        let help = "Time since the last message of the source.";
        self.gauges("feed_last_message_age", help, Some(&Unit::Seconds), age)
    }

    fn feed_clients(&mut self, overview: &Overview) -> fmt::Result {
        let feeds = || overview.feeds.iter().map(|feed| ([("feed", feed.name.as_str())], feed));
        let clients = feeds().map(|(label, feed)| (label, feed.clients));
        self.gauges("feed_clients", "Clients that get the feed now.", None, clients)?;
        let deliveries = feeds().map(|(label, feed)| (label, feed.deliveries.messages));
        let help = "Messages given to clients: one for two clients is two.";
        self.counters("feed_deliveries", help, None, deliveries)?;
        let bytes = feeds().map(|(label, feed)| (label, feed.deliveries.bytes));
        let help = "Bytes of these, as they stand on the wire.";
        self.counters("feed_delivered", help, Some(&Unit::Bytes), bytes)?;
        let conflated = feeds().map(|(label, feed)| (label, feed.conflated));
        let help = "Messages that a client did not get because a later one of the same key came instead.";
        self.counters("feed_conflated", help, None, conflated)?;
        let dropped = feeds().map(|(label, feed)| (label, feed.dropped));
        let help = "Messages that a client did not get because it was too slow.";
        self.counters("feed_dropped", help, None, dropped)?;
        let evicted = feeds().flat_map(|(label, feed)| by_why(label, &feed.evicted));
        let help = "Clients sent away because they were too slow.";
        self.counters("feed_evicted", help, None, evicted)?;
        let lags = feeds().flat_map(|(label, feed)| {
            [("slowest", feed.lag.slowest), ("p99", feed.lag.p99)]
                .map(|(client, lag)| ((label, [("client", client)]), lag))
        });
        self.gauges("feed_lag_messages", "Messages that a client has yet to get.", None, lags)?;
        let help = "From reading a message from the source to handing it to the kernel for the last client that keeps up.";
        let seconds = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor("feed_delivery", help, seconds, MetricType::Histogram)?;
        for (label, feed) in feeds() {
            encode_histogram(family.encode_family(&label)?, &feed.delivery_seconds)?;
        }
        Ok(())
    }
}

/// The label with each reason, and how often it was one.
fn by_why<'o>(
    label: [Label<'o>; 1],
    counts: &'o [CountByWhy],
) -> impl Iterator<Item = (([Label<'o>; 1], [Label<'o>; 1]), u64)> {
    counts.iter().map(move |CountByWhy { why, count }| ((label, [("why", why.as_str())]), *count))
}
