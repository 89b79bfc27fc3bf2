//! The PROXY protocol, versions 1 and 2: whom a connection was made for, told in front of its first byte
//! (sections of HAProxy's proxy-protocol.txt, revision of 2020/03/05).
//!
//! §2: a receiver must not guess whether a header is there. Where it is due, its absence is a [`Fault`], and who may
//! send one is for the listener to restrict. TLVs are skipped (§2.2), the CRC32C among them: its check is optional,
//! and TCP has a checksum of its own.

mod encode;

use std::net::{IpAddr, SocketAddr};

pub use encode::{Version, encode};

/// Bytes of a version 1 header, its CR LF included (§2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Bytes of a version 2 header behind its first 16, addresses and TLVs together; beyond: a fault. The field could
/// claim 64 KiB, while §2 wants the whole to fit in 536 bytes; cloud load balancers add TLVs of some hundred.
pub const V2_REST_BYTES_MAX: usize = 4096;

/// How a version 1 header begins.
const V1_SIGNATURE: &[u8] = b"PROXY ";

/// How a version 2 header begins (§2.2).
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a version 2 header in front of its addresses.
const V2_FIXED_BYTES: usize = 16;

/// What the front of a connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Not the whole header yet; so far it may become one.
    Incomplete,
    /// A header.
    Done {
        /// Whom the connection was made for. `None` if the sender does not know, or made it for itself (a health
        /// check), or the address is none of IP: then the connection's own address counts.
        source: Option<SocketAddr>,
        /// Where that one had connected to.
        destination: Option<SocketAddr>,
        /// Bytes of the header. What is behind belongs to the connection.
        len: usize,
    },
}

/// What is no header. §2.1: the receiver aborts the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It begins otherwise.
    #[error("the connection does not begin with a PROXY protocol header")]
    Signature,
    /// §2.1: 107 bytes at most; ours for version 2.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// §2.1: the line is not as it must be.
    #[error("a malformed PROXY protocol line")]
    Line,
    /// §2.2: a version or command that is not defined.
    #[error("an unknown version or command in the PROXY protocol header: {0:#04x}")]
    Command(u8),
    /// §2.2: a family or transport that is not defined.
    #[error("an unknown address family in the PROXY protocol header: {0:#04x}")]
    Family(u8),
    /// §2.2: shorter than the addresses of its family.
    #[error("a PROXY protocol header that ends inside its addresses")]
    Length,
}

/// Reads the header at the front of `bytes`, which may hold more or less than it.
///
/// # Errors
/// A [`Fault`], the same for any longer `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    if let Some(rest) = behind(bytes, V1_SIGNATURE) {
        return rest.map_or(Ok(Parsed::Incomplete), |_| parse_v1(bytes));
    }
    if let Some(rest) = behind(bytes, V2_SIGNATURE) {
        return rest.map_or(Ok(Parsed::Incomplete), parse_v2);
    }
    Err(Fault::Signature)
}

/// What follows `signature`: `None` if `bytes` begin otherwise, `Some(None)` if they end inside it.
fn behind<'b>(bytes: &'b [u8], signature: &[u8]) -> Option<Option<&'b [u8]>> {
    match bytes.strip_prefix(signature) {
        Some(rest) => Some(Some(rest)),
        None => signature.starts_with(bytes).then_some(None),
    }
}

/// §2.1.
fn parse_v1(bytes: &[u8]) -> Result<Parsed, Fault> {
    let window = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(lf) = memchr::memchr(b'\n', window) else {
        return if window.len() < V1_BYTES_MAX { Ok(Parsed::Incomplete) } else { Err(Fault::TooLong) };
    };
    let len = lf + 1;
    let line = window.get(..len).and_then(|line| line.strip_suffix(b"\r\n")).ok_or(Fault::Line)?;
    let line = line.strip_prefix(V1_SIGNATURE).ok_or(Fault::Line)?;
    // "the receiver must ignore anything presented before the CRLF is found".
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Parsed::Done { source: None, destination: None, len });
    }
    let line = std::str::from_utf8(line).map_err(|_| Fault::Line)?;
    let (source, destination) = v1_addresses(line).ok_or(Fault::Line)?;
    Ok(Parsed::Done { source: Some(source), destination: Some(destination), len })
}

/// The addresses of `TCP4` or `TCP6`: five words with one space between them.
fn v1_addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (family, source, destination) = (next()?, next()?, next()?);
    let (source_port, destination_port) = (next()?, next()?);
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        // A decimal integer: no sign, and no zero in front that another parser could take for octal.
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| is_plain)
    };
    let source = SocketAddr::new(address(source)?, port(source_port)?);
    let destination = SocketAddr::new(address(destination)?, port(destination_port)?);
    words.next().is_none().then_some((source, destination))
}

