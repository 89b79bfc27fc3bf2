//! The scanner: one verdict for any cut, and tungstenite's opinion of the same stream (RFC 6455 §5).

use selat::protocol::Role;
use selat::protocol::frame::{CloseCode, End, Header, Opcode, Rsv, Rules, Scanner, Violation};

use super::cuts::pieces;
use super::foreign::{self, Stop};

/// What a scanner said of a whole stream.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    forward: usize,
    messages: u64,
    end: End,
    at_frame_boundary: bool,
    at_message_boundary: bool,
}

/// Whatever the bytes are and however they arrive, the verdict is that on the whole; what it lets through is legal
/// by itself; tungstenite reads the same messages from it.
pub(crate) fn check(rules: Rules, bytes: &[u8], sizes: &[usize]) {
    let verdict = scan(rules, &[bytes]);
    assert_eq!(scan(rules, &pieces(bytes, sizes)), verdict, "in pieces of {sizes:?}");

    let forwarded = scan(rules, &[&bytes[..verdict.forward]]);
    assert_eq!((forwarded.forward, forwarded.messages), (verdict.forward, verdict.messages));
    assert!(!matches!(forwarded.end, End::Violation(_)), "what went on is illegal: {:?}", forwarded.end);
    check_frames(rules, &bytes[..verdict.forward]);

    if rules.rsv == Rsv::NONE {
        check_against_tungstenite(rules, bytes, &verdict);
    }
}

/// Presents the pieces as [`selat::protocol::frame::Scan`] asks for.
fn scan(rules: Rules, pieces: &[&[u8]]) -> Verdict {
    let mut scanner = Scanner::new(rules);
    let mut kept = Vec::new();
    let mut forward = 0;
    let mut messages = 0;
    let mut end = End::More;
    for piece in pieces {
        kept.extend_from_slice(piece);
        let scan = scanner.scan(&kept);
        assert!(scan.forward <= kept.len(), "forwards more than there is");
        kept.drain(..scan.forward);
        forward += scan.forward;
        messages += scan.messages;
        end = scan.end;
        if end != End::More {
            break;
        }
        assert!(kept.len() <= Scanner::KEEP_BYTES_MAX, "left {} bytes with the caller", kept.len());
        assert!(kept.is_empty() || scanner.at_frame_boundary(), "left payload with the caller");
    }
    Verdict {
        forward,
        messages,
        end,
        at_frame_boundary: scanner.at_frame_boundary(),
        at_message_boundary: scanner.at_message_boundary(),
    }
}

/// Frame by frame, what a scanner let through: masks (§5.1), reserved bits (§5.2, RFC 7692 §6), fragments (§5.4).
fn check_frames(rules: Rules, mut forwarded: &[u8]) {
    let mut is_in_message = false;
    while !forwarded.is_empty() {
        let (header, len) = Header::parse(forwarded).unwrap().expect("a header goes on whole");
        assert_eq!(header.mask.is_some(), rules.sender == Role::Client, "{header:?}");
        let begins_message = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let is_deflate = rules.rsv == Rsv::RSV1;
        let allowed = if is_deflate && !begins_message { Rsv::NONE } else { rules.rsv };
        assert!(header.rsv.within(allowed), "{header:?}");
        if !header.opcode.is_control() {
            assert_eq!(begins_message, !is_in_message, "{header:?}");
            is_in_message = !header.fin;
        }
        let payload_len = usize::try_from(header.payload_len).unwrap();
        let frame_len = len.saturating_add(payload_len).min(forwarded.len());
        forwarded = &forwarded[frame_len..];
    }
}

fn check_against_tungstenite(rules: Rules, bytes: &[u8], verdict: &Verdict) {
    let reading = foreign::read(rules.sender, bytes, rules.message_bytes_max);
    let messages = u64::try_from(reading.messages.len()).unwrap();
    // tungstenite does not ask for the shortest encoding, nor selat how long a control frame with another one is.
    let is_lenient = matches!(
        verdict.end,
        End::Violation(
            Violation::LengthNotMinimal { .. } | Violation::LengthTooLarge | Violation::ControlTooLong
        )
    );
    if reading.stop == Some(Stop::Utf8) {
        // Text, or a close reason; selat looks at the latter only.
        assert!(messages <= verdict.messages || is_lenient);
        return;
    }
    if is_lenient {
        assert!(messages >= verdict.messages);
        return;
    }
    match verdict.end {
        End::More => {
            assert_eq!(messages, verdict.messages);
            assert_ne!(reading.stop, Some(Stop::Protocol));
            assert_eq!(reading.close, None);
        }
        End::Close { code, .. } => {
            assert_eq!(messages, verdict.messages);
            let code = code.map(CloseCode::get);
            // tungstenite does not know 1014 (IANA registry, after RFC 6455) and takes it for 1002.
            let known = if code == Some(1014) { Some(1002) } else { code };
            assert_eq!(reading.close, Some(known));
        }
        End::Violation(Violation::CloseCodeIllegal { .. }) => {
            assert_eq!(messages, verdict.messages);
            assert_eq!(reading.close, Some(Some(1002)));
        }
        End::Violation(_) => {
            assert_eq!(messages, verdict.messages);
            assert_eq!(reading.close, None);
        }
    }
}
