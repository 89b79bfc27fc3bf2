//! How many file descriptors and local ports this process may hold.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::net::Target;

/// Descriptors that are not connections: standard streams, epoll, a listener, files under `/proc`.
const RESERVE: u64 = 32;

/// Makes room for `sockets` of them, raising the soft limit to the hard one where that is needed.
///
/// # Errors
/// When the hard limit itself is too low.
pub(crate) fn make_room(sockets: u64) -> anyhow::Result<()> {
    let wanted = sockets + RESERVE;
    raise();
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < wanted => anyhow::bail!(
            "{sockets} connections need {wanted} file descriptors, but this process may open {limit}; \
             ask for fewer connections or raise the hard limit (`ulimit -Hn`, LimitNOFILE= in systemd)"
        ),
        Some(_) | None => Ok(()),
    }
}

/// Makes sure that there are local ports for `connections` to `target`.
///
/// # Errors
/// When there are fewer. To loopback each of its addresses has as many, so that there are enough.
pub(crate) fn expect_ports(connections: u64, target: &Target) -> anyhow::Result<()> {
    let range = fs::read_to_string(PORT_RANGE).ok();
    let ports = range.as_deref().and_then(parse_ports);
    match ports {
        Some(ports) if connections > ports && target.source(0).is_none() => anyhow::bail!(
            "{connections} connections to one address need as many local ports, and there are {ports}; ask for fewer \
             connections or widen net.ipv4.ip_local_port_range"
        ),
        Some(_) | None => Ok(()),
    }
}

/// Where the kernel says which ports it gives to outgoing connections.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// How many ports a range of them has, both ends included.
fn parse_ports(range: &str) -> Option<u64> {
    let (first, last) = range.trim().split_once(char::is_whitespace)?;
    let (first, last) = (first.parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
    (last + 1).checked_sub(first)
}

/// Raises the soft limit to the hard one; a server does not know how many connections will come.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Refused only if the limits changed since they were read; what is there then has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_ports() {
        assert_eq!(parse_ports("32768\t60999\n"), Some(28_232));
        assert_eq!(parse_ports("5 5"), Some(1));
        for range in ["", "1", "x y", "9 1"] {
            assert_eq!(parse_ports(range), None, "{range:?}");
        }
    }

    #[test]
    fn loopback_has_ports_enough() {
        let (here, elsewhere) = ("ws://127.0.0.1:9".parse().unwrap(), "ws://192.0.2.1:9".parse().unwrap());
        assert!(expect_ports(100_000, &here).is_ok() && expect_ports(100, &elsewhere).is_ok());
        let refused = expect_ports(100_000, &elsewhere).unwrap_err().to_string();
        assert!(refused.contains("need as many local ports"), "{refused}");
    }
}
