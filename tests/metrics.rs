//! What a running selat counts, against what the test did.
#![cfg(feature = "runtime")]

mod support;

use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

use support::backend::{Backend, Stage};
use support::frames::{CLOSE, CONTINUATION, PING, TEXT, client_frame, close_payload, server_frame};
use support::http::{switching, upgrade_request};
use support::python::Script;
use support::raw::Raw;
use support::site::{Frame, Site, pool, route};
use support::ws::{Client, expect_close, expect_echo, text};
use support::{allowed_cores, eventually, nobody};

/// Reads of a session between two that are measured: see `shard/sample.rs`.
const READS_A_SAMPLE: usize = 64;

fn connect(site: &Site, path: &str) -> Client {
    let stream = site.proxy.dial().stream;
    let client = tungstenite::client(format!("ws://chat.example{path}"), stream);
    client.unwrap_or_else(|error| unreachable!("{path} upgrades: {error}")).0
}

/// Sends a request and reads the whole answer.
fn status(site: &Site, request: &[u8]) -> u16 {
    let mut client = site.proxy.dial();
    client.send(request);
    client.response().0.status()
}

fn leave(mut client: Client, code: u16) {
    client.close(Some(CloseFrame { code: code.into(), reason: "".into() })).expect("it is open");
    while client.read().is_ok() {}
}

/// Has the parsers of the Python client judge a scrape.
fn lint(site: &Site) {
    Script::start("admin.py", &["lint", &site.admin]).expect_success();
}

fn wait_for_end(site: &Site) {
    eventually("all sessions have ended", || site.scrape().sum("selat_sessions_active", &[]) == 0);
}

#[test]
fn sessions_messages_and_bytes_are_counted_exactly_by_direction_route_and_backend() {
    let (one, two) = (Backend::echo(), Backend::echo());
    let site = Site::start("traffic", &(route("a", &[&one.url()]) + &route("b", &[&two.url()])));
    let (mut first, mut second, mut third) =
        (connect(&site, "/a"), connect(&site, "/a"), connect(&site, "/b"));
    (0..5).for_each(|_| expect_echo(&mut first, &text("hello")));
    (0..2).for_each(|_| expect_echo(&mut second, &Message::binary(vec![7; 1000])));
    expect_echo(&mut third, &text("hi"));
    let scrape = site.scrape();
    // A client's header has a mask of four bytes, and both have two more for a length above 125.
    let rows = [
        ("a", &one, 2, 7, 5 * (6 + 5) + 2 * (8 + 1000), 5 * (2 + 5) + 2 * (4 + 1000)),
        ("b", &two, 1, 1, 6 + 2, 2 + 2),
    ];
    for (name, backend, sessions, messages, from_client, from_backend) in rows {
        let (url, address) = (backend.url(), backend.address().to_string());
        let labels = [("pool", name), ("backend", url.as_str()), ("address", address.as_str())];
        assert_eq!(scrape.all("selat_sessions_total", &[("route", name)]), [f64::from(sessions)]);
        assert_eq!(scrape.all("selat_sessions_active", &[("route", name)]), [f64::from(sessions)]);
        assert_eq!(scrape.all("selat_backend_sessions_total", &labels), [f64::from(sessions)]);
        assert_eq!(scrape.all("selat_backend_sessions_active", &labels), [f64::from(sessions)]);
        assert_eq!(
            scrape.all("selat_backend_dials_total", &[&labels[..], &[("outcome", "answered")]].concat()),
            [f64::from(sessions)]
        );
        for (direction, bytes) in [("from_client", from_client), ("from_backend", from_backend)] {
            let direction = ("direction", direction);
            let (of_route, of_backend) = ([("route", name), direction], [&labels[..], &[direction]].concat());
            assert_eq!(scrape.all("selat_messages_total", &of_route), [f64::from(messages)]);
            assert_eq!(scrape.all("selat_traffic_bytes_total", &of_route), [f64::from(bytes)]);
            assert_eq!(scrape.all("selat_backend_messages_total", &of_backend), [f64::from(messages)]);
            assert_eq!(scrape.all("selat_backend_traffic_bytes_total", &of_backend), [f64::from(bytes)]);
        }
    }
    assert_eq!(scrape.sum("selat_backend_handshake_seconds_count", &[]), 3);
    lint(&site);
}

#[test]
fn a_message_in_fragments_is_one_and_a_ping_is_none() {
    let stage = Stage::new();
    let site = Site::start("fragments", &route("a", &[&stage.url()]));
    let mut client = site.proxy.dial();
    client.send(&upgrade_request("/a", &[]));
    let (mut backend, _) = stage.request();
    backend.send(&switching(&[]));
    client.head();
    let frames = [
        client_frame(TEXT, false, b"one"),
        client_frame(PING, true, b""),
        client_frame(CONTINUATION, true, b"two"),
    ]
    .concat();
    client.send(&frames);
    assert_eq!(backend.exactly(frames.len()), frames);
    let direction = ("direction", "from_client");
    let scrape = site.scrape();
    assert_eq!(scrape.all("selat_messages_total", &[direction]), [1.0]);
    assert_eq!(scrape.sum("selat_traffic_bytes_total", &[direction]), u64::try_from(frames.len()).unwrap());
}

