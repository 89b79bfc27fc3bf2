//! Who the client is behind other proxies, and what the backend is told of it: `X-Forwarded-*` and `Forwarded`
//! (RFC 7239).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{RequestHead, UpgradeRequest, fields};

/// What backends are told of the client, and whom selat believes about it.
///
/// | `trusted` | peer | fields that came | what the backend gets |
/// |---|---|---|---|
/// | empty | any | appended to or replaced | as nginx's `$proxy_add_x_forwarded_for`, `$scheme`, `$host` |
/// | a list | in it | appended to or kept | what the trusted proxy said, and the proxy's own address |
/// | a list | not in it | dropped, all five | the peer's address, our scheme, host and port |
///
/// Lists (`X-Forwarded-For`, `Forwarded`) are appended to; the others are replaced, or kept where a trusted proxy sent
/// them. A field that is not in `headers` is not written; one that came passes as it is, but for the last row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Proxies in front of us whose word counts. An IPv4 network holds the IPv4-mapped IPv6 addresses too.
    pub trusted: Vec<IpNet>,
    /// The fields to write.
    pub headers: Vec<ForwardHeader>,
}

/// A field that tells where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardHeader {
    /// `X-Forwarded-For`: the addresses that the request came by, ours to append.
    For,
    /// `X-Forwarded-Proto`: `http` or `https`.
    Proto,
    /// `X-Forwarded-Host`: the host that the client asked, with its port.
    Host,
    /// `X-Forwarded-Port`: the port that the client connected to.
    Port,
    /// `Forwarded`: for, host and proto in one (RFC 7239 §4). No `by`: it would tell of the inside.
    Forwarded,
}

/// How a request reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The peer, or whom it named in a PROXY protocol header; `None` if it has no IP address.
    pub peer: Option<IpAddr>,
    /// Whether it was encrypted.
    pub scheme: Scheme,
    /// The port it connected to.
    pub port: Option<u16>,
}

/// How the client speaks to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// ws://.
    Http,
    /// wss://.
    Https,
}

impl Scheme {
    /// As `X-Forwarded-Proto` and `Forwarded` have it: the scheme of the request that opens a WebSocket.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl ForwardHeader {
    const ALL: [Self; 5] = [Self::For, Self::Proto, Self::Host, Self::Port, Self::Forwarded];

    /// The field's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::For => "X-Forwarded-For",
            Self::Proto => "X-Forwarded-Proto",
            Self::Host => "X-Forwarded-Host",
            Self::Port => "X-Forwarded-Port",
            Self::Forwarded => "Forwarded",
        }
    }
}

impl Default for Forwarding {
    /// Nobody is trusted and everybody is repeated, as an nginx without `set_real_ip_from` does.
    fn default() -> Self {
        use ForwardHeader::{For, Host, Proto};
        Self { trusted: Vec::new(), headers: vec![For, Proto, Host] }
    }
}

/// What selat makes of the fields that a peer sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// No list: repeated to the backend, believed in nothing.
    Repeat,
    /// On the list.
    Believe,
    /// Not on it.
    Drop,
}

impl Forwarding {
    /// The client behind the proxies in front of us, to be used for limits, hashing and logs; as IPv4 where IPv6 maps
    /// it.
    ///
    /// It is the peer, unless that is trusted: then the right-most address of `X-Forwarded-For` (of `Forwarded` where
    /// there is no other) that is not, or the left-most if all are. An entry that is no address (`unknown`,
    /// `_hidden`, garbage) ends the search at the proxy that wrote it. As nginx's `real_ip_recursive`.
    ///
    /// Believe only proxies that write the field they do not use as well, or take it out: their clients may send it.
    #[must_use]
    pub fn real_client(&self, peer: IpAddr, request: &RequestHead<'_>) -> IpAddr {
        let mut client = peer.to_canonical();
        let headers = request.headers();
        let mut hops: Vec<Option<IpAddr>> =
            fields::list(headers, ForwardHeader::For.name()).map(node).collect();
        if fields::values(headers, ForwardHeader::For.name()).next().is_none() {
            let values = fields::values(headers, ForwardHeader::Forwarded.name());
            hops = values.flat_map(forwarded_for).collect();
        }
        while self.trusts(client) {
            let Some(Some(hop)) = hops.pop() else { break };
            client = hop;
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address.to_canonical()))
    }

    fn stance(&self, peer: Option<IpAddr>) -> Stance {
        match peer {
            _ if self.trusted.is_empty() => Stance::Repeat,
            Some(peer) if self.trusts(peer) => Stance::Believe,
            Some(_) | None => Stance::Drop,
        }
    }

    /// Whether the field `name` does not go on as it came.
    pub(super) fn tells_anew(&self, name: &str, peer: Option<IpAddr>) -> bool {
        let header = ForwardHeader::ALL.into_iter().find(|header| name.eq_ignore_ascii_case(header.name()));
        header.is_some_and(|header| self.headers.contains(&header) || self.stance(peer) == Stance::Drop)
    }

    /// Appends the fields for a backend.
    pub(super) fn push(&self, request: &UpgradeRequest<'_>, hop: Hop, head: &mut Vec<u8>) {
        let stance = self.stance(hop.peer);
        for header in &self.headers {
            let came = fields::values(request.head().headers(), header.name());
            let came: Vec<&[u8]> = came.filter(|_| stance != Stance::Drop).collect();
            let value = match header {
                ForwardHeader::For => {
                    joined(&came, hop.peer.map(|peer| peer.to_string().into_bytes()).as_deref())
                }
                ForwardHeader::Forwarded => {
                    // A quotation left open would swallow what we append.
                    let came: Vec<_> =
                        came.into_iter().filter(|value| split_unquoted(value, b',').is_some()).collect();
                    joined(&came, Some(&element(request.authority(), hop)))
                }
                ForwardHeader::Proto | ForwardHeader::Host | ForwardHeader::Port
                    if stance == Stance::Believe && !came.is_empty() =>
                {
                    joined(&came, None)
                }
                ForwardHeader::Proto => hop.scheme.as_str().into(),
                ForwardHeader::Host => request.authority().to_vec(),
                ForwardHeader::Port => hop.port.map(|port| port.to_string().into_bytes()).unwrap_or_default(),
            };
            let is_needed = matches!(header, ForwardHeader::Host) || !value.is_empty();
            if is_needed {
                fields::push(head, header.name(), &value);
            }
        }
    }
}

