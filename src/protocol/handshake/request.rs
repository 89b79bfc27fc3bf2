//! A client's request head: first read as HTTP, for its route, then judged as an opening handshake
//! (RFC 9112, RFC 6455 §4.2.1). How it is written for a backend is [`super::rewrite`]'s.

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::{self, Occurrence};
use super::target::Target;
use super::{HEADERS_MAX, Key, Refusal};

/// A request head as any HTTP server reads it: enough to find its route, and to give it a fixed response. It may be
/// no handshake at all, and HTTP/1.0 without a Host, as many a health check is.
#[derive(Debug, Clone)]
pub struct RequestHead<'h> {
    method: &'h str,
    /// 0 or 1: what follows `HTTP/1.`.
    minor_version: u8,
    /// `None` if it is in no form that a server must understand.
    target: Option<Target<'h>>,
    fields: Vec<Header<'h>>,
}

impl<'h> RequestHead<'h> {
    /// Reads a whole head, as [`super::head_len`] delimits it.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with: it is not HTTP/1.x, or has too many fields.
    pub fn parse(head: &'h [u8]) -> Result<Self, Refusal> {
        let mut table = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut table);
        match request.parse(head) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(Refusal::Syntax(httparse::Error::Token)),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
            Err(httparse::Error::Version) => return Err(Refusal::HttpVersion),
            Err(error) => return Err(Refusal::Syntax(error)),
        }
        Ok(Self {
            method: request.method.unwrap_or_default(),
            minor_version: request.version.unwrap_or_default(),
            target: Target::parse(request.path.unwrap_or_default()),
            fields: request.headers.to_vec(),
        })
    }

    /// The method, as it came: methods know upper and lower case (RFC 9110 §9.1).
    #[must_use]
    pub fn method(&self) -> &'h str {
        self.method
    }

    /// The host that is asked, without its port; an IPv6 address in its brackets. As it came: to be compared in any
    /// case. `None` where it is missing, in doubt or not text.
    #[must_use]
    pub fn host(&self) -> Option<&'h str> {
        let authority = std::str::from_utf8(self.authority()?).ok()?;
        let port_at =
            authority.rfind(':').filter(|at| !authority.get(*at..).unwrap_or_default().contains(']'));
        Some(port_at.and_then(|at| authority.get(..at)).unwrap_or(authority))
    }

    /// The path, without its query; begins with `/`. `None` where the target is in no form that has one.
    #[must_use]
    pub fn path(&self) -> Option<&'h str> {
        self.target.map(|target| target.path)
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'h str> {
        self.target.and_then(|target| target.query)
    }

    /// The value of the first field called `name`, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'h [u8]> {
        self.fields().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every field in order: its name as it came, its value without the white space around it.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'h str, &'h [u8])> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// The same for [`super::fields`].
    pub(super) fn headers(&self) -> &[Header<'h>] {
        &self.fields
    }

    /// Whether it may be given a response that is not a handshake's. Only for a request that no pool is to get:
    /// [`RequestHead::upgrade`] judges those.
    ///
    /// # Errors
    /// [`Refusal::Host`] or [`Refusal::Target`].
    pub fn check_plain(&self) -> Result<(), Refusal> {
        // RFC 9112 §3.2: a server MUST answer 400 to a request of HTTP/1.1 without Host, and to any with two.
        match fields::single(&self.fields, "host") {
            Occurrence::Missing if self.minor_version == 0 => {}
            Occurrence::Once(_) => {}
            Occurrence::Missing | Occurrence::Repeated => return Err(Refusal::Host),
        }
        self.target.map(|_| ()).ok_or(Refusal::Target)
    }

    /// Judges it as an opening handshake.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub fn upgrade(self) -> Result<UpgradeRequest<'h>, Refusal> {
        // §4.1 item 2: the HTTP version MUST be at least 1.1.
        if self.minor_version != 1 {
            return Err(Refusal::HttpVersion);
        }
        let Occurrence::Once(host) = fields::single(&self.fields, "host") else { return Err(Refusal::Host) };
        check_upgrade(self.method, &self.fields)?;
        let key = check_key(&self.fields)?;
        let target = self.target.ok_or(Refusal::Target)?;
        // RFC 9112 §3.2.2: a proxy MUST ignore the received Host and replace it with the target's.
        let host = target.authority.map_or(host, str::as_bytes);
        Ok(UpgradeRequest { head: self, host, target, key, withheld: Vec::new() })
    }

    /// Host and port, from the target or else from the only Host (RFC 9112 §3.2.2).
    fn authority(&self) -> Option<&'h [u8]> {
        if let Some(authority) = self.target.and_then(|target| target.authority) {
            return Some(authority.as_bytes());
        }
        let mut hosts = self.fields().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        let (_, host) = hosts.next()?;
        hosts.next().is_none().then_some(host)
    }
}

