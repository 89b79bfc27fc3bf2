//! Where log lines go: to standard error and to the access log's file, each by way of a thread of its own, so that
//! nobody waits for a terminal or a disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use selat::config::{self, Access};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait to be written; beyond, the newest is lost and counted. Some 64 MiB, which only a disk that hangs
/// brings about; a drain of a hundred thousand sessions loses none.
const LINES_MAX: usize = 128 * 1024;

/// The target of the line a session.
const SESSIONS: &str = "session";

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logging {
    pub(crate) format: LogFormat,
    pub(crate) level: LevelFilter,
    pub(crate) access: Access,
}

/// The access log's file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("[log] access: {} cannot be opened: {source}; name a file in a directory that selat may write to", path.display())]
pub(crate) struct Unwritable {
    path: PathBuf,
    source: io::Error,
}

/// Log lines on their way. What is still queued is written when this is dropped.
#[derive(Default)]
pub(crate) struct Logs {
    flushed_at_exit: Vec<WorkerGuard>,
    lost: Vec<ErrorCounter>,
}

impl Logs {
    /// How to know how many lines found their queue full.
    pub(crate) fn lines_lost(&self) -> impl Fn() -> u64 + Send + use<> {
        let lost = self.lost.clone();
        move || lost.iter().map(|queue| u64::try_from(queue.dropped_lines()).unwrap_or(u64::MAX)).sum()
    }

    /// Queues lines for `writer`, which another thread writes.
    fn queue(&mut self, writer: impl Write + Send + 'static, lines_max: usize) -> NonBlocking {
        let queue = NonBlockingBuilder::default().buffered_lines_limit(lines_max).lossy(true);
        let (writer, guard) = queue.finish(writer);
        self.flushed_at_exit.push(guard);
        self.lost.push(writer.error_counter());
        writer
    }
}

/// Starts logging.
///
/// # Errors
/// [`Unwritable`].
pub(crate) fn start(logging: Logging) -> Result<Logs, Unwritable> {
    let Logging { format, level, access } = logging;
    let mut logs = Logs::default();
    let lines = tracing_subscriber::fmt::layer().with_writer(logs.queue(io::stderr(), LINES_MAX));
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let wanted = Targets::new().with_default(level);
    let (wanted, sessions) = match access {
        Access::On => (wanted, None),
        Access::Off => (wanted.with_target(SESSIONS, LevelFilter::OFF), None),
        Access::File(path) => {
            let writer = logs.queue(AccessLog::open(path)?, LINES_MAX);
            let sessions = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer);
            let only = Targets::new().with_target(SESSIONS, LevelFilter::INFO);
            (wanted.with_target(SESSIONS, LevelFilter::OFF), Some(sessions.with_filter(only)))
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(wanted)).with(sessions).init();
    Ok(logs)
}

/// A file that may be renamed or removed while it is written: what comes then goes to a new one of its name, as
/// logrotate expects of those it does not signal.
struct AccessLog {
    path: PathBuf,
    file: File,
}

impl AccessLog {
    fn open(path: PathBuf) -> Result<Self, Unwritable> {
        match append(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(Unwritable { path, source }),
        }
    }

    /// Whether the name is still that of the file; a look costs less than the write that follows it.
    fn has_its_name(&self) -> io::Result<bool> {
        let (named, own) = (fs::metadata(&self.path)?, self.file.metadata()?);
        Ok((named.dev(), named.ino()) == (own.dev(), own.ino()))
    }
}

impl Write for AccessLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Where there can be no new file, the old one is better than none.
        if !self.has_its_name().unwrap_or_default()
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The file at `path`, to add to. A new one is for this user and group: it says who came from where.
fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// A disk that takes nothing until it is told to.
    struct Hung(Receiver<()>);

    impl Write for Hung {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once the test is over it takes everything.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_their_queue_full_are_lost_and_counted_and_nobody_waits() {
        let (release, hung) = sync_channel(1);
        let mut logs = Logs::default();
        let mut writer = logs.queue(Hung(hung), 10);
        let lines_lost = logs.lines_lost();
        assert_eq!(lines_lost(), 0);
        (0..20).for_each(|_| writer.write_all(b"a line").expect("it never fails"));
        // Ten are queued, and one may be with the disk.
        assert!((9..=10).contains(&lines_lost()), "{}", lines_lost());
        drop(release);
    }
}
