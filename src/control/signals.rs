//! SIGTERM, SIGINT, SIGHUP and SIGUSR1.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::runtime::service::ServiceManager;

/// Whether signals to the process concern this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// It is the process's only server.
    Handled,
    /// Its owner deals with them.
    Ignored,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Summarise,
}

pub(super) struct Listening(Option<Streams>);

struct Streams {
    terminate: Stream,
    interrupt: Stream,
    hang_up: Stream,
    user: Stream,
}

impl Signals {
    /// Whether the service manager hears of this server: like signals, it concerns the process.
    #[must_use]
    pub fn service_manager(self) -> ServiceManager {
        match self {
            Self::Handled => ServiceManager::Told,
            Self::Ignored => ServiceManager::Untold,
        }
    }

    pub(super) fn listen(self) -> io::Result<Listening> {
        if self == Self::Ignored {
            return Ok(Listening(None));
        }
        Ok(Listening(Some(Streams {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })))
    }
}

impl Listening {
    /// The next signal.
    ///
    /// # Cancel safety
    /// Safe: tokio keeps what has arrived.
    pub(super) async fn next(&mut self) -> Signal {
        let Some(streams) = &mut self.0 else { return pending().await };
        tokio::select! {
            _ = streams.terminate.recv() => Signal::Terminate,
            _ = streams.interrupt.recv() => Signal::Terminate,
            _ = streams.hang_up.recv() => Signal::Reload,
            _ = streams.user.recv() => Signal::Summarise,
        }
    }
}
