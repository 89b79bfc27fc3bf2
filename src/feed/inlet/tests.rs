//! How an inlet behaves, tungstenite being the source.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::protocol::{Role as Their, WebSocket};

use super::*;
use crate::protocol::handshake::Context;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
    Instant::now()
}

fn settings(message_bytes_max: u64) -> Settings {
    Settings { message_bytes_max, ..Settings::default() }
}

/// Another key for each frame.
fn random() -> impl FnMut() -> Random {
    let mut calls = 0_u32;
    move || {
        calls += 1;
        Random { key: MaskKey(calls.wrapping_mul(0x9E37_79B9).to_be_bytes()), nonce: calls.into() }
    }
}

const ONE: Random = Random { key: MaskKey([1, 2, 3, 4]), nonce: 7 };

fn plain(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    Header { fin, ..Header::whole(opcode, None, payload.len().try_into().unwrap()) }.encode(&mut frame);
    [frame.as_slice(), payload].concat()
}

fn text(text: &str) -> Said {
    Said { kind: Kind::Text, payload: text.into() }
}

/// An inlet, and all that came of it.
struct Bench {
    inlet: Inlet,
    said: Vec<Said>,
    out: Vec<u8>,
    now: Instant,
}

impl Bench {
    fn new(settings: &Settings, compression: Option<Deflate>) -> Self {
        let now = start();
        Self { inlet: Inlet::new(settings, compression, now), said: Vec::new(), out: Vec::new(), now }
    }

    fn handle(&mut self, pieces: &[&[u8]]) -> &mut Self {
        let mut random = random();
        for piece in pieces {
            self.inlet.handle_bytes(piece, self.now, &mut random, (&mut self.said, &mut self.out));
        }
        self
    }

    fn handle_time(&mut self, now: Instant) {
        self.now = now;
        self.inlet.handle_time(now, ONE, &mut self.out);
    }

    /// The frames that were sent, unmasked. Each must be masked (§5.1), and under a key of its own.
    fn sent(&self) -> Vec<(Opcode, Vec<u8>)> {
        let (mut frames, mut keys) = (Vec::new(), Vec::new());
        let mut bytes = self.out.as_slice();
        while !bytes.is_empty() {
            let (header, len) = Header::parse(bytes).unwrap().unwrap();
            let end = len + usize::try_from(header.payload_len).unwrap();
            let key = header.mask.unwrap();
            assert!(!keys.contains(&key));
            keys.push(key);
            let mut payload = bytes[len..end].to_vec();
            mask(&mut payload, key, 0);
            frames.push((header.opcode, payload));
            bytes = &bytes[end..];
        }
        frames
    }
}

fn close(code: CloseCode, reason: &str) -> (Opcode, Vec<u8>) {
    (Opcode::Close, [&code.get().to_be_bytes(), reason.as_bytes()].concat())
}

#[test]
fn fragments_become_one_message_and_pings_between_them_are_answered() {
    let stream = [
        plain(Opcode::Text, false, "é".as_bytes().split_at(1).0),
        plain(Opcode::Ping, true, b"there?"),
        plain(Opcode::Continuation, false, b""),
        plain(Opcode::Ping, true, b""),
        plain(Opcode::Continuation, true, "é".as_bytes().split_at(1).1),
        plain(Opcode::Pong, true, b"unasked"),
        plain(Opcode::Binary, true, b"\xFF"),
    ];
    let mut bench = Bench::new(&settings(100), None);
    bench.handle(&[&stream.concat()]);
    assert_eq!(bench.said, [text("é"), Said { kind: Kind::Binary, payload: vec![0xFF] }]);
    assert_eq!(bench.sent(), [(Opcode::Pong, b"there?".to_vec()), (Opcode::Pong, Vec::new())]);
    assert_eq!(bench.inlet.ended(), None);
}

#[test]
fn a_close_is_echoed_and_nothing_behind_it_counts() {
    for (payload, code) in [(&[0x0F, 0xA1, b'b', b'y', b'e'][..], Some(4001)), (&[], None)] {
        let mut bench = Bench::new(&settings(100), None);
        let stream = [plain(Opcode::Close, true, payload), plain(Opcode::Text, true, b"x")].concat();
        bench.handle(&[&stream, &plain(Opcode::Text, true, b"y")]);
        assert_eq!(bench.sent(), [(Opcode::Close, payload[..payload.len().min(2)].to_vec())]);
        assert!(bench.said.is_empty());
        let ended = bench.inlet.ended().unwrap();
        assert_eq!(ended, Ended::Closed { code: code.map(|code| CloseCode::from_wire(code).unwrap()) });
        assert_eq!((ended.name(), bench.inlet.deadline()), ("closed", None));
    }
}

