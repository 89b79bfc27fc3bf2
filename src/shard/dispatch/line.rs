//! Opens a client's connections to further backends, while its messages go to those that are open.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::DispatchState;
use crate::balance::BackendId;
use crate::health::Outcome;
use crate::protocol::handshake::{Ask, UpgradeRequest, chosen_protocol};
use crate::protocol::proxy_protocol;
use crate::runtime::{Stream, TaskId};
use crate::shard::dial::{self, Asked, NotAsked, NotDialled};
use crate::shard::permit::{self, Permit};
use crate::shard::place;
use crate::shard::placement::Placement;
use crate::shard::visitor::Visitor;
use crate::shard::{Shard, plan::PoolState};
use crate::wires::{self, Ruling};

/// What a client has asked for, to be asked again of other backends.
pub(in crate::shard) struct Origin {
    ask: Ask,
    /// What the first backend has chosen: all have to.
    protocol: Option<Vec<u8>>,
}

impl Origin {
    /// `answer` is the first backend's 101.
    pub(in crate::shard) fn new(
        shard: &Shard,
        request: &UpgradeRequest<'_>,
        (visitor, client): (&Visitor, &Stream),
        answer: &[u8],
    ) -> Self {
        Self {
            ask: dial::again(&shard.plan(), request, (visitor, client)),
            protocol: chosen_protocol(answer),
        }
    }
}

/// The client, and what it has connected to, for backends that want to hear it.
pub(super) type Endpoints = Option<(SocketAddr, SocketAddr)>;

/// A connection that is being opened.
pub(super) struct Dial {
    outcome: RefCell<Option<Result<Opened, NotOpened>>>,
}

/// A connection that has its 101.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) placement: Placement,
    pub(super) early: Vec<u8>,
}

/// The backend could not be reached, or does not take the client.
pub(super) struct NotOpened;

impl Dial {
    /// Dials a backend for the calling task, which is polled when it is over.
    pub(super) fn begin(
        shard: &Rc<Shard>,
        dispatch: &DispatchState,
        backend: BackendId,
        (origin, endpoints): (&Rc<Origin>, Endpoints),
    ) -> Rc<Self> {
        let dial = Rc::new(Self { outcome: RefCell::default() });
        let (shard_, pool, origin) = (shard.clone(), dispatch.pool(), origin.clone());
        let task = run(shard_, pool, backend, (origin, endpoints), (dial.clone(), shard.driver.current()));
        shard.driver.spawn(task);
        dial
    }

    /// What came of it, once.
    pub(super) fn take_outcome(&self) -> Option<Result<Opened, NotOpened>> {
        self.outcome.borrow_mut().take()
    }
}

/// # Cancel safety
/// Safe: dropping it hangs up.
async fn run(
    shard: Rc<Shard>,
    pool: Rc<PoolState>,
    backend: BackendId,
    (origin, endpoints): (Rc<Origin>, Endpoints),
    (dial, task): (Rc<Dial>, TaskId),
) {
    let opened = open(&shard, &pool, backend, (&origin, endpoints)).await;
    // A session that is over does not want it any more.
    if Rc::strong_count(&dial) > 1 {
        dial.outcome.replace(Some(opened));
        shard.driver.wake(task);
    }
}

/// Connects to a backend and performs the handshake, within the pool's connect timeout.
///
/// # Cancel safety
/// Safe: dropping it hangs up, and gives back what was granted.
async fn open(
    shard: &Rc<Shard>,
    pool: &Rc<PoolState>,
    backend: BackendId,
    (origin, endpoints): (&Origin, Endpoints),
) -> Result<Opened, NotOpened> {
    let at = shard.now() + pool.pool.borrow().connect;
    let permit = shard.driver.until(at, permit(shard, pool, backend)).await.map_err(|_| NotOpened)??;
    let mut placement = Placement::take(shard, pool, backend, permit);
    let began = shard.now();
    let (outcome, opened) =
        match shard.driver.until(at, handshake(shard, pool, backend, (origin, endpoints))).await {
            Ok(Ok(asked)) => (Some(Outcome::Answered), Some(asked)),
            Ok(Err(NotAsked::Refused)) => (Some(Outcome::Answered), None),
            Ok(Err(NotAsked::Invalid)) => (Some(Outcome::Failed), None),
            Ok(Err(NotAsked::NotDialled(NotDialled::NoResource))) => (None, None),
            Ok(Err(NotAsked::NotDialled(NotDialled::Failed(outcome)))) => (Some(outcome), None),
            Err(_) => (Some(Outcome::TimedOut), None),
        };
    if let Some(outcome) = outcome {
        place::note(shard, pool, &placement, outcome);
    }
    let asked = opened.ok_or(NotOpened)?;
    dial::note_handshake(shard, pool, backend, began);
    if asked.protocol != origin.protocol {
        // What it says would mean something else to the client than what the others say.
        return Err(NotOpened);
    }
    placement.open();
    Ok(Opened { stream: asked.stream, placement, early: asked.early })
}

/// A place on a backend, where those are few.
///
/// # Cancel safety
/// Safe: what was granted meanwhile is given back.
async fn permit(shard: &Rc<Shard>, pool: &PoolState, backend: BackendId) -> Result<Permit, NotOpened> {
    let ask = {
        let settings = pool.pool.borrow();
        if !settings.is_limited() {
            return Ok(Permit::NONE);
        }
        let selector = pool.selector.borrow();
        // No other will do.
        let tried = selector.views().iter().map(|view| view.id).filter(|id| *id != backend).collect();
        wires::Ask::Backend { pool: settings.name.clone(), preferred: Some(backend), tried }
    };
    match permit::ask(shard, ask).await {
        (Ruling::Placed(placed), permit) if placed == backend => Ok(permit),
        (Ruling::Placed(_) | Ruling::Admitted | Ruling::Denied(_) | Ruling::Crowded, _) => Err(NotOpened),
    }
}

/// # Cancel safety
/// Safe: dropping it hangs up.
async fn handshake(
    shard: &Shard,
    pool: &PoolState,
    backend: BackendId,
    (origin, endpoints): (&Origin, Endpoints),
) -> Result<Asked, NotAsked> {
    // A backend that has just left the pool.
    let gone = || NotAsked::NotDialled(NotDialled::Failed(Outcome::Refused));
    let view = pool.view(backend).ok_or_else(gone)?;
    let settings = pool.pool.borrow().clone();
    let url = &settings.backends.get(view.spec).ok_or_else(gone)?.url;
    let mut announcement = Vec::new();
    if let Some(version) = settings.send_proxy {
        proxy_protocol::encode(version, endpoints, &mut announcement);
    }
    let stream =
        dial::connect(shard, pool, (&view, url), &announcement).await.map_err(NotAsked::NotDialled)?;
    dial::ask(shard, backend, stream, (&origin.ask.head_under(&url.base_path), &origin.ask)).await
}
