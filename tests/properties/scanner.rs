//! The scanner: one verdict for any cut, and tungstenite's opinion of the same stream (RFC 6455 §5).

use selat::protocol::Role;
use selat::protocol::frame::{
    CloseCode, End, Header, MaskKey, Opcode, PingSeries, Rsv, Rules, Scanner, Stops, Unit, Violation, mask,
};

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

/// With answers to the proxy's pings between all frames, and whatever else a scan is to stop at, the verdict is that
/// on the stream without them; nothing but those answers is left out.
pub(crate) fn check_stops(rules: Rules, bytes: &[u8], sizes: &[usize]) {
    let verdict = scan(rules, &[bytes]);
    let mut pings = PingSeries::new(u64::MAX);
    let asked = [pings.next_frame(None), pings.next_frame(None)];
    let forwarded = bytes[..verdict.forward].to_vec();
    let answered = with_pongs(bytes, rules.sender, &asked);
    for pongs_to in [None, Some(pings)] {
        let stream = if pongs_to.is_some() { &answered } else { bytes };
        for end_of in [None, Some(Unit::Frame), Some(Unit::Message)] {
            let stops = Stops { pongs_to, end_of };
            let expected = (forwarded.clone(), verdict.messages, verdict.end);
            assert_eq!(scan_until(rules, &[stream], stops), expected, "{stops:?}");
            assert_eq!(scan_until(rules, &pieces(stream, sizes), stops), expected, "{stops:?} in {sizes:?}");
        }
    }
}

/// `bytes` with answers to these pings, all in all and by turns, wherever a frame ends.
fn with_pongs(bytes: &[u8], sender: Role, pings: &[Vec<u8>; 2]) -> Vec<u8> {
    let key = (sender == Role::Client).then_some(MaskKey([5, 6, 7, 8]));
    let mut pongs = pings.iter().cycle().map(|ping| {
        let mut payload = ping[2..].to_vec();
        let mut pong = Vec::new();
        Header::whole(Opcode::Pong, key, 8).encode(&mut pong);
        mask(&mut payload, key.unwrap_or(MaskKey([0; 4])), 0);
        [pong, payload].concat()
    });
    let mut stream = Vec::new();
    let mut rest = bytes;
    while let Ok(Some((header, len))) = Header::parse(rest) {
        stream.extend(pongs.next().unwrap());
        let frame_len = usize::try_from(header.payload_len).unwrap_or(usize::MAX).saturating_add(len);
        let (frame, behind) = rest.split_at(frame_len.min(rest.len()));
        stream.extend_from_slice(frame);
        rest = behind;
    }
    stream.extend_from_slice(rest);
    stream
}

/// Presents the pieces as a tunnel does, and what a scan stopped at again: what goes on, and how it ends.
fn scan_until(rules: Rules, pieces: &[&[u8]], stops: Stops) -> (Vec<u8>, u64, End) {
    let mut scanner = Scanner::new(rules);
    let mut kept = Vec::new();
    let mut forwarded = Vec::new();
    let mut messages = 0;
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let scan = scanner.scan_until(&kept, &stops);
            forwarded.extend(kept.drain(..scan.forward));
            messages += scan.messages;
            match scan.end {
                End::Unit => assert!(scan.forward > 0, "stops where it began"),
                End::Pong { frame_bytes, .. } => drop(kept.drain(..frame_bytes)),
                End::More => break,
                end @ (End::Close { .. } | End::Violation(_)) => return (forwarded, messages, end),
            }
        }
        assert!(kept.len() <= Scanner::KEEP_BYTES_MAX, "left {} bytes with the caller", kept.len());
    }
    (forwarded, messages, End::More)
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
    // Its limit on frames is left as it is.
    let is_lenient = matches!(
        verdict.end,
        End::Violation(
            Violation::LengthNotMinimal { .. }
                | Violation::LengthTooLarge
                | Violation::ControlTooLong
                | Violation::FrameTooLong { .. }
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
        End::Pong { .. } | End::Unit => panic!("stopped at what nobody asked for"),
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
