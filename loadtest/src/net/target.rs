//! Where to connect to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// Loopback addresses that connections come from in turn where ports have run out, 28,000 to each.
const SOURCES: u8 = 64;

/// How long one of several addresses may take to accept.
const PATIENCE: Duration = Duration::from_secs(1);

/// What lies below WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// `ws://`
    Tcp,
    /// `wss://`
    Tls,
}

impl Transport {
    /// The port of URLs that name none (RFC 6455 §3).
    fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 80,
            Self::Tls => 443,
        }
    }
}

/// A server, as `ws[s]://HOST[:PORT][/PATH]` names it; the name is looked up once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Whether TLS is spoken.
    pub(crate) transport: Transport,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Host and port as they were written, for the `Host` field.
    pub(crate) host: String,
    /// Path and query, at least `/`.
    pub(crate) path: String,
}

impl Target {
    /// Its name or address, which has to be in a certificate.
    pub(crate) fn name(&self) -> &str {
        name_and_port(&self.host).0
    }

    /// The address that the `serial`-th connection may come from when 127.0.0.1 has no port left. Only loopback has
    /// others.
    pub(crate) fn source(&self, serial: u32) -> Option<IpAddr> {
        let turn = u8::try_from(serial % u32::from(SOURCES)).ok()?;
        (self.address.is_ipv4() && self.address.ip().is_loopback())
            .then(|| IpAddr::V4(Ipv4Addr::new(127, 0, 0, turn + 2)))
    }
}

/// A host without brackets, and its port if there is one.
fn name_and_port(host: &str) -> (&str, Option<&str>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    (name.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Of several addresses the first at which anybody listens: `localhost` may have one of IPv6, and nobody there.
fn reachable(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let [first, _, ..] = addresses else { return addresses.first().copied() };
    let listens = |address: &&SocketAddr| TcpStream::connect_timeout(address, PATIENCE).is_ok();
    Some(*addresses.iter().find(listens).unwrap_or(first))
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, rest) = text
            .strip_prefix("ws://")
            .map(|rest| (Transport::Tcp, rest))
            .or_else(|| text.strip_prefix("wss://").map(|rest| (Transport::Tls, rest)))
            .ok_or("not a WebSocket URL; write for instance ws://127.0.0.1:8765/")?;
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        if host.is_empty() || host.contains('@') || rest.contains(|c: char| c == '#' || !c.is_ascii_graphic())
        {
            return Err("not a WebSocket URL; host, port and path are all it may have".to_owned());
        }
        let authority = if name_and_port(host).1.is_some() {
            host.to_owned()
        } else {
            format!("{host}:{}", transport.default_port())
        };
        let addresses =
            authority.to_socket_addrs().map_err(|error| format!("cannot look up {host}: {error}"))?;
        let address = reachable(&addresses.collect::<Vec<_>>());
        let address = address.ok_or_else(|| format!("{host} has no address"))?;
        Ok(Self { transport, address, host: host.to_owned(), path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn reads_urls() {
        let rows = [
            ("ws://127.0.0.1:9001", "127.0.0.1:9001", "127.0.0.1:9001", "127.0.0.1", "/"),
            ("ws://127.0.0.1/", "127.0.0.1:80", "127.0.0.1", "127.0.0.1", "/"),
            ("ws://[::1]:9001/a/b?c=d", "[::1]:9001", "[::1]:9001", "::1", "/a/b?c=d"),
            ("ws://[::1]", "[::1]:80", "[::1]", "::1", "/"),
            ("wss://127.0.0.1/", "127.0.0.1:443", "127.0.0.1", "127.0.0.1", "/"),
            ("wss://[::1]:9001", "[::1]:9001", "[::1]:9001", "::1", "/"),
        ];
        for (url, address, host, name, path) in rows {
            let target: Target = url.parse().unwrap();
            assert_eq!(target.transport == Transport::Tls, url.starts_with("wss:"), "{url}");
            assert_eq!(target.name(), name, "{url}");
            assert_eq!(target.address, address.parse().unwrap(), "{url}");
            assert_eq!((target.host.as_str(), target.path.as_str()), (host, path), "{url}");
        }
    }

    #[test]
    fn takes_of_several_addresses_one_at_which_somebody_listens() {
        let [deaf, listener] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let (first, second) = (deaf.local_addr().unwrap(), listener.local_addr().unwrap());
        drop(deaf);
        assert_eq!(reachable(&[first, second]), Some(second));
        drop(listener);
        assert_eq!(reachable(&[first, second]), Some(first));
        assert_eq!(reachable(&[]), None);
    }

    #[test]
    fn says_what_is_wrong_with_others() {
        for url in ["", "127.0.0.1:9001", "http://127.0.0.1", "ws://", "ws:///path", "ws://a@b", "ws://h/a b"]
        {
            assert!(url.parse::<Target>().is_err(), "{url:?}");
        }
    }

    #[test]
    fn spreads_connections_over_loopback_addresses() {
        let target: Target = "ws://127.0.0.1:9001".parse().unwrap();
        let sources: std::collections::HashSet<_> = (0..1000).map(|serial| target.source(serial)).collect();
        assert_eq!(sources.len(), usize::from(SOURCES));
        let target: Target = "ws://[::1]:9001".parse().unwrap();
        assert_eq!(target.source(7), None);
    }
}
