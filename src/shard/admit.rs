//! Holds a request against its route's rules, before any backend hears of it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::Shard;
use super::permit::{self, Permit};
use super::upgrade::Unopened;
use super::visitor::Visitor;
use crate::guard::{Denial, Facts};
use crate::protocol::handshake::{Refusal, UpgradeRequest};
use crate::runtime::{Stream, unix_now};
use crate::telemetry::Refused;
use crate::wires::{Ask, Denied, Ruling};

/// Lets a request go on, or not. What it was granted stays with the visitor.
///
/// # Cancel safety
/// Safe: what was granted meanwhile is given back.
pub(super) async fn admit(
    shard: &Rc<Shard>,
    client: &Stream,
    request: &mut UpgradeRequest<'_>,
    visitor: &mut Visitor,
) -> Result<(), Unopened> {
    let Some(route) = visitor.route().cloned() else { return Ok(()) };
    let facts = Facts { client: visitor.client(), now: shard.now(), unix_now: unix_now() };
    let identity = route.guard.borrow_mut().check(request, &facts).map_err(denied)?;
    visitor.guest.identify(identity);
    let Some(limits) = route.route.guard.limits() else { return Ok(()) };
    let ask = Ask::Route { route: route.route.name.clone(), client: visitor.party(), limits };
    let (ruling, permit) = ask_while_present(shard, client, ask).await?;
    match ruling {
        Ruling::Admitted | Ruling::Placed(_) => visitor.guest.permit = permit,
        Ruling::Denied(Denied::Address) => return Err(denied(Denial::AddressFull)),
        Ruling::Denied(Denied::Identity) => return Err(denied(Denial::IdentityFull)),
        Ruling::Denied(Denied::Route) => return Err(denied(Denial::RouteFull)),
        Ruling::Crowded => return Err(Refusal::Full.into()),
    }
    Ok(())
}

fn denied(denial: Denial) -> Unopened {
    let refusal = Refusal::from(denial);
    let refused = Refused { status: refusal.http_status(), reason: denial.reason() };
    Unopened::Refused { refused, response: refusal.response() }
}

/// Asks for something, as long as the client is there to get it and the shard does not drain.
///
/// # Cancel safety
/// Safe: what was granted meanwhile is given back.
pub(super) async fn ask_while_present(
    shard: &Rc<Shard>,
    client: &Stream,
    ask: Ask,
) -> Result<(Ruling, Permit), Unopened> {
    let mut answer = pin!(permit::ask(shard, ask));
    poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending if shard.is_draining() => Poll::Ready(Err(Refusal::Draining.into())),
        Poll::Pending if client.is_hung_up() => Poll::Ready(Err(Unopened::Gone)),
        Poll::Pending => Poll::Pending,
    })
    .await
}