/// §2.2. `bytes` follow the signature.
fn parse_v2(bytes: &[u8]) -> Result<Parsed, Fault> {
    let Some(([command, family, high, low], rest)) = bytes.split_first_chunk() else {
        return Ok(Parsed::Incomplete);
    };
    let rest_len = usize::from(u16::from_be_bytes([*high, *low]));
    let (address_len, is_proxied) = match (command, family) {
        // "must accept this connection as valid and must use the real connection endpoints"; the family is ignored.
        (0x20, _) => (0, false),
        // Unspecified family or transport: "should ignore address information".
        (0x21, 0x00 | 0x01 | 0x02 | 0x10 | 0x20 | 0x30) => (0, true),
        (0x21, 0x11 | 0x12) => (12, true),
        (0x21, 0x21 | 0x22) => (36, true),
        (0x21, 0x31 | 0x32) => (216, true),
        (0x21, family) => return Err(Fault::Family(*family)),
        (command, _) => return Err(Fault::Command(*command)),
    };
    if rest_len > V2_REST_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    if rest_len < address_len {
        return Err(Fault::Length);
    }
    let Some(block) = rest.get(..rest_len) else { return Ok(Parsed::Incomplete) };
    let (source, destination) = match (is_proxied, address_len) {
        (true, 12) => v2_addresses::<4>(block),
        (true, 36) => v2_addresses::<16>(block),
        // Nobody, or a Unix socket: no address that could be reported.
        _ => None,
    }
    .unzip();
    Ok(Parsed::Done { source, destination, len: V2_FIXED_BYTES + rest_len })
}

