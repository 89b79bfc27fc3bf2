//! What the measuring commands take.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::STDOUT;
use super::values::{percentage, rate, slice, subprotocol};
use crate::net::{Dialer, Security, Sessions, Suite, Target, Trust};
use crate::report::Outputs;
use crate::wire::{Asks, Field, Mix};

/// What every measuring command takes.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// The server, for instance ws://127.0.0.1:8765/chat or wss://127.0.0.1:8443/chat
    pub(crate) target: Target,
    /// For wss://: believe whom a certificate of this PEM file has signed.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// For wss://: believe whoever answers.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// For wss://: offer only this cipher suite, for instance TLS_AES_128_GCM_SHA256.
    #[arg(long, value_name = "SUITE")]
    pub(crate) cipher: Option<Suite>,
    /// Ask for this subprotocol; may be repeated.
    #[arg(long = "subprotocol", value_name = "NAME", value_parser = subprotocol)]
    pub(crate) subprotocols: Vec<String>,
    /// Send this field with the request to upgrade, as `Origin: http://example.com`; may be repeated.
    #[arg(long = "header", value_name = "FIELD")]
    pub(crate) fields: Vec<Field>,
    /// Also report what this process costs; may be repeated.
    #[arg(long = "pid")]
    pub(crate) pids: Vec<u32>,
    /// Threads that make the load; each has its own connections. [default: as many cores as this process may run on,
    /// but no more than one for 32 connections]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "cores")]
    pub(crate) threads: Option<u32>,
    /// One thread for each of these cores, pinned to it.
    #[arg(long, value_delimiter = ',', value_name = "0,2")]
    pub(crate) cores: Vec<usize>,
    /// Length of the slices of time that the record tells apart.
    #[arg(long, default_value = "1s", value_parser = slice)]
    pub(crate) interval: Duration,
    /// Show how it goes on standard error, even if that is no terminal.
    #[arg(long)]
    pub(crate) progress: bool,
    /// How long a connection may take to open, and to close.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// Write everything that was measured as one JSON object: to FILE, or instead of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    pub(crate) json: Option<PathBuf>,
    /// Also write one page with plots to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl CommonArgs {
    /// What connects to the target.
    ///
    /// # Errors
    /// The target speaks TLS and nobody has said whom to believe, or the other way round.
    pub(crate) fn dialer(&self, sessions: Sessions) -> anyhow::Result<Dialer> {
        let trust = match (&self.ca, self.insecure) {
            (Some(file), _) => Trust::Authorities(file.clone()),
            (None, true) => Trust::Anyone,
            (None, false) => Trust::Unsaid,
        };
        Dialer::new(&self.target, &Security { trust, suite: self.cipher, sessions })
    }

    /// What to ask for beside a WebSocket.
    pub(crate) fn asks(&self) -> Asks {
        Asks { subprotocols: self.subprotocols.clone(), fields: self.fields.clone() }
    }

    /// Where the record goes.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs::new(self.json.as_deref(), self.html.as_deref())
    }
}

/// Connections that are all opened first and held to the end.
#[derive(Debug, Args)]
pub(crate) struct HeldArgs {
    /// How long to measure.
    #[arg(long = "for", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// New connections a second while opening, for instance 2000/s; else as fast as the server takes them.
    #[arg(long, value_parser = rate)]
    pub(crate) connect_rate: Option<f64>,
}

/// `echo`
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Connections to open.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Payload bytes of a message, or several sizes in their shares, as 64:90%,16KiB:10%. From 12 on each carries its
    /// number, so that loss and reordering show; a text from 24 on.
    #[arg(long, default_value = "64")]
    pub(crate) size: Mix,
    /// Send text instead of binary messages.
    #[arg(long)]
    pub(crate) text: bool,
    /// Messages a second over all connections, for instance 50k/s.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Let the load rise to begin with: connections are opened evenly within this time, and then --rate is reached in
    /// as long again.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) ramp: Duration,
    /// Wait so long after an answer before sending another message.
    #[arg(long, value_parser = humantime::parse_duration, conflicts_with = "rate")]
    pub(crate) think: Option<Duration>,
    /// Beside the others, this many connections that read a few KiB ten times a second, and send as fast as that lets
    /// them. They are no part of what is measured, but they may find faults.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow: u32,
    /// Messages that each connection keeps in flight; with --rate, has in flight at most: those beyond leave late.
    /// [default: 1; with --rate 1024]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) in_flight: Option<u32>,
    /// A client whose connection fails comes back at once; how long it went without an answer is reported.
    #[arg(long, conflicts_with = "rate")]
    pub(crate) reconnect: bool,
    /// How long to run before measuring.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    #[command(flatten)]
    pub(crate) held: HeldArgs,
}

/// `storm`
#[derive(Debug, Args)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Sessions to begin a second, for instance 5k/s. The time of a session then counts from when it was due.
    #[arg(long, value_parser = rate)]
    pub(crate) per_second: Option<f64>,
    /// Sessions under way at any time; with --per-second, at most: those beyond begin late. [default: 64; with
    /// --per-second 1024]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    /// How long to measure.
    #[arg(long = "for", default_value = "10s", value_parser = humantime::parse_duration, conflicts_with = "count")]
    pub(crate) duration: Duration,
    /// How long to run before measuring.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration, conflicts_with = "count")]
    pub(crate) warmup: Duration,
    /// Measure this many sessions from first to last, instead of a stretch of time.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// For wss://: resume TLS sessions (TLS 1.3); else every handshake is a full one.
    #[arg(long)]
    pub(crate) resume: bool,
    /// For wss://: leave once the TLS handshake is over, without a WebSocket.
    #[arg(long)]
    pub(crate) handshake_only: bool,
    /// Payload bytes of the one message.
    #[arg(long, default_value = "64")]
    pub(crate) size: Mix,
}

/// `idle`
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Connections to open and hold.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Payload bytes of the one message on each.
    #[arg(long, default_value = "64")]
    pub(crate) size: Mix,
    #[command(flatten)]
    pub(crate) held: HeldArgs,
}

/// `feed`
#[derive(Debug, Args)]
pub(crate) struct FeedArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Connections to open.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) clients: u32,
    /// The share of them that never read. They are no part of what is measured, and may be dropped.
    #[arg(long, default_value = "0%", value_parser = percentage)]
    pub(crate) stuck: u32,
    /// Ticks may be left out, as by a feed that conflates; else each is a fault.
    #[arg(long)]
    pub(crate) allow_loss: bool,
    /// How long to run before measuring.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    #[command(flatten)]
    pub(crate) held: HeldArgs,
}
