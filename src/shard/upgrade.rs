//! The opening handshake with a client: its request, a backend's answer, and only then its 101.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::Shard;
use super::dial::{Dialled, Handshake, NotDialled, dial};
use super::placement::Placement;
use crate::balance::BackendId;
use crate::config::Target;
use crate::health::Outcome;
use crate::protocol::frame::Rsv;
use crate::protocol::handshake::{Refusal, UpgradeRequest, head_len, switching_protocols};
use crate::runtime::Socket;
use crate::wires::ToControl;

/// Bytes of a request head; beyond: 431. Bounds what a client can make us hold before it is admitted.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Backends tried for one session. More would keep a client waiting for an answer that will not come.
const DIALS_MAX: usize = 5;

/// A client that has its 101.
pub(super) enum Opened {
    Pool(PoolOpening),
    Respond(RespondOpening),
}

/// What the pump begins with.
pub(super) struct PoolOpening {
    pub(super) backend: Socket,
    pub(super) placement: Placement,
    pub(super) rsv: Rsv,
    /// Bytes that came behind the client's request, and behind the backend's 101.
    pub(super) early_from_client: Vec<u8>,
    pub(super) early_from_backend: Vec<u8>,
}

/// What a session that selat answers itself begins with.
pub(super) struct RespondOpening {
    pub(super) target: Target,
    pub(super) early: Vec<u8>,
}

/// A client that has none.
pub(super) enum Unopened {
    /// It left before it could be answered.
    Gone,
    Refused(Refusal),
    RefusedByBackend {
        status: u16,
        response: Vec<u8>,
    },
}

impl From<Refusal> for Unopened {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Takes a client from its first byte to its 101.
///
/// # Cancel safety
/// Not safe: the client's bytes are lost, and only hanging up is left.
pub(super) async fn upgrade(
    shard: &Rc<Shard>,
    client: &Socket,
    address: Option<SocketAddr>,
) -> Result<Opened, Unopened> {
    let at = shard.now() + shard.config.timeouts.head;
    let head = shard.driver.until(at, read_head(shard, client)).await;
    let (head, early) = head.map_err(|_| Refusal::HeadTimeout)??;
    let request = UpgradeRequest::parse(&head, address.map(|address| address.ip()))?;
    drop(head);
    match shard.config.route(request.target()).ok_or(Refusal::RouteUnknown)? {
        Target::Pool => {
            let Placed { handshake, placement } = place(shard, client, &request).await?;
            greet(client, &handshake.head).await?;
            Ok(Opened::Pool(PoolOpening {
                backend: handshake.backend,
                placement,
                rsv: handshake.rsv,
                early_from_client: early,
                early_from_backend: handshake.early,
            }))
        }
        target @ (Target::Echo | Target::Ticker { .. }) => {
            greet(client, &switching_protocols(request.key())).await?;
            Ok(Opened::Respond(RespondOpening { target, early }))
        }
    }
}

/// Sends the client its 101.
///
/// # Cancel safety
/// Not safe: part of the head may have left.
async fn greet(client: &Socket, head: &[u8]) -> Result<(), Unopened> {
    client.write_all(head).await.map_err(|_| Unopened::Gone)
}

/// Reads a whole request head, and what came behind it.
///
/// # Cancel safety
/// Not safe: what was read is lost, and the client can only be refused.
async fn read_head(shard: &Shard, client: &Socket) -> Result<(Vec<u8>, Vec<u8>), Unopened> {
    let mut head = Vec::new();
    loop {
        read_more(shard, client, &mut head).await?;
        if let Some(len) = head_len(&head).map_err(Refusal::from)? {
            if len > HEAD_BYTES_MAX {
                return Err(Refusal::HeadTooLarge.into());
            }
            let early = head.split_off(len);
            return Ok((head, early));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(Refusal::HeadTooLarge.into());
        }
    }
}

/// Appends what the client sent next. A drain refuses those who have not finished asking, unless a successor is there.
///
/// # Cancel safety
/// Safe: what was read is in `head`.
async fn read_more(shard: &Shard, client: &Socket, head: &mut Vec<u8>) -> Result<(), Unopened> {
    let mut read = pin!(shard.read_more(client, head));
    poll_fn(|context| match read.as_mut().poll(context) {
        Poll::Pending if shard.refuses_latecomers() => Poll::Ready(Err(Refusal::Draining.into())),
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(Unopened::Gone)),
        Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
    })
    .await
}

/// A backend that has answered 101, and the client's place on it.
struct Placed {
    handshake: Handshake,
    placement: Placement,
}

/// Finds a backend that accepts the request, passing over those that fail.
///
/// # Cancel safety
/// Safe: dropping it hangs up on the backend and gives the place back.
async fn place(shard: &Rc<Shard>, client: &Socket, request: &UpgradeRequest) -> Result<Placed, Unopened> {
    let mut tried: Vec<BackendId> = Vec::new();
    let mut refusal = Refusal::NoBackend;
    while tried.len() < DIALS_MAX {
        if client.is_hung_up() {
            return Err(Unopened::Gone);
        }
        let Some(backend) = shard.selector.borrow_mut().pick(&tried, shard.now()) else { break };
        let placement = Placement::take(shard, backend);
        let dialled = dial(shard, backend, request).await;
        note(shard, backend, &dialled);
        match dialled {
            Ok(Dialled::Accepted(handshake)) => return Ok(Placed { handshake, placement }),
            Ok(Dialled::Refused { status, response }) => {
                return Err(Unopened::RefusedByBackend { status, response });
            }
            Err(NotDialled::Failed(Outcome::TimedOut)) => refusal = Refusal::BackendTimeout,
            Err(NotDialled::Failed(_)) => refusal = Refusal::BackendFailed,
            Err(NotDialled::NoResource) => return Err(Refusal::Full.into()),
        }
        tried.push(backend);
    }
    Err(refusal.into())
}

/// Counts a dial, keeps this shard off a backend that failed it, and tells the control plane.
fn note(shard: &Shard, backend: BackendId, dialled: &Result<Dialled, NotDialled>) {
    let outcome = match dialled {
        Ok(_) => Outcome::Answered,
        Err(NotDialled::Failed(outcome)) => *outcome,
        Err(NotDialled::NoResource) => return,
    };
    if outcome == Outcome::Answered {
        shard.count(|counters| counters.dials += 1);
        // Good news can wait until the control plane looks for itself; if its box is full it does not need them.
        let _ = shard.control.post(ToControl::Dialled { backend, outcome });
    } else {
        shard.count(|counters| counters.dials_failed += 1);
        shard.selector.borrow_mut().handle_failure(backend, shard.now());
        // Should it not get through, the next failure will.
        let _ = shard.control.send(ToControl::Dialled { backend, outcome });
    }
}
