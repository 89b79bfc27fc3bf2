//! Edge-triggered epoll: every socket is registered once, for everything.

use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// The name under which a socket was registered.
pub(crate) type Token = u64;

/// What became possible on a socket. A hint: whoever acts on it may still find the socket blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready(EventFlags);

impl Ready {
    /// As if everything had become possible.
    pub(crate) const ALL: Self = Self(EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP));

    /// Whether a read may bring something: bytes, the end, an error.
    pub(crate) fn to_read(self) -> bool {
        self.0.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
    }

    /// Whether the peer has ended its side, so that a read shorter than asked for is not the last.
    pub(crate) fn ended(self) -> bool {
        self.0.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
    }
}

/// A batch of events, reused from wait to wait.
#[derive(Default)]
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    /// Room for a batch.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS_MAX))
    }

    /// The batch of the last wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, Ready)> {
        self.0.iter().map(|event| {
            let (data, flags) = (event.data, event.flags);
            (data.u64(), Ready(flags))
        })
    }
}

/// An epoll set.
#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub(crate) fn new() -> Result<Self, Errno> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(Self)
    }

    /// Watches `socket` until it is closed. What is possible already is reported too.
    ///
    /// # Errors
    /// Out of memory or of `fs.epoll.max_user_watches`.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> Result<(), Errno> {
        let everything = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.0, socket, EventData::new_u64(token), everything)
    }

    /// Waits for events, at most `timeout` if there is one. A signal ends the wait early.
    ///
    /// # Errors
    /// None that a set of open sockets can cause.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Errno> {
        events.0.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.0, spare_capacity(&mut events.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
