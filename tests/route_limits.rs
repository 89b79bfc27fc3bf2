//! What a route's limits and times do to a session, as its client, its backend and the log see it.
#![cfg(feature = "runtime")]

mod support;

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use support::backend::Backend;
use support::frames::{BINARY, CLOSE, CONTINUATION, Frame, PONG, TEXT, client_frame, payload, server_frame};
use support::gate::{Gate, Session};
use support::http::{Head, upgrade_request};
use support::path::Directory;
use support::proxy::Proxy;
use support::raw::Raw;
use support::{BACKEND_LOST, allowed_cores, eventually, has_waited, loopback, now};

const KIB: usize = 1024;

/// Bytes that selat reads at once, at most.
const READ_MAX: usize = 256 * KIB;

fn root() -> Vec<u8> {
    upgrade_request("/", &[])
}

/// Asks for a session on this connection: the answer, and the connection, which stays open as long as it is held.
fn ask(mut client: Raw, path: &str) -> (Head, Raw) {
    client.send(&upgrade_request(path, &[]));
    (client.head(), client)
}

/// A proxy with one route, described by these lines, to this backend; and further tables.
fn echoing(backend: &Backend, route: &str, tables: &str) -> Proxy {
    Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n[route.all]\npool = \"app\"\n{route}\n\
         [pool.app]\nbackends = [\"{}\"]\n{tables}\n",
        loopback(),
        backend.url()
    ))
}

#[test]
fn a_message_or_frame_over_its_routes_limit_is_closed_with_1009() {
    let mut gate = Gate::with(
        "path = \"/small\"\nlimits = { message = \"4KiB\", frame = \"2KiB\" }",
        "",
        "[route.rest]\npool = \"app\"",
    );
    let half = client_frame(BINARY, false, &[1; 2 * KIB]);
    let rows = [
        (client_frame(BINARY, true, &[1; 2 * KIB + 1]), "frame too big"),
        (
            [
                half.clone(),
                client_frame(CONTINUATION, false, &[1; 2 * KIB]),
                client_frame(CONTINUATION, true, b"1"),
            ]
            .concat(),
            "message too big",
        ),
    ];
    for (too_much, reason) in rows {
        let Session { mut client, mut backend, .. } = gate.admits(&upgrade_request("/small", &[]));
        // Just as much as may be.
        client.send(&[half.clone(), client_frame(CONTINUATION, true, &[1; 2 * KIB])].concat());
        assert_eq!(backend.frame().payload.len() + backend.frame().payload.len(), 4 * KIB);
        client.send(&too_much);
        let close = std::iter::repeat_with(|| backend.frame()).find(Frame::is_close);
        assert_eq!(close.expect("it comes").close(), (1001, "client broke the protocol".into()));
        backend.send(&server_frame(CLOSE, true, &[]));
        assert_eq!(client.frame().close(), (1009, reason.into()));
        drop((client, backend));
        assert_eq!(gate.proxy.session().end(), ("client".into(), "violation".into(), Some(1009)));
    }
    // What one route forbids another allows.
    let Session { mut client, mut backend, .. } = gate.admits(&upgrade_request("/large", &[]));
    client.send(&client_frame(BINARY, true, &[1; 64 * KIB]));
    assert_eq!(backend.frame().payload.len(), 64 * KIB);
}

