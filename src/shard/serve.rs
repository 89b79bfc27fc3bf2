//! One client connection from accept to its end.

use std::ops::Deref;
use std::rc::Rc;

use super::arrive::{Arrived, Unwelcome, arrive};
use super::books::refused;
use super::dispatch::DispatchSession;
use super::feed::FeedSession;
use super::pump::Pump;
use super::upgrade::{self, Opened, Unopened};
use super::visitor::Visitor;
use super::{Shard, refuse, respond};
use crate::runtime::{Socket, Stream};
use crate::wires::Arrival;

/// Serves one accepted connection to its end; but a session that may be idle for long goes on in its place, so as not to
/// carry the state of its handshake, nor what it arrived with, for the rest of its life.
///
/// # Cancel safety
/// Dropping it closes the connection; a client that is being refused may not hear why.
pub(super) async fn run(slot: Slot, arrival: Arrival) {
    let shard = &slot.0.clone();
    let Arrival { fd, peer, listener } = arrival;
    let Ok(socket) = Socket::accepted(&shard.driver, fd) else { return };
    let mut visitor = Visitor::new(peer, listener);
    let plan = shard.plan();
    let Arrived { client, early } = match arrive(shard, socket, &plan, &mut visitor).await {
        Ok(arrived) => arrived,
        Err(Unwelcome::Gone) => return,
        Err(Unwelcome::Refused(socket, refusal)) => {
            visitor.record_refusal(shard, refused(refusal));
            refuse::answer(shard, &Stream::Plain(socket), &refusal.response()).await;
            return;
        }
    };
    match upgrade::upgrade(shard, (&client, early), &mut visitor).await {
        Ok(Opened::Pool(opening)) => shard.driver.go_on(Pump::new(slot, client, visitor, opening)),
        Ok(Opened::Feed(opening)) => shard.driver.go_on(FeedSession::new(slot, client, visitor, opening)),
        Ok(Opened::Dispatch(opening)) => {
            shard.driver.go_on(DispatchSession::new(slot, client, visitor, opening));
        }
        Ok(Opened::Respond(opening)) => respond::run(shard.clone(), client, visitor, opening).await,
        Err(Unopened::Gone) => {}
        Err(Unopened::Refused { refused, response }) => {
            visitor.record_refusal(shard, refused);
            refuse::answer(shard, &client, &response).await;
        }
    }
}

/// The shard, of whose connections this is one as long as it lives.
pub(super) struct Slot(Rc<Shard>);

impl Slot {
    pub(super) fn take(shard: &Rc<Shard>) -> Self {
        shard.connections.set(shard.connections.get() + 1);
        shard.has_changed.set(true);
        Self(shard.clone())
    }
}

impl Deref for Slot {
    type Target = Rc<Shard>;

    fn deref(&self) -> &Rc<Shard> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connections = self.0.connections.get().saturating_sub(1);
        self.0.connections.set(connections);
        self.0.has_changed.set(true);
        self.0.stop_if_drained();
    }
}
