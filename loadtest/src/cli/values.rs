//! How values are written on the command line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::wire::{TICK_BYTES_MIN, is_token};

/// Where to listen: an address, or `:9001` for all of this machine's.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    address(text, Ipv6Addr::UNSPECIFIED.into())
}

/// Where somebody listens: an address, or `:9001` for one on this machine.
pub(super) fn peer(text: &str) -> Result<SocketAddr, String> {
    address(text, Ipv4Addr::LOCALHOST.into())
}

fn address(text: &str, usual: IpAddr) -> Result<SocketAddr, String> {
    let parsed = match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| SocketAddr::new(usual, port)),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| "not an address; write for instance 127.0.0.1:9001, [::1]:9001 or :9001".to_owned())
}

/// A subprotocol's name.
pub(super) fn subprotocol(text: &str) -> Result<String, String> {
    if is_token(text) { Ok(text.to_owned()) } else { Err("not a name; it is one word".to_owned()) }
}

/// The length of a slice of time.
pub(super) fn slice(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(slice) if slice >= SLICE_MIN => Ok(slice),
        Ok(_) | Err(_) => Err(format!(
            "not a length; write for instance 1s, at least {}",
            humantime::format_duration(SLICE_MIN)
        )),
    }
}

/// The shortest slice of time: what it takes to begin one should be nothing beside it.
const SLICE_MIN: Duration = Duration::from_millis(10);

/// The size of a tick in bytes.
pub(super) fn tick_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size >= TICK_BYTES_MIN => Ok(size),
        Ok(_) | Err(_) => Err(format!("not a size that a tick can have; from {TICK_BYTES_MIN} bytes on")),
    }
}

/// A whole percentage that leaves somebody: `50%`.
pub(super) fn percentage(text: &str) -> Result<u32, String> {
    match text.strip_suffix('%').map(str::parse) {
        Some(Ok(share @ 0..100)) => Ok(share),
        Some(Ok(_) | Err(_)) | None => Err("not a share; write for instance 50%, at most 99%".to_owned()),
    }
}

/// A rate in events a second: `2000`, `2000/s`, `50k/s`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (number, scale) = match number.strip_suffix('k') {
        Some(number) => (number, 1_000.0),
        None => (number, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value * scale),
        Ok(_) | Err(_) => Err("not a rate; write for instance 2000/s or 50k/s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        for (text, to_listen, to_reach) in [
            (":9001", "[::]:9001", "127.0.0.1:9001"),
            ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:9001", "[::1]:9001", "[::1]:9001"),
        ] {
            assert_eq!(listen(text), Ok(to_listen.parse().unwrap()));
            assert_eq!(peer(text), Ok(to_reach.parse().unwrap()));
        }
        for text in ["", ":", "9001", ":70000", "host:9001", "127.0.0.1"] {
            assert!(listen(text).is_err() && peer(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn reads_shares() {
        for (text, value) in [("0%", 0), ("50%", 50), ("99%", 99)] {
            assert_eq!(percentage(text), Ok(value));
        }
        for text in ["", "%", "50", "-1%", "100%", "0.5%"] {
            assert!(percentage(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn reads_rates() {
        for (text, value) in [("2000", 2000.0), ("2000/s", 2000.0), ("50k/s", 50_000.0), ("0.5/s", 0.5)] {
            assert_eq!(rate(text), Ok(value));
        }
        for text in ["", "0", "-1/s", "k/s", "10/m", "inf"] {
            assert!(rate(text).is_err(), "{text:?}");
        }
    }
}
