//! Flags that every way to run without a file has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use selat::config::{Cores, ListenAddress, parse_duration};

use super::LogArgs;
use super::written::{line, path, text, time};

/// What holds for the process, its clients and its connections to servers.
#[derive(Args)]
pub(super) struct GeneralArgs {
    /// Authorities, in PEM, that must have signed the certificates of wss:// servers
    /// [default: those that this machine believes]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,

    /// Believe any wss:// server, whatever its certificate: for trying things out
    #[arg(long)]
    insecure: bool,

    /// Cores that get a shard each: all that are allowed, or a list such as 0-3,6
    #[arg(long, default_value = "all", value_name = "LIST")]
    cores: Cores,

    /// Client connections of the whole process, shared out evenly over the cores; beyond: 503
    /// [default: what the open-files limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// Time for a client to send its whole request head; then 408
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    head_timeout: Duration,

    /// Time for a server to accept a connection and answer the handshake; then the next one is tried
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "TIME")]
    connect_timeout: Duration,

    /// Time for a closing handshake to end; then the connection is cut
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    close_timeout: Duration,

    /// Time without a byte in either direction; then Close 1001
    #[arg(long, default_value = "1h", value_parser = parse_duration, value_name = "TIME")]
    idle_timeout: Duration,

    /// Time over which a drain spreads the Closes, so that not all clients come back at once
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "TIME")]
    drain_window: Duration,

    /// Take over from the selat that waits at this Unix socket, without a connection being refused; then wait there
    /// for a successor
    #[arg(long, value_name = "PATH")]
    handover: Option<PathBuf>,

    #[command(flatten)]
    pub(super) log: LogArgs,
}

impl GeneralArgs {
    /// The table of the listener, with its certificate and that one's key.
    pub(super) fn listener(address: &ListenAddress, certificate: Option<(&Path, &Path)>) -> String {
        let tls = certificate.map(|(cert, key)| format!("{{ cert = {}, key = {} }}", path(cert), path(key)));
        format!("[listen.public]\naddr = {}\n{}", text(&address.to_string()), line("tls", tls))
    }

    /// Lines of the route's table.
    pub(super) fn of_route(&self) -> String {
        let (idle, close) = (time(self.idle_timeout), time(self.close_timeout));
        format!("timeouts = {{ idle = {idle}, close = {close} }}\n")
    }

    /// Lines of the table that has the servers.
    pub(super) fn of_servers(&self) -> String {
        [
            line("connect_timeout", Some(time(self.connect_timeout))),
            line("tls.ca", self.ca.as_deref().map(path)),
            line("tls.insecure", self.insecure.then(|| "true".to_owned())),
        ]
        .concat()
    }

    /// The table of the process.
    pub(super) fn process(&self) -> String {
        let (head, close) = (time(self.head_timeout), time(self.close_timeout));
        [
            format!("[process]\ncores = {}\n", text(&self.cores.to_string())),
            line("max_connections", self.max_connections.map(|count| count.to_string())),
            line("handover", self.handover.as_ref().map(|path| text(&path.to_string_lossy()))),
            line("drain_window", Some(time(self.drain_window))),
            format!("timeouts = {{ head = {head}, close = {close} }}\n"),
        ]
        .concat()
    }
}
