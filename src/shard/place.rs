//! Finds a backend for a client: choose, ask for a seat where seats are few, dial, and choose again if that fails.

use std::net::IpAddr;
use std::rc::Rc;

use super::Shard;
use super::admit::ask_while_present;
use super::dial::{Dialled, Handshake, NotDialled, dial};
use super::permit::Permit;
use super::placement::Placement;
use super::plan::PoolState;
use super::upgrade::Unopened;
use super::visitor::Visitor;
use crate::balance::{BackendId, HashBy, Policy};
use crate::health::Outcome;
use crate::protocol::handshake::{Refusal, UpgradeRequest};
use crate::runtime::Stream;
use crate::telemetry::Refused;
use crate::wires::{Ask, Ruling, ToControl};

/// Backends tried for one session. More would keep a client waiting for an answer that will not come.
const DIALS_MAX: usize = 5;

/// A backend that has answered 101, and the client's place on it.
pub(super) struct Placed {
    pub(super) handshake: Handshake,
    pub(super) placement: Placement,
}

/// Finds a backend that accepts the request, passing over those that fail.
///
/// # Cancel safety
/// Safe: dropping it hangs up on the backend and gives the place back.
pub(super) async fn place(
    shard: &Rc<Shard>,
    client: &Stream,
    request: &UpgradeRequest<'_>,
    visitor: &Visitor,
) -> Result<Placed, Unopened> {
    let Some(pool) = visitor.route().and_then(|route| route.pool.clone()) else {
        return Err(Refusal::NoBackend.into());
    };
    let key = hash_key(&pool.pool.borrow().policy, request, visitor);
    let mut tried: Vec<BackendId> = Vec::new();
    let mut refusal = Refusal::NoBackend;
    while tried.len() < DIALS_MAX {
        if client.is_hung_up() {
            return Err(Unopened::Gone);
        }
        let picked =
            pool.selector.borrow_mut().pick(&tried, key.as_deref(), shard.random().nonce, shard.now());
        let Some(Seat { backend, permit }) = seat(shard, client, &pool, picked, &tried).await? else { break };
        let mut placement = Placement::take(shard, &pool, backend, permit);
        let dialled = dial(shard, &pool, backend, request, (visitor, client)).await;
        if let Some(outcome) = outcome(&dialled) {
            note(shard, &pool, &placement, outcome);
        }
        match dialled {
            Ok(Dialled::Accepted(handshake)) => {
                placement.open();
                return Ok(Placed { handshake, placement });
            }
            Ok(Dialled::Refused { status, response }) => {
                let refused = Refused { status, reason: "backend_refused" };
                return Err(Unopened::Refused { refused, response });
            }
            Err(NotDialled::Failed(Outcome::TimedOut)) => refusal = Refusal::BackendTimeout,
            Err(NotDialled::Failed(_)) => refusal = Refusal::BackendFailed,
            Err(NotDialled::NoResource) => return Err(Refusal::Full.into()),
        }
        tried.push(backend);
    }
    Err(refusal.into())
}

/// A backend that may be dialled for a session.
struct Seat {
    backend: BackendId,
    /// Where the backend takes only so many.
    permit: Permit,
}

/// Takes a seat on the backend that was picked, or waits for one where seats are few; `None` if there is nothing to
/// try.
///
/// # Cancel safety
/// Safe: a seat that was granted meanwhile is given back.
async fn seat(
    shard: &Rc<Shard>,
    client: &Stream,
    pool: &PoolState,
    picked: Option<BackendId>,
    tried: &[BackendId],
) -> Result<Option<Seat>, Unopened> {
    let name = {
        let pool = pool.pool.borrow();
        if !pool.is_limited() {
            return Ok(picked.map(|backend| Seat { backend, permit: Permit::NONE }));
        }
        pool.name.clone()
    };
    let ask = Ask::Backend { pool: name, preferred: picked, tried: tried.to_vec() };
    let (ruling, permit) = ask_while_present(shard, client, ask).await?;
    match ruling {
        Ruling::Placed(backend) => Ok(Some(Seat { backend, permit })),
        Ruling::Crowded if tried.is_empty() => Err(Refusal::Crowded.into()),
        Ruling::Admitted | Ruling::Denied(_) | Ruling::Crowded => Ok(None),
    }
}

/// What [`Policy::Hash`] goes by, if the request has it. Of what stands there twice, nothing.
fn hash_key(policy: &Policy, request: &UpgradeRequest<'_>, visitor: &Visitor) -> Option<Vec<u8>> {
    let Policy::Hash(by) = policy else { return None };
    match by {
        HashBy::Ip => visitor.client().map(|client| match client {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }),
        HashBy::Header(name) => request.header(name).once().map(<[u8]>::to_vec),
        HashBy::Cookie(name) => request.cookie(name).once().map(<[u8]>::to_vec),
        HashBy::Query(name) => request.query_parameter(name).once().map(|value| value.as_bytes().to_vec()),
        HashBy::Path => Some(request.path().as_bytes().to_vec()),
    }
}

/// What a dial says of the backend; `None` where it is no fault of its own.
fn outcome(dialled: &Result<Dialled, NotDialled>) -> Option<Outcome> {
    match dialled {
        Ok(_) => Some(Outcome::Answered),
        Err(NotDialled::Failed(outcome)) => Some(*outcome),
        Err(NotDialled::NoResource) => None,
    }
}

/// Counts a dial, keeps this shard off a backend that failed it, and tells the control plane.
pub(super) fn note(shard: &Shard, pool: &PoolState, placement: &Placement, outcome: Outcome) {
    let backend = placement.backend();
    *placement.books().counters.borrow_mut().dials.entry(outcome.name()).or_default() += 1;
    if outcome == Outcome::Answered {
        shard.count(|counters| counters.dials += 1);
        // Good news can wait until the control plane looks for itself; if its box is full it does not need them.
        let _ = shard.control.post(ToControl::Dialled { backend, outcome });
    } else {
        shard.count(|counters| counters.dials_failed += 1);
        pool.selector.borrow_mut().handle_failure(backend, shard.now());
        // Should it not get through, the next failure will.
        let _ = shard.control.send(ToControl::Dialled { backend, outcome });
    }
}
