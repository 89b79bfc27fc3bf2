//! Connects to a backend and performs its handshake.

use std::io;
use std::time::{Duration, Instant};

use super::Shard;
use super::plan::{Plan, PoolState};
use super::visitor::Visitor;
use crate::balance::{BackendId, BackendView};
use crate::config::{BackendUrl, Transport};
use crate::health::Outcome;
use crate::protocol::frame::Rsv;
use crate::protocol::handshake::{
    Answer, Answered as Judged, Ask, Body, Deflate, HeaderEdits, PathRewrite, Rewrite, UpgradeRequest,
    answer, chosen_protocol, head_len,
};
use crate::protocol::proxy_protocol;
use crate::runtime::tls::{Failure, Tls};
use crate::runtime::{Fault, Socket, Stream, fault};
use crate::tls::Peer;
use crate::wires::Far;

/// Bytes of a backend's answer: its head, or the whole of a refusal with its body. What is beyond is cut off.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a backend said.
pub(super) enum Dialled {
    /// 101.
    Accepted(Handshake),
    /// The application's own refusal, to be passed on as it is.
    Refused { status: u16, response: Vec<u8> },
}

/// A backend that is ready for frames.
pub(super) struct Handshake {
    pub(super) backend: Stream,
    /// The 101 for the client.
    pub(super) head: Vec<u8>,
    pub(super) rsv: Rsv,
    /// Bytes that came behind the backend's 101.
    pub(super) early: Vec<u8>,
}

/// No answer.
pub(super) enum NotDialled {
    /// The backend's doing.
    Failed(Outcome),
    /// Ours: no descriptor or port left.
    NoResource,
}

/// Dials `backend` for `request` until it answers or the pool's connect timeout is over.
///
/// # Cancel safety
/// Safe: dropping it hangs up on the backend.
pub(super) async fn dial(
    shard: &Shard,
    pool: &PoolState,
    backend: BackendId,
    request: &UpgradeRequest<'_>,
    client: (&Visitor, &Stream),
) -> Result<Dialled, NotDialled> {
    // A backend that has just left the pool.
    let gone = || NotDialled::Failed(Outcome::Refused);
    let view = pool.view(backend).ok_or_else(gone)?;
    let settings = pool.pool.borrow().clone();
    let url = &settings.backends.get(view.spec).ok_or_else(gone)?.url;
    let mut announcement = Vec::new();
    if let Some(version) = settings.send_proxy {
        let (visitor, socket) = client;
        proxy_protocol::encode(version, visitor.endpoints(socket), &mut announcement);
    }
    let head = head(&shard.plan(), &url.base_path, request, client);
    let began = shard.now();
    let at = began + settings.connect;
    let handshake = async {
        let stream = connect(shard, pool, (&view, url), &announcement).await?;
        stream.write_all(&head).await.map_err(|error| failure(&error))?;
        let answered = read_answer(shard, (backend, &stream), request).await?;
        Ok((stream, answered))
    };
    let answered = shard.driver.until(at, handshake).await;
    let (stream, answered) = answered.map_err(|_| NotDialled::Failed(Outcome::TimedOut))??;
    match answered {
        Answered::Switching { head, rsv, early } => {
            note_handshake(shard, pool, backend, began);
            Ok(Dialled::Accepted(Handshake { backend: stream, head, rsv, early }))
        }
        Answered::Refused { status, head, body, rest } => {
            let rest = read_body(shard, &stream, body, rest, settings.connect).await;
            Ok(Dialled::Refused { status, response: [head, rest].concat() })
        }
    }
}

/// A backend that was dialled at `began` has accepted a session.
pub(super) fn note_handshake(shard: &Shard, pool: &PoolState, backend: BackendId, began: Instant) {
    let took = shard.now().saturating_duration_since(began);
    pool.selector.borrow_mut().handle_handshake(backend, took, shard.now());
    shard.count(|counters| counters.dial_latency.record(took));
}