#[test]
fn our_close_waits_for_theirs_and_hears_what_is_said_until_then() {
    let mut bench = Bench::new(&settings(100), None);
    bench.inlet.close((CloseCode::NORMAL, "bye"), bench.now, ONE, &mut bench.out);
    bench.inlet.close((CloseCode::GOING_AWAY, ""), bench.now, ONE, &mut bench.out);
    bench.inlet.send(Kind::Text, b"too late", ONE, &mut bench.out);
    bench.handle(&[&plain(Opcode::Text, true, b"last"), &plain(Opcode::Ping, true, b"?")]);
    assert_eq!((bench.said.clone(), bench.inlet.ended()), (vec![text("last")], None));
    bench.handle(&[&plain(Opcode::Close, true, &1000_u16.to_be_bytes())]);
    assert_eq!(bench.inlet.ended(), Some(Ended::Closed { code: Some(CloseCode::NORMAL) }));
    assert_eq!(bench.sent(), [close(CloseCode::NORMAL, "bye")], "one Close, and no frame behind it");
}

#[test]
fn a_close_that_is_not_answered_is_not_waited_for_for_ever() {
    let mut bench = Bench::new(&settings(100), None);
    bench.inlet.close((CloseCode::NORMAL, ""), bench.now, ONE, &mut bench.out);
    let deadline = bench.inlet.deadline().unwrap();
    bench.handle_time(deadline - Duration::from_millis(1));
    assert_eq!(bench.inlet.ended(), None);
    bench.handle_time(deadline);
    assert_eq!(bench.inlet.ended(), Some(Ended::Unanswered));
}

#[test]
fn what_is_illegal_ends_it_with_the_code_for_it() {
    let masked = close_frame(CloseCode::NORMAL, "", Some(MaskKey([1; 4])));
    let rows = [
        (plain(Opcode::Text, true, b"\xC3\x28"), 1007, "violation"),
        (plain(Opcode::Continuation, true, b""), 1002, "violation"),
        ([plain(Opcode::Text, false, b""), plain(Opcode::Binary, true, b"")].concat(), 1002, "violation"),
        (vec![0xC1, 0], 1002, "violation"),
        (masked, 1002, "violation"),
        (plain(Opcode::Close, true, b"x"), 1002, "violation"),
        (plain(Opcode::Text, true, b"12345678901"), 1009, "too long"),
        (
            [plain(Opcode::Text, false, b"123456"), plain(Opcode::Continuation, true, b"78901")].concat(),
            1009,
            "too long",
        ),
    ];
    for (bytes, code, name) in rows {
        let mut bench = Bench::new(&settings(10), None);
        bench.handle(&[&plain(Opcode::Text, true, b"1234567890"), &bytes, &bytes]);
        assert_eq!(bench.said, [text("1234567890")]);
        let [(Opcode::Close, payload)] = &bench.sent()[..] else { panic!("{bytes:?}") };
        assert_eq!(payload[..2], u16::to_be_bytes(code));
        assert_eq!(bench.inlet.ended().map(Ended::name), Some(name));
    }
}

#[test]
fn what_is_announced_takes_no_memory() {
    let mut bench = Bench::new(&settings(u64::MAX >> 1), None);
    let mut announced = Vec::new();
    Header::whole(Opcode::Binary, None, 1 << 50).encode(&mut announced);
    bench.handle(&[&announced, b"abc"]);
    assert!(bench.inlet.message.payload.capacity() < 64);
}

#[test]
fn a_silent_source_is_pinged_and_one_that_does_not_answer_is_dead() {
    let settings = Settings::default();
    let (every, timeout) = (settings.stall.ping_every, settings.stall.ping_timeout);
    let mut bench = Bench::new(&settings, None);
    let start = bench.now;
    // Who speaks is not asked.
    bench.now = start + every / 2;
    bench.handle(&[b"\x81"]);
    bench.handle_time(start + every);
    assert!(bench.out.is_empty());
    assert_eq!(bench.inlet.deadline(), Some(start + every * 3 / 2));
    bench.handle_time(start + every * 3 / 2);
    assert_eq!(bench.sent(), [(Opcode::Ping, 7_u64.to_be_bytes().to_vec())]);
    // Any byte is a sign of life.
    bench.now += timeout / 2;
    bench.handle(&[b"\x01"]);
    bench.handle_time(start + every * 3 / 2 + timeout);
    assert_eq!(bench.inlet.ended(), None);
    for _ in 0..2 {
        let at = bench.inlet.deadline().unwrap();
        bench.handle_time(at);
    }
    assert_eq!(bench.inlet.ended(), Some(Ended::PingTimeout));
    assert_eq!(bench.inlet.deadline(), None);
}

