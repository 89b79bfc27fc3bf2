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

pub use driver::{Driver, Elapsed, Stop};
pub use socket::{Fault, Interest, Socket, Source, fault, send_farewell};
