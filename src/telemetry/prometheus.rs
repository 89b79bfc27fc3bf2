//! An [`Overview`] as a scrape: OpenMetrics text, which Prometheus reads too.
//!
//! Every family and its labels stand here; the labels' values come from the configuration and from fixed sets.

mod dispatches;
mod feeds;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::{
    BackendOverview, BackendState, CertificateOverview, ConfigStatus, Directions, HistogramView, Overview,
    Phase, PoolOverview, Traffic,
};

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes a scrape.
#[must_use]
pub fn render(overview: Overview) -> String {
    let mut registry = Registry::with_prefix("selat");
    registry.register_collector(Box::new(Scrape(overview)));
    let mut text = String::new();
    // A String takes everything.
    let _ = encode(&mut text, &registry);
    text
}

/// The registry's one collector: there are no live metrics, only what the shards have reported.
#[derive(Debug)]
struct Scrape(Overview);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        families.process(&self.0)?;
        families.shards(&self.0)?;
        families.tls(&self.0)?;
        families.routes(&self.0)?;
        families.pools(&self.0)?;
        families.backends(&self.0)?;
        families.feeds(&self.0)?;
        families.dispatches(&self.0)?;
        families.certificates(&self.0)?;
        families.histograms(&self.0)
    }
}

/// A label and its value.
type Label<'o> = (&'static str, &'o str);

