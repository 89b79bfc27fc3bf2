//! One frame header: round trip, locality, and tungstenite's opinion (RFC 6455 §5.2).

use std::io::Cursor;

use selat::protocol::frame::{CONTROL_PAYLOAD_MAX, HEADER_BYTES_MAX, Header, MaskKey, Violation};
use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

/// Whatever the bytes are, the verdict is one, depends on the header alone, and agrees with tungstenite's.
pub(crate) fn check(bytes: &[u8]) {
    let verdict = Header::parse(bytes);
    match verdict {
        Ok(Some((header, len))) => {
            assert!(len <= bytes.len().min(HEADER_BYTES_MAX));
            let mut encoded = Vec::new();
            header.encode(&mut encoded);
            assert_eq!(encoded, bytes[..len], "round trip");
        }
        Ok(None) => assert!(bytes.len() < HEADER_BYTES_MAX, "a header never needs more"),
        Err(_) => {}
    }
    check_locality(bytes, verdict);
    check_against_tungstenite(bytes, verdict);
}

/// Fewer bytes give the same verdict or none, and none are read behind those that gave it.
fn check_locality(bytes: &[u8], verdict: Result<Option<(Header, usize)>, Violation>) {
    let mut decided = None;
    for cut in 0..=bytes.len().min(HEADER_BYTES_MAX) {
        let earlier = Header::parse(&bytes[..cut]);
        if earlier == Ok(None) {
            assert_eq!(decided, None, "undecided at {cut} bytes, decided before");
        } else {
            decided.get_or_insert(cut);
            assert_eq!(earlier, verdict, "at {cut} bytes");
        }
    }
    if let (Ok(Some((_, len))), Some(cut)) = (verdict, decided) {
        assert_eq!(cut, len, "read beyond the header, or asked for more than it");
    }
}

fn check_against_tungstenite(bytes: &[u8], verdict: Result<Option<(Header, usize)>, Violation>) {
    let mut cursor = Cursor::new(bytes);
    let foreign = FrameHeader::parse(&mut cursor);
    match (verdict, foreign) {
        (Ok(Some((header, len))), Ok(Some((foreign, payload_len)))) => {
            assert_eq!(u64::try_from(len).unwrap(), cursor.position());
            assert_eq!(header.fin, foreign.is_final);
            assert_eq!(header.opcode.bits(), u8::from(foreign.opcode));
            assert_eq!(header.mask.map(|MaskKey(key)| key), foreign.mask);
            assert_eq!(header.payload_len, payload_len);
            let mut formatted = Vec::new();
            foreign.format(payload_len, &mut formatted).unwrap();
            assert_eq!(formatted, bytes[..len], "reserved bits, or the encoding");
        }
        (Ok(None), Ok(None)) => {}
        (
            Err(Violation::UnknownOpcode { opcode }),
            Err(Error::Protocol(ProtocolError::InvalidOpcode(bits))),
        ) => {
            assert_eq!(opcode, bits);
        }
        // selat says so before the header is whole.
        (Err(_), Ok(None)) => {}
        // selat judges what tungstenite leaves to others, or to nobody.
        (Err(violation), Ok(Some((foreign, payload_len)))) => {
            check_reason(violation, &foreign, payload_len, cursor.position());
        }
        (verdict, foreign) => panic!("{verdict:?}, but tungstenite: {foreign:?}"),
    }
}

/// That a violation which tungstenite does not look for is one.
#[expect(clippy::wildcard_enum_match_arm, reason = "no header alone commits any of the others")]
fn check_reason(violation: Violation, foreign: &FrameHeader, payload_len: u64, header_len: u64) {
    let is_control = matches!(foreign.opcode, OpCode::Control(_));
    let shortest = u64::try_from(foreign.len(payload_len)).unwrap();
    let is_so = match violation {
        Violation::ControlFragmented => is_control && !foreign.is_final,
        Violation::ControlTooLong => {
            is_control && (payload_len > CONTROL_PAYLOAD_MAX || header_len > shortest)
        }
        Violation::LengthNotMinimal { len } => len == payload_len && header_len > shortest,
        Violation::LengthTooLarge => payload_len > u64::MAX >> 1,
        other => panic!("{other:?} is not a header's"),
    };
    assert!(is_so, "{violation:?}: {foreign:?}, {payload_len}");
}
