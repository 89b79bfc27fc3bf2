//! selat, a WebSocket proxy for bare-metal Linux: many clients on one side, few servers on the other, and frames,
//! not just bytes, in between.
//!
//! # How a byte travels
//!
//! 1. The kernel hands a connection to one shard: each core has a listener of its own
//!    (`runtime::listener`, SO_REUSEPORT), and `shard::acceptor` takes what it is given, or gives it to a shard that
//!    has fewer.
//! 2. Where TLS is spoken, `shard::arrive` performs its handshake, as [`tls::Server`] says. From here on a connection is
//!    a `runtime::Stream`, plain or TLS, and nobody who reads or writes it need know which.
//! 3. `shard::upgrade` reads the request's head, [`routing::Router`] finds its route, [`protocol::handshake`] judges
//!    the upgrade, and [`guard::Guard`] who may have it. What the whole process has only so many of, `shard::permit`
//!    asks of the control plane.
//! 4. `shard::place` finds the backend: [`balance::Selector`] picks it, from the latest [`balance::Snapshot`] and what
//!    this shard saw itself; `shard::dial` performs the handshake with it, in TLS as [`tls::Client`] says or without.
//!    Whoever fails is passed over. Only then does the client get its 101.
//! 5. From here on `shard::pump` reads one peer into the shard's scratch buffer, [`session::Tunnel`] says how much of
//!    it may go on, having [scanned](protocol::frame::Scanner) it, and the pump writes that to the other peer.
//!    The bytes are the same bytes; what the other socket does not take is kept, and until it has left, nothing more
//!    is read.
//! 6. The first Close, end, violation or deadline makes the tunnel end both sides, each as it deserves.
//!
//! A route to a [`feed`] leads to no backend. One shard holds the connection to its source; what comes there is encoded
//! once, crosses once to each shard that has clients, and is sent from there to all of them: each has a place in the
//! feed's log, not a copy.
//!
//! A route to a [`dispatch`] leads to many: a client has a connection to each backend that one of its messages went to.
//! [`dispatch::Dispatcher`] says which gets the next, what a backend's message answers, and when the client gets it;
//! `shard::dispatch` moves the bytes.
//!
//! All of a shard's tasks are polled by one `runtime::Driver`, on epoll, inside a pinned glommio executor.
//! Beside the shards there is one control thread (`control`): it judges the backends' [`health`] from what the
//! shards report and its probes find, tells them all, grants permits, puts a new [`config::Config`] in force, serves
//! the admin interface and writes the logs. [`wires`] has every message that crosses threads.
//!
//! # Rooms
//!
//! *Pure* rooms ([`balance`], [`config`], [`dispatch`], [`feed`], [`guard`], [`health`], [`json`], [`protocol`],
//! [`routing`], [`session`], [`telemetry`], [`tls`], [`wires`]) touch neither clock nor socket: time, randomness and
//! bytes are arguments. They build without the `runtime` feature, which proves it. *Shells* (`runtime`, `shard`,
//! `control`) touch the world and decide little. `server` puts them together; `load` reads a configuration from disk;
//! `demo` shows them at work, `ops` asks a running one how it is. `tests/architecture.rs` holds everybody to it;
//! `docs/adr` says why.

pub mod balance;
pub mod config;
pub mod dispatch;
pub mod feed;
pub mod guard;
pub mod health;
pub mod json;
pub mod protocol;
pub mod routing;
pub mod session;
pub mod telemetry;
pub mod tls;
pub mod wires;

#[cfg(feature = "runtime")]
pub mod control;
#[cfg(feature = "runtime")]
pub mod demo;
#[cfg(feature = "runtime")]
pub mod load;
#[cfg(feature = "runtime")]
pub mod ops;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "runtime")]
pub mod server;
#[cfg(feature = "runtime")]
pub mod shard;
