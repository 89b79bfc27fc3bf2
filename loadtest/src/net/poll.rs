//! Edge-triggered epoll: every socket is registered once, for everything.

use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

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

    /// The batch of the last wait, without the timer's.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, Ready)> {
        let all = self.0.iter().map(|event| {
            let (data, flags) = (event.data, event.flags);
            (data.u64(), Ready(flags))
        });
        all.filter(|(token, _)| *token != TIMER)
    }
}

/// The timer's name; no socket's.
const TIMER: Token = Token::MAX - 1;

/// An epoll set, with a timer of its own: the kernel rounds the time that epoll itself waits to whole milliseconds.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer rings.
    armed: Option<Instant>,
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub(crate) fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: None })
    }

    /// Watches `socket` until it is closed. What is possible already is reported too.
    ///
    /// # Errors
    /// Out of memory or of `fs.epoll.max_user_watches`.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> Result<(), Errno> {
        let everything = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token), everything)
    }

    /// Waits for events, at most until `until`, to a few microseconds; `now` is the time.
    ///
    /// # Errors
    /// None that a set of open sockets can cause.
    pub(crate) fn wait_until(
        &mut self,
        events: &mut Events,
        now: Instant,
        until: Instant,
    ) -> Result<(), Errno> {
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return self.wait(events, Some(left));
        }
        // Waits for the same time, as between two events of a busy run, cost no call.
        if self.armed != Some(until) {
            let at_once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: left.try_into().unwrap_or_default(),
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &at_once)?;
            self.armed = Some(until);
        }
        self.wait(events, None)
    }

    /// Waits for events, at most `timeout` if there is one, in whole milliseconds. A signal ends the wait early.
    ///
    /// # Errors
    /// None that a set of open sockets can cause.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Errno> {
        events.0.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
