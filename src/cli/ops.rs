//! `status`, `top`, `drain`, `undrain` and `reload`: flags to an [`Errand`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use selat::config::{ListenAddress, parse_duration};
use selat::ops::{Errand, Format, Task, default_address};

#[derive(Subcommand)]
pub(super) enum OpsCommand {
    /// Show how a running selat is: routes, backends, shards, latencies
    Status(AskArgs),
    /// Watch a running selat: sessions, messages and bytes a second, latencies, closes
    Top(TopArgs),
    /// Empty a backend: no new sessions, and those it has are closed, to come back elsewhere
    Drain(BackendArgs),
    /// Use a drained backend again
    Undrain(BackendArgs),
    /// Have a running selat read its configuration again; a bad one changes nothing
    Reload(AskArgs),
}

#[derive(Args)]
struct AdminArgs {
    /// Where its admin interface is: 127.0.0.1:9765 or unix:/path
    #[arg(long, default_value_t = default_address(), value_name = "ADDR")]
    admin: ListenAddress,

    /// A file that holds the admin interface's token, if it wants one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct AskArgs {
    #[command(flatten)]
    admin: AdminArgs,

    /// Print the answer as it came, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct BackendArgs {
    /// Its URL, or host:port; where several pools have it, POOL/URL means one
    #[arg(value_name = "BACKEND")]
    backend: String,

    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    admin: AdminArgs,

    /// The time between two looks
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "TIME")]
    every: Duration,
}

impl OpsCommand {
    pub(super) fn errand(self) -> Errand {
        match self {
            Self::Status(ask) => ask.errand(Task::Status),
            Self::Top(TopArgs { admin, every }) => admin.errand(Task::Top { every }, Format::Text),
            Self::Drain(BackendArgs { backend, ask }) => ask.errand(Task::Drain { backend }),
            Self::Undrain(BackendArgs { backend, ask }) => ask.errand(Task::Undrain { backend }),
            Self::Reload(ask) => ask.errand(Task::Reload),
        }
    }
}

impl AskArgs {
    fn errand(self, task: Task) -> Errand {
        self.admin.errand(task, if self.json { Format::Json } else { Format::Text })
    }
}

impl AdminArgs {
    fn errand(self, task: Task, format: Format) -> Errand {
        Errand { admin: self.admin, token_file: self.token_file, task, format }
    }
}
