//! Pings of selat's own: answered by everybody, seen by nobody else, and the end of those who do not answer.
#![cfg(feature = "runtime")]

mod support;

use std::time::Duration;

use support::frames::{CLOSE, Frame, PING, PONG, TEXT, client_frame, server_frame};
use support::gate::{Gate, Session};
use support::http::upgrade_request;
use support::proxy::Proxy;
use support::python::Script;
use support::raw::Raw;
use support::{BACKEND_LOST, has_waited, loopback, now};

fn root() -> Vec<u8> {
    upgrade_request("/", &[])
}

/// The next ping, which no peer of selat's has sent.
fn ping(peer: &mut Raw) -> Frame {
    let frame = peer.frame();
    assert_eq!((frame.opcode, frame.fin), (PING, true), "{frame:?}");
    frame
}

/// What selat has measured: answers to its pings, by side.
fn answers(admin: &str, side: &str) -> u64 {
    let mut scrape = Raw::connect(admin);
    scrape.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (_, body) = scrape.response();
    let body = String::from_utf8(body).expect("text");
    let name = format!("selat_ping_rtt_seconds_count{{side=\"{side}\"}} ");
    let value = body.lines().find_map(|line| line.strip_prefix(&name));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| unreachable!("{name} in {body}"))
}

/// Has a Python client go through a scenario, with a Python server behind, both pinged every few milliseconds; what
/// selat logged of the last session, and how many answers it measured on the side with fewer of them.
fn play(scenario: &str, path: &str) -> (support::log::Line, u64) {
    let server = Script::start("server.py", &[]);
    let mut proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{0}:0\"\n[route.all]\npool = \"app\"\nping = {{ every = \"5ms\", timeout = \"20s\" }}\n\
         [pool.app]\nbackends = [\"ws://127.0.0.1:{1}\"]\n[admin]\naddr = \"{0}:0\"\n",
        loopback(),
        server.line()
    ));
    let admin = proxy.line("admin interface").get("address");
    Script::start("client.py", &[scenario, &format!("ws://{}{path}", proxy.address)]).expect_success();
    let line = proxy.session();
    (line, answers(&admin, "client").min(answers(&admin, "backend")))
}

#[test]
fn python_answers_the_pings_at_both_ends_and_notices_nothing() {
    let (line, answers) = play("quiet", "/echo");
    assert_eq!(line.end(), ("client".into(), "closed".into(), Some(1000)));
    assert_eq!((line.number("messages_from_client"), line.number("messages_from_backend")), (2, 2));
    // Two messages and a Close, and not one pong: none is forwarded.
    let message =
        u64::try_from(client_frame(TEXT, true, b"before").len() + client_frame(TEXT, true, b"after").len());
    let close = client_frame(CLOSE, true, &[0; 2]).len();
    assert_eq!(line.number("bytes_from_client"), message.expect("few") + u64::try_from(close).expect("few"));
    // The client was silent for half a second.
    assert!(answers >= 10, "{answers}");
}

#[test]
fn pythons_own_pings_pass_beside_ours_and_are_answered() {
    let (line, _) = play("pings", "");
    assert_eq!(line.end(), ("client".into(), "closed".into(), Some(1000)));
}

#[test]
fn fragments_and_large_messages_arrive_whole_among_pings() {
    play("fragments", "");
    play("large", "");
}

