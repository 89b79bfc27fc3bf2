//! Writes PROXY protocol headers, toward backends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::V2_SIGNATURE;

/// Which of the two forms is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Appends the header for a connection that is made for `source`, who had connected to `destination`. With `None`, for
/// one that is made for nobody or for somebody without an IP address, it is `LOCAL` or `UNKNOWN`.
///
/// §2.1: some servers reject `UNKNOWN`, so a health check in version 1 is better given the endpoints of its own
/// connection. Of two families the IPv4 address is written as the IPv6 address that maps it (RFC 4291 §2.5.5.2).
pub fn encode(version: Version, endpoints: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    let endpoints = endpoints.map(|(source, destination)| alike(source, destination));
    match version {
        Version::V1 => encode_v1(endpoints, out),
        Version::V2 => encode_v2(endpoints, out),
    }
}

/// Two addresses of one family.
enum Endpoints {
    V4([[u8; 4]; 2], [u16; 2]),
    V6([[u8; 16]; 2], [u16; 2]),
}

fn alike(source: SocketAddr, destination: SocketAddr) -> Endpoints {
    let ports = [source.port(), destination.port()];
    let to_v6 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Endpoints::V4([source.octets(), destination.octets()], ports)
        }
        (source, destination) => Endpoints::V6([to_v6(source), to_v6(destination)], ports),
    }
}

fn encode_v1(endpoints: Option<Endpoints>, out: &mut Vec<u8>) {
    let (family, [source, destination], [source_port, destination_port]) = match endpoints {
        None => return out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        Some(Endpoints::V4(ips, ports)) => ("TCP4", ips.map(|ip| Ipv4Addr::from(ip).to_string()), ports),
        Some(Endpoints::V6(ips, ports)) => ("TCP6", ips.map(|ip| v6_text(ip.into())), ports),
    };
    let line = format!("PROXY {family} {source} {destination} {source_port} {destination_port}\r\n");
    out.extend_from_slice(line.as_bytes());
}

/// §2.1: sets of hexadecimal digits only; as the standard library has it, but for the dotted end of a mapped address.
fn v6_text(ip: Ipv6Addr) -> String {
    match (ip.to_ipv4_mapped(), ip.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        (None, _) => ip.to_string(),
    }
}

fn encode_v2(endpoints: Option<Endpoints>, out: &mut Vec<u8>) {
    out.extend_from_slice(V2_SIGNATURE);
    let ports = match endpoints {
        None => return out.extend_from_slice(&[0x20, 0x00, 0, 0]),
        Some(Endpoints::V4(ips, ports)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(ips.as_flattened());
            ports
        }
        Some(Endpoints::V6(ips, ports)) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(ips.as_flattened());
            ports
        }
    };
    out.extend_from_slice(ports.map(u16::to_be_bytes).as_flattened());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn writes_what_the_specification_shows() {
        let mut out = Vec::new();
        let endpoints = Some((addr("192.168.0.1:56324"), addr("192.168.0.11:443")));
        encode(Version::V1, endpoints, &mut out);
        encode(Version::V1, None, &mut out);
        assert_eq!(out, b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nPROXY UNKNOWN\r\n");
        let mut out = Vec::new();
        encode(Version::V2, endpoints, &mut out);
        let written = b"\x21\x11\x00\x0C\xC0\xA8\x00\x01\xC0\xA8\x00\x0B\xDC\x04\x01\xBB";
        assert_eq!(out, [V2_SIGNATURE, written.as_slice()].concat());
        let mut out = Vec::new();
        encode(Version::V2, None, &mut out);
        assert_eq!(out, [V2_SIGNATURE, b"\x20\x00\x00\x00".as_slice()].concat());
    }

    #[test]
    fn two_families_meet_in_ipv6() {
        let mut out = Vec::new();
        encode(Version::V1, Some((addr("192.0.2.1:1"), addr("[2001:db8::1]:2"))), &mut out);
        assert_eq!(out, b"PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n");
        let mut out = Vec::new();
        encode(Version::V1, Some((addr("[::ffff:192.0.2.1]:1"), addr("192.0.2.2:2"))), &mut out);
        assert_eq!(out, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    }
}
