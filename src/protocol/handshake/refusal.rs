//! What selat answers when it does not forward a request: an honest status and a sentence for a person.

use std::borrow::Cow;

use super::HeadFault;
use crate::protocol::proxy_protocol;

/// Why a client gets no 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The head breaks the line rules.
    #[error("malformed request: {0}")]
    Head(#[from] HeadFault),
    /// The head is not HTTP.
    #[error("malformed request: {0}")]
    Syntax(httparse::Error),
    /// The connection does not begin as its listener wants it.
    #[error("{0}")]
    Announcement(proxy_protocol::Fault),
    /// The request target is not a path.
    #[error("the request target must be a path beginning with /, without a fragment")]
    Target,
    /// RFC 9112 §3.2: exactly one Host.
    #[error("exactly one Host header is required")]
    Host,
    /// RFC 6455 §4.2.1 item 5: exactly one key of 16 bytes.
    #[error("exactly one Sec-WebSocket-Key header is required, 16 bytes in base64")]
    Key,
    /// A handshake has no body.
    #[error("an upgrade request must not have a body or Transfer-Encoding")]
    BodyPresent,
    /// RFC 6455 §4.1 item 2: the method is GET.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// Ordinary HTTP.
    #[error("this is a WebSocket endpoint: connect with a WebSocket client")]
    NotAnUpgrade,
    /// Plain HTTP where TLS is spoken.
    #[error("this port speaks TLS: connect with wss:// or https://")]
    TlsExpected,
    /// RFC 6455 §4.2.1 item 6: version 13.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// RFC 6455 §4.1 item 2: HTTP/1.1 or higher.
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    /// The head passed the configured bound.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The head did not arrive in time.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// A credential twice, or in two places (RFC 6750 §3.1: invalid_request).
    #[error("a credential must be sent once, and in one place")]
    CredentialRepeated,
    /// The client has to prove who it is.
    #[error("{message}")]
    Unauthorized {
        /// How.
        challenge: Challenge,
        /// What to do.
        message: &'static str,
    },
    /// The client may not connect here, and no credential would change that.
    #[error("{0}")]
    Forbidden(&'static str),
    /// More than this client or this route may ask for at the moment (RFC 6585 §4).
    #[error("{message}")]
    TooManyRequests {
        /// What to do.
        message: &'static str,
        /// When to come back, in seconds.
        retry_after_secs: u32,
    },
    /// No route is for this path.
    #[error("there is nothing at this path")]
    RouteUnknown,
    /// The backend answered with an error or with something that is not a handshake, or broke off.
    #[error("the backend did not complete the WebSocket handshake")]
    BackendFailed,
    /// The backend did not answer in time.
    #[error("the backend did not answer in time")]
    BackendTimeout,
    /// No backend may be tried at the moment.
    #[error("no backend is available; try again shortly")]
    NoBackend,
    /// Every backend has as many sessions as it may, and the queue is full or its wait was too long.
    #[error("all backends are busy; try again shortly")]
    Crowded,
    /// The shard holds as many connections as it may.
    #[error("too many connections; try again shortly")]
    Full,
    /// The proxy is going down.
    #[error("the proxy is shutting down; try again")]
    Draining,
}

/// The ways to prove who one is (RFC 9110 §11.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// An API key: no registered scheme, but a 401 has to name one.
    ApiKey,
    /// RFC 7617.
    Basic,
    /// RFC 6750 §3, to a request without a token.
    Bearer,
    /// RFC 6750 §3.1, to a request whose token was refused.
    BearerInvalid,
}

impl Challenge {
    /// The value of `WWW-Authenticate`.
    fn value(self) -> &'static str {
        match self {
            Self::ApiKey => "ApiKey realm=\"selat\"",
            Self::Basic => "Basic realm=\"selat\", charset=\"UTF-8\"",
            Self::Bearer => "Bearer realm=\"selat\"",
            Self::BearerInvalid => "Bearer realm=\"selat\", error=\"invalid_token\"",
        }
    }
}