#[test]
fn answers_to_our_pings_end_here_and_those_to_others_pass() {
    let gate = Gate::new("ping = { every = \"50ms\", timeout = \"20s\" }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    let (to_client, to_backend) = (ping(&mut client), ping(&mut backend));
    // RFC 6455 §5.1: masked toward a server, and only there.
    assert_eq!((to_client.is_masked, to_backend.is_masked), (false, true));
    assert_ne!(to_client.payload, to_backend.payload, "nobody could tell whose answer it is");
    // A ping of the backend's, and one of the client's, with pongs of ours between them.
    backend.send(
        &[server_frame(PING, true, b"from the backend"), server_frame(PONG, true, &to_backend.payload)]
            .concat(),
    );
    client.send(
        &[client_frame(PONG, true, &to_client.payload), client_frame(PING, true, b"from the client")]
            .concat(),
    );
    client.send(&client_frame(PONG, true, b"from the backend"));
    backend.send(&server_frame(PONG, true, b"from the client"));
    // Pongs that nobody asked for are legal (§5.5.3), and not ours.
    client.send(&[client_frame(PONG, true, b"unsolicited"), client_frame(TEXT, true, b"the end")].concat());
    backend.send(&[server_frame(PONG, true, b""), server_frame(TEXT, true, b"the end")].concat());
    let seen = |peer: &mut Raw, encode: support::frames::Encode| {
        let mut seen = Vec::new();
        loop {
            let frame = peer.frame();
            let is_ours = frame.opcode == PING && !frame.payload.starts_with(b"from");
            if frame.opcode == TEXT {
                return seen;
            } else if is_ours {
                peer.send(&encode(PONG, true, &frame.payload));
            } else {
                seen.push((frame.opcode, String::from_utf8(frame.payload).expect("ours are not shown")));
            }
        }
    };
    let named = |frames: [(_, &str); 3]| frames.map(|(opcode, text)| (opcode, text.to_owned())).to_vec();
    assert_eq!(
        seen(&mut backend, server_frame),
        named([(PING, "from the client"), (PONG, "from the backend"), (PONG, "unsolicited")])
    );
    assert_eq!(
        seen(&mut client, client_frame),
        named([(PING, "from the backend"), (PONG, "from the client"), (PONG, "")])
    );
}

#[test]
fn one_side_is_pinged_where_that_is_asked_for() {
    let gate = Gate::new("ping = { client = { every = \"20ms\", timeout = \"20s\" } }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    for _ in 0..5 {
        let ping = ping(&mut client);
        client.send(&client_frame(PONG, true, &ping.payload));
    }
    client.send(&client_frame(TEXT, true, b"x"));
    assert_eq!(backend.frame().opcode, TEXT);
}

#[test]
fn a_client_that_does_not_answer_is_dead_and_its_backend_is_told() {
    let mut gate = Gate::new("ping = { client = { every = \"100ms\", timeout = \"200ms\" } }");
    let begun = now();
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    ping(&mut client);
    assert_eq!(backend.leave(server_frame), (1001, "client ping timeout".into()));
    assert!(has_waited(begun, Duration::from_millis(300)), "{:?}", begun.elapsed());
    let line = gate.proxy.session();
    assert_eq!(line.end(), ("client".into(), "ping timeout".into(), Some(1001)));
    // It is alive after all, and finds its connection gone.
    let (bytes, _) = client.rest();
    assert!(bytes.is_empty(), "a dead client is told nothing: {bytes:?}");
}

#[test]
fn a_backend_that_does_not_answer_is_dead_and_its_client_is_told() {
    let mut gate = Gate::new("ping = { backend = { every = \"100ms\", timeout = \"200ms\" } }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    ping(&mut backend);
    assert_eq!(client.leave(client_frame), (BACKEND_LOST, "ping timeout".into()));
    assert_eq!(gate.proxy.session().end(), ("backend".into(), "ping timeout".into(), Some(BACKEND_LOST)));
}

#[test]
fn whoever_sends_anything_is_alive() {
    let mut gate = Gate::new("ping = { client = { every = \"100ms\", timeout = \"2s\" } }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    let begun = now();
    // Never a pong, but a message for each ping, for longer than the timeout.
    while begun.elapsed() < Duration::from_millis(2500) {
        ping(&mut client);
        client.send(&client_frame(TEXT, true, b"no pong"));
        assert_eq!(backend.frame().payload, b"no pong");
    }
    // Then silence.
    assert_eq!(backend.leave(server_frame).0, 1001);
    assert_eq!(gate.proxy.session().end().1, "ping timeout");
}
