//! Listen addresses: `:8765`, `0.0.0.0:8765`, `[::1]:8765`, `unix:/path`.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where selat listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP. `[::]` takes IPv4 clients too.
    Tcp(SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
}

/// Not a listen address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a listen address; write :8765, 0.0.0.0:8765, [::1]:8765 or unix:/path/to/socket")]
pub struct InvalidAddress {
    given: String,
}

impl FromStr for ListenAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress { given: text.to_owned() };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(invalid()) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().map_err(|_| invalid())?;
            return Ok(Self::Tcp((Ipv6Addr::UNSPECIFIED, port).into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| invalid())
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_documented_form() {
        let rows = [
            (":8765", "[::]:8765"),
            ("0.0.0.0:8765", "0.0.0.0:8765"),
            ("[::1]:8765", "[::1]:8765"),
            ("unix:/run/selat.sock", "unix:/run/selat.sock"),
        ];
        for (text, shown) in rows {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn says_what_would_be_right() {
        for text in ["", "8765", "localhost:8765", ":99999", "unix:", "::1:8765"] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains("write :8765"), "{error}");
        }
    }
}
