//! A PROXY protocol header: one verdict for any cut, nothing of the connection behind it read, and what is written is
//! read back (proxy-protocol.txt §2).

use std::net::{IpAddr, SocketAddr};

use selat::protocol::proxy_protocol::{
    Fault, Parsed, V1_BYTES_MAX, V2_REST_BYTES_MAX, Version, encode, parse,
};

/// Whatever comes first on a connection: no panic, and the first verdict on a growing header is the last.
pub(crate) fn check(bytes: &[u8]) {
    let verdict = parse(bytes);
    let mut is_decided = false;
    let cuts = (0..=bytes.len().min(600)).chain([bytes.len()]);
    for cut in cuts {
        let earlier = parse(&bytes[..cut]);
        is_decided |= earlier != Ok(Parsed::Incomplete);
        assert_eq!(earlier, if is_decided { verdict } else { Ok(Parsed::Incomplete) }, "cut at {cut}");
    }
    match verdict {
        Ok(Parsed::Done { source, destination, len }) => {
            check_extent(bytes, len);
            assert_eq!(source.is_some(), destination.is_some());
            // Read as an address is what is written for that address.
            check_round_trip(source.zip(destination));
        }
        Ok(Parsed::Incomplete) => {
            assert!(bytes.len() < 16 + V2_REST_BYTES_MAX);
            let begins = SIGNATURES.iter().any(|signature| signature.starts_with(bytes));
            assert!(begins || has_signature(bytes));
        }
        Err(fault) => assert_eq!(fault == Fault::Signature, !has_signature(bytes)),
    }
}

const SIGNATURES: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

fn has_signature(bytes: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| bytes.starts_with(signature))
}

/// No shorter piece is a header, and nothing behind it changes it.
fn check_extent(bytes: &[u8], len: usize) {
    assert!(len <= bytes.len() && has_signature(bytes));
    let header = &bytes[..len];
    for cut in 0..len.min(600) {
        assert_eq!(parse(&header[..cut]), Ok(Parsed::Incomplete), "cut at {cut}");
    }
    for behind in [b"\r\n".as_slice(), b"GET / HTTP/1.1\r\n\r\n", b"\0\xFF"] {
        assert_eq!(parse(&[header, behind].concat()), parse(header));
    }
    if header.starts_with(b"PROXY ") {
        assert!(len <= V1_BYTES_MAX && header.ends_with(b"\r\n"));
        assert_eq!(header.iter().position(|byte| *byte == b'\n'), Some(len - 1));
    }
}

/// What is written for two endpoints is read back as them, as far as the wire can tell them.
pub(crate) fn check_round_trip(endpoints: Option<(SocketAddr, SocketAddr)>) {
    for version in [Version::V1, Version::V2] {
        let mut header = Vec::new();
        encode(version, endpoints, &mut header);
        assert!(header.len() <= V1_BYTES_MAX);
        let Ok(Parsed::Done { source, destination, len }) = parse(&header) else {
            panic!("{}", header.escape_ascii())
        };
        assert_eq!(len, header.len());
        // Neither flow label nor scope travels, and of two families one is mapped.
        let wire = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        assert_eq!(
            source.zip(destination).map(|(source, destination)| (wire(source), wire(destination))),
            endpoints.map(|(source, destination)| (wire(source), wire(destination))),
        );
        let family =
            |address: Option<SocketAddr>| address.map(|address| matches!(address.ip(), IpAddr::V4(_)));
        assert_eq!(family(source), family(destination));
        check_extent(&header, len);
    }
}