/// Labels, and the direction behind them.
type Directed<'o, const N: usize> = ([Label<'o>; N], [Label<'static>; 1]);

struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn process(&mut self, overview: &Overview) -> fmt::Result {
        self.0
            .encode_descriptor("build", "The program.", None, MetricType::Info)?
            .encode_info(&[("version", overview.version.as_str())])?;
        self.gauge("uptime", "Time since the start.", Some(&Unit::Seconds), overview.uptime_seconds)?;
        let is_draining = flag(overview.phase == Phase::Draining);
        self.gauge("draining", "Whether the process is going down.", None, is_draining)?;
        let ConfigStatus { generation, last_reload, .. } = &overview.config;
        self.gauge("config_generation", "Configurations applied since the start.", None, *generation)?;
        let is_successful = flag(last_reload.as_ref().is_none_or(|reload| reload.error.is_none()));
        let help = "Whether the last reload was applied.";
        self.gauge("config_last_reload_successful", help, None, is_successful)?;
        let help = "Of the backends' states that the shards were told last.";
        self.gauge("snapshot_epoch", help, None, overview.snapshot_epoch)?;
        let help = "Log lines lost because the control plane, or whoever reads the log, could not keep up.";
        let family = self.0.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?;
        ConstCounter::new(overview.log_lines_dropped).encode(family)
    }

    fn shards(&mut self, overview: &Overview) -> fmt::Result {
        let shards = || overview.shards.iter().map(|shard| ([("shard", shard.id)], shard));
        let connections = shards().map(|(labels, shard)| (labels, shard.connections));
        self.gauges("shard_connections", "Client connections open now.", None, connections)?;
        let sessions = shards().map(|(labels, shard)| (labels, shard.sessions));
        self.gauges("shard_sessions", "Sessions open now.", None, sessions)?;
        let accepted = shards().map(|(labels, shard)| (labels, shard.accepted));
        self.counters("shard_accepted", "Connections that the kernel gave to the shard.", None, accepted)?;
        let handed_over = shards().map(|(labels, shard)| (labels, shard.handed_over));
        self.counters(
            "shard_handed_over",
            "Of these, those given to a shard with less to do.",
            None,
            handed_over,
        )?;
        let failures = shards().map(|(labels, shard)| (labels, shard.accept_failures));
        self.counters(
            "shard_accept_failures",
            "Accepts that failed for want of a resource.",
            None,
            failures,
        )?;
        let busy = shards().filter_map(|(labels, shard)| Some((labels, shard.busy_seconds?)));
        self.counters("shard_busy", "Processor time taken.", Some(&Unit::Seconds), busy)
    }

    fn tls(&mut self, overview: &Overview) -> fmt::Result {
        let handshakes = overview.tls_handshakes.iter().map(|handshakes| {
            ([("side", handshakes.side.as_str()), ("result", handshakes.result.as_str())], handshakes.count)
        });
        self.counters("tls_handshakes", "TLS handshakes, by what they came to.", None, handshakes)
    }

    fn routes(&mut self, overview: &Overview) -> fmt::Result {
        let routes = || overview.routes.iter().map(|route| (("route", route.name.as_str()), route));
        let active = routes().map(|(label, route)| ([label], route.sessions_now));
        self.gauges("sessions_active", "Sessions open now.", None, active)?;
        let sessions = routes().map(|(label, route)| ([label], route.sessions_total));
        self.counters("sessions", "Sessions that got their 101.", None, sessions)?;
        let traffic = || routes().flat_map(|(label, route)| by_direction([label], route.traffic));
        self.traffic("", traffic)?;
        let refusals = routes()
            .flat_map(|(label, route)| route.refusals.iter().map(move |refusals| (label, refusals)))
            // To Prometheus an empty label is an absent one.
            .chain(overview.unrouted.iter().map(|refusals| (("route", ""), refusals)))
            .map(|(label, refusals)| {
                let status = [("status", refusals.status)];
                (([label, ("reason", refusals.reason.as_str())], status), refusals.count)
            });
        self.counters("refusals", "Requests answered without a 101.", None, refusals)?;
        let closes = routes().flat_map(|(label, route)| {
            let labels = move |code, side| [label, ("code", code), ("side", side)];
            route.closes.iter().map(move |closes| (labels(&closes.code, &closes.side), closes.count))
        });
        self.counters("closes", "Sessions ended, by close code and by whose doing.", None, closes)?;
        let limits = routes().flat_map(|(label, route)| {
            route.limits_hit.iter().map(move |hits| ([label, ("limit", hits.kind.as_str())], hits.count))
        });
        self.counters("limits_hit", "Limits that held something back or ended it.", None, limits)
    }

    fn pools(&mut self, overview: &Overview) -> fmt::Result {
        let pools = || overview.pools.iter().map(|pool| ([("pool", pool.name.as_str())], pool));
        let panicking = pools().map(|(labels, pool)| (labels, flag(pool.is_panicking)));
        self.gauges("pool_panicking", "Whether no backend is up, so that all are tried.", None, panicking)?;
        let waiting = pools().map(|(labels, pool)| (labels, pool.waiting));
        self.gauges("pool_waiting", "Sessions that wait for a backend with room.", None, waiting)
    }

    fn backends(&mut self, overview: &Overview) -> fmt::Result {
        let backends = || overview.backends().map(|(pool, backend)| (backend_labels(pool, backend), backend));
        let states = backends().flat_map(|(labels, backend)| {
            let state = move |state: BackendState| {
                ((labels, [("state", state.name())]), flag(backend.state == state))
            };
            BackendState::ALL.map(state)
        });
        self.gauges("backend_state", "1 for the state that the backend is in.", None, states)?;
        let seconds = Some(&Unit::Seconds);
        let age = backends().map(|(labels, backend)| (labels, backend.since_seconds));
        self.gauges("backend_state_age", "Time that it has been in this state.", seconds, age)?;
        let weight = backends().map(|(labels, backend)| (labels, backend.weight_effective));
        self.gauges("backend_weight", "As it counts now.", None, weight)?;
        let active = backends().map(|(labels, backend)| (labels, backend.sessions_now));
        self.gauges("backend_sessions_active", "Sessions open now.", None, active)?;
        let sessions = backends().map(|(labels, backend)| (labels, backend.sessions_total));
        self.counters("backend_sessions", "Sessions that got their 101.", None, sessions)?;
        self.traffic("backend_", || {
            backends().flat_map(|(labels, backend)| by_direction(labels, backend.traffic))
        })?;
        let dials = backends().flat_map(|(labels, backend)| {
            let outcome = move |outcome| (labels, [("outcome", outcome)]);
            backend.dials.iter().map(move |dials| (outcome(dials.outcome.as_str()), dials.count))
        });
        self.counters("backend_dials", "What dials came to.", None, dials)
    }

    fn certificates(&mut self, overview: &Overview) -> fmt::Result {
        let expiry = overview.certificates.iter().map(|certificate| {
            let CertificateOverview { listener, name, expires_at } = certificate;
            ([("listener", listener.as_str()), ("name", name)], *expires_at)
        });
        let help = "When certificates end that clients are shown, since 1970.";
        self.gauges("certificate_expiry_timestamp", help, Some(&Unit::Seconds), expiry)?;
        let orders = overview.acme.iter().flat_map(|acme| {
            [("issued", acme.issued), ("failed", acme.failed)]
                .map(|(result, count)| ([("result", result)], count))
        });
        self.counters("acme_orders", "Orders of certificates that are over.", None, orders)
    }

    fn histograms(&mut self, overview: &Overview) -> fmt::Result {
        let histograms = &overview.histograms;
        let help = "Payload sizes of data messages, as on the wire; sampled.";
        self.distribution("message_size", help, &Unit::Bytes, &histograms.message_bytes)?;
        let help =
            "From learning that bytes had come to the kernel's having taken the last of them; sampled.";
        self.distribution("relay_latency", help, &Unit::Seconds, &histograms.relay_seconds)?;
        let help = "From the start of a dial to the backend's 101.";
        self.distribution("backend_handshake", help, &Unit::Seconds, &histograms.handshake_seconds)?;
        let (help, seconds) = ("From a ping to its pong.", Some(&Unit::Seconds));
        let mut family = self.0.encode_descriptor("ping_rtt", help, seconds, MetricType::Histogram)?;
        let sides = &histograms.ping_rtt_seconds;
        for (side, view) in [("client", &sides.client), ("backend", &sides.backend)] {
            encode_histogram(family.encode_family(&[("side", side)])?, view)?;
        }
        Ok(())
    }

    fn distribution(&mut self, name: &str, help: &str, unit: &Unit, view: &HistogramView) -> fmt::Result {
        encode_histogram(self.0.encode_descriptor(name, help, Some(unit), MetricType::Histogram)?, view)
    }

    /// The two families of relayed traffic.
    fn traffic<L, S>(&mut self, prefix: &str, series: impl Fn() -> S) -> fmt::Result
    where
        L: EncodeLabelSet,
        S: Iterator<Item = (L, Traffic)>,
    {
        let messages = series().map(|(labels, traffic)| (labels, traffic.messages));
        self.counters(&format!("{prefix}messages"), "Data messages relayed.", None, messages)?;
        let bytes = series().map(|(labels, traffic)| (labels, traffic.bytes));
        let help = "Bytes relayed, as they stand on the wire.";
        self.counters(&format!("{prefix}traffic"), help, Some(&Unit::Bytes), bytes)
    }

    fn counters<L, N>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (L, N)>,
    ) -> fmt::Result
    where
        L: EncodeLabelSet,
        N: EncodeCounterValue,
    {
        let family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        each(family, series, |encoder, value| ConstCounter::new(value).encode(encoder))
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(family)
    }

    fn gauges<L, N>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (L, N)>,
    ) -> fmt::Result
    where
        L: EncodeLabelSet,
        N: EncodeGaugeValue,
    {
        let family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        each(family, series, |encoder, value| ConstGauge::new(value).encode(encoder))
    }
}

