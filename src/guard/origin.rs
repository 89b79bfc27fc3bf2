//! Web origins: scheme, host and port of the page that opens a WebSocket (RFC 6454, RFC 6455 §10.2).

use std::str::FromStr;

/// One entry of an origin allow-list.
///
/// `https://example.com` and `https://example.com:8443` mean exactly that origin, `https://*.example.com` every host
/// below `example.com` but not itself, `null` the pages that have no origin of their own (sandboxed frames, files),
/// `*` every page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Pattern);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Null,
    Exact {
        scheme: String,
        host: String,
        port: Option<u16>,
    },
    /// `suffix` begins with its dot.
    Below {
        scheme: String,
        suffix: String,
        port: Option<u16>,
    },
}

/// Not an entry of an origin allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// Not `scheme://host[:port]`.
    #[error(
        "{given:?} is not an origin; write https://example.com, https://example.com:8443, https://*.example.com, null or *"
    )]
    Syntax {
        /// The text.
        given: String,
    },
    /// A path, query or user name: an origin has none (RFC 6454 §4).
    #[error(
        "{given:?} has more than scheme, host and port; leave out what follows (browsers do not send it, not even a /)"
    )]
    TooMuch {
        /// The text.
        given: String,
    },
    /// A host in Unicode: browsers send its A-label (RFC 6454 §6.2, RFC 5890).
    #[error("{given:?} has a host that is not ASCII; write its punycode form, xn--...")]
    NotAscii {
        /// The text.
        given: String,
    },
}

impl Origin {
    /// Whether the value of an `Origin` header is this origin. What is not one origin (RFC 6454 §7.1 allows a list)
    /// is none that was allowed, unless all are.
    #[must_use]
    pub fn matches(&self, header: &[u8]) -> bool {
        let pattern = match &self.0 {
            Pattern::Any => return true,
            Pattern::Null => return header == b"null",
            pattern @ (Pattern::Exact { .. } | Pattern::Below { .. }) => pattern,
        };
        let Some(sent) = std::str::from_utf8(header).ok().and_then(Triple::parse) else { return false };
        match pattern {
            Pattern::Exact { scheme, host, port } => {
                sent.has(scheme, *port) && sent.host.eq_ignore_ascii_case(host)
            }
            Pattern::Below { scheme, suffix, port } => {
                let split = sent.host.len().checked_sub(suffix.len()).filter(|split| *split > 0);
                let end = split.and_then(|split| sent.host.get(split..));
                sent.has(scheme, *port) && end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            Pattern::Any | Pattern::Null => false,
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        match text {
            "*" => return Ok(Self(Pattern::Any)),
            "null" => return Ok(Self(Pattern::Null)),
            _ => {}
        }
        let given = || text.to_owned();
        if !text.is_ascii() {
            return Err(InvalidOrigin::NotAscii { given: given() });
        }
        let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
        if after_scheme.contains(['/', '?', '#', '@']) {
            return Err(InvalidOrigin::TooMuch { given: given() });
        }
        let syntax = || InvalidOrigin::Syntax { given: given() };
        let (is_wildcard, exact) = match text.split_once("://*.") {
            Some((scheme, rest)) => (true, format!("{scheme}://{rest}")),
            None => (false, text.to_owned()),
        };
        let Triple { scheme, host, port } = Triple::parse(&exact).ok_or_else(syntax)?;
        // A star anywhere else would look like a wildcard and be none.
        if host.contains('*') || (is_wildcard && host.starts_with('[')) {
            return Err(syntax());
        }
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        Ok(Self(if is_wildcard {
            Pattern::Below { scheme, suffix: format!(".{host}"), port }
        } else {
            Pattern::Exact { scheme, host, port }
        }))
    }
}

/// Scheme, host and port, the port of the scheme filled in (RFC 6454 §4).
struct Triple<'t> {
    scheme: &'t str,
    /// An IPv6 address with its brackets.
    host: &'t str,
    port: Option<u16>,
}

impl<'t> Triple<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        // RFC 3986 §3.1.
        let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(is_scheme_byte)
        {
            return None;
        }
        // A colon inside brackets belongs to an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_host_byte =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b',');
        let is_plain = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || !is_plain || !host.bytes().all(is_host_byte) {
            return None;
        }
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None => default_port(scheme),
        };
        Some(Self { scheme, host, port })
    }

    fn has(&self, scheme: &str, port: Option<u16>) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme) && self.port == port
    }
}

