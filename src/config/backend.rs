//! Backend URLs: `ws://host:port/base/path`, `wss://host/base/path`.

use std::fmt;
use std::str::FromStr;

/// Where a backend is. Its host may be a name; resolving it is not done here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendUrl {
    /// Whether what is said there is encrypted.
    pub transport: Transport,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port; where the URL has none, 80, or 443 with TLS.
    pub port: u16,
    /// What goes before the path of every request: empty, or beginning with `/`.
    pub base_path: String,
}

/// How bytes travel to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// As they are: `ws://`.
    Plain,
    /// In TLS: `wss://`.
    Tls,
}

/// Not a backend URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackend {
    /// Another scheme, or none.
    #[error("{given:?} does not begin with ws:// or wss://; write ws://host:port/base/path")]
    Scheme {
        /// The text.
        given: String,
    },
    /// Host or port.
    #[error("{given:?} has no valid host and port; write ws://host:port, IPv6 as ws://[::1]:9001")]
    Authority {
        /// The text.
        given: String,
    },
    /// A query or fragment, or characters no request line can carry.
    #[error("{given:?} has a base path that is not a plain path; leave out ?, # and spaces")]
    Path {
        /// The text.
        given: String,
    },
}

impl Transport {
    fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "ws",
            Self::Tls => "wss",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}

impl BackendUrl {
    /// Host and port as the `Host` header has them: an IPv6 address in brackets, the port always there.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for BackendUrl {
    type Err = InvalidBackend;

    fn from_str(text: &str) -> Result<Self, InvalidBackend> {
        let given = || text.to_owned();
        let plain = text.strip_prefix("ws://").map(|rest| (Transport::Plain, rest));
        let (transport, rest) = plain
            .or_else(|| Some((Transport::Tls, text.strip_prefix("wss://")?)))
            .ok_or_else(|| InvalidBackend::Scheme { given: given() })?;
        let (authority, base_path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if base_path.bytes().any(|byte| matches!(byte, b'?' | b'#') || !byte.is_ascii_graphic()) {
            return Err(InvalidBackend::Path { given: given() });
        }
        let (host, port) = split_authority(authority, transport.port())
            .ok_or_else(|| InvalidBackend::Authority { given: given() })?;
        let (host, base_path) = (host.to_owned(), base_path.trim_end_matches('/').to_owned());
        Ok(Self { transport, host, port, base_path })
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_authority(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'%');
    let port = port.map_or(Some(default_port), |port| port.parse().ok().filter(|port| *port > 0))?;
    (!host.is_empty() && host.bytes().all(is_name)).then_some((host, port))
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.transport.scheme(), self.authority(), self.base_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_addresses_ports_and_base_paths() {
        let rows = [
            ("ws://127.0.0.1:9001", "ws://127.0.0.1:9001"),
            ("ws://[::1]:9001/", "ws://[::1]:9001"),
            ("ws://chat.internal", "ws://chat.internal:80"),
            ("wss://vendor.example/feed", "wss://vendor.example:443/feed"),
            ("ws://localhost:9001/base/path/", "ws://localhost:9001/base/path"),
        ];
        for (text, shown) in rows {
            assert_eq!(text.parse::<BackendUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let rows = [
            ("http://x:1", "does not begin with ws://"),
            ("ws://", "no valid host"),
            ("ws://x:0", "no valid host"),
            ("ws://x:99999", "no valid host"),
            ("ws://::1:9001", "no valid host"),
            ("ws://user@x:1", "no valid host"),
            ("ws://x:1/a?b", "plain path"),
            ("ws://x:1/a b", "plain path"),
        ];
        for (text, part) in rows {
            let error = text.parse::<BackendUrl>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
