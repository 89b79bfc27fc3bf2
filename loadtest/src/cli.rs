//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::net::{Dialer, Security, Sessions, Suite, Target, Trust};
use crate::report::Outputs;
use crate::wire::{Asks, Field, Mix, TICK_BYTES_MIN, is_token};

/// What as a file means standard output.
pub(crate) const STDOUT: &str = "-";

/// Measures WebSocket servers and proxies: throughput, latency, CPU per message, memory per connection.
///
/// Exit code 0: measured, and the server made no mistake. 1: it lost, changed or refused something, and the report
/// says what. 2: nothing could be measured.
#[derive(Debug, Parser)]
#[command(name = "selat-load", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve something to be measured.
    Serve {
        #[command(subcommand)]
        command: ServeCommand,
    },
    /// Send messages and have them echoed.
    ///
    /// With --rate an open loop: messages leave when they are due, whatever the server does, and their time counts
    /// from when they were due; what a server keeps users waiting for shows. Without it a closed loop, to find what a
    /// server can do at most: every connection keeps the same number of messages in flight, and waits with a server
    /// that stalls, so that its times tell nothing of what users would have felt.
    ///
    /// Every answer is compared byte for byte with what was sent.
    Echo(EchoArgs),
    /// Connect, upgrade, echo one message, close; over and over.
    Storm(StormArgs),
    /// Follow a feed whose source is `serve ticker`, and say nothing.
    ///
    /// Every byte of every tick is checked, and that each connection has all of them once and in order, from its first
    /// on. Latency counts from the source's sending, on the clock that all processes of a machine share, so that
    /// source, feed and followers must run on one.
    Feed(FeedArgs),
    /// Hold connections that say nothing after one echo, to see what they cost.
    Idle(IdleArgs),
    /// Hold several targets against each other, in several scenarios, and report ratios.
    ///
    /// A scenario file says what is started, measured and aimed at. Targets run on cores of their own and take turns;
    /// a measurement that was disturbed is repeated. The tables are Markdown.
    Compare(CompareArgs),
    /// Show again what an earlier run or comparison wrote with --json.
    Report(ReportArgs),
    /// Make a Markdown page of a template and of results beside it.
    ///
    /// A line `{{tables NAME}}` of the template becomes the tables of NAME.json; likewise `{{about NAME}}`, `{{remarks
    /// NAME}}`, `{{plots NAME SCENARIO}}`, and for rows found by other means `{{table NAME}}`.
    Page(PageArgs),
}

/// What to serve.
#[derive(Debug, Subcommand)]
pub(crate) enum ServeCommand {
    /// A WebSocket echo server on one thread.
    Echo(ServeEchoArgs),
    /// The source of a feed: sends ticks to everybody who connects, one after the other at a steady rate.
    ///
    /// Whoever does not keep up is dropped. At SIGTERM or SIGINT prints `connections N`, how many there have been,
    /// and `ticks N`, how many were made.
    Ticker(ServeTickerArgs),
    /// Sends every message of a source to all clients: what fanning out costs at the very least.
    ///
    /// One thread, one prepared buffer for each message, one system call for each client; whoever does not keep up
    /// is dropped.
    Broadcast(ServeBroadcastArgs),
    /// A WebSocket echo server that does wrong what it is asked to, to see whether a client finds it.
    ///
    /// At SIGTERM or SIGINT prints how many messages it heard, and how often it did what.
    Faulty(ServeFaultyArgs),
    /// A relay of bytes that knows no protocol: what a proxy costs at the very least.
    Relay(ServeRelayArgs),
}

/// `serve echo`
#[derive(Debug, Args)]
pub(crate) struct ServeEchoArgs {
    /// Where to listen; port 0 takes a free one. Prints `listening ADDRESS` when ready.
    pub(crate) listen: SocketAddr,
    /// Connections that the kernel may hold for us before we accept them.
    #[arg(long, default_value_t = 4096)]
    pub(crate) backlog: i32,
}

/// `serve faulty`
#[derive(Debug, Args)]
pub(crate) struct ServeFaultyArgs {
    /// Where to listen; port 0 takes a free one. Prints `listening ADDRESS` when ready.
    pub(crate) listen: SocketAddr,
    /// Do not answer every N-th message, counted over all connections. 0 is never, here as below.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) drop: u64,
    /// Answer every N-th twice.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) duplicate: u64,
    /// Answer every N-th after the next of its connection.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) swap: u64,
    /// Change a bit of the answer to every N-th.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) corrupt: u64,
    /// With the answer to every N-th, send the latest message of another connection.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) misroute: u64,
    /// Close instead of answering every N-th.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) close: u64,
    /// The code to close with.
    #[arg(long, default_value_t = 1011)]
    pub(crate) close_code: u16,
    /// Stand still for so long at the end of each --stall-every.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) stall: Duration,
    /// From the end of one stall to that of the next.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) stall_every: Duration,
    /// Connections that the kernel may hold for us before we accept them.
    #[arg(long, default_value_t = 4096)]
    pub(crate) backlog: i32,
}

/// `serve relay`
#[derive(Debug, Args)]
pub(crate) struct ServeRelayArgs {
    /// Where to listen; port 0 takes a free one. Prints `listening ADDRESS` when ready.
    pub(crate) listen: SocketAddr,
    /// Where every connection is relayed to.
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// Connections that the kernel may hold for us before we accept them.
    #[arg(long, default_value_t = 4096)]
    pub(crate) backlog: i32,
}