/// Source and destination address, then source and destination port.
fn v2_addresses<const N: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let address =
        |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes(*port));
    Some((address(source, source_port), address(destination, destination_port)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn done(source: &str, destination: &str, len: usize) -> Result<Parsed, Fault> {
        Ok(Parsed::Done { source: Some(addr(source)), destination: Some(addr(destination)), len })
    }

    fn done_unknown(len: usize) -> Result<Parsed, Fault> {
        Ok(Parsed::Done { source: None, destination: None, len })
    }

    /// A version 2 header with this command, family and block.
    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let len = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, [command, family].as_slice(), &len, block].concat()
    }

    /// That every longer piece of `bytes` is incomplete until the verdict falls, and the verdict stays.
    fn assert_verdict(bytes: &[u8], verdict: Result<Parsed, Fault>) {
        assert_eq!(parse(bytes), verdict, "{}", bytes.escape_ascii());
        let mut is_decided = false;
        for cut in 0..=bytes.len() {
            let earlier = parse(&bytes[..cut]);
            is_decided |= earlier != Ok(Parsed::Incomplete);
            let expected = if is_decided { verdict } else { Ok(Parsed::Incomplete) };
            assert_eq!(earlier, expected, "{} cut at {cut}", bytes.escape_ascii());
        }
        if let Ok(Parsed::Done { len, .. }) = verdict {
            assert_eq!(parse(&bytes[..len - 1]), Ok(Parsed::Incomplete), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn reads_the_lines_of_section_2_1() {
        let v6_max = ["ffff"; 8].join(":");
        let unknown_max = format!("PROXY UNKNOWN {v6_max} {v6_max} 65535 65535\r\n");
        assert_eq!(unknown_max.len(), V1_BYTES_MAX);
        let v6_line = format!("PROXY TCP6 {v6_max} {v6_max} 65535 65535\r\n");
        let v6_addr = format!("[{v6_max}]:65535");
        let rows: [(&str, Result<Parsed, Fault>); 8] = [
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                done("255.255.255.255:65535", "255.255.255.255:65535", 56),
            ),
            (&v6_line, done(&v6_addr, &v6_addr, 104)),
            ("PROXY UNKNOWN\r\n", done_unknown(15)),
            (&unknown_max, done_unknown(107)),
            ("PROXY UNKNOWN \u{e9} \0 whatever\r\r\n", done_unknown(30)),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n",
                done("192.168.0.1:56324", "192.168.0.11:443", 47),
            ),
            ("PROXY TCP4 10.0.0.1 10.0.0.2 0 1\r\n", done("10.0.0.1:0", "10.0.0.2:1", 34)),
            ("PROXY TCP6 ::1 ::ffff:10.0.0.2 1 2\r\n", done("[::1]:1", "[::ffff:10.0.0.2]:2", 36)),
        ];
        for (line, expected) in rows {
            assert_verdict(line.as_bytes(), expected);
        }
    }

    #[test]
    fn no_other_line_is_a_header() {
        let lines = [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 10.0.0.1 10.0.0.2 1 2\r\n",
            "PROXY tcp4 10.0.0.1 10.0.0.2 1 2\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY UNKNOWN\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 1 2 \r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n",
            "PROXY TCP4  10.0.0.1 10.0.0.2 1 2\r\n",
            "PROXY TCP4\t10.0.0.1 10.0.0.2 1 2\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 1 65536\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2  2\r\n",
            "PROXY TCP4 10.0.0.01 10.0.0.2 1 2\r\n",
            "PROXY TCP4 10.0.1 10.0.0.2 1 2\r\n",
            "PROXY TCP4 10.0.0.256 10.0.0.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n",
            "PROXY TCP6 [::1] [::1] 1 2\r\n",
            "PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\r\n",
            "PROXY TCP4 caf\u{e9} 10.0.0.2 1 2\r\n",
        ];
        for line in lines {
            assert_verdict(line.as_bytes(), Err(Fault::Line));
        }
        assert_verdict(format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).as_bytes(), Err(Fault::TooLong));
    }

    #[test]
    fn a_connection_without_a_header_is_told_from_its_first_byte() {
        for bytes in ["GET / HTTP/1.1\r\n", "proxy TCP4", "PROXY\r\n", "PRI * HTTP/2.0", "\r\n\r\nGET", "\0"]
        {
            assert_verdict(bytes.as_bytes(), Err(Fault::Signature));
        }
        assert_eq!(parse(b"G"), Err(Fault::Signature));
        assert_eq!(parse(b"PROXY"), Ok(Parsed::Incomplete));
    }

    #[test]
    fn reads_the_headers_of_section_2_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 7, 0xDC, 0x04, 0x01, 0xBB];
        let v6: Vec<u8> = ["2001:db8::1", "2001:db8::2"]
            .iter()
            .flat_map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets())
            .chain([0x00, 0x50, 0xFF, 0xFF])
            .collect();
        // PP2_TYPE_ALPN "h2" and a CRC32C that is not checked.
        let tlvs = [0x01, 0, 2, b'h', b'2', 0x03, 0, 4, 1, 2, 3, 4];
        let with_tlvs = [v4.as_slice(), &tlvs].concat();
        let unix = [b'x'; 216];
        let (source, destination) = ("192.0.2.1:56324", "198.51.100.7:443");
        let rows = [
            ("TCP over IPv4", v2(0x21, 0x11, &v4), done(source, destination, 28)),
            ("UDP over IPv4", v2(0x21, 0x12, &v4), done(source, destination, 28)),
            ("with TLVs", v2(0x21, 0x11, &with_tlvs), done(source, destination, 40)),
            ("TCP over IPv6", v2(0x21, 0x21, &v6), done("[2001:db8::1]:80", "[2001:db8::2]:65535", 52)),
            ("UDP over IPv6", v2(0x21, 0x22, &v6), done("[2001:db8::1]:80", "[2001:db8::2]:65535", 52)),
            ("UNIX stream", v2(0x21, 0x31, &unix), done_unknown(232)),
            ("UNIX datagram", v2(0x21, 0x32, &unix), done_unknown(232)),
            ("UNSPEC", v2(0x21, 0x00, &[]), done_unknown(16)),
            ("UNSPEC: addresses are to be ignored", v2(0x21, 0x00, &v4), done_unknown(28)),
            ("IPv4 over UNSPEC", v2(0x21, 0x10, &v4), done_unknown(28)),
            ("TCP of UNSPEC", v2(0x21, 0x01, &[]), done_unknown(16)),
            ("LOCAL", v2(0x20, 0x00, &[]), done_unknown(16)),
            ("LOCAL: \"discard\" addresses", v2(0x20, 0x11, &v4), done_unknown(28)),
            ("LOCAL: the family \"is ignored\"", v2(0x20, 0xFF, &[]), done_unknown(16)),
            ("as long as may be", v2(0x21, 0x00, &[0; V2_REST_BYTES_MAX]), done_unknown(16 + 4096)),
        ];
        for (rule, header, expected) in rows {
            println!("{rule}");
            assert_verdict(&[header.as_slice(), b"GET / HTTP/1.1\r\n"].concat(), expected);
        }
    }

    #[test]
    fn no_other_binary_header_is_one() {
        let v4 = [0; 12];
        let rows = [
            ("version 1 in binary", v2(0x11, 0x11, &v4), Fault::Command(0x11)),
            ("version 3", v2(0x31, 0x11, &v4), Fault::Command(0x31)),
            ("an unassigned command", v2(0x22, 0x11, &v4), Fault::Command(0x22)),
            ("an unassigned family", v2(0x21, 0x41, &v4), Fault::Family(0x41)),
            ("an unassigned transport", v2(0x21, 0x13, &v4), Fault::Family(0x13)),
            ("neither of them", v2(0x21, 0xFF, &v4), Fault::Family(0xFF)),
            ("IPv4 addresses that end early", v2(0x21, 0x11, &v4[..11]), Fault::Length),
            ("IPv6 addresses that end early", v2(0x21, 0x21, &[0; 35]), Fault::Length),
            ("a path that ends early", v2(0x21, 0x31, &[0; 215]), Fault::Length),
            ("longer than may be", v2(0x21, 0x00, &[0; V2_REST_BYTES_MAX + 1]), Fault::TooLong),
            ("longer than may be, from nobody", v2(0x20, 0x00, &[0; V2_REST_BYTES_MAX + 1]), Fault::TooLong),
        ];
        for (rule, header, fault) in rows {
            println!("{rule}");
            assert_verdict(&header, Err(fault));
        }
    }
}
