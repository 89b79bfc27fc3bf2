//! Connects to a backend and performs its handshake.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::Shard;
use crate::balance::BackendId;
use crate::health::Outcome;
use crate::protocol::frame::Rsv;
use crate::protocol::handshake::{Answer, Body, UpgradeRequest, answer, head_len};
use crate::runtime::{Fault, Socket, fault};

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
    pub(super) backend: Socket,
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

/// Dials `backend` for `request`, until it answers or the connect timeout is over.
///
/// # Cancel safety
/// Safe: dropping it hangs up on the backend.
pub(super) async fn dial(
    shard: &Shard,
    backend: BackendId,
    request: &UpgradeRequest,
) -> Result<Dialled, NotDialled> {
    let place = shard.selector.borrow().view(backend).map(|view| (view.address, view.spec));
    // Gone since it was chosen, which cannot be: nothing is awaited in between.
    let (address, spec) = place.ok_or(NotDialled::Failed(Outcome::Refused))?;
    let base_path = shard.config.backends.get(spec).map_or("", |url| &url.base_path);
    let head = request.head_for(base_path);
    let at = shard.now() + shard.config.timeouts.connect;
    dial_address(shard, address, &head, request, at).await
}

/// Connects to one address and performs the handshake there.
///
/// # Cancel safety
/// Safe: dropping it hangs up on the backend.
async fn dial_address(
    shard: &Shard,
    address: SocketAddr,
    head: &[u8],
    request: &UpgradeRequest,
    at: Instant,
) -> Result<Dialled, NotDialled> {
    let backend = Socket::connect(&shard.driver, address).map_err(|error| failure(&error))?;
    let handshake = async {
        backend.write_all(head).await.map_err(|error| failure(&error))?;
        read_answer(shard, &backend, request).await
    };
    let answered = shard.driver.until(at, handshake).await;
    match answered.map_err(|_| NotDialled::Failed(Outcome::TimedOut))?? {
        Answered::Switching { head, rsv, early } => {
            Ok(Dialled::Accepted(Handshake { backend, head, rsv, early }))
        }
        Answered::Refused { status, head, body, rest } => {
            let response = [head, read_body(shard, &backend, body, rest).await].concat();
            Ok(Dialled::Refused { status, response })
        }
    }
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
    backend: &Socket,
    request: &UpgradeRequest,
) -> Result<Answered, NotDialled> {
    let failed = || NotDialled::Failed(Outcome::Failed);
    let mut bytes = Vec::new();
    loop {
        match shard.read_more(backend, &mut bytes).await {
            Ok(0) => return Err(failed()),
            Ok(_) => {}
            Err(error) => return Err(failure(&error)),
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
async fn read_body(shard: &Shard, backend: &Socket, body: Body, mut bytes: Vec<u8>) -> Vec<u8> {
    let at = shard.now() + shard.config.timeouts.connect;
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
