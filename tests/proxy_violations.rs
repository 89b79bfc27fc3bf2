//! Peers that break RFC 6455, or a limit: the offender gets the right Close and a FIN, the other side a Close too.
#![cfg(feature = "runtime")]

mod support;

use support::BACKEND_LOST;
use support::backend::Stage;
use support::frames::{
    BINARY, CLOSE, CONTINUATION, Encode, PING, TEXT, client_frame, close_payload, payload, server_frame,
};
use support::http::{switching, upgrade_request};
use support::proxy::Proxy;
use support::raw::Ending;

/// What a peer may not send, by the close code that it earns. `encode` writes its frames, so that only one thing is
/// wrong with each.
#[expect(clippy::indexing_slicing, reason = "every frame has two bytes")]
fn violations(encode: Encode) -> Vec<(&'static str, Vec<u8>, u16)> {
    let with_first_byte = |first: u8, payload: &[u8]| {
        let mut frame = encode(TEXT, true, payload);
        frame[0] = first;
        frame
    };
    // The length byte with the masking bit as it is, a longer form of the length, the rest.
    let with_length = |form: u8, length: &[u8]| {
        let frame = encode(BINARY, true, b"12345");
        [&[frame[0], frame[1] & 0x80 | form], length, &frame[2..]].concat()
    };
    let close_with = |code: u16| encode(CLOSE, true, &close_payload(code, ""));
    let mut rows = vec![
        ("§5.2 RSV1 without an extension", with_first_byte(0xC1, b"x"), 1002),
        ("§5.2 RSV2 without an extension", with_first_byte(0xA1, b"x"), 1002),
        ("§5.2 RSV3 without an extension", with_first_byte(0x91, b"x"), 1002),
        ("§5.2 RSV1 on a control frame", with_first_byte(0xC9, b""), 1002),
        ("§5.2 reserved data opcode", with_first_byte(0x83, b"x"), 1002),
        ("§5.2 reserved control opcode", with_first_byte(0x8B, b""), 1002),
        ("§5.2 reserved control opcode", with_first_byte(0x8F, b""), 1002),
        ("§5.2 16-bit length that fits 7", with_length(126, &[0, 5]), 1002),
        ("§5.2 64-bit length that fits 7", with_length(127, &[0, 0, 0, 0, 0, 0, 0, 5]), 1002),
        ("§5.2 64-bit length that fits 16", with_length(127, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), 1002),
        ("§5.2 64-bit length with its highest bit", with_length(127, &[0x80, 0, 0, 0, 0, 0, 0, 5]), 1002),
        ("§5.5 fragmented ping", encode(PING, false, b"x"), 1002),
        ("§5.5 fragmented close", encode(CLOSE, false, b""), 1002),
        ("§5.5 ping over 125 bytes", encode(PING, true, &[0; 126]), 1002),
        ("§5.4 continuation of nothing", encode(CONTINUATION, true, b"x"), 1002),
        ("§5.5.1 close payload of one byte", encode(CLOSE, true, &[3]), 1002),
        ("§5.5.1 close reason not UTF-8", encode(CLOSE, true, &[0x03, 0xE8, 0xFF]), 1007),
    ];
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        rows.push(("§7.4 close code not for the wire", close_with(code), 1002));
    }
    rows
}

fn client_earns(proxy: &mut Proxy, stage: &Stage, (what, bytes, code): (&str, Vec<u8>, u16)) {
    let (mut client, mut backend) = stage.open(proxy);
    let good = client_frame(TEXT, true, b"good");
    // What lies behind a violation is not even looked at.
    client.send(&[&good, &*bytes, &payload(1000)].concat());
    assert_eq!(backend.exactly(good.len()), good, "{what}: what came before it counts");
    assert_eq!(backend.leave(server_frame).0, 1001, "{what}");
    assert_eq!(client.expect_close_and_fin().0, code, "{what}");
    drop(client);
    let line = proxy.session();
    assert_eq!(line.end(), ("client".to_owned(), "violation".to_owned(), Some(code)), "{what}");
    assert_eq!(line.number("bytes_from_client"), u64::try_from(good.len()).unwrap_or_default());
}