/// The members of a list in one value, the new one last.
fn joined(came: &[&[u8]], new: Option<&[u8]>) -> Vec<u8> {
    let mut value = came.join(b", ".as_slice());
    if let Some(new) = new {
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(new);
    }
    value
}

/// Our element of `Forwarded` (RFC 7239 §4).
fn element(host: &[u8], hop: Hop) -> Vec<u8> {
    let node = match hop.peer {
        Some(IpAddr::V4(address)) => address.to_string(),
        // RFC 7239 §6: IPv6 in brackets, and so quoted.
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        None => "unknown".to_owned(),
    };
    let mut element = format!("for={node};host=\"").into_bytes();
    for byte in host {
        if matches!(byte, b'"' | b'\\') {
            element.push(b'\\');
        }
        element.push(*byte);
    }
    element.extend_from_slice(format!("\";proto={}", hop.scheme.as_str()).as_bytes());
    element
}

/// The `for` of each element of one `Forwarded` value, `None` where it is no address; one `None` for a value that
/// cannot be read.
fn forwarded_for(value: &[u8]) -> Vec<Option<IpAddr>> {
    let Some(elements) = split_unquoted(value, b',') else { return vec![None] };
    let elements = elements.into_iter().map(<[u8]>::trim_ascii).filter(|element| !element.is_empty());
    elements
        .map(|element| {
            let pairs = split_unquoted(element, b';')?;
            let mut nodes = pairs.into_iter().filter_map(|pair| {
                let pair = pair.trim_ascii();
                let (name, value) = pair.split_at_checked(4)?;
                name.eq_ignore_ascii_case(b"for=").then_some(value)
            });
            let found = nodes.next()?;
            // RFC 7239 §4: each parameter MUST NOT occur more than once.
            nodes.next().is_none().then(|| node(found))?
        })
        .collect()
}

/// `value` split at `separator` outside quotations; `None` if a quotation is left open (RFC 9110 §5.6.4).
fn split_unquoted(value: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = value
        .split(|byte| {
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                b'\\' if is_quoted => is_escaped = !was_escaped,
                b'"' if !was_escaped => is_quoted = !is_quoted,
                _ => return !is_quoted && *byte == separator,
            }
            false
        })
        .collect();
    (!is_quoted).then_some(parts)
}

/// The address of a node, quoted or not, with or without a port (RFC 7239 §6, and what `X-Forwarded-For` has in
/// practice); `None` for `unknown`, obfuscated identifiers and garbage.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (IpAddr::V6(address.parse().ok()?), port)
        }
        None => match (text.parse(), text.find(':')) {
            (Ok(address), _) => (address, ""),
            (Err(_), Some(at)) => {
                let (address, port) = text.split_at(at);
                (IpAddr::V4(address.parse().ok()?), port)
            }
            (Err(_), None) => return None,
        },
    };
    let is_port = |port: &str| {
        let is_obfuscated = port.starts_with('_');
        !port.is_empty() && port.bytes().all(|byte| is_obfuscated || byte.is_ascii_digit())
    };
    let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    is_whole.then(|| address.to_canonical())
}
