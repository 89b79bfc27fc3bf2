//! A backend's answer to the handshake: judged as a client, rewritten for the client (RFC 6455 §4.1).

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::{self, Occurrence};
use super::{Body, HEADERS_MAX, Key, UpgradeRequest};
use crate::protocol::frame::Rsv;

/// What a backend's head says.
#[derive(Debug)]
pub enum Answer {
    /// 101, valid for the client's request: the head for the client, and the reserved bits that the negotiated
    /// extensions define.
    Switching {
        /// The 101 with the backend's subprotocol, extensions and other headers.
        head: Vec<u8>,
        /// Bits that frames of this session may set.
        rsv: Rsv,
    },
    /// The application's own refusal (a 401, a 404, a redirect, even a 200), to be passed to the client.
    Refused {
        /// Its status code.
        status: u16,
        /// The head for the client, after which the connection closes.
        head: Vec<u8>,
        /// How long its body is.
        body: Body,
    },
    /// 5xx: this backend cannot serve now; another may.
    Unavailable {
        /// Its status code.
        status: u16,
    },
    /// 1xx other than 101: the answer is still to come (RFC 9110 §15.2).
    Interim,
}

/// An answer that is not a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// Not HTTP.
    #[error("malformed response: {0}")]
    Syntax(httparse::Error),
    /// §4.1 item 2 or 3: `Upgrade: websocket` or `Connection: Upgrade` is missing.
    #[error("a 101 that does not upgrade to websocket")]
    NotAnUpgrade,
    /// §4.1 item 4: `Sec-WebSocket-Accept` is missing or wrong.
    #[error("Sec-WebSocket-Accept is missing or does not answer the key")]
    Accept,
    /// RFC 9112 §6.3 item 5: where the body ends is in doubt.
    #[error("an invalid or repeated Content-Length")]
    Framing,
    /// §4.1 item 5: an extension the client did not offer.
    #[error("an extension that was not offered")]
    Extension,
    /// RFC 7692 §7: parameters of permessage-deflate that are unknown, repeated, or have no place in an answer.
    #[error("permessage-deflate with parameters that were not offered")]
    Deflate,
    /// §4.1 item 6: a subprotocol the client did not offer.
    #[error("a subprotocol that was not offered")]
    Protocol,
}

/// What a request asked for, as far as the answer to it is judged by that.
pub(super) trait Asked {
    /// Its key.
    fn key(&self) -> &Key;
    /// Whether it offered this extension, whatever its parameters.
    fn offers_extension(&self, name: &[u8]) -> bool;
    /// Whether it offered this subprotocol.
    fn offers_protocol(&self, protocol: &[u8]) -> bool;
}

impl Asked for UpgradeRequest<'_> {
    fn key(&self) -> &Key {
        UpgradeRequest::key(self)
    }

    fn offers_extension(&self, name: &[u8]) -> bool {
        UpgradeRequest::offers_extension(self, name)
    }

    fn offers_protocol(&self, protocol: &[u8]) -> bool {
        UpgradeRequest::offers_protocol(self, protocol)
    }
}

/// Judges a whole head, as [`super::head_len`] delimits it, as the answer to `request`.
///
/// # Errors
/// [`InvalidAnswer`] where a client would have to fail the connection.
pub fn answer(head: &[u8], request: &UpgradeRequest<'_>) -> Result<Answer, InvalidAnswer> {
    let mut table = [EMPTY_HEADER; HEADERS_MAX];
    let Response { status, reason, headers } = parse(head, &mut table)?;
    match status {
        101 => {
            check_switching(headers, request)?;
            Ok(Answer::Switching { head: head_for_client(101, reason, headers), rsv: negotiated(headers) })
        }
        ..=199 => Ok(Answer::Interim),
        500..=599 => Ok(Answer::Unavailable { status }),
        _ => {
            let body = Body::of_response(status, headers).ok_or(InvalidAnswer::Framing)?;
            Ok(Answer::Refused { status, head: head_for_client(status, reason, headers), body })
        }
    }
}

/// A head, read.
pub(super) struct Response<'t, 'h> {
    /// At least 100.
    pub(super) status: u16,
    pub(super) reason: &'h str,
    pub(super) headers: &'t [Header<'h>],
}

/// Reads a whole head; its fields stay in `table`.
pub(super) fn parse<'t, 'h>(
    head: &'h [u8],
    table: &'t mut [Header<'h>],
) -> Result<Response<'t, 'h>, InvalidAnswer> {
    let mut response = httparse::Response::new(table);
    match response.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(InvalidAnswer::Syntax(httparse::Error::Token)),
        Err(error) => return Err(InvalidAnswer::Syntax(error)),
    }
    let status = response.code.unwrap_or_default();
    if status < 100 {
        return Err(InvalidAnswer::Syntax(httparse::Error::Status));
    }
    Ok(Response { status, reason: response.reason.unwrap_or_default(), headers: response.headers })
}

/// Whether a 101 is one for `request` (§4.1).
pub(super) fn check_switching(headers: &[Header<'_>], request: &impl Asked) -> Result<(), InvalidAnswer> {
    if !fields::has_token(headers, "upgrade", "websocket")
        || !fields::has_token(headers, "connection", "upgrade")
    {
        return Err(InvalidAnswer::NotAnUpgrade);
    }
    match fields::single(headers, "sec-websocket-accept") {
        Occurrence::Once(accept) if accept == request.key().accept().as_bytes() => {}
        Occurrence::Once(_) | Occurrence::Missing | Occurrence::Repeated => {
            return Err(InvalidAnswer::Accept);
        }
    }
    let offered = |member| request.offers_extension(fields::extension_name(member));
    if !fields::list(headers, "sec-websocket-extensions").all(offered) {
        return Err(InvalidAnswer::Extension);
    }
    match fields::single(headers, "sec-websocket-protocol") {
        Occurrence::Missing => Ok(()),
        Occurrence::Once(protocol) if request.offers_protocol(protocol) => Ok(()),
        Occurrence::Once(_) | Occurrence::Repeated => Err(InvalidAnswer::Protocol),
    }
}

/// The reserved bits that the chosen extensions define: RSV1 for permessage-deflate (RFC 7692 §6), all of them for
/// an extension that selat does not know.
fn negotiated(headers: &[Header<'_>]) -> Rsv {
    let mut names = fields::list(headers, "sec-websocket-extensions").map(fields::extension_name).peekable();
    if names.peek().is_none() {
        return Rsv::NONE;
    }
    let only_deflate = names.all(|name| name.eq_ignore_ascii_case(b"permessage-deflate"));
    if only_deflate { Rsv::RSV1 } else { Rsv::ALL }
}

/// The backend's head as the client gets it: what belongs to the hop between us replaced, the rest as it came.
fn head_for_client(status: u16, reason: &str, headers: &[Header<'_>]) -> Vec<u8> {
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    if status == 101 {
        fields::push(&mut head, "Upgrade", b"websocket");
        fields::push(&mut head, "Connection", b"Upgrade");
    } else {
        fields::push(&mut head, "Connection", b"close");
    }
    // RFC 9110 §8.6: none in a 101, which has no body; RFC 9112 §6.3 item 3: none beside a transfer coding.
    let drops_length = status == 101 || fields::values(headers, "transfer-encoding").next().is_some();
    let is_dropped = |name: &str| {
        (drops_length && name.eq_ignore_ascii_case("content-length"))
            || (status == 101 && name.eq_ignore_ascii_case("transfer-encoding"))
    };
    for header in headers {
        if !is_dropped(header.name) && !fields::is_hop_by_hop(headers, header.name) {
            fields::push(&mut head, header.name, header.value);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}
