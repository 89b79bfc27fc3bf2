//! Edge-triggered epoll: every socket is registered once, for everything.

use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::thread::sched_yield;

use crate::clock;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// How long before something is due a thread looks again and again instead of sleeping: waking up takes about as long.
const LOOK_MAX: Duration = Duration::from_micros(20);

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
pub(crate) struct Poll {
    epoll: OwnedFd,
    looked: Duration,
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, looked: Duration::ZERO })
    }

    /// Watches `socket` until it is closed. What is possible already is reported too.
    ///
    /// # Errors
    /// Out of memory or of `fs.epoll.max_user_watches`.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> Result<(), Errno> {
        let everything = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token), everything)
    }

    /// Waits for events, at most until `until`; `now` is the time. May end early, so that whoever waits on is not late.
    ///
    /// # Errors
    /// None that a set of open sockets can cause.
    pub(crate) fn wait_until(
        &mut self,
        events: &mut Events,
        now: Instant,
        until: Instant,
    ) -> Result<(), Errno> {
        if let Some(sleep) = until.saturating_duration_since(now).checked_sub(LOOK_MAX) {
            return self.wait(events, Some(sleep));
        }
        let mut time = now;
        loop {
            self.take(events, Some(Duration::ZERO))?;
            if !events.0.is_empty() || time >= until {
                break;
            }
            // A server on the same core is not to wait for this.
            sched_yield();
            time = clock::now();
        }
        self.looked += time.duration_since(now);
        Ok(())
    }

    /// How long it has looked for events in vain, instead of sleeping.
    pub(crate) fn looked(&self) -> Duration {
        self.looked
    }

    /// Waits for events, at most `timeout` if there is one; may end up to a millisecond early.
    ///
    /// # Errors
    /// None that a set of open sockets can cause.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Errno> {
        let part = |timeout: Duration| Duration::from_nanos((timeout.subsec_nanos() % 1_000_000).into());
        // Epoll itself waits for whole milliseconds.
        let whole = timeout.map(|timeout| timeout - part(timeout));
        if let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero() && whole == Some(Duration::ZERO)) {
            let timeout = Timespec::try_from(timeout).ok();
            match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.take(events, whole)
    }

    /// Takes a batch of events, and waits for some at most `timeout`, which is in whole milliseconds.
    fn take(&self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Errno> {
        events.0.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