#[test]
fn closes_are_counted_by_code_and_by_whose_doing() {
    let (echo, stage) = (Backend::echo(), Stage::new());
    let limits = "[route.echo.limits]\nmessage = \"10B\"\n[route.echo.timeouts]\nclose = \"200ms\"\n";
    let text = route("echo", &[&echo.url()]) + limits + &route("stage", &[&stage.url()]);
    let site = Site::start("closes", &text);
    for code in [1000, 1000, 1001, 3500, 4999] {
        leave(connect(&site, "/echo"), code);
    }
    // It answers the Close, but never ends its connection: a limit counts as hit all the same.
    let mut big = connect(&site, "/echo");
    big.send(Message::text("more than ten bytes")).unwrap();
    assert_eq!(expect_close(&mut big).0, 1009);
    let open = || -> (Raw, Raw) {
        let mut client = site.proxy.dial();
        client.send(&upgrade_request("/stage", &[]));
        let (mut backend, _) = stage.request();
        backend.send(&switching(&[]));
        assert_eq!(client.head().status(), 101);
        (client, backend)
    };
    let (mut client, mut backend) = open();
    backend.send(&server_frame(CLOSE, true, &close_payload(1001, "")));
    assert_eq!(client.frame().close().0, 1001);
    client.send(&client_frame(CLOSE, true, &close_payload(1001, "")));
    backend.frame();
    drop((client, backend));
    // A client that says nothing and goes.
    let (client, mut backend) = open();
    client.reset();
    backend.expect_fin();
    drop(backend);
    wait_for_end(&site);
    let scrape = site.scrape();
    let count = |route, code, side| {
        scrape.all("selat_closes_total", &[("route", route), ("code", code), ("side", side)])
    };
    assert_eq!(count("echo", "1000", "client"), [2.0]);
    assert_eq!(count("echo", "1001", "client"), [1.0]);
    assert_eq!(count("echo", "3xxx", "client"), [1.0]);
    assert_eq!(count("echo", "4xxx", "client"), [1.0]);
    assert_eq!(count("echo", "1009", "client"), [1.0]);
    assert_eq!(count("stage", "1001", "backend"), [1.0]);
    assert_eq!(scrape.sum("selat_closes_total", &[("route", "stage"), ("side", "client")]), 1);
    assert_eq!(scrape.sum("selat_closes_total", &[]), 8);
    let limit = [("route", "echo"), ("limit", "message_size")];
    assert_eq!(scrape.all("selat_limits_hit_total", &limit), [1.0]);
    lint(&site);
}

#[test]
fn refusals_and_dials_are_counted_by_what_came_of_them() {
    let echo = Backend::echo();
    let nobody = format!("ws://{}", nobody());
    let text = route("shy", &[&echo.url()])
        + "[route.dead]\npath = \"/dead\"\npool = \"dead\"\n"
        + &pool("dead", &[&nobody]);
    let text = text.replace("pool = \"shy\"", "pool = \"shy\"\norigins = [\"https://good.example\"]");
    let site = Site::start("refusals", &text);
    let evil = upgrade_request("/shy", &["Origin: https://evil.example"]);
    assert_eq!([status(&site, &evil), status(&site, &evil)], [403, 403]);
    assert_eq!(status(&site, &upgrade_request("/nowhere", &[])), 404);
    assert_eq!(status(&site, b"GET /shy HTTP/1.1\r\nHost: x\r\n\r\n"), 426);
    assert_eq!(status(&site, b"nonsense\r\n\r\n"), 400);
    let dead = status(&site, &upgrade_request("/dead", &[]));
    let scrape = site.scrape();
    let count = |route, status| scrape.sum("selat_refusals_total", &[("route", route), ("status", status)]);
    assert_eq!(count("shy", "403"), 2);
    assert_eq!(scrape.sum("selat_refusals_total", &[("reason", "origin_forbidden")]), 2);
    assert_eq!([count("", "404"), count("", "400")], [1, 1]);
    assert_eq!(scrape.sum("selat_refusals_total", &[("status", "426")]), 1);
    assert_eq!(count("dead", &dead.to_string()), 1);
    assert_eq!(scrape.sum("selat_refusals_total", &[]), 6);
    assert_eq!(scrape.sum("selat_sessions_total", &[]), 0);
    let dials = [("pool", "dead"), ("outcome", "refused")];
    assert!(scrape.sum("selat_backend_dials_total", &dials) >= 1, "{}", scrape.0);
    assert_eq!(scrape.sum("selat_backend_dials_total", &[("pool", "shy")]), 0);
    lint(&site);
}