#[test]
fn a_backends_message_over_the_limit_ends_the_session_too() {
    let mut gate = Gate::new("limits = { message = \"4KiB\" }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    backend.send(&server_frame(BINARY, true, &[1; 4 * KIB]));
    assert_eq!(client.frame().payload.len(), 4 * KIB);
    backend.send(&server_frame(BINARY, true, &[1; 4 * KIB + 1]));
    assert_eq!(backend.frame().close(), (1009, "message too big".into()));
    assert_eq!(client.leave(client_frame), (BACKEND_LOST, "backend broke the protocol".into()));
    drop(backend);
    assert_eq!(gate.proxy.session().end(), ("backend".into(), "violation".into(), Some(1009)));
}

/// Has the client send these messages at once: when each had reached the backend, which must get them all.
fn deliver(session: &mut Session, messages: &[Vec<u8>]) -> Vec<Duration> {
    let mut writer = Raw::new(session.client.stream.try_clone().expect("a descriptor"));
    let bytes: Vec<u8> = messages.iter().flat_map(|message| client_frame(BINARY, true, message)).collect();
    let begun = now();
    let writing = thread::spawn(move || writer.send(&bytes));
    let arrived = messages.iter().map(|message| {
        // Not assert_eq: a megabyte of numbers helps nobody.
        assert!(session.backend.frame().payload == *message, "as it was sent");
        begun.elapsed()
    });
    let arrived = arrived.collect();
    writing.join().expect("it writes all");
    arrived
}

#[test]
fn a_client_over_its_message_rate_is_slowed_down_and_loses_nothing() {
    let (rate, burst) = (20, 4);
    let mut gate = Gate::new("limits = { rate = \"20/s\", rate_burst = 4 }");
    let mut session = gate.admits(&root());
    // No read brings the end of two of them; and one more has passed when the session was opened.
    let message = payload(READ_MAX);
    let arrived = deliver(&mut session, &vec![message; 20]);
    for (count, at) in (1..).zip(&arrived) {
        let allowed = f64::from(burst + 1) + f64::from(rate) * at.as_secs_f64();
        assert!(f64::from(count) <= allowed, "{count} messages within {at:?}");
    }
    drop(session);
    let line = gate.proxy.session();
    assert_eq!(line.number("messages_from_client"), 21);
    assert_eq!(line.end().1, "vanished");
}

#[test]
fn small_messages_that_come_in_one_read_are_made_up_for() {
    let gate = Gate::new("limits = { rate = \"1000/s\", rate_burst = 10 }");
    let mut session = gate.admits(&root());
    let begun = now();
    deliver(&mut session, &vec![b"x".to_vec(); 1000]);
    // However many came at once, the one behind them waits until all are paid for.
    deliver(&mut session, &[b"last".to_vec()]);
    assert!(has_waited(begun, Duration::from_secs(1)), "{:?}", begun.elapsed());
}

#[test]
fn a_client_over_its_byte_rate_is_slowed_down_while_its_backend_is_not() {
    let gate = Gate::new("limits = { bytes = \"1MiB/s\", bytes_burst = \"256KiB\" }");
    let mut session = gate.admits(&root());
    // What is beyond the burst and one read takes a second to pass.
    let message = payload(1024 * KIB + 2 * READ_MAX);
    let mut server = Raw::new(session.backend.stream.try_clone().expect("a descriptor"));
    let mut client = Raw::new(session.client.stream.try_clone().expect("a descriptor"));
    let answering = thread::spawn(move || {
        let begun = now();
        server.send(&server_frame(BINARY, true, &payload(2048 * KIB)));
        begun
    });
    let listening = thread::spawn(move || {
        assert_eq!(client.frame().payload.len(), 2048 * KIB);
        now()
    });
    let arrived = deliver(&mut session, &[message]);
    assert!(arrived[0] >= Duration::from_secs(1), "{:?}", arrived[0]);
    let (begun, heard): (Instant, Instant) =
        (answering.join().expect("it sends"), listening.join().expect("it reads"));
    assert!(heard - begun < arrived[0], "more came the other way in {:?}", heard - begun);
}

#[test]
fn a_client_over_its_rate_is_closed_with_1008_where_that_is_wanted() {
    let mut gate = Gate::new("limits = { rate = \"1/s\", rate_burst = 1000, excess = \"close\" }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    client.send(&client_frame(TEXT, true, b"x").repeat(1500));
    let mut messages = 1;
    let close = loop {
        let frame = backend.frame();
        if frame.is_close() {
            break frame.close();
        }
        messages += 1;
    };
    assert!(messages >= 1000, "{messages}");
    assert_eq!(close, (1001, "client over its rate limit".into()));
    // What its backend still has to say comes first.
    backend.send(&server_frame(TEXT, true, b"answer"));
    backend.send(&server_frame(CLOSE, true, &1001_u16.to_be_bytes()));
    assert_eq!(client.frame().payload, b"answer");
    assert_eq!(client.frame().close(), (1008, "rate limit".into()));
    drop((client, backend));
    assert_eq!(gate.proxy.session().end(), ("client".into(), "rate limit".into(), Some(1008)));
}

#[test]
fn connections_of_one_address_are_counted_exactly_over_all_cores() {
    const MAX: usize = 3;
    const ATTEMPTS: usize = 24;
    let backend = Backend::echo();
    let cores: Vec<_> = allowed_cores().iter().take(2).map(usize::to_string).collect();
    let process = format!("[process]\ncores = \"{}\"", cores.join(","));
    let mut proxy = echoing(&backend, &format!("limits = {{ connections_per_ip = {MAX} }}"), &process);
    // All at once.
    let attempts: Vec<_> = (0..ATTEMPTS)
        .map(|_| {
            let client = proxy.dial();
            thread::spawn(move || ask(client, "/"))
        })
        .collect();
    let answers = attempts.into_iter().map(|attempt| attempt.join().expect("it is answered"));
    let (mut admitted, refused): (Vec<_>, Vec<_>) = answers.partition(|(head, _)| head.status() == 101);
    assert_eq!(admitted.len(), MAX);
    for (head, _) in &refused {
        assert_eq!((head.status(), head.one("retry-after")), (429, "1"));
        assert_eq!(proxy.refusal(), (429, "connections_per_ip".into()));
    }
    let accepted: Vec<_> = proxy.counters().iter().map(|line| line.number("accepted")).collect();
    // A line a shard, and one for all of them.
    assert!(accepted.len() == cores.len() + 1 && accepted.iter().all(|count| *count > 0), "{accepted:?}");
    // Others are not meant.
    let other = Raw::connect_from(Ipv4Addr::new(127, 0, 9, 1), &proxy.address);
    let (head, _other) = ask(other, "/");
    assert_eq!(head.status(), 101);
    // Whoever leaves makes room for one, and for one only.
    for _ in 0..MAX {
        drop(admitted.remove(0));
        eventually("its place is free", || {
            let (head, client) = ask(proxy.dial(), "/");
            let is_admitted = head.status() == 101;
            admitted.extend(is_admitted.then_some((head, client)));
            is_admitted
        });
        for _ in 0..cores.len() * 2 {
            assert_eq!(ask(proxy.dial(), "/").0.status(), 429);
        }
    }
}

#[test]
fn connections_of_one_key_are_counted_wherever_they_come_from() {
    let (backend, directory) = (Backend::echo(), Directory::new("identities"));
    // In the log they look alike.
    let [one, other] = ["1", "2"].map(|last| format!("{}{last}", "x".repeat(100)));
    std::fs::write(
        directory.file("keys"),
        format!("{one}:the-key-of-one-0001\n{other}:the-key-of-other-02\n"),
    )
    .expect("the directory is ours");
    let keys = directory.argument("keys");
    let route = format!(
        "auth = {{ kind = \"key\", keys_file = \"{keys}\", from = [\"query:key\"] }}\n\
         limits = {{ connections_per_identity = 2 }}"
    );
    let mut proxy = echoing(&backend, &route, "");
    let [one, other] = ["/?key=the-key-of-one-0001", "/?key=the-key-of-other-02"];
    let from =
        |host, path: &str| ask(Raw::connect_from(Ipv4Addr::new(127, 0, 9, host), &proxy.address), path);
    let (first, second) = (from(1, one), from(2, one));
    assert_eq!((first.0.status(), second.0.status()), (101, 101));
    let (refused, _) = from(3, one);
    assert_eq!((refused.status(), refused.one("retry-after")), (429, "1"));
    let _others = [from(1, other), from(1, other)].map(|(head, client)| {
        assert_eq!(head.status(), 101);
        client
    });
    drop(first);
    eventually("its place is free", || from(3, one).0.status() == 101);
    assert_eq!(proxy.refusal(), (429, "connections_per_identity".into()));
}

#[test]
fn clients_that_prove_nothing_are_nobody_to_be_counted() {
    let backend = Backend::echo();
    let proxy = echoing(&backend, "limits = { connections_per_identity = 1 }", "");
    let _clients = [(); 3].map(|()| {
        let (head, client) = ask(proxy.dial(), "/");
        assert_eq!(head.status(), 101);
        client
    });
}

#[test]
fn a_route_holds_so_many_sessions_and_no_other_route_suffers() {
    let backend = Backend::echo();
    let mut proxy =
        echoing(&backend, "path = \"/few\"\nlimits = { connections = 2 }", "[route.rest]\npool = \"app\"");
    let few = |proxy: &Proxy| ask(proxy.dial(), "/few");
    let ((first, _first), (second, second_client)) = (few(&proxy), few(&proxy));
    assert_eq!((first.status(), second.status()), (101, 101));
    let (head, _) = few(&proxy);
    assert_eq!((head.status(), head.one("retry-after")), (503, "1"));
    assert_eq!(proxy.refusal(), (503, "connections_max".into()));
    assert_eq!(ask(proxy.dial(), "/many").0.status(), 101);
    drop(second_client);
    eventually("its place is free", || few(&proxy).0.status() == 101);
}

#[test]
fn handshakes_beyond_their_rate_are_told_when_to_come_back() {
    let backend = Backend::echo();
    let mut proxy = echoing(&backend, "limits = { handshakes = \"1/s\", handshakes_burst = 3 }", "");
    let begun = now();
    let mut admitted = 0_u8;
    let refused = loop {
        // What is no handshake takes none from the others.
        let mut client = proxy.dial();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.response().0.status(), 426);
        let (head, _) = ask(proxy.dial(), "/");
        if head.status() != 101 {
            break head;
        }
        admitted += 1;
    };
    let allowed = 3.0 + begun.elapsed().as_secs_f64();
    assert!(admitted >= 3 && f64::from(admitted) <= allowed, "{admitted} within {:?}", begun.elapsed());
    assert_eq!((refused.status(), refused.one("retry-after")), (429, "1"));
    while proxy.refusal().1 != "handshake_rate" {}
    eventually("there is one more", || ask(proxy.dial(), "/").0.status() == 101);
}

#[test]
fn a_session_ends_with_its_lifetime_but_not_within_a_message() {
    let mut gate = Gate::new("timeouts = { lifetime = \"1s\" }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    client.send(&client_frame(TEXT, false, b"first half, "));
    assert_eq!(backend.frame().payload, b"first half, ");
    // The way back is free.
    assert_eq!(client.frame().close(), (1001, "lifetime over".into()));
    backend.expect_silence(Duration::from_millis(300));
    client.send(&client_frame(CONTINUATION, true, b"second half"));
    assert_eq!(backend.frame().payload, b"second half");
    assert_eq!(backend.frame().close(), (1001, "lifetime over".into()));
    drop((client, backend));
    let line = gate.proxy.session();
    assert_eq!(line.end(), ("proxy".into(), "expired".into(), Some(1001)));
    assert!(line.number("duration_ms") >= 1000);
}

#[test]
fn a_silent_session_is_closed_and_its_pings_are_no_words() {
    let mut gate = Gate::new("timeouts = { idle = \"1s\" }\nping = { every = \"100ms\", timeout = \"20s\" }");
    let begun = now();
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    let mut pings = 0;
    let close = loop {
        let frame = client.frame();
        if frame.is_close() {
            break frame.close();
        }
        pings += 1;
        client.send(&client_frame(PONG, true, &frame.payload));
    };
    assert_eq!(close, (1001, "idle timeout".into()));
    assert!(has_waited(begun, Duration::from_secs(1)) && pings >= 3, "{pings} within {:?}", begun.elapsed());
    let close = std::iter::repeat_with(|| backend.frame()).find(Frame::is_close);
    assert_eq!(close.expect("it comes").close(), (1001, "idle timeout".into()));
    drop((client, backend));
    let line = gate.proxy.session();
    assert_eq!(line.end(), ("proxy".into(), "idle".into(), Some(1001)));
}

#[test]
fn peers_that_do_not_answer_a_close_are_cut() {
    let mut gate = Gate::new("timeouts = { lifetime = \"1s\", close = \"200ms\" }");
    let Session { mut client, mut backend, .. } = gate.admits(&root());
    for peer in [&mut client, &mut backend] {
        assert_eq!(peer.frame().close().0, 1001);
    }
    let line = gate.proxy.session();
    assert_eq!((line.end().1.as_str(), line.get("cut").as_str()), ("expired", "true"));
}

#[test]
fn a_head_has_the_time_that_the_process_allows() {
    let mut proxy = Proxy::from_toml_on_one_core(&format!(
        "[process]\ncores = \"{}\"\ntimeouts = {{ head = \"200ms\" }}\n[listen.public]\naddr = \"{}:0\"\n\
         [route.all]\nrespond = \"echo\"\n",
        allowed_cores().first().expect("one core"),
        loopback()
    ));
    let mut client = proxy.dial();
    let begun = now();
    client.send(b"GET / HTTP/1.1\r\n");
    assert_eq!(client.response().0.status(), 408);
    assert!(has_waited(begun, Duration::from_millis(200)));
    assert_eq!(proxy.refusal(), (408, "head_timeout".into()));
}
