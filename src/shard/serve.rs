//! One client connection from accept to its end.

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

/// Serves one accepted connection. Its phases are boxed, so that a session does not carry the state of its handshake,
/// nor what it arrived with, for the rest of its life.
///
/// # Cancel safety
/// Dropping it closes what it holds, and is how a shard ends.
pub(super) fn run(slot: Slot, arrival: Arrival) -> impl Future<Output = ()> {
    let opening = Box::pin(open(slot.0.clone(), arrival));
    async move {
        let _slot = slot;
        match opening.await {
            Some(Session::Pool(mut pump)) => pump.run().await,
            Some(Session::Feed(mut session)) => session.run().await,
            Some(Session::Dispatch(mut session)) => session.run().await,
            None => {}
        }
    }
}

/// A session that may last.
enum Session {
    Pool(Box<Pump>),
    Feed(Box<FeedSession>),
    Dispatch(Box<DispatchSession>),
}

/// Takes a connection to its session, if it comes to one that may be idle for long; all others are served here.
///
/// # Cancel safety
/// Dropping it closes the connection; a client that is being refused may not hear why.
async fn open(shard: Rc<Shard>, arrival: Arrival) -> Option<Session> {
    let shard = &shard;
    let Arrival { fd, peer, listener } = arrival;
    let socket = Socket::accepted(&shard.driver, fd).ok()?;
    let mut visitor = Visitor::new(peer, listener);
    let plan = shard.plan();
    let Arrived { client, early } = match arrive(shard, socket, &plan, &mut visitor).await {
        Ok(arrived) => arrived,
        Err(Unwelcome::Gone) => return None,
        Err(Unwelcome::Refused(socket, refusal)) => {
            visitor.record_refusal(shard, refused(refusal));
            refuse::answer(shard, &Stream::Plain(socket), &refusal.response()).await;
            return None;
        }
    };
    match upgrade::upgrade(shard, (&client, early), &mut visitor).await {
        Ok(Opened::Pool(opening)) => {
            return Some(Session::Pool(Box::new(Pump::new(shard.clone(), client, visitor, opening))));
        }
        Ok(Opened::Feed(opening)) => {
            return Some(Session::Feed(Box::new(FeedSession::new(shard.clone(), client, visitor, opening))));
        }
        Ok(Opened::Dispatch(opening)) => {
            let session = DispatchSession::new(shard.clone(), client, visitor, opening);
            return Some(Session::Dispatch(Box::new(session)));
        }
        Ok(Opened::Respond(opening)) => respond::run(shard.clone(), client, visitor, opening).await,
        Err(Unopened::Gone) => {}
        Err(Unopened::Refused { refused, response }) => {
            visitor.record_refusal(shard, refused);
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
        shard.has_changed.set(true);
        Self(shard.clone())
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