/// Connects to a backend and says `preface`; speaks TLS from there on, where its URL wants it.
///
/// # Cancel safety
/// Safe: dropping it hangs up.
pub(super) async fn connect(
    shard: &Shard,
    pool: &PoolState,
    (view, url): (&BackendView, &BackendUrl),
    preface: &[u8],
) -> Result<Stream, NotDialled> {
    let socket = Socket::connect(&shard.driver, view.address).map_err(|error| failure(&error))?;
    socket.write_all(preface).await.map_err(|error| failure(&error))?;
    match url.transport {
        Transport::Plain => Ok(Stream::Plain(socket)),
        Transport::Tls => secure(shard, pool, (view.id, url), socket).await,
    }
}

/// Performs the TLS handshake with a backend.
///
/// # Cancel safety
/// Not safe: the connection is of no further use.
async fn secure(
    shard: &Shard,
    pool: &PoolState,
    (backend, url): (BackendId, &BackendUrl),
    socket: Socket,
) -> Result<Stream, NotDialled> {
    let failed = |result, error| {
        shard.insecure(Far::Backend(backend), result, error);
        NotDialled::Failed(Outcome::Failed)
    };
    let settings = pool.pool.borrow().tls.clone();
    let (Some(settings), Some(config)) = (settings, pool.tls.borrow().clone()) else {
        return Err(failed("other", "the pool has no TLS settings".to_owned()));
    };
    let name = settings.server_name(&url.host).map_err(|error| failed("name", error.to_string()))?;
    match Box::pin(Tls::connect(socket, name, config, shard.workspace.clone())).await {
        Ok(tls) => {
            shard.count_handshake(&tls, |tls| &mut tls.backends);
            Ok(Stream::Tls(Box::new(tls)))
        }
        Err(Failure::Io(error)) => Err(failure(&error)),
        Err(failure @ (Failure::Ended | Failure::Tls(_))) => {
            Err(failed(failure.label(), failure.explain(Peer::Server)))
        }
    }
}

/// A connection that no client waits for, with its 101.
pub(super) struct Asked {
    pub(super) stream: Stream,
    pub(super) deflate: Option<Deflate>,
    pub(super) protocol: Option<Vec<u8>>,
    /// Bytes that came behind the 101.
    pub(super) early: Vec<u8>,
}

/// None.
pub(super) enum NotAsked {
    NotDialled(NotDialled),
    /// It said no.
    Refused,
    /// It does not speak WebSocket as it should.
    Invalid,
}

/// Performs the handshake on a connection that no client waits for: says `head`, and holds the answer against `ask`.
///
/// # Cancel safety
/// Safe: dropping it hangs up.
pub(super) async fn ask(
    shard: &Shard,
    backend: BackendId,
    stream: Stream,
    (head, ask): (&[u8], &Ask),
) -> Result<Asked, NotAsked> {
    let failed = |error: &io::Error| NotAsked::NotDialled(lost(shard, backend, error));
    stream.write_all(head).await.map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    loop {
        match shard.read_more(&stream, &mut bytes).await {
            Ok(0) => return Err(NotAsked::Invalid),
            Ok(_) => {}
            Err(error) => return Err(failed(&error)),
        }
        while let Some(len) = head_len(&bytes).map_err(|_| NotAsked::Invalid)? {
            let early = bytes.split_off(len);
            match ask.judge(&bytes).map_err(|_| NotAsked::Invalid)? {
                Judged::Switching { deflate } => {
                    return Ok(Asked { stream, deflate, protocol: chosen_protocol(&bytes), early });
                }
                Judged::Refused { .. } => return Err(NotAsked::Refused),
                Judged::Interim => bytes = early,
            }
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(NotAsked::Invalid);
        }
    }
}

/// What other backends are asked for the same client.
pub(super) fn again(plan: &Plan, request: &UpgradeRequest<'_>, client: (&Visitor, &Stream)) -> Ask {
    with_rewrite(plan, "", request, client, |rewrite| Ask::again(request, rewrite))
}

