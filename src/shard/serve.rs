//! One client connection from accept to its end.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::pump::Pump;
use super::upgrade::{self, Opened, Unopened};
use super::{Shard, refuse, respond};
use crate::runtime::Socket;

/// Serves one accepted connection. Its phases are boxed, so that a session does not carry the state of its handshake
/// for the rest of its life.
///
/// # Cancel safety
/// Dropping it closes what it holds, and is how a shard ends.
pub(super) async fn run(slot: Slot, fd: OwnedFd, address: Option<SocketAddr>) {
    if let Some(mut pump) = Box::pin(open(&slot.0, fd, address)).await {
        pump.run().await;
    }
}

/// Takes a connection to its session, if it comes to one that needs pumping; all others are served here.
///
/// # Cancel safety
/// Dropping it closes the connection; a client that is being refused may not hear why.
async fn open(shard: &Rc<Shard>, fd: OwnedFd, address: Option<SocketAddr>) -> Option<Box<Pump>> {
    let client = Socket::accepted(&shard.driver, fd).ok()?;
    match upgrade::upgrade(shard, &client, address).await {
        Ok(Opened::Pool(opening)) => {
            return Some(Box::new(Pump::new(shard.clone(), client, address, opening)));
        }
        Ok(Opened::Respond(opening)) => respond::run(shard.clone(), client, address, opening).await,
        Err(Unopened::Gone) => {}
        Err(Unopened::Refused(refusal)) => {
            shard.count_refusal(refusal);
            refuse::answer(shard, &client, &refusal.response()).await;
        }
        Err(Unopened::RefusedByBackend { status, response }) => {
            shard.count(|counters| *counters.refused.entry(status).or_default() += 1);
            refuse::answer(shard, &client, &response).await;
        }
    }
    None
}

/// One of the shard's connections, as long as it lives.
pub(super) struct Slot(Rc<Shard>);

impl Slot {
    pub(super) fn take(shard: &Rc<Shard>) -> Self {
        shard.connections.set(shard.connections.get() + 1);
        Self(shard.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get().saturating_sub(1));
        self.0.stop_if_drained();
    }
}