/// A request that may be forwarded: a valid upgrade and nothing but one.
#[derive(Debug, Clone)]
pub struct UpgradeRequest<'h> {
    head: RequestHead<'h>,
    /// The one Host for the backend, with its port.
    host: &'h [u8],
    target: Target<'h>,
    key: Key,
    /// How the subprotocols begin that no backend may see.
    withheld: Vec<Box<[u8]>>,
}

impl<'h> UpgradeRequest<'h> {
    /// Judges a whole head, as [`super::head_len`] delimits it.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub fn parse(head: &'h [u8]) -> Result<Self, Refusal> {
        RequestHead::parse(head)?.upgrade()
    }

    /// The head that was judged: host, path, query and fields.
    #[must_use]
    pub fn head(&self) -> &RequestHead<'h> {
        &self.head
    }

    /// The path, without its query; begins with `/`.
    #[must_use]
    pub fn path(&self) -> &'h str {
        self.target.path
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'h str> {
        self.target.query
    }

    /// The host that is asked, with its port, as it came: what a backend gets as `Host`.
    #[must_use]
    pub fn authority(&self) -> &'h [u8] {
        self.host
    }

    /// Every field in order: its name as it came, its value without the white space around it.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'h str, &'h [u8])> {
        self.head.fields()
    }

    /// The client's key. It goes to the backend too, so that one `Sec-WebSocket-Accept` answers both.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The subprotocols that the client offers, in its order of preference, less those withheld.
    pub fn protocols(&self) -> impl Iterator<Item = &'h [u8]> {
        let offers = self.fields().filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
        offers.flat_map(|(_, value)| self.shown_protocols(value))
    }

    /// The members of one `Sec-WebSocket-Protocol` field, less those withheld.
    pub(super) fn shown_protocols<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        fields::members(value).filter(|protocol| !self.is_withheld(protocol))
    }

    /// Takes the subprotocols that begin with `prefix` out of the offer: they carry credentials, which are not for
    /// the backend. From now on the client has not offered them.
    pub fn withhold_protocols(&mut self, prefix: &[u8]) {
        if self.protocols().any(|offered| offered.starts_with(prefix)) {
            self.withheld.push(prefix.into());
        }
    }

    /// Takes all extensions out of the offer. From now on the client has not offered any.
    pub fn withhold_extensions(&mut self) {
        self.head.fields.retain(|field| !field.name.eq_ignore_ascii_case("sec-websocket-extensions"));
    }

    fn is_withheld(&self, protocol: &[u8]) -> bool {
        self.withheld.iter().any(|prefix| protocol.starts_with(prefix))
    }

    /// Whether the backend was or will be offered this subprotocol.
    #[must_use]
    pub fn offers_protocol(&self, protocol: &[u8]) -> bool {
        self.protocols().any(|offered| offered == protocol)
    }

    /// Whether the client offered this extension, whatever its parameters.
    #[must_use]
    pub fn offers_extension(&self, name: &[u8]) -> bool {
        fields::list(self.head.headers(), "sec-websocket-extensions")
            .any(|member| fields::extension_name(member).eq_ignore_ascii_case(name))
    }

    /// Whether any subprotocol is withheld.
    pub(super) fn withholds_protocols(&self) -> bool {
        !self.withheld.is_empty()
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
fn check_upgrade(method: &str, headers: &[Header<'_>]) -> Result<(), Refusal> {
    // §4.2.1 items 3 and 4.
    if !fields::has_token(headers, "upgrade", "websocket")
        || !fields::has_token(headers, "connection", "upgrade")
    {
        return Err(Refusal::NotAnUpgrade);
    }
    if method != "GET" {
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
