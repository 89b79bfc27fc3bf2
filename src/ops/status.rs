//! An overview as a page of text: what `selat status` prints.

use crate::config::ListenAddress;
use crate::telemetry::{HistogramView, Overview, Replier};

use super::table::{Align, table};
use super::units::{age, bytes, counted, float, grouped, latency};

/// The page.
pub(super) fn text(overview: &Overview, address: &ListenAddress) -> String {
    let unready = overview.unready();
    let ready =
        if unready.is_empty() { "ready".to_owned() } else { format!("not ready: {}", unready.join("; ")) };
    let parts = [
        format!("{}  {address}  {ready}\n{}\n", title(overview), reload(overview)),
        routes(overview),
        feeds(overview),
        dispatches(overview),
        backends(overview),
        shards(overview),
        latencies(overview),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What it is, and for how long.
pub(super) fn title(overview: &Overview) -> String {
    format!("selat {}  {}  up {}", overview.version, overview.phase.name(), age(overview.uptime_seconds))
}

fn reload(overview: &Overview) -> String {
    let config = &overview.config;
    let file = config.file.as_deref().unwrap_or("the command line");
    let last = match &config.last_reload {
        None => String::new(),
        Some(reload) => {
            let ago = age(reload.seconds_ago);
            match &reload.error {
                None => format!(", reloaded {ago} ago"),
                Some(error) => format!(", but a reload {ago} ago changed nothing: {error}"),
            }
        }
    };
    format!("configuration {} from {file}{last}", config.generation)
}

fn routes(overview: &Overview) -> String {
    use Align::{Left, Right};
    let heading = [
        ("ROUTE", Left),
        ("SESSIONS", Right),
        ("TOTAL", Right),
        ("MESSAGES IN", Right),
        ("OUT", Right),
        ("BYTES IN", Right),
        ("OUT", Right),
        ("REFUSED", Right),
    ];
    let rows: Vec<_> = overview
        .routes
        .iter()
        .map(|route| {
            let (clients, backends) = (route.traffic.from_clients, route.traffic.from_backends);
            [
                route.name.clone(),
                grouped(route.sessions_now),
                grouped(route.sessions_total),
                grouped(clients.messages),
                grouped(backends.messages),
                bytes(float(clients.bytes)),
                bytes(float(backends.bytes)),
                grouped(route.refusals.iter().map(|refusals| refusals.count).sum()),
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(heading, &rows) }
}

fn feeds(overview: &Overview) -> String {
    use Align::{Left, Right};
    let heading = [
        ("FEED", Left),
        ("SOURCE", Left),
        ("STATE", Left),
        ("LAST MESSAGE", Right),
        ("GAPS", Right),
        ("MESSAGES", Right),
        ("CLIENTS", Right),
        ("DELIVERIES", Right),
        ("LAG P99", Right),
        ("SLOWEST", Right),
        ("CONFLATED", Right),
        ("DROPPED", Right),
        ("EVICTED", Right),
        ("WORDS", Left),
    ];
    let rows: Vec<_> = overview
        .feeds
        .iter()
        .map(|feed| {
            let last = feed.last_message_age_seconds;
            [
                feed.name.clone(),
                feed.source.clone(),
                feed.state.name().to_owned(),
                last.map_or("none yet".to_owned(), |seconds| format!("{} ago", age(seconds))),
                grouped(feed.gaps),
                grouped(feed.messages.messages),
                grouped(feed.clients),
                grouped(feed.deliveries.messages),
                grouped(feed.lag.p99),
                grouped(feed.lag.slowest),
                grouped(feed.conflated),
                grouped(feed.dropped),
                grouped(feed.evicted_total()),
                // A source may have spoken in lines; the table has one for it.
                feed.words.split_whitespace().collect::<Vec<_>>().join(" "),
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(heading, &rows) }
}

fn dispatches(overview: &Overview) -> String {
    use Align::{Left, Right};
    let heading = [
        ("DISPATCH", Left),
        ("OUTSTANDING", Right),
        ("SENT", Right),
        ("REPLIES", Right),
        ("RETRIED", Right),
        ("TIMED OUT", Right),
        ("LOST", Right),
        ("LATE", Right),
        ("SURPLUS", Right),
        ("PARTIAL", Right),
        ("HELD BACK", Right),
    ];
    let rows: Vec<_> = overview
        .dispatches
        .iter()
        .map(|dispatch| {
            [
                dispatch.name.clone(),
                grouped(dispatch.outstanding),
                grouped(dispatch.sent),
                grouped(dispatch.replies),
                grouped(dispatch.retries),
                grouped(dispatch.timeouts),
                grouped(dispatch.lost),
                grouped(dispatch.late),
                grouped(dispatch.surplus),
                grouped(dispatch.partial),
                grouped(dispatch.reordering),
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(heading, &rows) }
}

fn backends(overview: &Overview) -> String {
    use Align::{Left, Right};
    let heading = [
        ("POOL", Left),
        ("BACKEND", Left),
        ("ADDRESS", Left),
        ("STATE", Left),
        ("FOR", Right),
        ("SESSIONS", Right),
        ("TOTAL", Right),
        ("WHY", Left),
    ];
    let rows: Vec<_> = overview
        .backends()
        .map(|(pool, backend)| {
            [
                pool.name.clone(),
                backend.name.clone(),
                backend.address.clone(),
                backend.state.name().to_owned(),
                age(backend.since_seconds),
                grouped(backend.sessions_now),
                grouped(backend.sessions_total),
                backend.why.clone(),
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(heading, &rows) }
}

fn shards(overview: &Overview) -> String {
    use Align::Right;
    let heading = [
        ("SHARD", Right),
        ("CORE", Right),
        ("CONNECTIONS", Right),
        ("SESSIONS", Right),
        ("ACCEPTED", Right),
        ("HANDED OVER", Right),
    ];
    let rows: Vec<_> = overview
        .shards
        .iter()
        .map(|shard| {
            [
                shard.id.to_string(),
                shard.core.to_string(),
                grouped(shard.connections),
                grouped(shard.sessions),
                grouped(shard.accepted),
                grouped(shard.handed_over),
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(heading, &rows) }
}

fn latencies(overview: &Overview) -> String {
    let histograms = &overview.histograms;
    let pings = &histograms.ping_rtt_seconds;
    let rows = [
        ("relay latency", &histograms.relay_seconds),
        ("ping to clients", &pings.client),
        ("ping to backends", &pings.backend),
        ("backend handshake", &histograms.handshake_seconds),
    ];
    let measured = rows.iter().filter_map(|(what, view)| Some(format!("{what}: {}\n", quantiles(view)?)));
    let deliveries = overview.feeds.iter().filter_map(|feed| {
        Some(format!("delivery of {}: {}\n", feed.name, quantiles(&feed.delivery_seconds)?))
    });
    let repliers = overview
        .dispatches
        .iter()
        .flat_map(|dispatch| dispatch.backends.iter().map(move |backend| (&dispatch.name, backend)));
    let replies = repliers.filter_map(|(dispatch, Replier { name, address, reply_seconds })| {
        Some(format!("reply of {dispatch}/{name} ({address}): {}\n", quantiles(reply_seconds)?))
    });
    let dropped = overview.log_lines_dropped;
    let dropped = (dropped > 0).then(|| format!("{} lost\n", counted(dropped, "log line")));
    measured.chain(deliveries).chain(replies).chain(dropped).collect()
}

/// The median and the hundredth that takes longest; `None` if nothing was measured.
pub(super) fn quantiles(view: &HistogramView) -> Option<String> {
    Some(format!("p50 {}  p99 {}", latency(view.quantile(0.5)?), latency(view.quantile(0.99)?)))
}
