//! Who the client is behind other proxies, and what the backend is told of it: `X-Forwarded-*` and `Forwarded`
//! (RFC 7239).

use std::net::IpAddr;

use ipnet::IpNet;

use super::node::{forwarded_for, node, split_unquoted};
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

    /// Whether this is a proxy whose word counts.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
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
        // A PROXY protocol header may name an IPv4 client as IPv6 maps it.
        let hop = Hop { peer: hop.peer.map(|peer| peer.to_canonical()), ..hop };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Trusts 10.0.0.0/8 and 2001:db8::/32, and writes everything.
    fn forwarding() -> Forwarding {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        Forwarding { trusted: trusted.into(), headers: ForwardHeader::ALL.into() }
    }

    fn head(lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!(
            "GET /chat HTTP/1.1\r\nHost: selat.example:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        )
    }

    fn real_client(forwarding: &Forwarding, peer: &str, lines: &[&str]) -> String {
        let head = head(lines);
        let request = RequestHead::parse(head.as_bytes()).unwrap();
        forwarding.real_client(peer.parse().unwrap(), &request).to_string()
    }

    /// The lines written for a backend.
    fn told(forwarding: &Forwarding, peer: Option<&str>, lines: &[&str]) -> Vec<String> {
        let head = head(lines);
        let request = UpgradeRequest::parse(head.as_bytes()).unwrap();
        let hop =
            Hop { peer: peer.map(|peer| peer.parse().unwrap()), scheme: Scheme::Https, port: Some(8443) };
        let mut out = Vec::new();
        forwarding.push(&request, hop, &mut out);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_vouches_for() {
        let rows: [(&str, &[&str], &str); 26] = [
            ("192.0.2.9", &[], "192.0.2.9"),
            ("192.0.2.9", &["X-Forwarded-For: 198.51.100.1"], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["X-Forwarded-For: 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["X-Forwarded-For: 203.0.113.66, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["X-Forwarded-For: 203.0.113.66, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["X-Forwarded-For: 198.51.100.1", "x-forwarded-for: 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["X-Forwarded-For: 198.51.100.1, garbage"], "10.0.0.1"),
            ("10.0.0.1", &["X-Forwarded-For: 198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["X-Forwarded-For: 198.51.100.1, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["X-Forwarded-For: 198.51.100.1,, 10.0.0.2,"], "198.51.100.1"),
            ("10.0.0.1", &["X-Forwarded-For:"], "10.0.0.1"),
            ("10.0.0.1", &["X-Forwarded-For: 198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["X-Forwarded-For: 2001:4860::1"], "2001:4860::1"),
            ("10.0.0.1", &["X-Forwarded-For: [2001:4860::1]:4711, [2001:db8::5]"], "2001:4860::1"),
            ("10.0.0.1", &["X-Forwarded-For: \"[2001:4860::1]\""], "2001:4860::1"),
            ("::ffff:10.0.0.1", &["X-Forwarded-For: ::ffff:198.51.100.1"], "198.51.100.1"),
            ("::ffff:192.0.2.9", &[], "192.0.2.9"),
            (
                "2001:db8::1",
                &["Forwarded: for=203.0.113.66, For=\"[2001:4860::1]:80\";proto=http"],
                "2001:4860::1",
            ),
            ("10.0.0.1", &["Forwarded: for=198.51.100.1;host=\"a,b;c\\\"\", for=10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["Forwarded: for=198.51.100.1, for=unknown, for=10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["Forwarded: for=198.51.100.1, for=\"_a:_b\", for=10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["Forwarded: for=198.51.100.1", "Forwarded: proto=https"], "10.0.0.1"),
            ("10.0.0.1", &["Forwarded: for=198.51.100.1;for=203.0.113.66"], "10.0.0.1"),
            ("10.0.0.1", &["Forwarded: for=198.51.100.1", "X-Forwarded-For: 203.0.113.66"], "203.0.113.66"),
        ];
        for (peer, lines, expected) in rows {
            assert_eq!(real_client(&forwarding(), peer, lines), expected, "{peer} with {lines:?}");
        }
        // With no list nobody is believed.
        let lines = ["X-Forwarded-For: 198.51.100.1"];
        assert_eq!(real_client(&Forwarding::default(), "10.0.0.1", &lines), "10.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_is_repeated_and_added() {
        let lines = told(
            &forwarding(),
            Some("10.0.0.1"),
            &[
                "X-Forwarded-For: 198.51.100.1",
                "X-Forwarded-Proto: http",
                "X-Forwarded-Host: public.example",
                "X-Forwarded-Port: 80",
                "Forwarded: for=198.51.100.1",
            ],
        );
        let expected = [
            "X-Forwarded-For: 198.51.100.1, 10.0.0.1",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: public.example",
            "X-Forwarded-Port: 80",
            "Forwarded: for=198.51.100.1, for=10.0.0.1;host=\"selat.example:8080\";proto=https",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_anybody_else_says_of_itself_is_dropped() {
        let spoofed = [
            "X-Forwarded-For: 198.51.100.1",
            "X-Forwarded-Proto: ftp",
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Port: 1",
            "Forwarded: for=198.51.100.1",
        ];
        let expected = |node: &str, forwarded: &str| {
            vec![
                format!("X-Forwarded-For: {node}"),
                "X-Forwarded-Proto: https".to_owned(),
                "X-Forwarded-Host: selat.example:8080".to_owned(),
                "X-Forwarded-Port: 8443".to_owned(),
                format!("Forwarded: for={forwarded};host=\"selat.example:8080\";proto=https"),
            ]
        };
        for lines in [spoofed.as_slice(), &[]] {
            let told_of_v4 = told(&forwarding(), Some("192.0.2.9"), lines);
            assert_eq!(told_of_v4, expected("192.0.2.9", "192.0.2.9"));
            let told_of_v6 = told(&forwarding(), Some("2001:4860::1"), lines);
            assert_eq!(told(&forwarding(), Some("::ffff:192.0.2.9"), lines), told_of_v4);
            // RFC 7239 §6: IPv6 in brackets and quoted.
            assert_eq!(told_of_v6, expected("2001:4860::1", "\"[2001:4860::1]\""));
        }
        // A peer without an address is nobody's trusted proxy.
        let told_of_nobody = told(&forwarding(), None, &spoofed);
        assert_eq!(told_of_nobody[..], expected("", "unknown")[1..]);
        let silent = Forwarding { headers: Vec::new(), ..forwarding() };
        for header in ForwardHeader::ALL {
            let name = header.name().to_ascii_lowercase();
            assert!(silent.tells_anew(&name, Some([192, 0, 2, 9].into())), "{name} is dropped");
            assert!(!silent.tells_anew(&name, Some([10, 0, 0, 1].into())), "{name} is kept");
            assert!(!Forwarding { trusted: Vec::new(), ..silent.clone() }.tells_anew(&name, None), "{name}");
        }
    }

    #[test]
    fn a_quotation_left_open_does_not_swallow_what_is_appended() {
        let only = Forwarding { trusted: Vec::new(), headers: vec![ForwardHeader::Forwarded] };
        let lines = ["Forwarded: for=\"198.51.100.1", "Forwarded: for=\"a\\", "Forwarded: for=203.0.113.1"];
        let expected = "Forwarded: for=203.0.113.1, for=192.0.2.9;host=\"selat.example:8080\";proto=https";
        assert_eq!(told(&only, Some("192.0.2.9"), &lines), [expected]);
    }

    #[test]
    fn a_host_cannot_end_its_quotation() {
        let head = head(&[]).replace("selat.example:8080", "a\"\\;for=b");
        let request = UpgradeRequest::parse(head.as_bytes()).unwrap();
        let hop = Hop { peer: None, scheme: Scheme::Http, port: None };
        let element = String::from_utf8(element(request.authority(), hop)).unwrap();
        assert_eq!(element, "for=unknown;host=\"a\\\"\\\\;for=b\";proto=http");
    }
}
