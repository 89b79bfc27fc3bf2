//! What `serve` takes.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::{listen, peer, rate, tick_bytes};
use crate::net::Target;

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

/// Where and how a server listens.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Where to listen, such as :9001 or 127.0.0.1:0, where port 0 is any free one. Prints `listening ADDRESS` when ready.
    #[arg(value_name = "LISTEN", value_parser = listen)]
    pub(crate) address: SocketAddr,
    /// Connections that the kernel may hold for us before we accept them.
    #[arg(long, default_value_t = 4096)]
    pub(crate) backlog: i32,
}

/// `serve echo`
#[derive(Debug, Args)]
pub(crate) struct ServeEchoArgs {
    #[command(flatten)]
    pub(crate) at: ListenArgs,
}

/// `serve faulty`
#[derive(Debug, Args)]
pub(crate) struct ServeFaultyArgs {
    #[command(flatten)]
    pub(crate) at: ListenArgs,
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
}

/// `serve relay`
#[derive(Debug, Args)]
pub(crate) struct ServeRelayArgs {
    #[command(flatten)]
    pub(crate) at: ListenArgs,
    /// Where every connection is relayed to, such as :9001 or 127.0.0.1:9001.
    #[arg(long, value_parser = peer)]
    pub(crate) to: SocketAddr,
}

/// `serve ticker`
#[derive(Debug, Args)]
pub(crate) struct ServeTickerArgs {
    #[command(flatten)]
    pub(crate) at: ListenArgs,
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
}

/// `serve broadcast`
#[derive(Debug, Args)]
pub(crate) struct ServeBroadcastArgs {
    #[command(flatten)]
    pub(crate) at: ListenArgs,
    /// The source, ws://…, which must not ask for anything.
    #[arg(long)]
    pub(crate) from: Target,
}
