//! What selat answers when it does not forward a request: an honest status and a sentence for a person.

use super::HeadFault;

/// Why a client gets no 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The head breaks the line rules.
    #[error("malformed request: {0}")]
    Head(#[from] HeadFault),
    /// The head is not HTTP.
    #[error("malformed request: {0}")]
    Syntax(httparse::Error),
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
    #[error("this is a WebSocket endpoint: connect with a WebSocket client (ws://)")]
    NotAnUpgrade,
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
    /// The shard holds as many connections as it may.
    #[error("too many connections; try again shortly")]
    Full,
    /// The proxy is going down.
    #[error("the proxy is shutting down; try again")]
    Draining,
}

impl Refusal {
    /// The status code (RFC 9110 §15, RFC 6585 §5).
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.status_line().0
    }

    fn status_line(self) -> (u16, &'static str) {
        match self {
            Self::Head(_) | Self::Syntax(_) | Self::Target | Self::Host | Self::Key | Self::BodyPresent => {
                (400, "Bad Request")
            }
            Self::RouteUnknown => (404, "Not Found"),
            Self::Method => (405, "Method Not Allowed"),
            Self::HeadTimeout => (408, "Request Timeout"),
            Self::NotAnUpgrade | Self::Version => (426, "Upgrade Required"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::BackendFailed => (502, "Bad Gateway"),
            Self::NoBackend | Self::Full | Self::Draining => (503, "Service Unavailable"),
            Self::BackendTimeout => (504, "Gateway Timeout"),
            Self::HttpVersion => (505, "HTTP Version Not Supported"),
        }
    }

    /// The whole response, after which the connection closes.
    #[must_use]
    pub fn response(self) -> Vec<u8> {
        let (status, reason) = self.status_line();
        let more = match status {
            405 => "Connection: close\r\nAllow: GET\r\n",
            // RFC 9110 §15.5.22: a 426 MUST name the protocol; RFC 6455 §4.2.2 item 4: and the version.
            426 => "Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            503 => "Connection: close\r\nRetry-After: 1\r\n",
            _ => "Connection: close\r\n",
        };
        let body = format!("{status} {reason}: {self}\n");
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{more}\r\n{body}",
            body.len()
        )
        .into_bytes()
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
}
