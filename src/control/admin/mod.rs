//! The admin interface: HTTP for people, scrapers and `selat status`, beside the proxy and never in its way.
//!
//! It knows nothing itself: every request becomes an [`Ask`] to the control plane's loop, which answers when it
//! comes round. One request a connection, a bounded number of connections, a bounded head, no body, and a limit to
//! how long each may take.

mod guard;
mod reports;
mod routes;
mod serve;
mod token;

pub use reports::{DrainReport, Failure, ReloadReport, UnknownBackend};
pub use serve::Admin;
pub use token::{InvalidToken, Token};

use tokio::sync::oneshot;

use crate::telemetry::Overview;

/// Asks that wait for the control plane's loop at most: one from each connection.
pub const ASKS_MAX: usize = serve::CONNECTIONS_MAX;

/// What a user of the admin interface wants. Who asked may have lost patience when the answer comes.
#[derive(Debug)]
pub enum Ask {
    /// How everything is.
    Overview(oneshot::Sender<Box<Overview>>),
    /// The configuration in effect, as TOML, without secrets.
    Config(oneshot::Sender<String>),
    /// Place no new sessions on the backends of [this name](crate::telemetry::BackendOverview::is_called), and
    /// close those they have.
    Drain {
        /// As the user wrote it.
        backend: String,
        /// What was done.
        reply: oneshot::Sender<Result<DrainReport, UnknownBackend>>,
    },
    /// Place sessions there again.
    Undrain {
        /// As the user wrote it.
        backend: String,
        /// What was done.
        reply: oneshot::Sender<Result<DrainReport, UnknownBackend>>,
    },
    /// Read the configuration again, and apply it or say why not.
    Reload(oneshot::Sender<Result<ReloadReport, String>>),
    /// Drain the whole process, then end; answered once it has begun.
    Shutdown(oneshot::Sender<()>),
}