#[test]
fn one_read_in_sixty_four_is_measured() {
    let echo = Backend::echo();
    let site = Site::start("sampled", &route("a", &[&echo.url()]));
    let mut client = connect(&site, "/a");
    let samples = 20;
    // One at a time: a read a message and direction.
    for _ in 0..samples * READS_A_SAMPLE / 2 {
        expect_echo(&mut client, &Message::binary(vec![7; 200]));
    }
    let scrape = site.scrape();
    let samples = u64::try_from(samples).unwrap();
    assert_eq!(scrape.sum("selat_relay_latency_seconds_count", &[]), samples);
    assert_eq!(scrape.sum("selat_message_size_bytes_count", &[]), samples);
    assert_eq!(scrape.sum("selat_message_size_bytes_sum", &[]), samples * 200);
    let sum: f64 = scrape.all("selat_relay_latency_seconds_sum", &[]).iter().sum();
    assert!(sum > 0.0 && sum < 30.0, "{sum}");
    lint(&site);
}

#[test]
fn pings_to_both_sides_are_timed_and_are_no_messages() {
    let echo = Backend::echo();
    let pings = "[route.a.ping]\nevery = \"20ms\"\ntimeout = \"10s\"\n";
    let site = Site::start("pings", &(route("a", &[&echo.url()]) + pings));
    let mut client = connect(&site, "/a");
    let count = |site: &Site, side| site.scrape().sum("selat_ping_rtt_seconds_count", &[("side", side)]);
    eventually("pings are answered", || {
        // The client answers while it reads.
        client.send(text("hello")).expect("it is open");
        while client.read().expect("an echo") != text("hello") {}
        count(&site, "client") >= 3 && count(&site, "backend") >= 3
    });
    let scrape = site.scrape();
    let [from_client, from_backend] = ["from_client", "from_backend"]
        .map(|direction| scrape.sum("selat_messages_total", &[("direction", direction)]));
    assert_eq!(from_client, from_backend);
    lint(&site);
}

#[test]
fn no_client_makes_the_page_grow() {
    let echo = Backend::echo();
    let text = "[route.all]\npath = \"/*\"\nhost = \"chat.example\"\npool = \"all\"\n".to_owned();
    let site = Site::start("labels", &(text + &pool("all", &[&echo.url()])));
    // One of each kind, so that every series is there that may be.
    let distinct = |number: u16| {
        let mut client = connect(&site, &format!("/path/{number}?query={number}"));
        expect_echo(&mut client, &Message::text("hello"));
        leave(client, 3000 + number * 2 % 2000);
        let host = format!("GET / HTTP/1.1\r\nHost: host{number}.example\r\nUpgrade: websocket\r\n\r\n");
        assert!(status(&site, host.as_bytes()) >= 400);
    };
    [0, 500].into_iter().for_each(distinct);
    wait_for_end(&site);
    let before = site.scrape();
    (0..1000).for_each(distinct);
    wait_for_end(&site);
    let after = site.scrape();
    assert_eq!(after.sum("selat_sessions_total", &[("route", "all")]), 1002);
    assert_eq!(after.sum("selat_closes_total", &[("code", "3xxx")]), 501);
    assert_eq!(after.sum("selat_closes_total", &[("code", "4xxx")]), 501);
    // The histograms have their buckets from the start.
    assert_eq!(after.series(), before.series());
    lint(&site);
}

#[test]
fn every_shard_has_its_own_series() {
    let echo = Backend::echo();
    let frame = Frame { process: "cores = \"all\"", ..Frame::default() };
    let site = Site::framed("shards", frame, &route("a", &[&echo.url()]));
    let clients: Vec<_> = (0..20).map(|_| connect(&site, "/a")).collect();
    let scrape = site.scrape();
    let shards = allowed_cores().len();
    for name in ["connections", "sessions", "accepted_total", "handed_over_total", "accept_failures_total"] {
        let name = format!("selat_shard_{name}");
        assert_eq!(scrape.all(&name, &[]).len(), shards, "{name}");
    }
    for shard in 0..shards {
        let busy = scrape.all("selat_shard_busy_seconds_total", &[("shard", &shard.to_string())]);
        assert!(busy.iter().sum::<f64>() > 0.0, "shard {shard}: {busy:?}");
    }
    for name in ["connections", "sessions", "accepted_total"] {
        assert_eq!(scrape.sum(&format!("selat_shard_{name}"), &[]), 20, "{name}");
    }
    assert_eq!(scrape.all("selat_log_lines_dropped_total", &[]), [0.0]);
    drop(clients);
    wait_for_end(&site);
    eventually("the connections are closed", || site.scrape().sum("selat_shard_connections", &[]) == 0);
    assert_eq!(site.scrape().sum("selat_shard_accepted_total", &[]), 20);
}
