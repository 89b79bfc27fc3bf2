//! A client's opening handshake: judged as a server, rewritten for a backend (RFC 6455 §4.2.1, RFC 9110 §7.6).

use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::{self, Occurrence};
use super::lookup::Received;
use super::{HEADERS_MAX, Key, Refusal};

/// A request that may be forwarded: a valid upgrade and nothing but one.
#[derive(Debug, Clone)]
pub struct UpgradeRequest {
    target: String,
    key: Key,
    /// The head as it came, for looking things up.
    pub(super) received: Received,
    /// Header lines for the backend, without the request line and the empty line.
    pub(super) lines: Vec<u8>,
    /// Subprotocols and extension names that the client offered.
    pub(super) protocols: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

impl UpgradeRequest {
    /// Judges a whole head, as [`super::head_len`] delimits it. `client` is the address to report to the backend,
    /// if it has one.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub fn parse(head: &[u8], client: Option<IpAddr>) -> Result<Self, Refusal> {
        let mut table = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut table);
        match request.parse(head) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(Refusal::Syntax(httparse::Error::Token)),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
            Err(httparse::Error::Version) => return Err(Refusal::HttpVersion),
            Err(error) => return Err(Refusal::Syntax(error)),
        }
        // §4.1 item 2: the HTTP version MUST be at least 1.1.
        if request.version != Some(1) {
            return Err(Refusal::HttpVersion);
        }
        let headers = &*request.headers;
        let Occurrence::Once(host) = fields::single(headers, "host") else { return Err(Refusal::Host) };
        check_upgrade(request.method, headers)?;
        let key = check_key(headers)?;
        let Target { authority, path } = Target::parse(request.path.unwrap_or_default())?;
        // RFC 9112 §3.2.2: a proxy MUST ignore the received Host and replace it with the target's.
        let host = authority.map_or(host, str::as_bytes);
        Ok(Self {
            target: path,
            key,
            received: Received::new(head),
            lines: lines_for_backend(headers, host, client),
            protocols: fields::list(headers, "sec-websocket-protocol").map(<[u8]>::to_vec).collect(),
            extensions: fields::list(headers, "sec-websocket-extensions")
                .map(|member| fields::extension_name(member).to_vec())
                .collect(),
        })
    }

    /// The request target: path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The head to send to a backend whose URL has this base path (empty, or beginning with `/`).
    #[must_use]
    pub fn head_for(&self, base_path: &str) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.lines.len() + base_path.len() + self.target.len() + 24);
        head.extend_from_slice(b"GET ");
        head.extend_from_slice(base_path.trim_end_matches('/').as_bytes());
        head.extend_from_slice(self.target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        head.extend_from_slice(&self.lines);
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The client's key. It goes to the backend too, so that one `Sec-WebSocket-Accept` answers both.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether the client offered this subprotocol.
    #[must_use]
    pub fn offers_protocol(&self, protocol: &[u8]) -> bool {
        self.protocols.iter().any(|offered| offered == protocol)
    }

    /// Whether the client offered this extension, whatever its parameters.
    #[must_use]
    pub fn offers_extension(&self, name: &[u8]) -> bool {
        self.extensions.iter().any(|offered| offered.eq_ignore_ascii_case(name))
    }
}

/// The 101 of a server that is selat itself: no subprotocol, no extension (RFC 6455 §4.2.2).
#[must_use]
pub fn switching_protocols(key: &Key) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        key.accept()
    )
    .into_bytes()
}

/// That this is an upgrade to WebSocket 13 by GET and carries nothing else.
fn check_upgrade(method: Option<&str>, headers: &[Header<'_>]) -> Result<(), Refusal> {
    // §4.2.1 items 3 and 4.
    if !fields::has_token(headers, "upgrade", "websocket")
        || !fields::has_token(headers, "connection", "upgrade")
    {
        return Err(Refusal::NotAnUpgrade);
    }
    if method != Some("GET") {
        return Err(Refusal::Method);
    }
    // RFC 9112 §6.1: what follows must be frames for us and for the backend alike, or a request could hide in it.
    let has_body = fields::values(headers, "content-length").any(|length| length != b"0");
    if has_body || fields::values(headers, "transfer-encoding").next().is_some() {
        return Err(Refusal::BodyPresent);
    }
    // §4.2.1 item 6.
    match fields::single(headers, "sec-websocket-version") {
        Occurrence::Once(b"13") => Ok(()),
        Occurrence::Once(_) | Occurrence::Missing | Occurrence::Repeated => Err(Refusal::Version),
    }
}

fn check_key(headers: &[Header<'_>]) -> Result<Key, Refusal> {
    match fields::single(headers, "sec-websocket-key") {
        Occurrence::Once(value) => Key::from_header(value).ok_or(Refusal::Key),
        Occurrence::Missing | Occurrence::Repeated => Err(Refusal::Key),
    }
}

/// A request target in origin-form or absolute-form (RFC 9112 §3.2).
struct Target<'t> {
    /// Host and port, where the target names them.
    authority: Option<&'t str>,
    /// Path and query.
    path: String,
}

impl<'t> Target<'t> {
    fn parse(target: &'t str) -> Result<Self, Refusal> {
        // RFC 6455 §3: a fragment identifier MUST NOT be used.
        if target.contains('#') {
            return Err(Refusal::Target);
        }
        if target.starts_with('/') {
            return Ok(Self { authority: None, path: target.to_owned() });
        }
        // RFC 9112 §3.2.2: a server MUST accept the absolute-form.
        let (scheme, rest) = target.split_once("://").ok_or(Refusal::Target)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let is_known = ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        // RFC 9110 §4.2.4: user information is not to be trusted in a target.
        if !is_known || authority.is_empty() || authority.contains('@') {
            return Err(Refusal::Target);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority: Some(authority), path })
    }
}

/// The client's header lines as the backend gets them: hop-by-hop ones replaced, `X-Forwarded-*` told as nginx's
/// `$proxy_add_x_forwarded_for`, `$scheme` and `$host` tell it, everything else as it came.
fn lines_for_backend(headers: &[Header<'_>], host: &[u8], client: Option<IpAddr>) -> Vec<u8> {
    let mut lines = Vec::with_capacity(1024);
    let replaced = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "content-length"];
    for header in headers {
        let is_replaced = replaced.iter().any(|name| header.name.eq_ignore_ascii_case(name));
        if header.name.eq_ignore_ascii_case("host") {
            fields::push(&mut lines, header.name, host);
        } else if !is_replaced && !fields::is_hop_by_hop(headers, header.name) {
            fields::push(&mut lines, header.name, header.value);
        }
    }
    let mut hops: Vec<u8> =
        fields::values(headers, "x-forwarded-for").collect::<Vec<_>>().join(b", ".as_slice());
    if let Some(client) = client {
        if !hops.is_empty() {
            hops.extend_from_slice(b", ");
        }
        hops.extend_from_slice(client.to_string().as_bytes());
    }
    if !hops.is_empty() {
        fields::push(&mut lines, "X-Forwarded-For", &hops);
    }
    fields::push(&mut lines, "X-Forwarded-Proto", b"http");
    fields::push(&mut lines, "X-Forwarded-Host", host);
    fields::push(&mut lines, "Upgrade", b"websocket");
    fields::push(&mut lines, "Connection", b"Upgrade");
    lines
}