impl Refusal {
    /// The status code (RFC 9110 §15, RFC 6585 §5).
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.status_line().0
    }

    fn status_line(self) -> (u16, &'static str) {
        match self {
            Self::Head(_)
            | Self::Syntax(_)
            | Self::Announcement(_)
            | Self::Target
            | Self::Host
            | Self::Key
            | Self::BodyPresent
            | Self::TlsExpected
            | Self::CredentialRepeated => (400, "Bad Request"),
            Self::Unauthorized { .. } => (401, "Unauthorized"),
            Self::Forbidden(_) => (403, "Forbidden"),
            Self::RouteUnknown => (404, "Not Found"),
            Self::Method => (405, "Method Not Allowed"),
            Self::HeadTimeout => (408, "Request Timeout"),
            Self::NotAnUpgrade | Self::Version => (426, "Upgrade Required"),
            Self::TooManyRequests { .. } => (429, "Too Many Requests"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::BackendFailed => (502, "Bad Gateway"),
            Self::NoBackend | Self::Crowded | Self::Full | Self::Draining => (503, "Service Unavailable"),
            Self::BackendTimeout => (504, "Gateway Timeout"),
            Self::HttpVersion => (505, "HTTP Version Not Supported"),
        }
    }

    /// The word for counters and logs: one of a small set.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Head(_) | Self::Syntax(_) => "malformed",
            Self::Announcement(_) => "proxy_protocol",
            Self::Target => "target",
            Self::Host => "host",
            Self::Key => "key",
            Self::BodyPresent => "body",
            Self::Method => "method",
            Self::NotAnUpgrade => "not_an_upgrade",
            Self::TlsExpected => "tls_expected",
            Self::Version | Self::HttpVersion => "version",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::CredentialRepeated => "credential_repeated",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::RouteUnknown => "no_route",
            Self::BackendFailed => "backend_failed",
            Self::BackendTimeout => "backend_timeout",
            Self::NoBackend => "no_backend",
            Self::Crowded => "queue",
            Self::Full => "connections_max",
            Self::Draining => "draining",
        }
    }

    /// The whole response, after which the connection closes.
    #[must_use]
    pub fn response(self) -> Vec<u8> {
        let (status, reason) = self.status_line();
        let more = self.header_lines();
        let body = format!("{status} {reason}: {self}\n");
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{more}\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// The header lines that this status asks for.
    fn header_lines(self) -> Cow<'static, str> {
        if let Self::Unauthorized { challenge, .. } = self {
            // RFC 9110 §15.5.2: a 401 MUST have a challenge.
            return format!("Connection: close\r\nWWW-Authenticate: {}\r\n", challenge.value()).into();
        }
        if let Self::TooManyRequests { retry_after_secs, .. } = self {
            return format!("Connection: close\r\nRetry-After: {retry_after_secs}\r\n").into();
        }
        match self.http_status() {
            405 => "Connection: close\r\nAllow: GET\r\n",
            // RFC 9110 §15.5.22: a 426 MUST name the protocol; RFC 6455 §4.2.2 item 4: and the version.
            426 => "Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            503 => "Connection: close\r\nRetry-After: 1\r\n",
            _ => "Connection: close\r\n",
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_426_names_protocol_and_version() {
        let response = String::from_utf8(Refusal::Version.response()).unwrap();
        assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(response.contains("\r\nUpgrade: websocket\r\n"));
        assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }

    #[test]
    fn a_401_says_how_and_a_429_when() {
        // RFC 9110 §11.6.1; RFC 7617 §2 and §2.1; RFC 6750 §3.
        let rows = [
            (Challenge::ApiKey, "ApiKey realm=\"selat\""),
            (Challenge::Basic, "Basic realm=\"selat\", charset=\"UTF-8\""),
            (Challenge::Bearer, "Bearer realm=\"selat\""),
            (Challenge::BearerInvalid, "Bearer realm=\"selat\", error=\"invalid_token\""),
        ];
        for (challenge, value) in rows {
            let refusal = Refusal::Unauthorized { challenge, message: "prove it" };
            let response = String::from_utf8(refusal.response()).unwrap();
            assert!(response.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{response}");
            assert!(response.contains(&format!("\r\nWWW-Authenticate: {value}\r\n")), "{response}");
            assert!(response.ends_with("\r\n\r\n401 Unauthorized: prove it\n"), "{response}");
        }
        let refusal = Refusal::TooManyRequests { message: "later", retry_after_secs: 7 };
        let response = String::from_utf8(refusal.response()).unwrap();
        assert!(response.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{response}");
        assert!(response.contains("\r\nRetry-After: 7\r\n"), "{response}");
    }

    #[test]
    fn stays_small_enough_for_the_way_of_every_session() {
        assert!(size_of::<Refusal>() <= 32);
    }
}
