//! Backend URLs: `ws://host:port/base/path`, `wss://host/base/path`; those of a feed's sources may have a query.

use std::fmt;
use std::str::FromStr;

/// Where a backend is. Its host may be a name; resolving it is not done here.
///
/// Shows itself without secrets: what the configuration refers to behind the port appears as the reference.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BackendUrl {
    /// Whether what is said there is encrypted.
    pub transport: Transport,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port; where the URL has none, 80, or 443 with TLS.
    pub port: u16,
    /// What goes before the path of every request: empty, or beginning with `/`. Of a feed's source, the whole target
    /// of the request: its path, and its query if it has one.
    pub base_path: String,
    /// What is shown in the place of `base_path`; `None`: itself.
    shown: Option<Box<str>>,
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
    /// A fragment in a source's URL, or characters no request line can carry.
    #[error("{given:?} has a path or query that is none; leave out # and spaces")]
    Target {
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
    /// Where a feed's source is: path and query are asked for as they stand. `written` is the same URL as it stands in
    /// the configuration, which is what is shown of them: vendors have clients put their keys there.
    ///
    /// # Errors
    /// [`InvalidBackend`], which quotes it as it is written.
    pub fn source(text: &str, written: &str) -> Result<Self, InvalidBackend> {
        let given = || written.to_owned();
        let (transport, rest) =
            split_scheme(text).ok_or_else(|| InvalidBackend::Scheme { given: given() })?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if target.bytes().any(|byte| byte == b'#' || !byte.is_ascii_graphic()) {
            return Err(InvalidBackend::Target { given: given() });
        }
        let (host, port) = split_authority(authority, transport.port())
            .ok_or_else(|| InvalidBackend::Authority { given: given() })?;
        let base_path = absolute(target);
        let shown = Some(shown_target(written)).filter(|shown| *shown != base_path && base_path != "/");
        let shown = shown.map(String::into_boxed_str);
        Ok(Self { transport, host: host.to_owned(), port, base_path, shown })
    }

    /// The `Host` of a request: without the port where it is the scheme's own (RFC 6455 §4.1 item 4).
    #[must_use]
    pub fn host_header(&self) -> String {
        let authority = self.authority();
        let own = format!(":{}", self.transport.port());
        authority.strip_suffix(&own).map(str::to_owned).unwrap_or(authority)
    }

    /// Host and port: an IPv6 address in brackets, the port always there.
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
        let (transport, rest) =
            split_scheme(text).ok_or_else(|| InvalidBackend::Scheme { given: given() })?;
        let (authority, base_path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if base_path.bytes().any(|byte| matches!(byte, b'?' | b'#') || !byte.is_ascii_graphic()) {
            return Err(InvalidBackend::Path { given: given() });
        }
        let (host, port) = split_authority(authority, transport.port())
            .ok_or_else(|| InvalidBackend::Authority { given: given() })?;
        let (host, base_path) = (host.to_owned(), base_path.trim_end_matches('/').to_owned());
        Ok(Self { transport, host, port, base_path, shown: None })
    }
}

/// What a URL begins with, and the rest.
fn split_scheme(text: &str) -> Option<(Transport, &str)> {
    let plain = text.strip_prefix("ws://").map(|rest| (Transport::Plain, rest));
    plain.or_else(|| Some((Transport::Tls, text.strip_prefix("wss://")?)))
}

/// RFC 6455 §3: an empty path is `/`, also before a query.
fn absolute(target: &str) -> String {
    if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
}

/// Path and query of a URL that has references in it. None of them has a `/` or `?` in its name; where one may stand
/// for the whole URL, there is nothing that could be shown.
fn shown_target(written: &str) -> String {
    match written.split_once("://") {
        Some((_, rest)) => absolute(rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("***")),
        None => absolute("***"),
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
        let path = self.shown.as_deref().unwrap_or(&self.base_path);
        write!(f, "{}://{}{path}", self.transport.scheme(), self.authority())
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_string().fmt(f)
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

    #[test]
    fn a_source_is_asked_for_path_and_query_as_they_stand() {
        let rows = [
            ("wss://vendor.example", "/", "wss://vendor.example:443/"),
            ("wss://vendor.example/feed/", "/feed/", "wss://vendor.example:443/feed/"),
            ("ws://vendor.example:81?a=b", "/?a=b", "ws://vendor.example:81/?a=b"),
            ("wss://v.example/f?a=b&c=/d?e", "/f?a=b&c=/d?e", "wss://v.example:443/f?a=b&c=/d?e"),
        ];
        for (text, target, shown) in rows {
            let url = BackendUrl::source(text, text).unwrap();
            assert_eq!((url.base_path.as_str(), url.to_string().as_str()), (target, shown));
        }
        for (text, part) in [
            ("https://x", "does not begin with ws://"),
            ("wss://?a=b", "no valid host"),
            ("wss://user@x/feed", "no valid host"),
            ("wss://x/feed#a", "leave out #"),
            ("wss://x/a b", "leave out #"),
        ] {
            let error = BackendUrl::source(text, text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_a_source_has_from_outside_behind_its_port_is_not_shown() {
        let rows = [
            (
                "wss://v.example/f?key=s3cret",
                "wss://v.example/f?key=${KEY}",
                "wss://v.example:443/f?key=${KEY}",
            ),
            ("wss://v.example/s3cret/f", "wss://${HOST}/${KEY}/f", "wss://v.example:443/${KEY}/f"),
            ("wss://v.example/f?key=s3cret", "${URL}", "wss://v.example:443/***"),
            ("wss://v.example/f?key=s3cret", "wss://${REST}", "wss://v.example:443/***"),
            ("wss://v.example?key=s3cret", "wss://v.example?key=${KEY}", "wss://v.example:443/?key=${KEY}"),
            ("wss://s3cret", "wss://${HOST}", "wss://s3cret:443/"),
        ];
        for (text, written, shown) in rows {
            let url = BackendUrl::source(text, written).unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("{shown:?}")));
        }
    }
}