fn backend_earns(proxy: &mut Proxy, stage: &Stage, (what, bytes, code): (&str, Vec<u8>, u16)) {
    let (mut client, mut backend) = stage.open(proxy);
    let good = server_frame(TEXT, true, b"good");
    backend.send(&[&good, &*bytes, &payload(1000)].concat());
    let close = backend.frame();
    // §5.1: a client masks all frames that it sends to the server.
    assert!(close.is_masked, "{what}");
    assert_eq!(close.close().0, code, "{what}");
    backend.expect_fin();
    assert_eq!(client.exactly(good.len()), good, "{what}: what came before it counts");
    assert_eq!(client.leave(client_frame).0, BACKEND_LOST, "{what}");
    drop(backend);
    let line = proxy.session();
    assert_eq!(line.end(), ("backend".to_owned(), "violation".to_owned(), Some(code)), "{what}");
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_how_and_so_is_its_backend() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    let unmasked = ("§5.1 unmasked frame", server_frame(TEXT, true, b"x"), 1002);
    let unmasked_close = ("§5.1 unmasked close", server_frame(CLOSE, true, b""), 1002);
    for row in [vec![unmasked, unmasked_close], violations(client_frame)].concat() {
        client_earns(&mut proxy, &stage, row);
    }
}

#[test]
fn a_backend_that_breaks_the_protocol_is_told_how_and_so_is_its_client() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&[], &[&stage.url()]);
    let masked = ("§5.1 masked frame", client_frame(TEXT, true, b"x"), 1002);
    let masked_close = ("§5.1 masked close", client_frame(CLOSE, true, b""), 1002);
    for row in [vec![masked, masked_close], violations(server_frame)].concat() {
        backend_earns(&mut proxy, &stage, row);
    }
}

#[test]
fn a_new_message_inside_a_fragmented_one_earns_1002() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let fragment = client_frame(TEXT, false, b"frag");
    client.send(&[&fragment, &*client_frame(TEXT, true, b"new")].concat());
    assert_eq!(backend.exactly(fragment.len()), fragment);
    // Between two fragments a Close may stand (§5.4), and nothing else will come.
    assert_eq!(backend.leave(server_frame).0, 1001);
    assert_eq!(client.expect_close_and_fin().0, 1002);
}

#[test]
fn a_message_over_the_limit_earns_1009_from_either_side() {
    let stage = Stage::new();
    let mut proxy = Proxy::start(&["--message-bytes-max", "1000B"], &[&stage.url()]);
    let whole = |encode: Encode| encode(BINARY, true, &[0; 1001]);
    client_earns(&mut proxy, &stage, ("a frame", whole(client_frame), 1009));
    backend_earns(&mut proxy, &stage, ("a frame", whole(server_frame), 1009));
    // Announced is enough: nobody has to send a gigabyte to be refused it.
    let announced = [&[0x82, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0], &[1, 2, 3, 4][..]].concat();
    client_earns(&mut proxy, &stage, ("a frame that is only announced", announced, 1009));
}

#[test]
fn a_message_up_to_the_limit_passes_and_fragments_count_together() {
    let stage = Stage::new();
    let proxy = Proxy::start(&["--message-bytes-max", "1000B"], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let legal = [
        client_frame(BINARY, true, &[1; 1000]),
        client_frame(BINARY, false, &[2; 600]),
        client_frame(PING, true, &[3; 125]),
        client_frame(CONTINUATION, true, &[4; 400]),
        client_frame(BINARY, false, &[5; 600]),
    ]
    .concat();
    client.send(&[&legal, &*client_frame(CONTINUATION, true, &[6; 401])].concat());
    assert_eq!(backend.exactly(legal.len()), legal);
    assert_eq!(backend.leave(server_frame).0, 1001);
    assert_eq!(client.expect_close_and_fin().0, 1009);
}

#[test]
fn an_offending_client_first_gets_the_answers_to_what_it_sent_before() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    client.send(&[client_frame(TEXT, true, b"question"), server_frame(TEXT, true, b"unmasked")].concat());
    assert_eq!(backend.frame().payload, b"question");
    let close = backend.frame();
    backend.send(&server_frame(TEXT, true, b"answer"));
    // In place of the backend's last word, which is about another matter.
    backend.send(&server_frame(CLOSE, true, &close.payload));
    assert_eq!(client.frame().payload, b"answer");
    assert_eq!(client.expect_close_and_fin().0, 1002);
}

