//! The opening handshake with a client: its request, a backend's answer, and only then its 101.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::Shard;
use super::admit::admit;
use super::books::refused;
use super::dispatch::{DispatchState, Origin};
use super::feed::FeedState;
use super::place::{Placed, place};
use super::placement::Placement;
use super::visitor::Visitor;
use crate::config::Target;
use crate::feed::Query;
use crate::protocol::frame::Rsv;
use crate::protocol::handshake::{
    FixedResponse, Refusal, RequestHead, UpgradeRequest, head_len, switching_protocols,
};
use crate::runtime::Stream;
use crate::telemetry::Refused;

/// Bytes of a request head; beyond: 431. Bounds what a client can make us hold before it is admitted.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A client that has its 101.
pub(super) enum Opened {
    Pool(PoolOpening),
    Feed(FeedOpening),
    Dispatch(DispatchOpening),
    Respond(RespondOpening),
}

/// What the pump begins with.
pub(super) struct PoolOpening {
    pub(super) backend: Stream,
    pub(super) placement: Placement,
    pub(super) rsv: Rsv,
    /// Bytes that came behind the client's request, and behind the backend's 101.
    pub(super) early_from_client: Vec<u8>,
    pub(super) early_from_backend: Vec<u8>,
}

/// What a session with a feed begins with.
pub(super) struct FeedOpening {
    pub(super) feed: Rc<FeedState>,
    /// What the request asks for.
    pub(super) query: Query,
    pub(super) early: Vec<u8>,
}

/// What a session with many backends begins with.
pub(super) struct DispatchOpening {
    pub(super) dispatch: Rc<DispatchState>,
    /// What the other backends are asked.
    pub(super) origin: Origin,
    /// The one that has accepted the client.
    pub(super) backend: Stream,
    pub(super) placement: Placement,
    /// Bytes that came behind the client's request, and behind the backend's 101.
    pub(super) early_from_client: Vec<u8>,
    pub(super) early_from_backend: Vec<u8>,
}

/// What a session that selat answers itself begins with.
pub(super) struct RespondOpening {
    pub(super) early: Vec<u8>,
}

/// A client that has none.
pub(super) enum Unopened {
    /// It left before it could be answered.
    Gone,
    /// It gets this response instead.
    Refused { refused: Refused, response: Vec<u8> },
}

impl From<Refusal> for Unopened {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refused: refused(refusal), response: refusal.response() }
    }
}

/// Takes a client from the first byte of its request, of which `early` is there already, to its 101.
///
/// # Cancel safety
/// Not safe: the client's bytes are lost, and only hanging up is left.
pub(super) async fn upgrade(
    shard: &Rc<Shard>,
    (client, early): (&Stream, Vec<u8>),
    visitor: &mut Visitor,
) -> Result<Opened, Unopened> {
    let plan = shard.plan();
    let at = shard.now() + plan.config.timeouts.head;
    let head = shard.driver.until(at, read_head(shard, client, early)).await;
    let (head, early) = head.map_err(|_| Refusal::HeadTimeout)??;
    let head = RequestHead::parse(&head)?;
    if visitor.secure(&plan).is_none()
        && let Some(proof) = shard.proof(&head)
    {
        return Err(fixed(&proof, &head, "acme_challenge")?);
    }
    let Some(route) = visitor.take_route(&plan, &head) else {
        head.check_plain()?;
        return Err(Refusal::RouteUnknown.into());
    };
    match &route.route.target {
        Target::Fixed(response) => Err(fixed(response, &head, "fixed_response")?),
        Target::Pool(_) => {
            let mut request = head.upgrade()?;
            admit(shard, client, &mut request, visitor).await?;
            let Placed { handshake, placement } = place(shard, client, &request, visitor).await?;
            greet(client, visitor, handshake.head, &request).await?;
            Ok(Opened::Pool(PoolOpening {
                backend: handshake.backend,
                placement,
                rsv: handshake.rsv,
                early_from_client: early,
                early_from_backend: handshake.early,
            }))
        }
        Target::Feed(_) => {
            let mut request = head.upgrade()?;
            let feed = route.feed.clone().ok_or(Refusal::NoBackend)?;
            admit(shard, client, &mut request, visitor).await?;
            greet(client, visitor, switching_protocols(request.key()), &request).await?;
            let query = Query::parse(request.query().unwrap_or_default());
            Ok(Opened::Feed(FeedOpening { feed, query, early }))
        }
        Target::Dispatch(_) => {
            let mut request = head.upgrade()?;
            let dispatch = route.dispatch.clone().ok_or(Refusal::NoBackend)?;
            admit(shard, client, &mut request, visitor).await?;
            // A compression context cannot span backends.
            request.withhold_extensions();
            let Placed { handshake, placement } = place(shard, client, &request, visitor).await?;
            let origin = Origin::new(shard, &request, (visitor, client), &handshake.head);
            greet(client, visitor, handshake.head, &request).await?;
            Ok(Opened::Dispatch(DispatchOpening {
                dispatch,
                origin,
                backend: handshake.backend,
                placement,
                early_from_client: early,
                early_from_backend: handshake.early,
            }))
        }
        Target::Echo | Target::Ticker { .. } => {
            let mut request = head.upgrade()?;
            admit(shard, client, &mut request, visitor).await?;
            greet(client, visitor, switching_protocols(request.key()), &request).await?;
            Ok(Opened::Respond(RespondOpening { early }))
        }
    }
}

/// A response that was there before the request, for this `reason`.
fn fixed(
    response: &FixedResponse,
    head: &RequestHead<'_>,
    reason: &'static str,
) -> Result<Unopened, Refusal> {
    head.check_plain()?;
    let refused = Refused { status: response.http_status(), reason };
    Ok(Unopened::Refused { refused, response: response.response_to(head) })
}

/// Sends the client its 101.
///
/// # Cancel safety
/// Not safe: part of the head may have left.
async fn greet(
    client: &Stream,
    visitor: &Visitor,
    mut head: Vec<u8>,
    request: &UpgradeRequest<'_>,
) -> Result<(), Unopened> {
    if let Some(route) = visitor.route() {
        route.route.response_headers.apply(&mut head, &visitor.facts(request));
    }
    client.write_all(&head).await.map_err(|_| Unopened::Gone)
}

/// Reads a whole request head, of which `head` is there already, and what came behind it.
///
/// # Cancel safety
/// Not safe: what was read is lost, and the client can only be refused.
async fn read_head(
    shard: &Shard,
    client: &Stream,
    mut head: Vec<u8>,
) -> Result<(Vec<u8>, Vec<u8>), Unopened> {
    loop {
        if head.is_empty() {
            read_more(shard, client, &mut head).await?;
        }
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
        read_more(shard, client, &mut head).await?;
    }
}

/// Appends what the client sent next. A drain refuses those who have not finished asking, unless a successor is there.
///
/// # Cancel safety
/// Safe: what was read is in `head`.
async fn read_more(shard: &Shard, client: &Stream, head: &mut Vec<u8>) -> Result<(), Unopened> {
    let mut read = pin!(shard.read_more(client, head));
    poll_fn(|context| match read.as_mut().poll(context) {
        Poll::Pending if shard.refuses_latecomers() => Poll::Ready(Err(Refusal::Draining.into())),
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(Unopened::Gone)),
        Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
    })
    .await
}
