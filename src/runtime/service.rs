//! What the service manager is told, if there is one that listens: systemd's sd_notify(3) protocol.
//!
//! Without `NOTIFY_SOCKET` in the environment all of it does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The service manager, as far as one server is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceManager {
    /// The server is what it runs.
    Told,
    /// The server is a part of something else, which is none of its business.
    Untold,
}

impl ServiceManager {
    /// Connections are accepted; `status` is a line for people, shown by `systemctl status`.
    pub fn ready(self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is being read again; to be followed by [`Self::ready`], whether it was any good or not.
    pub fn reloading(self) {
        // systemd tells an answer to this reload from one to the last by the time in it.
        match NotifyState::monotonic_usec_now() {
            Ok(time) => self.tell(&[NotifyState::Reloading, time]),
            Err(error) => warn!(%error, "the service manager cannot be told of the reload: no clock"),
        }
    }

    /// The server is going down; `status` is a line for people.
    pub fn stopping(self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// A line for people.
    pub fn status(self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Another process is the service from now on.
    pub fn main_pid(self, pid: u32) {
        self.tell(&[NotifyState::MainPid(pid)]);
    }

    /// All is well.
    pub fn alive(self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// How long the service manager waits for [`Self::alive`] before it restarts the service; `None` if it does not.
    #[must_use]
    pub fn watchdog(self) -> Option<Duration> {
        match self {
            Self::Told => sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()),
            Self::Untold => None,
        }
    }

    fn tell(self, news: &[NotifyState<'_>]) {
        if self == Self::Told
            && let Err(error) = sd_notify::notify(news)
        {
            warn!(%error, "the service manager cannot be told; is NOTIFY_SOCKET a socket that may be written to?");
        }
    }
}
