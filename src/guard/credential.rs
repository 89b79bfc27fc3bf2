//! Where in a request a key or a token may stand, and fetching it from there.

use std::borrow::Cow;
use std::str::FromStr;

use crate::protocol::handshake::{Occurrence, UpgradeRequest};

/// Where a client may put its key or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// `Authorization: Bearer ...` (RFC 6750 §2.1). Reaches the backend unchanged.
    Bearer,
    /// The whole value of this header. Reaches the backend unchanged.
    Header(String),
    /// The value of this query parameter, percent-decoded, `+` as a space (application/x-www-form-urlencoded).
    /// Reaches the backend unchanged. For clients that can set no header; URLs end up in logs and histories of
    /// others, so a header or a subprotocol is better (RFC 6750 §5.3).
    Query(String),
    /// What follows this prefix in an entry of `Sec-WebSocket-Protocol`, the one header that a page can set:
    /// `new WebSocket(url, ["chat", "key.SECRET"])` for the prefix `key.`. The entry is taken out before the request
    /// goes on, so no backend sees it or could choose it. A page has to offer a real subprotocol beside it, because
    /// browsers fail a handshake that offers some and is given none.
    Subprotocol(String),
}

/// Not a place for a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a place for a credential; write bearer, header:X-Api-Key, query:key or subprotocol:key. \
     (a prefix of letters, digits and .-_)"
)]
pub struct InvalidSource {
    given: String,
}

impl FromStr for CredentialSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        // RFC 9110 §5.6.2.
        let is_token = |text: &str| {
            let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !text.is_empty() && text.bytes().all(is_tchar)
        };
        let invalid = || InvalidSource { given: text.to_owned() };
        if text == "bearer" {
            return Ok(Self::Bearer);
        }
        match text.split_once(':').ok_or_else(invalid)? {
            ("header", name) if is_token(name) => Ok(Self::Header(name.to_owned())),
            ("query", name) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            ("subprotocol", prefix) if is_token(prefix) => Ok(Self::Subprotocol(prefix.to_owned())),
            _ => Err(invalid()),
        }
    }
}

impl CredentialSource {
    /// What stands in this place of a request.
    fn fetch<'r>(&self, request: &'r UpgradeRequest<'_>) -> Occurrence<Cow<'r, [u8]>> {
        match self {
            Self::Bearer => authorization(request, "Bearer").map(Cow::Borrowed),
            Self::Header(name) => request.header(name).map(Cow::Borrowed),
            Self::Query(name) => request.query_parameter(name).map(|value| match value {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
            Self::Subprotocol(prefix) => {
                let after_prefix = |entry: &'r [u8]| entry.strip_prefix(prefix.as_bytes());
                Occurrence::of(request.protocols().filter_map(after_prefix)).map(Cow::Borrowed)
            }
        }
    }
}

/// The credential of a request that may have it in any of `sources`. In two of them it is as ambiguous as twice in
/// one: RFC 6750 §2, "Clients MUST NOT use more than one method".
pub(super) fn fetch<'r>(
    sources: &[CredentialSource],
    request: &'r UpgradeRequest<'_>,
) -> Occurrence<Cow<'r, [u8]>> {
    let mut found = Occurrence::Missing;
    for source in sources {
        found = match (found, source.fetch(request)) {
            (found, Occurrence::Missing) => found,
            (Occurrence::Missing, one) => one,
            (Occurrence::Once(_) | Occurrence::Repeated, Occurrence::Once(_) | Occurrence::Repeated) => {
                Occurrence::Repeated
            }
        };
    }
    found
}

/// Takes the entries of `Sec-WebSocket-Protocol` that carry a credential out of a request.
pub(super) fn withhold(sources: &[CredentialSource], request: &mut UpgradeRequest<'_>) {
    for source in sources {
        match source {
            CredentialSource::Subprotocol(prefix) => request.withhold_protocols(prefix.as_bytes()),
            CredentialSource::Bearer | CredentialSource::Header(_) | CredentialSource::Query(_) => {}
        }
    }
}

/// What follows `scheme` in the `Authorization` header; another scheme is none of ours (RFC 9110 §11.4, §11.6.2).
pub(super) fn authorization<'r>(request: &'r UpgradeRequest<'_>, scheme: &str) -> Occurrence<&'r [u8]> {
    let value = match request.header("authorization") {
        Occurrence::Once(value) => value,
        Occurrence::Missing => return Occurrence::Missing,
        Occurrence::Repeated => return Occurrence::Repeated,
    };
    match value.split_at_checked(scheme.len()) {
        // §11.1: the scheme in any case; §11.4: at least one space.
        Some((sent, rest @ ([] | [b' ', ..]))) if sent.eq_ignore_ascii_case(scheme.as_bytes()) => {
            Occurrence::Once(rest.trim_ascii_start())
        }
        Some(_) | None => Occurrence::Missing,
    }
}
