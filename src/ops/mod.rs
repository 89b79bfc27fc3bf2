//! The operator's end of the admin interface: `selat status`, `top`, `drain`, `undrain`, `reload`.
//!
//! Asks a running selat, shows what it says. Knows nothing that the admin interface does not tell.

mod client;
mod status;
mod table;
mod top;
mod units;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::runtime;

use crate::config::ListenAddress;
use crate::control::admin::{DrainReport, ReloadReport, Token};
use crate::telemetry::Overview;

use client::{Client, Method, parse};

/// The port of an admin interface that nobody gave another.
pub const DEFAULT_PORT: u16 = 9765;

/// Where an admin interface is that nobody put elsewhere.
#[must_use]
pub fn default_address() -> ListenAddress {
    ListenAddress::Tcp((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into())
}

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// Where the running selat's admin interface is.
    pub admin: ListenAddress,
    /// A file with its token.
    pub token_file: Option<PathBuf>,
    /// What to ask.
    pub task: Task,
    /// How to say what it answered.
    pub format: Format,
}

/// One of the things that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// How it is.
    Status,
    /// How it is, again and again.
    Top {
        /// Between two looks.
        every: Duration,
    },
    /// Empty a backend.
    Drain {
        /// Its URL or address.
        backend: String,
    },
    /// Use it again.
    Undrain {
        /// Its URL or address.
        backend: String,
    },
    /// Read the configuration again.
    Reload,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// As it came: for programs.
    Json,
}

/// Why an errand failed.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// Nobody is there.
    #[error(
        "no selat answers on {address}: {source}; is one running, with an admin interface there? \
         Say where it is with --admin ADDR or --admin unix:PATH"
    )]
    Unreachable {
        /// Where it was looked for.
        address: ListenAddress,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody is there, and does not speak as selat does.
    #[error("what answers on {address} is no selat, or one of another version: {what}")]
    NotUnderstood {
        /// Who answered.
        address: ListenAddress,
        /// What was wrong with it.
        what: String,
    },
    /// It would not, or could not.
    #[error("{error} (HTTP {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its reason.
        error: String,
    },
    /// The file with the token cannot be used.
    #[error("{}: {what}; give a file that holds the token and nothing else", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The terminal, or what stands in its place.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

impl OpsError {
    /// What happened, without the remedy: for who is told again and again.
    fn brief(&self) -> String {
        match self {
            Self::Unreachable { source, .. } => source.to_string(),
            Self::NotUnderstood { .. }
            | Self::Refused { .. }
            | Self::TokenFile { .. }
            | Self::Terminal(_) => self.to_string(),
        }
    }
}

impl Errand {
    /// Does it, and shows what came of it on standard output.
    ///
    /// # Errors
    /// [`OpsError`] with its remedy.
    pub fn run(self) -> Result<(), OpsError> {
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let client = Client::new(self.admin, token);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(perform(&client, self.task, self.format))
    }
}

/// # Cancel safety
/// Not to be cancelled: it is the program's only future.
async fn perform(client: &Client, task: Task, format: Format) -> Result<(), OpsError> {
    match task {
        Task::Status => {
            let answer = client.exchange(Method::GET, "/status").await?;
            show(&answer, format, || Ok(status::text(&parse::<Overview>(client, &answer)?, client.address())))
        }
        Task::Top { every } if io::stdout().is_terminal() => top::watch(client, every).await,
        Task::Top { every } => Ok(print(&top::once(client, every).await?)?),
        Task::Drain { backend } => {
            let answer = client.exchange(Method::POST, &path_of("drain", &backend)).await?;
            show(&answer, format, || Ok(drained("draining", &parse(client, &answer)?)))
        }
        Task::Undrain { backend } => {
            let answer = client.exchange(Method::POST, &path_of("undrain", &backend)).await?;
            show(&answer, format, || Ok(drained("in use again", &parse(client, &answer)?)))
        }
        Task::Reload => {
            let answer = client.exchange(Method::POST, "/reload").await?;
            show(&answer, format, || Ok(reloaded(&parse(client, &answer)?)))
        }
    }
}

/// Prints an answer: as it came, or in words.
fn show(
    answer: &[u8],
    format: Format,
    words: impl FnOnce() -> Result<String, OpsError>,
) -> Result<(), OpsError> {
    let text = match format {
        Format::Json => format!("{}\n", String::from_utf8_lossy(answer)),
        Format::Text => units::printable(&words()?),
    };
    Ok(print(&text)?)
}

/// Like `print!`, but whoever closed the pipe early has read enough.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn path_of(verb: &str, backend: &str) -> String {
    format!("/{verb}/{}", utf8_percent_encode(backend, NON_ALPHANUMERIC))
}

fn drained(what: &str, report: &DrainReport) -> String {
    let line = |backend: &String| format!("{backend}: {what}\n");
    let sessions = format!("{} there now\n", units::counted(report.sessions, "session"));
    report.backends.iter().map(line).chain([sessions]).collect()
}

fn reloaded(report: &ReloadReport) -> String {
    let nothing = report.changes.is_empty().then(|| "nothing had changed".to_owned());
    let changes = report.changes.iter().chain(&nothing).map(|change| format!("{change}\n"));
    [format!("configuration {} is in effect\n", report.generation)].into_iter().chain(changes).collect()
}

fn read_token(path: &Path) -> Result<String, OpsError> {
    let unusable = |what: String| OpsError::TokenFile { path: path.to_owned(), what };
    let token = fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let token = token.trim();
    Token::new(token).map_err(|error| unusable(error.to_string()))?;
    Ok(token.to_owned())
}