/// The port that a URL of this scheme need not name (RFC 6454 §4 item 5).
fn default_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_scheme_host_and_port() {
        let rows = [
            // RFC 6454 §5: the same scheme, host and port.
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://www.example.com", false),
            // §4 item 5: the default port of the scheme.
            ("https://example.com", "https://example.com:443", true),
            ("https://example.com:443", "https://example.com", true),
            ("http://example.com:80", "http://example.com", true),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com:8443", "https://example.com:8443", true),
            ("https://example.com", "https://example.com:80", false),
            // §4 items 2 and 4: scheme and host in lower case.
            ("HTTPS://Example.COM", "https://example.com", true),
            ("https://example.com", "HTTPS://EXAMPLE.com", true),
            // Addresses and schemes of applications.
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://[::1]", "http://[::1]:80", true),
            ("chrome-extension://abcdef", "chrome-extension://abcdef", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            // §4 item 1: null is the origin of those that have none, and equals no other.
            ("null", "null", true),
            ("https://example.com", "null", false),
            ("null", "https://example.com", false),
            ("*", "https://anything.example", true),
            ("*", "null", true),
            ("*", "", true),
        ];
        for (allowed, sent, is_same) in rows {
            let origin: Origin = allowed.parse().unwrap();
            assert_eq!(origin.matches(sent.as_bytes()), is_same, "{sent:?} for {allowed:?}");
        }
    }

    #[test]
    fn a_wildcard_means_the_hosts_below() {
        let rows = [
            ("https://*.example.com", "https://www.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://WWW.Example.Com:443", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://www.example.com.evil.net", false),
            ("https://*.example.com", "http://www.example.com", false),
            ("https://*.example.com", "https://www.example.com:8443", false),
            ("https://*.example.com:8443", "https://www.example.com:8443", true),
        ];
        for (allowed, sent, is_same) in rows {
            let origin: Origin = allowed.parse().unwrap();
            assert_eq!(origin.matches(sent.as_bytes()), is_same, "{sent:?} for {allowed:?}");
        }
    }

    #[test]
    fn what_is_not_one_origin_matches_none() {
        let origins: Vec<Origin> =
            ["https://example.com", "https://*.example.com"].map(|text| text.parse().unwrap()).into();
        let rows: [&[u8]; 14] = [
            b"",
            b"example.com",
            b"https://",
            b"https://example.com/",
            b"https://example.com/path",
            b"https://example.com https://evil.net",
            b"https://evil.net https://example.com",
            b"https://evil.net,https://www.example.com",
            b"https://evil.net/.example.com",
            b"https://evil.net#.example.com",
            b"https://user@www.example.com",
            b"https://example.com:",
            b"https://example.com:443443",
            b"https://ex\xffample.com",
        ];
        for sent in rows {
            assert!(!origins.iter().any(|origin| origin.matches(sent)), "{}", sent.escape_ascii());
        }
    }

    #[test]
    fn says_what_would_be_right() {
        let rows = [
            ("example.com", "write https://example.com"),
            ("", "write https://example.com"),
            ("https://", "write https://example.com"),
            ("https://exa*mple.com", "write https://example.com"),
            ("https://*", "write https://example.com"),
            ("https://*.", "write https://example.com"),
            ("https://*.*.example.com", "write https://example.com"),
            ("https://example.com:http", "write https://example.com"),
            ("https://example.com:99999", "write https://example.com"),
            ("https://::1", "write https://example.com"),
            ("https://example.com/", "leave out"),
            ("https://example.com/app", "leave out"),
            ("https://user@example.com", "leave out"),
            ("https://bücher.example", "punycode"),
        ];
        for (text, advice) in rows {
            let error = text.parse::<Origin>().map(|_| text).unwrap_err().to_string();
            assert!(error.contains(advice), "{error}");
        }
    }
}
