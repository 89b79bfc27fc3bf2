//! The only room that knows glommio, epoll and rustix.
//!
//! [`executor`] puts a pinned glommio executor on each core, [`Driver`] is the loop that runs in it: sockets, tasks
//! and deadlines of one shard (`docs/adr/0001-sockets-beside-glommio.md`, `docs/adr/0002-parking-in-the-driver.md`).
//! [`mailbox`] carries messages between threads, [`host`] asks the machine for what is needed before any of it.
//! [`inherit`] and [`handover`] share listening sockets with other processes, [`service`] speaks to systemd.

mod driver;
pub mod executor;
pub mod handover;
pub mod host;
pub mod inherit;
pub mod listener;
pub mod mailbox;
pub mod service;
mod socket;
mod stream;
pub mod tls;

pub use driver::{Driver, Elapsed, Stop, TaskId};
/// Processor time that the calling thread has taken.
#[must_use]
pub fn thread_time() -> std::time::Duration {
    let taken = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    taken.try_into().unwrap_or_default()
}

/// Seconds since 1970, which tokens are dated in.
#[must_use]
pub fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 makes every token one of the future.
    since.map_or(0, |since| since.as_secs())
}

pub use socket::{Fault, Interest, Socket, Source, fault, send_farewell};
pub use stream::Stream;