#[test]
fn inflates_what_is_marked_and_only_that() {
    let deflate = Deflate { context: Context::Kept };
    let hello = [0xC1, 7, 0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    let again = [0x41, 3, 0xF2, 0x00, 0x11, 0x80, 2, 0x00, 0x00];
    let mut bench = Bench::new(&settings(7), Some(deflate));
    bench.handle(&[&hello, &plain(Opcode::Text, true, b"plain"), &again]);
    assert_eq!(bench.said, [text("Hello"), text("plain"), text("Hello")]);

    let mut bench = Bench::new(&settings(7), None);
    bench.handle(&[&hello]);
    assert_eq!(bench.inlet.ended(), Some(Ended::Violation(Violation::ReservedBits)));
    let bomb = miniz_oxide::deflate::compress_to_vec(&[b'x'; 4000], 9);
    for (payload, ended, code) in [
        (&bomb[..], Ended::TooLong, CloseCode::MESSAGE_TOO_BIG),
        (&[0xFF; 5][..], Ended::Corrupt, CloseCode::INVALID_PAYLOAD),
    ] {
        let mut bench = Bench::new(&settings(3999), Some(deflate));
        let mut frame = plain(Opcode::Text, true, payload);
        frame[0] |= 0x40;
        bench.handle(&[&frame]);
        assert_eq!(bench.inlet.ended(), Some(ended));
        assert_eq!(bench.sent(), [close(code, &ended.to_string())]);
    }
}

/// What tungstenite reads from, and where it writes to.
struct Pipe {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn tungstenite_understands_what_is_sent() {
    let mut bench = Bench::new(&settings(100), None);
    bench.handle(&[&plain(Opcode::Ping, true, b"there?")]);
    bench.inlet.send(Kind::Text, b"subscribe", ONE, &mut bench.out);
    bench.inlet.send(Kind::Binary, &[7; 70_000], Random { key: MaskKey([9; 4]), ..ONE }, &mut bench.out);
    bench.inlet.close((CloseCode::NORMAL, "bye"), bench.now, ONE, &mut bench.out);
    let pipe = Pipe { input: Cursor::new(bench.out), output: Vec::new() };
    let mut theirs = WebSocket::from_raw_socket(pipe, Their::Server, None);
    use tungstenite::Message as Heard;
    assert_eq!(theirs.read().unwrap(), Heard::Pong(b"there?".as_slice().into()));
    assert_eq!(theirs.read().unwrap(), Heard::text("subscribe"));
    assert_eq!(theirs.read().unwrap(), Heard::binary(vec![7; 70_000]));
    let Heard::Close(Some(frame)) = theirs.read().unwrap() else { panic!("no Close") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1000, "bye"));
}

/// What tungstenite, as a client, makes of a stream: its messages, and whether it found a fault. `None` where that
/// is no matter of course: illegal codes in a Close it answers, and takes for no fault; and what is not UTF-8 it finds
/// before the end of the message.
fn foreign(stream: &[u8], bytes_max: usize) -> (Vec<Said>, Option<bool>) {
    let pipe = Pipe { input: Cursor::new(stream.to_vec()), output: Vec::new() };
    let config = tungstenite::protocol::WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max.max(125)));
    let mut theirs = WebSocket::from_raw_socket(pipe, Their::Client, Some(config));
    let mut said = Vec::new();
    loop {
        match theirs.read() {
            Ok(tungstenite::Message::Text(text)) => said.push(self::text(text.as_str())),
            Ok(tungstenite::Message::Binary(bytes)) => {
                said.push(Said { kind: Kind::Binary, payload: bytes.to_vec() });
            }
            Ok(tungstenite::Message::Close(_)) | Err(tungstenite::Error::Utf8(_)) => return (said, None),
            Ok(_) => {}
            // The stream ended, or was closed.
            Err(
                tungstenite::Error::ConnectionClosed
                | tungstenite::Error::Io(_)
                | tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => return (said, Some(false)),
            Err(_) => return (said, Some(true)),
        }
    }
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => Just(0x1_u8),
        4 => Just(0x2),
        4 => Just(0x0),
        2 => Just(0x9),
        1 => Just(0xA),
        1 => Just(0x8),
        1 => 0..16_u8,
    ];
    let payload = prop_oneof![
        8 => "[a-zé€😀]{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..200),
        1 => Just(1000_u16.to_be_bytes().to_vec()),
    ];
    let frame = (opcode, any::<bool>(), payload).prop_map(|(opcode, fin, payload)| {
        let opcode_read = Opcode::from_bits(opcode).unwrap_or(Opcode::Text);
        let mut bytes = plain(opcode_read, fin || opcode_read.is_control(), &payload);
        bytes[0] = bytes[0] & 0xF0 | opcode;
        bytes
    });
    prop::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages_and_answers(
        stream in prop_oneof![frames(), prop::collection::vec(any::<u8>(), 0..64)],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let settings = settings(120);
        for compression in [None, Some(Deflate { context: Context::Kept })] {
            let mut whole = Bench::new(&settings, compression);
            whole.handle(&[&stream]);
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            ends.extend([0, stream.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            let mut cut = Bench::new(&settings, compression);
            cut.handle(&pieces);
            prop_assert_eq!(&cut.said, &whole.said);
            prop_assert_eq!(&cut.out, &whole.out);
            prop_assert_eq!(cut.inlet.ended(), whole.inlet.ended());
        }
    }

    #[test]
    fn tungstenite_reads_the_same_messages(stream in frames()) {
        let mut bench = Bench::new(&settings(120), None);
        bench.handle(&[&stream]);
        let (said, has_fault) = foreign(&stream, 120);
        prop_assert_eq!(&bench.said, &said);
        let is_fault = !matches!(bench.inlet.ended(), None | Some(Ended::Closed { .. }));
        prop_assert_eq!(is_fault, has_fault.unwrap_or(is_fault));
    }
}
