//! The command line: flags to [`Config`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use selat::config::{
    self, Access, BackendUrl, Config, Cores, ListenAddress, Log, Mistake, Parsed, Transport, escape,
    parse_bytes, parse_duration,
};
use selat::control::{Loaded, Origin};
use selat::demo;
use selat::load::{LoadError, Machine, load};
use selat::ops::Errand;
use toml_writer::ToTomlValue;
use tracing::level_filters::LevelFilter;

use crate::logging::{LogFormat, Logging};

mod ops;

/// What the user asked for.
pub(crate) enum Invocation {
    Proxy(Box<Proxy>),
    Check { file: PathBuf },
    Demo { settings: demo::Settings, logging: Logging },
    Ops(Errand),
}

/// A proxy to be run.
pub(crate) struct Proxy {
    pub(crate) config: Config,
    /// The file that the configuration is from, if it is from one.
    pub(crate) origin: Option<Origin>,
    /// What is odd about it.
    pub(crate) warnings: Vec<Mistake>,
    pub(crate) logging: Logging,
}

/// Reads the command line, and the file that it names; prints and exits where that is all there is to do.
///
/// # Errors
/// The configuration is wrong.
pub(crate) fn parse() -> Result<Invocation, LoadError> {
    let Cli { command, proxy } = Cli::parse();
    match command {
        Some(Command::Demo(demo)) => {
            let logging = demo.log.logging(LogFormat::Text, LogLevel::Warn, Access::On);
            Ok(Invocation::Demo { settings: demo.settings(), logging })
        }
        Some(Command::Check { file }) => Ok(Invocation::Check { file }),
        Some(Command::Ops(command)) => Ok(Invocation::Ops(command.errand())),
        Some(Command::Run { file, log }) => {
            let parsed = load(&file)?;
            let name = file.display().to_string();
            let origin = origin(Some(name), &parsed.files, move || load(&file));
            Ok(proxy_of(parsed, Some(origin), log))
        }
        None => {
            let (toml, log) = (proxy.toml(), proxy.log);
            let read = move || config::parse(&toml, "", &Machine).map_err(LoadError::Wrong);
            let parsed = read()?;
            // Flags stay what they are, but certificates are renewed.
            let origin = (!parsed.files.is_empty()).then(|| origin(None, &parsed.files, read));
            Ok(proxy_of(parsed, origin, log))
        }
    }
}

/// A configuration, to be run; the flags outdo what it says about logs.
fn proxy_of(parsed: Parsed, origin: Option<Origin>, log: LogArgs) -> Invocation {
    let Parsed { config, warnings, .. } = parsed;
    let Log { format, level, access } = config.log.clone();
    let logging = log.logging(format.into(), level.into(), access);
    Invocation::Proxy(Box::new(Proxy { config, origin, warnings, logging }))
}