fn encode_histogram(mut encoder: MetricEncoder<'_>, view: &HistogramView) -> fmt::Result {
    let buckets: Vec<_> = view.buckets().collect();
    encoder.encode_histogram::<NoLabelSet>(view.sum, view.count(), &buckets, None)
}

/// Writes each sample of a family.
fn each<L: EncodeLabelSet, N>(
    mut family: MetricEncoder<'_>,
    series: impl IntoIterator<Item = (L, N)>,
    encode: impl Fn(MetricEncoder<'_>, N) -> fmt::Result,
) -> fmt::Result {
    series.into_iter().try_for_each(|(labels, value)| encode(family.encode_family(&labels)?, value))
}

fn backend_labels<'o>(pool: &'o PoolOverview, backend: &'o BackendOverview) -> [Label<'o>; 3] {
    [("pool", &pool.name), ("backend", &backend.name), ("address", &backend.address)]
}

/// The labels with each direction, and what went that way.
fn by_direction<'o, const N: usize>(
    labels: [Label<'o>; N],
    traffic: Directions<Traffic>,
) -> [(Directed<'o, N>, Traffic); 2] {
    [("from_client", traffic.from_clients), ("from_backend", traffic.from_backends)]
        .map(|(direction, traffic)| ((labels, [("direction", direction)]), traffic))
}

fn flag(is_so: bool) -> u64 {
    u64::from(is_so)
}