/// The request as the backend gets it.
fn head(plan: &Plan, base_path: &str, request: &UpgradeRequest<'_>, client: (&Visitor, &Stream)) -> Vec<u8> {
    with_rewrite(plan, base_path, request, client, |rewrite| request.head_for(rewrite))
}

fn with_rewrite<T>(
    plan: &Plan,
    base_path: &str,
    request: &UpgradeRequest<'_>,
    (visitor, client): (&Visitor, &Stream),
    write: impl FnOnce(&Rewrite<'_>) -> T,
) -> T {
    let (path, edits) = match visitor.route() {
        Some(route) => (&route.route.rewrite, &route.route.request_headers),
        None => (&PathRewrite::default(), &HeaderEdits::default()),
    };
    let forwarding = &plan.config.forwarding;
    let facts = &visitor.facts(request);
    write(&Rewrite { base_path, path, forwarding, hop: visitor.hop(client), edits, facts })
}

/// A connection that stood is of no use. In TLS 1.3 the handshake is complete for us before the server has looked at our
/// certificate: that it does not like it comes in place of an answer (RFC 8446 §4.4.2.4), and counts beside the handshake.
pub(super) fn lost(shard: &Shard, backend: BackendId, error: &io::Error) -> NotDialled {
    if let Some(failure) = Failure::within(error) {
        shard.insecure(Far::Backend(backend), failure.label(), failure.explain(Peer::Server));
    }
    failure(error)
}

fn failure(error: &io::Error) -> NotDialled {
    match fault(error) {
        Fault::NoResource => NotDialled::NoResource,
        Fault::TimedOut => NotDialled::Failed(Outcome::TimedOut),
        Fault::Broken => NotDialled::Failed(Outcome::Failed),
        Fault::Unreachable => NotDialled::Failed(Outcome::Refused),
    }
}

/// A backend's head, and what came behind it.
enum Answered {
    Switching { head: Vec<u8>, rsv: Rsv, early: Vec<u8> },
    Refused { status: u16, head: Vec<u8>, body: Body, rest: Vec<u8> },
}

/// Reads the backend's head, past interim ones.
///
/// # Cancel safety
/// Not safe: what was read is lost, and the backend is of no further use.
async fn read_answer(
    shard: &Shard,
    (id, backend): (BackendId, &Stream),
    request: &UpgradeRequest<'_>,
) -> Result<Answered, NotDialled> {
    let failed = || NotDialled::Failed(Outcome::Failed);
    let mut bytes = Vec::new();
    loop {
        match shard.read_more(backend, &mut bytes).await {
            Ok(0) => return Err(failed()),
            Ok(_) => {}
            Err(error) => return Err(lost(shard, id, &error)),
        }
        while let Some(len) = head_len(&bytes).map_err(|_| failed())? {
            let rest = bytes.split_off(len);
            match answer(&bytes, request).map_err(|_| failed())? {
                Answer::Switching { head, rsv } => return Ok(Answered::Switching { head, rsv, early: rest }),
                Answer::Refused { status, head, body } => {
                    return Ok(Answered::Refused { status, head, body, rest });
                }
                Answer::Unavailable { .. } => return Err(failed()),
                Answer::Interim => bytes = rest,
            }
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(failed());
        }
    }
}

/// The body of a refusal, as far as it comes in time and the bound allows.
///
/// # Cancel safety
/// Not safe: what was read is lost.
async fn read_body(
    shard: &Shard,
    backend: &Stream,
    body: Body,
    mut bytes: Vec<u8>,
    timeout: Duration,
) -> Vec<u8> {
    let at = shard.now() + timeout;
    let whole = async {
        while body.end_in(&bytes).is_none() && bytes.len() < ANSWER_BYTES_MAX {
            if !matches!(shard.read_more(backend, &mut bytes).await, Ok(1..)) {
                break;
            }
        }
    };
    // What has come by then is better than nothing.
    let _ = shard.driver.until(at, whole).await;
    let end = body.end_in(&bytes).unwrap_or(ANSWER_BYTES_MAX);
    bytes.truncate(end);
    bytes
}