/// Where a reload finds the configuration again.
fn origin(
    file: Option<String>,
    files: &[PathBuf],
    read: impl Fn() -> Result<Parsed, LoadError> + Send + 'static,
) -> Origin {
    Origin::new(file, files, move || {
        let Parsed { config, warnings, files } = read().map_err(|error| error.to_string())?;
        Ok(Loaded { config, files, warnings })
    })
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
    after_help = "Examples:\n  selat :8765 ws://127.0.0.1:9001 ws://127.0.0.1:9002\n  \
                  selat :443 --cert cert.pem --key key.pem ws://127.0.0.1:9001\n  \
                  selat run -c selat.toml\n\n\
                  Signals: SIGTERM or SIGINT drains (a second one cuts at once), SIGHUP reloads the\n\
                  configuration file, SIGUSR1 logs a summary."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    proxy: ProxyArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run what a configuration file says
    Run {
        /// The file, in TOML; docs/reference/configuration.md has every key
        #[arg(short = 'c', long = "config", value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Say all that is wrong with a configuration file, and show it with every default written out
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
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

    /// Where the servers are: ws://host:port/base/path or wss://host, one or more
    #[arg(required = true, value_name = "BACKEND")]
    backends: Vec<BackendUrl>,

    /// Certificate in PEM, with those between it and the root, to speak TLS with clients; read again when it changes
    #[arg(long, requires = "key", value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM, not encrypted
    #[arg(long, requires = "cert", value_name = "FILE")]
    key: Option<PathBuf>,

    /// Authorities, in PEM, that must have signed the certificates of wss:// backends
    /// [default: those that this machine believes]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,

    /// Believe any wss:// backend, whatever its certificate: for trying things out
    #[arg(long)]
    insecure: bool,

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
    /// How log lines look; text is the default
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,

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

    /// Have clients speak TLS with the proxy, by a certificate that is made on the spot
    #[arg(long)]
    tls: bool,

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
    /// The file that says the same, so that there is one way to a configuration.
    fn toml(&self) -> String {
        let text = |text: &str| escape(text).to_toml_value();
        let time = |time: Duration| text(&humantime::format_duration(time).to_string());
        // In a file, paths are whole.
        let path = |path: &Path| {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            text(&whole.to_string_lossy())
        };
        let listen = self.listen.as_ref().expect("clap requires it where there is no subcommand");
        let backends: Vec<_> = self.backends.iter().map(|backend| text(&backend.to_string())).collect();
        let balance = match self.balance {
            Balance::RoundRobin => "round-robin",
            Balance::LeastConnections => "least-connections",
        };
        let message = self.message_bytes_max.map(|bytes| format!("limits.message = \"{bytes}B\"\n"));
        let handover =
            self.handover.as_ref().map(|path| format!("handover = {}\n", text(&path.to_string_lossy())));
        let certificate = self.cert.as_ref().zip(self.key.as_ref());
        let certificate = certificate
            .map(|(cert, key)| format!("tls = {{ cert = {}, key = {} }}\n", path(cert), path(key)));
        let ca = self.ca.as_ref().map(|ca| format!("tls.ca = {}\n", path(ca)));
        let connections = self.max_connections.map(|count| format!("max_connections = {count}\n"));
        [
            format!("[listen.public]\naddr = {}\n", text(&listen.to_string())),
            certificate.unwrap_or_default(),
            "[route.default]\npool = \"default\"\n".to_owned(),
            message.unwrap_or_default(),
            format!("timeouts.idle = {}\n", time(self.idle_timeout)),
            format!("timeouts.close = {}\n", time(self.close_timeout)),
            format!("[pool.default]\nbackends = [{}]\n", backends.join(", ")),
            format!("balance = {}\nconnect_timeout = {}\n", text(balance), time(self.connect_timeout)),
            ca.unwrap_or_default(),
            if self.insecure { "tls.insecure = true\n".to_owned() } else { String::new() },
            format!("[process]\ncores = {}\n", text(&self.cores.to_string())),
            connections.unwrap_or_default(),
            handover.unwrap_or_default(),
            format!("drain_window = {}\n", time(self.drain_window)),
            format!("timeouts.head = {}\n", time(self.head_timeout)),
            format!("timeouts.close = {}\n", time(self.close_timeout)),
        ]
        .concat()
    }
}

impl DemoArgs {
    fn settings(&self) -> demo::Settings {
        demo::Settings {
            listen: self.listen.clone(),
            failover_after: self.failover_after,
            run_for: self.run_for,
            transport: if self.tls { Transport::Tls } else { Transport::Plain },
        }
    }
}

impl LogArgs {
    /// As the flags say, or else like this.
    fn logging(self, format: LogFormat, level: LogLevel, access: Access) -> Logging {
        let level = match self.log_level.unwrap_or(level) {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        Logging { format: self.log_format.unwrap_or(format), level, access }
    }
}

impl From<config::LogLevel> for LogLevel {
    fn from(level: config::LogLevel) -> Self {
        match level {
            config::LogLevel::Error => Self::Error,
            config::LogLevel::Warn => Self::Warn,
            config::LogLevel::Info => Self::Info,
            config::LogLevel::Debug => Self::Debug,
            config::LogLevel::Trace => Self::Trace,
        }
    }
}