#[test]
fn an_offending_client_does_not_wait_for_a_silent_backend_until_it_is_cut() {
    let stage = Stage::new();
    let proxy = Proxy::start(&["--close-timeout", "600ms"], &[&stage.url()]);
    let (mut client, _backend) = stage.open(&proxy);
    client.send(&server_frame(TEXT, true, b"unmasked"));
    assert_eq!(client.expect_close_and_fin().0, 1002);
}

#[test]
fn bytes_behind_a_handshake_are_judged_too() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    let mut client = proxy.dial();
    client.send(&[upgrade_request("/", &[]), server_frame(TEXT, true, b"unmasked")].concat());
    let (mut backend, _) = stage.request();
    backend.send(&switching(&[]));
    assert_eq!(backend.leave(server_frame).0, 1001);
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.expect_close_and_fin().0, 1002);

    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let (mut backend, _) = stage.request();
    backend.send(&[switching(&[]), client_frame(TEXT, true, b"masked")].concat());
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.leave(client_frame).0, BACKEND_LOST);
    assert_eq!(backend.expect_close_and_fin().0, 1002);
}

#[test]
fn an_offender_that_goes_on_sending_is_not_reset() {
    let stage = Stage::new();
    let proxy = Proxy::start(&[], &[&stage.url()]);
    for is_client in [true, false] {
        let (client, backend) = stage.open(&proxy);
        let (mut offender, mut other, encode): (_, _, Encode) =
            if is_client { (client, backend, server_frame) } else { (backend, client, client_frame) };
        offender.send(&[&[0xF2, 0x80, 0, 0, 0, 0][..], &payload(500_000)].concat());
        other.leave(encode);
        assert_eq!(offender.expect_close_and_fin().0, 1002);
        // Whatever the shard does behind its FIN, it has done when another session stands.
        let _another = stage.open(&proxy);
        // A reset, which may destroy a Close that was not read yet, would show at the second of these.
        for _ in 0..3 {
            offender.send(&payload(1000));
        }
    }
}

#[test]
fn the_offenders_close_waits_for_the_end_of_a_frame_on_its_way_to_it() {
    let stage = Stage::new();
    let proxy = Proxy::start(&["--close-timeout", "600ms"], &[&stage.url()]);
    for is_client in [true, false] {
        let (client, backend) = stage.open(&proxy);
        let (mut offender, mut other, encode): (_, _, Encode) =
            if is_client { (client, backend, server_frame) } else { (backend, client, client_frame) };
        let frame = encode(BINARY, true, &payload(1000));
        let (half, other_half) = frame.split_at(500);
        other.send(half);
        assert_eq!(offender.exactly(half.len()), half);
        // Wrong for either: reserved bits.
        offender.send(&[0xF2, 0x80, 0, 0, 0, 0]);
        assert!(other.frame().is_close());
        other.send(other_half);
        assert_eq!(offender.exactly(other_half.len()), other_half);
        assert_eq!(offender.expect_close_and_fin().0, 1002);
    }
}

#[test]
fn a_frame_that_never_ends_is_not_broken_by_a_close() {
    let stage = Stage::new();
    let proxy = Proxy::start(&["--close-timeout", "300ms"], &[&stage.url()]);
    let (mut client, mut backend) = stage.open(&proxy);
    let half = &server_frame(BINARY, true, &payload(1000))[..500];
    backend.send(half);
    assert_eq!(client.exactly(half.len()), half);
    client.send(&client_frame(CONTINUATION, true, b"of nothing"));
    assert_eq!(backend.frame().close().0, 1001);
    // Anything but an end would be taken for payload.
    let (bytes, ending) = client.rest();
    assert_eq!((bytes.len(), ending), (0, Ending::Fin));
}
