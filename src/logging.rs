//! Where log lines go: standard error, by way of a thread of their own, so that nobody waits for a terminal.

use std::io;

use clap::ValueEnum;
use selat::config;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl From<config::LogFormat> for LogFormat {
    fn from(format: config::LogFormat) -> Self {
        match format {
            config::LogFormat::Text => Self::Text,
            config::LogFormat::Json => Self::Json,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logging {
    pub(crate) format: LogFormat,
    pub(crate) level: LevelFilter,
}

/// Starts logging. What is still queued is written when the guard is dropped.
pub(crate) fn start(logging: Logging) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let builder = tracing_subscriber::fmt().with_max_level(logging.level).with_writer(writer);
    match logging.format {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    guard
}