/// `serve ticker`
#[derive(Debug, Args)]
pub(crate) struct ServeTickerArgs {
    /// Where to listen; port 0 takes a free one. Prints `listening ADDRESS` when ready.
    pub(crate) listen: SocketAddr,
    /// Ticks a second, as long as anybody is connected.
    #[arg(long, default_value = "100/s", value_parser = rate)]
    pub(crate) rate: f64,
    /// Payload bytes of a tick.
    #[arg(long, default_value_t = 128, value_parser = tick_bytes)]
    pub(crate) size: usize,
    /// Send this many back to back, and as many times less often.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: u32,
    /// Symbols that the ticks take in turn: K0, K1, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,
    /// Connections that the kernel may hold for us before we accept them.
    #[arg(long, default_value_t = 4096)]
    pub(crate) backlog: i32,
}

/// `serve broadcast`
#[derive(Debug, Args)]
pub(crate) struct ServeBroadcastArgs {
    /// Where to listen; port 0 takes a free one. Prints `listening ADDRESS` when ready.
    pub(crate) listen: SocketAddr,
    /// The source, ws://…, which must not ask for anything.
    #[arg(long)]
    pub(crate) from: Target,
    /// Connections that the kernel may hold for us before we accept them.
    #[arg(long, default_value_t = 4096)]
    pub(crate) backlog: i32,
}

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
    /// How long to measure.
    #[arg(long = "for", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// How long to run before measuring.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// New connections a second while opening, for instance 2000/s; else as fast as the server takes them.
    #[arg(long, value_parser = rate)]
    pub(crate) connect_rate: Option<f64>,
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
    /// How long to hold them.
    #[arg(long = "for", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Payload bytes of the one message on each.
    #[arg(long, default_value = "64")]
    pub(crate) size: Mix,
    /// New connections a second while opening, for instance 2000/s; else as fast as the server takes them.
    #[arg(long, value_parser = rate)]
    pub(crate) connect_rate: Option<f64>,
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
    /// How long to measure.
    #[arg(long = "for", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// How long to run before measuring.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// New connections a second while opening, for instance 2000/s; else as fast as the server takes them.
    #[arg(long, value_parser = rate)]
    pub(crate) connect_rate: Option<f64>,
}

/// `compare`
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// What is compared, and with which loads.
    pub(crate) file: PathBuf,
    /// Only these scenarios.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) scenario: Vec<String>,
    /// Only these targets, and controls.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// No controls, unless they are named.
    #[arg(long)]
    pub(crate) no_controls: bool,
    /// How often each target is measured in each scenario.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: Option<u32>,
    /// How long each time.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// How often a disturbed measurement is tried.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: Option<u32>,
    /// How long to wait in all for other programs to be idle.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) patience: Option<Duration>,
    /// The cores of targets, such as 1 or 0-3,6; everything else has the others.
    #[arg(long, value_name = "LIST")]
    pub(crate) cores: Option<String>,
    /// What stands for the placeholder {NAME}; may be repeated.
    #[arg(long, value_name = "NAME=TEXT")]
    pub(crate) set: Vec<String>,
    /// Write everything as one JSON object: to FILE, or instead of the tables.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    pub(crate) json: Option<PathBuf>,
    /// Also write one page with plots to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl CompareArgs {
    /// Where the comparison goes.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs::new(self.json.as_deref(), self.html.as_deref())
    }
}

/// `report`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// What --json wrote.
    pub(crate) file: PathBuf,
    /// Also write one page with plots to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// `page`
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Prose, and lines that ask for results.
    pub(crate) template: PathBuf,
    /// The page to write.
    pub(crate) page: PathBuf,
}

impl ReportArgs {
    /// Where the record goes.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs::new(None, self.html.as_deref())
    }
}

/// A subprotocol's name.
fn subprotocol(text: &str) -> Result<String, String> {
    if is_token(text) { Ok(text.to_owned()) } else { Err("not a name; it is one word".to_owned()) }
}

/// The length of a slice of time.
fn slice(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(slice) if slice >= SLICE_MIN => Ok(slice),
        Ok(_) | Err(_) => Err(format!(
            "not a length; write for instance 1s, at least {}",
            humantime::format_duration(SLICE_MIN)
        )),
    }
}

/// The shortest slice of time: what it takes to begin one should be nothing beside it.
const SLICE_MIN: Duration = Duration::from_millis(10);

/// The size of a tick in bytes.
fn tick_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size >= TICK_BYTES_MIN => Ok(size),
        Ok(_) | Err(_) => Err(format!("not a size that a tick can have; from {TICK_BYTES_MIN} bytes on")),
    }
}

/// A whole percentage that leaves somebody: `50%`.
fn percentage(text: &str) -> Result<u32, String> {
    match text.strip_suffix('%').map(str::parse) {
        Some(Ok(share @ 0..100)) => Ok(share),
        Some(Ok(_) | Err(_)) | None => Err("not a share; write for instance 50%, at most 99%".to_owned()),
    }
}

/// A rate in events a second: `2000`, `2000/s`, `50k/s`.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (number, scale) = match number.strip_suffix('k') {
        Some(number) => (number, 1_000.0),
        None => (number, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value * scale),
        Ok(_) | Err(_) => Err("not a rate; write for instance 2000/s or 50k/s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn describes_a_sound_command_line() {
        Cli::command().debug_assert();
    }

    #[test]
    fn reads_shares() {
        for (text, value) in [("0%", 0), ("50%", 50), ("99%", 99)] {
            assert_eq!(percentage(text), Ok(value));
        }
        for text in ["", "%", "50", "-1%", "100%", "0.5%"] {
            assert!(percentage(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn reads_rates() {
        for (text, value) in [("2000", 2000.0), ("2000/s", 2000.0), ("50k/s", 50_000.0), ("0.5/s", 0.5)] {
            assert_eq!(rate(text), Ok(value));
        }
        for text in ["", "0", "-1/s", "k/s", "10/m", "inf"] {
            assert!(rate(text).is_err(), "{text:?}");
        }
    }
}
