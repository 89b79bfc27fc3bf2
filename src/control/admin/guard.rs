//! Who may ask what: refuses bodies, forged hosts and pages of a browser, and asks for the token where one is needed.
//!
//! Reading needs no token. Whatever changes something needs the token, if there is one; without one it is taken from
//! a Unix socket, whose file only this user may open, and from loopback, but from nobody else.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::ListenAddress;

use super::Token;
use super::routes::failure;

/// What stands between a listener and its routes.
#[derive(Debug)]
pub(super) struct Guard {
    reach: Reach,
    token: Option<Token>,
}

/// Who can connect at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This user's programs.
    Unix,
    /// Every program on this machine, and through a browser every web page that it shows.
    Loopback,
    /// Others too.
    Network,
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("requests have no body here")]
    Body,
    #[error("no Host, or one that is a name of the network's; say localhost or the address itself")]
    Host,
    #[error("requests of web pages are not taken")]
    Origin,
    #[error("this needs the token: Authorization: Bearer …, or --token-file")]
    Token,
    #[error(
        "without a token nothing can be changed over the network; configure one, or use loopback or a Unix socket"
    )]
    Network,
}

impl Refused {
    fn http_status(self) -> StatusCode {
        match self {
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Origin | Self::Network => StatusCode::FORBIDDEN,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = failure(self.http_status(), &self.to_string());
        if self == Self::Token {
            response.headers_mut().insert(WWW_AUTHENTICATE, const { HeaderValue::from_static("Bearer") });
        }
        response
    }
}

impl Guard {
    pub(super) fn new(address: &ListenAddress, token: Option<Token>) -> Self {
        let reach = match address {
            ListenAddress::Unix(_) => Reach::Unix,
            ListenAddress::Tcp(address) if address.ip().to_canonical().is_loopback() => Reach::Loopback,
            ListenAddress::Tcp(_) => Reach::Network,
        };
        Self { reach, token }
    }

    /// Whether everybody on the network may read here, and nobody may change anything.
    pub(super) fn is_open_to_the_network(&self) -> bool {
        self.reach == Reach::Network && self.token.is_none()
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
        // A page whose name was made to point at this machine can read the answers: it is the page's own host then.
        if self.reach == Reach::Loopback && !is_of_this_machine(headers) {
            return Err(Refused::Host);
        }
        if *method == Method::GET || *method == Method::HEAD {
            return Ok(());
        }
        if let Some(token) = &self.token {
            let mut given = headers.get_all(AUTHORIZATION).iter();
            let is_right = given.next().is_some_and(|given| token.is_in(given.as_bytes()));
            return if is_right && given.next().is_none() { Ok(()) } else { Err(Refused::Token) };
        }
        match self.reach {
            Reach::Network => Err(Refused::Network),
            // A browser says where a request that changes something comes from; no other client does.
            Reach::Loopback | Reach::Unix if headers.contains_key(ORIGIN) => Err(Refused::Origin),
            Reach::Loopback | Reach::Unix => Ok(()),
        }
    }
}

/// Refuses, or passes on.
///
/// # Cancel safety
/// Safe: nothing is changed here.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let checked = if request.body().is_end_stream() {
        guard.check(request.method(), request.headers())
    } else {
        Err(Refused::Body)
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Whether there is one Host, and it is an address or `localhost`: names of the network can be made to point anywhere.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(rows: &[(HeaderName, &str)]) -> HeaderMap {
        rows.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn guard(address: &str, token: Option<&str>) -> Guard {
        Guard::new(&address.parse().unwrap(), token.map(|token| Token::new(token).unwrap()))
    }

    #[test]
    fn only_addresses_and_localhost_are_hosts_of_this_machine() {
        for host in ["localhost", "LOCALHOST:9765", "127.0.0.1", "127.0.0.1:9765", "[::1]:9765", "10.0.0.1:1"]
        {
            assert!(is_of_this_machine(&headers(&[(HOST, host)])), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a b", "[::1"] {
            assert!(!is_of_this_machine(&headers(&[(HOST, host)])), "{host}");
        }
        assert!(!is_of_this_machine(&headers(&[])));
        let mut two = headers(&[(HOST, "localhost")]);
        two.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!is_of_this_machine(&two));
    }

    #[test]
    fn what_changes_something_needs_the_token_or_nearness() {
        let (loopback, network, unix) = ("127.0.0.1:1", "0.0.0.0:1", "unix:/s");
        let right = (AUTHORIZATION, "Bearer t");
        let wrong = (AUTHORIZATION, "Bearer x");
        let page = (ORIGIN, "http://localhost:1");
        let host = (HOST, "localhost");
        let rows = [
            (loopback, None, vec![host.clone()], Ok(())),
            (loopback, None, vec![host.clone(), page.clone()], Err(Refused::Origin)),
            (loopback, None, vec![(HOST, "evil.example")], Err(Refused::Host)),
            (loopback, Some("t"), vec![host.clone()], Err(Refused::Token)),
            (loopback, Some("t"), vec![host.clone(), wrong], Err(Refused::Token)),
            (loopback, Some("t"), vec![host, right.clone()], Ok(())),
            (network, None, vec![], Err(Refused::Network)),
            (network, None, vec![right.clone()], Err(Refused::Network)),
            (network, Some("t"), vec![], Err(Refused::Token)),
            (network, Some("t"), vec![right.clone()], Ok(())),
            (unix, None, vec![], Ok(())),
            (unix, None, vec![page], Err(Refused::Origin)),
            (unix, Some("t"), vec![], Err(Refused::Token)),
            (unix, Some("t"), vec![right], Ok(())),
        ];
        for (address, token, fields, expected) in rows {
            let headers = headers(&fields);
            assert_eq!(
                guard(address, token).check(&Method::POST, &headers),
                expected,
                "{address} {fields:?}"
            );
            let is_read = guard(address, token).check(&Method::GET, &headers) != Err(Refused::Host);
            assert_eq!(is_read, expected != Err(Refused::Host), "{address} {fields:?}");
        }
    }
}
