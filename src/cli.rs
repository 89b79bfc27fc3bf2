//! The command line: flags to [`Config`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use selat::balance::Policy;
use selat::config::{
    Backend, BackendUrl, Config, Cores, Limits, ListenAddress, Pool, PoolId, Route, Target, Timeouts,
    parse_bytes, parse_duration,
};
use selat::ops::Errand;
use selat::{demo, session};
use tracing::level_filters::LevelFilter;

use crate::logging::{LogFormat, Logging};

mod ops;

/// What the user asked for.
pub(crate) enum Invocation {
    Proxy { config: Config, logging: Logging },
    Demo { settings: demo::Settings, logging: Logging },
    Ops(Errand),
}

impl Invocation {
    /// `None` for what says everything itself.
    pub(crate) fn logging(&self) -> Option<Logging> {
        match self {
            Self::Proxy { logging, .. } | Self::Demo { logging, .. } => Some(*logging),
            Self::Ops(_) => None,
        }
    }
}

/// Reads the command line; prints and exits where that is all there is to do.
pub(crate) fn parse() -> Invocation {
    let Cli { command, proxy } = Cli::parse();
    match command {
        Some(Command::Demo(demo)) => {
            Invocation::Demo { settings: demo.settings(), logging: demo.log.logging(LogLevel::Warn) }
        }
        Some(Command::Ops(command)) => Invocation::Ops(command.errand()),
        None => Invocation::Proxy { logging: proxy.log.logging(LogLevel::Info), config: proxy.config() },
    }
}

/// A WebSocket proxy that runs on every core.
///
/// Places each client connection on one healthy backend and forwards its frames both ways. A backend that is down
/// is passed over before the client notices; one that dies closes its clients properly.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  selat :8765 ws://127.0.0.1:9001 ws://127.0.0.1:9002\n\n\
                  Signals: SIGTERM or SIGINT drains (a second one cuts at once), SIGUSR1 logs a summary."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    proxy: ProxyArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Show it all on this machine: backends, proxy, clients and a failover, with nothing else needed
    Demo(DemoArgs),
    #[command(flatten)]
    Ops(ops::OpsCommand),
}

#[derive(Args)]
struct ProxyArgs {
    /// Where clients connect: :8765, 0.0.0.0:8765, [::1]:8765 or unix:/path
    #[arg(required = true, value_name = "LISTEN")]
    listen: Option<ListenAddress>,

    /// Where the servers are: ws://host:port/base/path, one or more
    #[arg(required = true, value_name = "BACKEND")]
    backends: Vec<BackendUrl>,

    /// Cores that get a shard each: all that are allowed, or a list such as 0-3,6
    #[arg(long, default_value = "all", value_name = "LIST")]
    cores: Cores,

    /// How a backend is chosen for a new connection
    #[arg(long, value_enum, default_value = "round-robin", value_name = "POLICY")]
    balance: Balance,

    /// Client connections of the whole process, shared out evenly over the cores; beyond: 503
    /// [default: what the open-files limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// Time for a client to send its whole request head; then 408
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    head_timeout: Duration,

    /// Time for a backend to accept a connection and answer the handshake; then the next one is tried
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "TIME")]
    connect_timeout: Duration,

    /// Time for a closing handshake to end; then both connections are cut
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    close_timeout: Duration,

    /// Time without a byte in either direction; then Close 1001
    #[arg(long, default_value = "1h", value_parser = parse_duration, value_name = "TIME")]
    idle_timeout: Duration,

    /// Largest message, as it stands on the wire, such as 1MiB; beyond: Close 1009 [default: no limit]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    message_bytes_max: Option<u64>,

    /// Time over which a drain spreads the Closes, so that not all clients come back at once
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "TIME")]
    drain_window: Duration,

    /// Take over from the selat that waits at this Unix socket, without a connection being refused; then wait there
    /// for a successor
    #[arg(long, value_name = "PATH")]
    handover: Option<PathBuf>,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args, Clone, Copy)]
struct LogArgs {
    /// How log lines look
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,

    /// What is logged: each level includes those before it; info, the default but for the demo, has a line a session
    #[arg(long, value_enum, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

#[derive(Args)]
struct DemoArgs {
    /// Where the demo's proxy listens
    #[arg(long, default_value = "127.0.0.1:8765", value_name = "LISTEN")]
    listen: ListenAddress,

    /// When one of the two backends is stopped
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "TIME")]
    failover_after: Duration,

    /// End by itself after this time [default: serve until Ctrl-C]
    #[arg(long = "for", value_parser = parse_duration, value_name = "TIME")]
    run_for: Option<Duration>,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Balance {
    /// Each backend in turn
    RoundRobin,
    /// The backend with the fewest sessions, over all cores
    LeastConnections,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl ProxyArgs {
    fn config(self) -> Config {
        let listen = self.listen.expect("clap requires it where there is no subcommand");
        let mut route = Route::new("default", Target::Pool(PoolId(0)));
        route.session = session::Settings {
            close: self.close_timeout,
            idle: self.idle_timeout,
            message_bytes_max: self.message_bytes_max.unwrap_or(route.session.message_bytes_max),
            ..route.session
        };
        let mut pool = Pool::new("default", self.backends.into_iter().map(Backend::from).collect());
        pool.connect = self.connect_timeout;
        pool.policy = match self.balance {
            Balance::RoundRobin => Policy::RoundRobin,
            Balance::LeastConnections => Policy::LeastConnections,
        };
        Config {
            cores: self.cores,
            limits: Limits { connections_max: self.max_connections },
            timeouts: Timeouts {
                head: self.head_timeout,
                close: self.close_timeout,
                drain_window: self.drain_window,
            },
            ..Config::new(listen, vec![route], vec![pool])
        }
    }
}

impl DemoArgs {
    fn settings(&self) -> demo::Settings {
        demo::Settings {
            listen: self.listen.clone(),
            failover_after: self.failover_after,
            run_for: self.run_for,
        }
    }
}

impl LogArgs {
    fn logging(self, default: LogLevel) -> Logging {
        let level = match self.log_level.unwrap_or(default) {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        Logging { format: self.log_format, level }
    }
}
