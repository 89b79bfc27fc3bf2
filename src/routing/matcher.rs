//! The condition of one route.

use std::fmt;
use std::str::FromStr;

/// A listener's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenId(pub u16);

impl ListenId {
    /// As an index into a table of all listeners.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What a request must be like to take a route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// The listeners it is for; empty for every one.
    pub listeners: Vec<ListenId>,
    /// Its host.
    pub host: HostPattern,
    /// Its path, without the query.
    pub path: PathPattern,
}

impl Matcher {
    /// Whether it lets everything through that `other` does, so that `other` behind it is never reached.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let has_listener = |id: &ListenId| self.listeners.is_empty() || self.listeners.contains(id);
        let covers_listeners = if other.listeners.is_empty() {
            self.listeners.is_empty()
        } else {
            other.listeners.iter().all(has_listener)
        };
        covers_listeners && self.host.covers(&other.host) && self.path.covers(&other.path)
    }
}

/// Hosts that a route is for: `chat.example.com`, `*.example.com`, or any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum HostPattern {
    /// Every host, or none.
    #[default]
    Any,
    /// This one, in lower case, without port.
    Exact(String),
    /// Every host that ends with this, which begins with a dot: `*.example.com` is not for `example.com` itself.
    Suffix(String),
}

impl HostPattern {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Suffix(suffix), Self::Exact(name) | Self::Suffix(name)) => name.ends_with(suffix.as_str()),
            (Self::Exact(_), Self::Exact(_)) => self == other,
            (Self::Suffix(_) | Self::Exact(_), Self::Any | Self::Suffix(_)) => false,
        }
    }
}

/// Paths that a route is for: `/ws`, `/ws/*`, or any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum PathPattern {
    /// Every path.
    #[default]
    Any,
    /// This one.
    Exact(String),
    /// Every path that begins with this, which ends in a slash: `/ws/*` is not for `/ws` itself.
    Prefix(String),
}

impl PathPattern {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Prefix(prefix), Self::Exact(path) | Self::Prefix(path)) => {
                path.starts_with(prefix.as_str())
            }
            (Self::Exact(_), Self::Exact(_)) => self == other,
            (Self::Prefix(_) | Self::Exact(_), Self::Any | Self::Prefix(_)) => false,
        }
    }
}

/// Not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Not a host pattern.
    #[error("{given:?} is not a host; write chat.example.com, *.example.com or *, without a port")]
    Host {
        /// The text.
        given: String,
    },
    /// Not a path pattern.
    #[error(
        "{given:?} is not a path; write /ws for this path only, /ws/* for all below it, or /* for every one"
    )]
    Path {
        /// The text.
        given: String,
    },
}

impl FromStr for HostPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern::Host { given: text.to_owned() };
        if text == "*" {
            return Ok(Self::Any);
        }
        let name = text.strip_prefix('*').unwrap_or(text).to_ascii_lowercase();
        let is_suffix = text.starts_with('*');
        let labels = name.strip_prefix('.').filter(|_| is_suffix).unwrap_or(&name);
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let is_ipv6 = !is_suffix
            && name
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_ipv6 && !labels.split('.').all(is_label) {
            return Err(invalid());
        }
        match (is_suffix, name.starts_with('.')) {
            (true, true) => Ok(Self::Suffix(name)),
            (false, false) => Ok(Self::Exact(name)),
            (true, false) | (false, true) => Err(invalid()),
        }
    }
}

impl FromStr for PathPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let is_plain = |path: &str| {
            path.starts_with('/')
                && path
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*' | b'%'))
                && super::normal_path(path) == path
        };
        let invalid = || InvalidPattern::Path { given: text.to_owned() };
        match text.strip_suffix('*') {
            Some("/") => Ok(Self::Any),
            Some(prefix) if prefix.ends_with('/') && is_plain(prefix) => Ok(Self::Prefix(prefix.to_owned())),
            None if is_plain(text) => Ok(Self::Exact(text.to_owned())),
            Some(_) | None => Err(invalid()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("/*"),
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_patterns_and_writes_them_back() {
        for text in ["chat.example.com", "*.example.com", "*", "localhost", "127.0.0.1", "[::1]", "a_b.local"]
        {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
        }
        assert_eq!("Chat.Example.COM".parse(), Ok(HostPattern::Exact("chat.example.com".to_owned())));
        for text in ["/", "/ws", "/ws/*", "/a/b/*", "/*"] {
            assert_eq!(text.parse::<PathPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn says_what_would_be_right() {
        for text in ["", ".", "*example.com", "a..b", "chat.example.com:80", "*.", "a b", ".a", "**", "::1"] {
            let error = text.parse::<HostPattern>().unwrap_err().to_string();
            assert!(error.contains("write chat.example.com"), "{error}");
        }
        for text in ["", "ws", "*", "/ws*", "/a*/b", "/ws?x", "/a b", "/a/../b", "/a//b", "/%41"] {
            let error = text.parse::<PathPattern>().unwrap_err().to_string();
            assert!(error.contains("write /ws"), "{error}");
        }
    }

    #[test]
    fn a_wider_route_covers_a_narrower_one() {
        let matcher = |host: &str, path: &str| Matcher {
            listeners: Vec::new(),
            host: host.parse().unwrap(),
            path: path.parse().unwrap(),
        };
        let covers = [
            (("*", "/*"), ("a.b", "/x")),
            (("*.b", "/*"), ("a.b", "/x/*")),
            (("*.b", "/x/*"), ("*.a.b", "/x/y/*")),
            (("a.b", "/x"), ("a.b", "/x")),
        ];
        for ((host, path), (other_host, other_path)) in covers {
            assert!(matcher(host, path).covers(&matcher(other_host, other_path)));
        }
        let does_not = [
            (("*.b", "/*"), ("b", "/x")),
            (("a.b", "/*"), ("*.b", "/x")),
            (("*", "/x/*"), ("*", "/x")),
            (("*", "/x"), ("*", "/x/*")),
        ];
        for ((host, path), (other_host, other_path)) in does_not {
            assert!(!matcher(host, path).covers(&matcher(other_host, other_path)));
        }
        let only_first = Matcher { listeners: vec![ListenId(0)], ..Matcher::default() };
        assert!(Matcher::default().covers(&only_first) && !only_first.covers(&Matcher::default()));
    }
}
