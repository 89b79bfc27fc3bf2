//! Threads that make load together: each with its own sessions, epoll set and histograms. Nothing is shared between
//! them; what each has seen crosses to the one that started them as a message, a slice of time at once.

mod hand;
mod lead;
mod progress;
mod signals;
mod spread;

pub(crate) use hand::Part;
pub(crate) use lead::{Measured, Role, Script, measure};

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::client::Tally;

/// When things happen, the same for all threads.
#[derive(Debug, Clone, Copy)]
struct Timetable {
    /// The load begins.
    begin: Instant,
    /// What is measured begins.
    measure: Instant,
    /// It ends, unless somebody says so before.
    end: Option<Instant>,
    /// Length of a slice.
    slice: Duration,
}

/// What a thread is told.
#[derive(Debug)]
enum Order {
    /// All have opened what they had to.
    Start(Timetable),
    /// End what is measured now.
    Stop,
    /// End the load; some session of some thread has had all ticks before this one.
    Finish { tick_end: u64 },
}

/// What a thread tells.
enum Note {
    /// It has opened what it had to.
    Ready,
    /// What it saw before anything was measured.
    Warm(Tally),
    /// A slice of the measured time is over.
    Slice(Slice),
    /// It has nothing left to do, and goes on for the others' sake.
    Idle,
    /// It has ended, and saw this since the last slice.
    Ended(Tally),
    /// It cannot go on.
    Failed(anyhow::Error),
    /// Somebody wants an end.
    Interrupted,
}

/// What one thread saw in one slice of the measured time.
struct Slice {
    /// The how-manieth it is, counted from 0.
    number: u32,
    from: Instant,
    to: Instant,
    tally: Tally,
    /// CPU time of the thread, without that in which it only looked for something to do.
    busy: Duration,
    /// Whether it is the last.
    is_last: bool,
}

/// What wakes a thread that waits for its sockets.
#[derive(Debug, Clone)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// One that is silent.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// What becomes readable with each ring.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        // Full only after 2^64 rings, and then it rings anyhow.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}
