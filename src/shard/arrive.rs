//! The first bytes of a connection: the PROXY protocol header that a listener wants, and the TLS handshake.

use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use super::Shard;
use super::plan::{Plan, Secure};
use super::visitor::Visitor;
use crate::config::ProxyProtocol;
use crate::protocol::handshake::Refusal;
use crate::protocol::proxy_protocol::{self, Parsed};
use crate::runtime::tls::Tls;
use crate::runtime::{Socket, Stream};
use crate::tls::{self, Peer};
use crate::wires::Far;

/// The first byte of every TLS connection: a record of the handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Bytes that are heard at once: a ClientHello, or a PROXY protocol header, is seldom longer. What a client has sent
/// beyond stays in the kernel, while the client waits for its turn.
const HEARD_AT_ONCE: usize = 4 * 1024;

/// A client that may be listened to.
pub(super) struct Arrived {
    pub(super) client: Stream,
    /// What it has said already.
    pub(super) early: Vec<u8>,
}

/// A client that may not.
pub(super) enum Unwelcome {
    /// It left, or would understand no answer.
    Gone,
    /// It gets this answer, in plain HTTP.
    Refused(Socket, Refusal),
}

/// Takes a connection to where its client's request begins.
///
/// # Cancel safety
/// Not safe: the client's bytes are lost.
pub(super) async fn arrive(
    shard: &Rc<Shard>,
    socket: Socket,
    plan: &Plan,
    visitor: &mut Visitor,
) -> Result<Arrived, Unwelcome> {
    let began = shard.now();
    let mut early = Vec::new();
    if visitor.listen(plan).is_some_and(|listen| listen.proxy_protocol == ProxyProtocol::Required) {
        let at = began + plan.config.timeouts.head;
        let announced = shard.driver.until(at, announcement(shard, &socket, plan, visitor)).await;
        match announced.unwrap_or(Err(Unheard::Refused(Refusal::HeadTimeout))) {
            Ok(behind) => early = behind,
            Err(Unheard::Refused(refusal)) => return Err(Unwelcome::Refused(socket, refusal)),
            Err(Unheard::Gone) => return Err(Unwelcome::Gone),
        }
    }
    match visitor.secure(plan) {
        Some(secure) => {
            let at = began + secure.server.settings().timeout;
            let client = Box::pin(shake_hands(shard, socket, early, (secure, at), visitor)).await?;
            Ok(Arrived { client, early: Vec::new() })
        }
        None => Ok(Arrived { client: Stream::Plain(socket), early }),
    }
}

/// Why nothing was heard.
enum Unheard {
    Gone,
    Refused(Refusal),
}

/// Reads the PROXY protocol header that a listener wants in front of everything. Returns what came behind it.
///
/// # Cancel safety
/// Not safe: what was read is lost.
async fn announcement(
    shard: &Shard,
    socket: &Socket,
    plan: &Plan,
    visitor: &mut Visitor,
) -> Result<Vec<u8>, Unheard> {
    // proxy-protocol.txt §2: whoever may send a header may claim any address.
    if !plan.config.forwarding.trusted.is_empty() && !visitor.is_trusted(plan) {
        return Err(Unheard::Refused(Refusal::Forbidden("only known proxies may connect here")));
    }
    let mut bytes = Vec::new();
    loop {
        hear(shard, socket, &mut bytes).await?;
        let parsed = proxy_protocol::parse(&bytes);
        match parsed.map_err(|fault| Unheard::Refused(Refusal::Announcement(fault)))? {
            Parsed::Incomplete => {}
            Parsed::Done { source, destination, len } => {
                visitor.announce(source, destination);
                return Ok(bytes.split_off(len));
            }
        }
    }
}

/// Performs the TLS handshake, in its turn, until `at`.
///
/// # Cancel safety
/// Not safe: the connection is of no further use.
async fn shake_hands(
    shard: &Rc<Shard>,
    socket: Socket,
    mut early: Vec<u8>,
    (secure, at): (&Secure, Instant),
    visitor: &mut Visitor,
) -> Result<Stream, Unwelcome> {
    let failed = |label, error| {
        shard.insecure(Far::Client(visitor.name()), label, error);
        Unwelcome::Gone
    };
    if early.is_empty() {
        match shard.driver.until(at, hear(shard, &socket, &mut early)).await {
            Ok(Ok(())) => {}
            Ok(Err(Unheard::Gone | Unheard::Refused(_))) => return Err(Unwelcome::Gone),
            Err(_) => return Err(failed("timeout", "nothing was said in time".to_owned())),
        }
    }
    if early.first().is_some_and(|first| *first != TLS_HANDSHAKE) {
        let unwelcome = failed("not_tls", "what came is not TLS".to_owned());
        let is_http = early.first().is_some_and(u8::is_ascii_uppercase);
        return Err(if is_http { Unwelcome::Refused(socket, Refusal::TlsExpected) } else { unwelcome });
    }
    let Some(turn) = secure.turn(shard.now(), at) else {
        return Err(failed("rate", "too many handshakes at once".to_owned()));
    };
    if turn > shard.now() {
        // That it elapses is the point.
        let _ = shard.driver.until(turn, pending::<()>()).await;
    }
    let handshake = Tls::accept(socket, early, shard.server_config(&secure.server), shard.workspace.clone());
    match shard.driver.until(at, handshake).await {
        // RFC 8737 §3: the handshake was the proof; the connection is closed.
        Ok(Ok(tls)) if tls.is_for(tls::ACME_TLS) => Err(Unwelcome::Gone),
        Ok(Ok(tls)) => {
            shard.count_handshake(&tls, |tls| &mut tls.clients);
            visitor.handle_secured(tls.peer_certificate().and_then(|leaf| tls::client_name(&leaf)));
            Ok(Stream::Tls(Box::new(tls)))
        }
        Ok(Err(failure)) => Err(failed(failure.label(), failure.explain(Peer::Client))),
        Err(_) => Err(failed("timeout", "the handshake took too long".to_owned())),
    }
}

/// Appends what the client sent next. A drain refuses those who have not finished asking, unless a successor is there.
///
/// # Cancel safety
/// Safe: what was read is in `bytes`.
async fn hear(shard: &Shard, socket: &Socket, bytes: &mut Vec<u8>) -> Result<(), Unheard> {
    poll_fn(|_| {
        let mut scratch = shard.scratch.borrow_mut();
        match socket.try_read(scratch.get_mut(..HEARD_AT_ONCE).unwrap_or_default()) {
            Ok(None) if shard.refuses_latecomers() => Poll::Ready(Err(Unheard::Refused(Refusal::Draining))),
            Ok(None) => Poll::Pending,
            Ok(Some(0)) | Err(_) => Poll::Ready(Err(Unheard::Gone)),
            Ok(Some(len)) => {
                bytes.extend_from_slice(scratch.get(..len).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
        }
    })
    .await
}
