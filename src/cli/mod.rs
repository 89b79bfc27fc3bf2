//! The command line: flags to [`Config`].

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use selat::config::{self, Access, Config, ListenAddress, Log, Mistake, Parsed, Transport, parse_duration};
use selat::control::{Loaded, Origin};
use selat::demo;
use selat::load::{LoadError, Machine, load};
use selat::ops::Errand;
use tracing::level_filters::LevelFilter;

use crate::logging::{LogFormat, Logging};

mod dispatch;
mod feed;
mod general;
mod ops;
mod proxy;
mod written;

use dispatch::DispatchArgs;
use feed::FeedArgs;
use proxy::ProxyArgs;

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
        Some(Command::Feed(feed)) => {
            if let Some(name) = feed.repeated_header() {
                let what = format!("--header: {name} is there twice; a source gets it once");
                Cli::command().error(ErrorKind::ArgumentConflict, what).exit();
            }
            of_flags(feed.toml(), feed.general.log)
        }
        Some(Command::Dispatch(dispatch)) => of_flags(dispatch.toml(), dispatch.general.log),
        None => of_flags(proxy.toml(), proxy.general.log),
    }
}

/// What flags say that come to this file.
fn of_flags(toml: String, log: LogArgs) -> Result<Invocation, LoadError> {
    let read = move || config::parse(&toml, "", &Machine).map_err(LoadError::Wrong);
    let parsed = read()?;
    // Flags stay what they are, but certificates are renewed.
    let origin = (!parsed.files.is_empty()).then(|| origin(None, &parsed.files, read));
    Ok(proxy_of(parsed, origin, log))
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
                  selat feed :8765 wss://vendor.example/feed --on-open '{\"userKey\":\"${KEY}\"}'\n  \
                  selat dispatch :8765 ws://127.0.0.1:9001 ws://127.0.0.1:9002 --correlate /id\n  \
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
    /// Extend one source to any number of clients, over one connection to it
    ///
    /// Each message of the source goes to every client, as it came. The source is kept: dialled again when it is lost,
    /// given up when it stalls, replaced before the vendor cuts it. No client waits for a slow one.
    ///
    /// In SOURCE, --on-open and --header, ${NAME} stands for an environment variable. Write it in single quotes, so
    /// that the shell leaves it alone: its value is then not to be seen among the arguments of the process, nor in
    /// any output.
    #[command(after_help = "Examples:\n  \
        selat feed :8765 wss://vendor.example/feed --on-open '{\"userKey\":\"${KEY}\",\"symbol\":\"EURUSD\"}'\n  \
        selat feed :8765 'wss://vendor.example/feed?token=${TOKEN}' --key /symbol --snapshot --slow conflate\n\n\
        Clients that choose keys, and those that have to say who they are, need a file: docs/feeds.md.")]
    Feed(Box<FeedArgs>),
    /// Spread each client's messages over many servers, and gather the replies into its one connection
    ///
    /// Each message goes to one server, or to all of them; a client that sends many at once keeps all servers busy, and
    /// one that dies costs at most the replies it owed. For servers that answer each message by itself: one that
    /// remembers something of a connection, such as a login or a subscription, must not be dispatched to.
    #[command(after_help = "Examples:\n  \
        selat dispatch :8765 ws://127.0.0.1:9001 ws://127.0.0.1:9002 --balance least-outstanding\n  \
        selat dispatch :8765 ws://127.0.0.1:9001 ws://127.0.0.1:9002 --correlate /id --retry 1\n  \
        selat dispatch :8765 ws://127.0.0.1:9001 ws://127.0.0.1:9002 --send all --gather array\n\n\
        What a reply is, and what becomes of one that does not come: docs/dispatch.md.")]
    Dispatch(Box<DispatchArgs>),
    /// Show it all on this machine: backends, proxy, clients and a failover, with nothing else needed
    Demo(DemoArgs),
    #[command(flatten)]
    Ops(ops::OpsCommand),
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
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
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
