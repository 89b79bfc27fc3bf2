//! A configuration that changes under a running selat: what is wrong changes nothing, what is right disturbs nobody.
#![cfg(feature = "runtime")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::{Error, Message};

use support::backend::{Backend, Stage};
use support::frames::{CONTINUATION, TEXT, client_frame, server_frame};
use support::http::{switching, upgrade_request};
use support::notify::Manager;
use support::path::Directory;
use support::proxy::{Proxy, command, run_to_end};
use support::raw::Raw;
use support::site::{Frame, Site, pool, route};
use support::ws::{Client, expect_close, expect_echo, text};
use support::{eventually, nobody, now};

fn restart() -> (u16, String) {
    (1012, "service restart".to_owned())
}

/// A WebSocket client of this path.
fn connect(site: &Site, path: &str) -> Client {
    let stream = site.proxy.dial().stream;
    let client = tungstenite::client(format!("ws://chat.example{path}"), stream);
    client.unwrap_or_else(|error| unreachable!("{path} upgrades: {error}")).0
}

/// The status of an upgrade to this path.
fn upgrade(site: &Site, path: &str) -> u16 {
    let mut client = site.proxy.dial();
    client.send(&upgrade_request(path, &[]));
    client.head().status()
}

/// A session whose two ends the test plays.
fn open(site: &Site, stage: &Stage, path: &str) -> (Raw, Raw) {
    let mut client = site.proxy.dial();
    client.send(&upgrade_request(path, &[]));
    let (mut backend, _) = stage.request();
    backend.send(&switching(&[]));
    assert_eq!(client.head().status(), 101);
    (client, backend)
}

#[test]
fn routes_change_where_there_are_no_pools() {
    let route = |status: u16| format!("[route.all]\nrespond = {{ status = {status} }}\n");
    let site = Site::start("poolless", &route(404));
    assert_eq!(upgrade(&site, "/"), 404);
    site.rewrite(&route(410));
    site.reload();
    assert_eq!(upgrade(&site, "/"), 410);
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_with_its_line() {
    let backend = Backend::echo();
    let good = route("chat", &[&backend.url()]);
    let mut site = Site::start("bad", &good);
    let mut client = connect(&site, "/chat");
    let rows = [
        ("[route.broken", ""),
        ("[route.broken]\npool = \"chat\"\npaht = \"/\"", "did you mean \"path\""),
        ("[route.broken]\npool = \"caht\"", "\"chat\""),
        ("[route.broken]\npool = \"chat\"\ntimeouts.idle = \"5\"", "\"5\""),
    ];
    for (wrong, remedy) in rows {
        site.rewrite(&format!("{good}{wrong}\n"));
        // The wrong line is the last, but for one that is never closed.
        let at = site.line_of(wrong.lines().last().unwrap());
        let place = format!("{}:{at}: ", site.file().display());
        let (status, answer) = site.post("/reload");
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 422, "{error}");
        assert!(error.contains(&place) && error.contains(remedy), "{place}{remedy}: {error}");
        let (code, said) = site.operate(&["reload"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(error.lines().next().unwrap()), "{said}");
        let status = site.status();
        assert_eq!(status["config"]["last_reload"]["error"], answer["error"]);
        assert_eq!(status["config"]["generation"], json!(1));
        site.proxy.signal(Signal::HUP);
        for line in error.lines() {
            // Once for each of the three.
            (0..3).for_each(|_| drop(site.proxy.line(&format!("not reloaded: {line}").replace('"', "\\\""))));
        }
        assert_eq!(site.scrape().sum("selat_config_last_reload_successful", &[]), 0);
        expect_echo(&mut client, &text("still here"));
        expect_echo(&mut connect(&site, "/chat"), &text("and new ones are served"));
        assert_eq!(upgrade(&site, "/broken"), 404);
    }
    site.rewrite(&good);
    assert_eq!(site.reload(), [""; 0]);
    assert_eq!(site.status()["config"]["last_reload"]["error"], json!(null));
    assert_eq!(site.scrape().sum("selat_config_last_reload_successful", &[]), 1);
}

#[test]
fn a_name_that_leads_nowhere_changes_nothing() {
    let backend = Backend::echo();
    let good = route("chat", &[&backend.url()]);
    let site = Site::start("nowhere", &good);
    site.rewrite(&(good + &route("new", &["ws://nobody.invalid:9001"])));
    let (status, answer) = site.post("/reload");
    let error = answer["error"].as_str().unwrap();
    assert_eq!(status, 422, "{error}");
    assert!(error.contains("nobody.invalid"), "{error}");
    assert_eq!(site.status()["config"]["last_reload"]["error"], answer["error"]);
    assert_eq!(upgrade(&site, "/new"), 404);
    expect_echo(&mut connect(&site, "/chat"), &text("hello"));
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let backend = Backend::echo();
    let site = Site::start("gone", &route("chat", &[&backend.url()]));
    std::fs::remove_file(site.file()).unwrap();
    let (status, answer) = site.post("/reload");
    let error = answer["error"].as_str().unwrap();
    assert_eq!(status, 422, "{error}");
    assert!(error.contains(site.file().to_str().unwrap()) && error.contains("No such file"), "{error}");
    expect_echo(&mut connect(&site, "/chat"), &text("hello"));
}

#[test]
fn what_holds_for_the_whole_process_cannot_change() {
    let backend = Backend::echo();
    let text = route("chat", &[&backend.url()]);
    let site = Site::start("unchangeable", &text);
    let rows = [
        ("[listen.public]", "[listen.more]\naddr = \"127.0.0.1:0\"\n[listen.public]", "[listen]"),
        ("[listen.public]\n", "[listen.public]\nproxy_protocol = \"required\"\n", "[listen]"),
        ("[admin]\n", "[admin]\ntoken = \"${SELAT_TEST_TOKEN}\"\n", "[admin]"),
        ("[process]\n", "[process]\nplacement = \"balanced\"\n", "placement"),
        ("[process]\n", "[process]\nmax_connections = 5\n", "max_connections"),
        ("[process]\n", "[process]\nhandover = \"/nowhere\"\n", "handover"),
        ("cores = \"", "cores = \"all\" # \"", "cores"),
        ("[listen.public]", "[log]\naccess = \"off\"\n[listen.public]", "[log]"),
    ];
    for (from, to, what) in rows {
        site.reframe(from, to, &text);
        let (status, answer) = site.post("/reload");
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 422, "{error}");
        assert!(
            error.starts_with(&format!("{what} cannot change while selat runs: start it anew")),
            "{error}"
        );
    }
    assert_eq!(site.status()["config"]["generation"], json!(1));
}

#[test]
fn routes_and_pools_come_change_and_go() {
    let (one, two) = (Backend::echo(), Backend::echo());
    let (one, two) = (one.url(), two.url());
    let site = Site::start("changes", &(route("a", &[&one]) + &route("b", &[&one])));
    assert_eq!(["/a", "/b", "/c"].map(|path| upgrade(&site, path)), [101, 101, 404]);
    // A new pool may have the backends of an old one.
    site.rewrite(&(route("a", &[&one, &two]) + &route("c", &[&one])));
    let mut changes = site.reload();
    changes.sort();
    let expected = [
        "pool a: added ".to_owned() + &two,
        "pool a: changed".to_owned(),
        "pool b: removed".to_owned(),
        "pool c: added".to_owned(),
        "route b: removed".to_owned(),
        "route c: added".to_owned(),
    ];
    assert_eq!(changes, expected);
    assert_eq!(["/a", "/b", "/c"].map(|path| upgrade(&site, path)), [101, 404, 101]);
    let c = "[route.c]\nrespond = { status = 410 }\npath = \"/c\"\n";
    site.rewrite(&(route("a", &[&two]) + c));
    let changes = site.reload();
    for change in [&format!("pool a: removed {one}"), "pool c: removed", "route c: changed"] {
        assert!(changes.iter().any(|line| line == change), "{change} in {changes:?}");
    }
    assert_eq!(["/a", "/c"].map(|path| upgrade(&site, path)), [101, 410]);
    let status = site.status();
    assert_eq!(status["pools"].as_array().unwrap().len(), 1);
    assert_eq!(status["pools"][0]["backends"][0]["name"], json!(two));
    assert_eq!(status["config"]["generation"], json!(3));
    assert!(site.get("/config").1.contains("status = 410"));
    // What is in front of a pool and behind it is no change of it.
    site.rewrite(&(pool("spare", &[&one]) + c + &route("a", &[&two])));
    assert_eq!(site.reload(), ["pool spare: added", "routes: in another order"]);
}

#[test]
fn times_of_the_whole_process_change_too() {
    let backend = Backend::echo();
    let chat = route("chat", &[&backend.url()]);
    let site = Site::start("times", &chat);
    site.reframe("[process]\n", "[process]\ntimeouts.head = \"50ms\"\n", &chat);
    assert_eq!(site.reload(), ["process: changed"]);
    assert_eq!(site.proxy.dial().response().0.status(), 408);
}

#[test]
fn a_signal_the_interface_and_the_command_all_reload() {
    let backend = Backend::echo();
    let mut site = Site::start("ways", &route("r0", &[&backend.url()]));
    let change = |site: &Site, name| site.rewrite(&route(name, &[&backend.url()]));
    change(&site, "r1");
    site.proxy.signal(Signal::HUP);
    assert_eq!(site.proxy.line("reloaded").number("generation"), 2);
    site.settle();
    assert_eq!(upgrade(&site, "/r1"), 101);
    change(&site, "r2");
    assert_eq!(site.post("/reload").1["generation"], json!(3));
    site.settle();
    assert_eq!(upgrade(&site, "/r2"), 101);
    change(&site, "r3");
    let (code, said) = site.operate(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("configuration 4 is in effect\n") && said.contains("route r3: added\n"),
        "{said}"
    );
    site.settle();
    assert_eq!([upgrade(&site, "/r3"), upgrade(&site, "/r2")], [101, 404]);
    let (_, said) = site.operate(&["reload"]);
    assert_eq!(said, "configuration 5 is in effect\nnothing had changed\n");
}

#[test]
fn sessions_of_unchanged_routes_notice_nothing_of_twenty_reloads() {
    let (kept, other) = (Backend::echo(), Backend::echo());
    let chat = route("chat", &[&kept.url()]);
    let site = Site::framed("load", Frame { process: "cores = \"all\"", ..Frame::default() }, &chat);
    let (is_over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let talk = |number| {
        let mut client = connect(&site, "/chat");
        let (is_over, rounds) = (is_over.clone(), rounds.clone());
        thread::spawn(move || {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                // Several under way, so that one lost, doubled or swapped would show.
                let messages: Vec<_> = (count..count + 8).map(|n| text(&format!("{number}: {n}"))).collect();
                messages.iter().for_each(|message| client.send(message.clone()).expect("no end"));
                for message in &messages {
                    assert_eq!(client.read().expect("no Close"), *message);
                }
                count += 8;
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            client.close(None).expect("it is open");
            let end = loop {
                match client.read() {
                    Ok(message) => assert_eq!(message, Message::Close(None), "nothing is left over"),
                    Err(end) => break end,
                }
            };
            assert!(matches!(end, Error::ConnectionClosed), "{end}");
            count
        })
    };
    let clients: Vec<_> = (0..8).map(talk).collect();
    for round in 0..20 {
        let before = rounds.load(Ordering::Relaxed);
        eventually("messages pass between two reloads", || rounds.load(Ordering::Relaxed) > before + 2);
        let other = [route("other", &[&other.url()]), pool("spare", &[&other.url()])];
        site.rewrite(&(chat.clone() + other.get(round % 3).map_or("", |text| text)));
        site.reload();
    }
    is_over.store(true, Ordering::Relaxed);
    let sent: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let chat = |direction| [("route", "chat"), ("direction", direction)];
    eventually("all sessions have ended", || site.scrape().sum("selat_sessions_active", &[]) == 0);
    let scrape = site.scrape();
    for direction in ["from_client", "from_backend"] {
        assert_eq!(scrape.sum("selat_messages_total", &chat(direction)), sent);
    }
    assert_eq!(scrape.sum("selat_closes_total", &[("side", "proxy")]), 0);
    assert_eq!(scrape.sum("selat_config_generation", &[]), 21);
}

#[test]
fn sessions_of_a_removed_backend_get_1012_between_two_messages() {
    let (stage, kept) = (Stage::new(), Stage::new());
    let both = |backend: &str| route("gone", &[backend]) + &route("kept", &[&kept.url()]);
    let site = Site::start("removed", &both(&stage.url()));
    let (mut client, mut backend) = open(&site, &stage, "/gone");
    let (mut kept_client, mut kept_backend) = open(&site, &kept, "/kept");
    let first = client_frame(TEXT, false, b"frag");
    client.send(&first);
    assert_eq!(backend.exactly(first.len()), first);
    site.rewrite(&both(&format!("ws://{}", nobody())));
    site.reload();
    // Toward the client nothing is in progress, toward the backend a message is.
    assert_eq!(client.frame().close(), restart());
    let rest = client_frame(CONTINUATION, false, b"men");
    client.send(&rest);
    assert_eq!(backend.exactly(rest.len()), rest);
    let last = client_frame(CONTINUATION, true, b"ted");
    client.send(&last);
    assert_eq!(backend.exactly(last.len()), last);
    assert_eq!(backend.leave(server_frame), restart());
    client.send(&client_frame(support::frames::CLOSE, true, &1012_u16.to_be_bytes()));
    client.expect_fin();
    assert!(kept_client.is_quiet() && kept_backend.is_quiet());
    let hello = client_frame(TEXT, true, b"hello");
    kept_client.send(&hello);
    assert_eq!(kept_backend.exactly(hello.len()), hello);
    let hello = server_frame(TEXT, true, b"hello");
    kept_backend.send(&hello);
    assert_eq!(kept_client.exactly(hello.len()), hello);
    let closes = [("route", "gone"), ("code", "1012"), ("side", "proxy")];
    eventually("the end is counted", || site.scrape().sum("selat_closes_total", &closes) == 1);
}

#[test]
fn a_message_that_a_removed_backend_has_begun_is_ended_before_the_close() {
    let stage = Stage::new();
    let site = Site::start("begun", &route("gone", &[&stage.url()]));
    let (mut client, mut backend) = open(&site, &stage, "/gone");
    let (first, last) = (server_frame(TEXT, false, b"one"), server_frame(CONTINUATION, true, b"two"));
    backend.send(&first);
    assert_eq!(client.exactly(first.len()), first);
    site.rewrite(&route("gone", &[&format!("ws://{}", nobody())]));
    site.reload();
    assert_eq!(backend.frame().close(), restart());
    backend.send(&last);
    assert_eq!(client.exactly(last.len()), last);
    assert_eq!(client.leave(client_frame), restart());
}

#[test]
fn until_its_close_a_session_of_a_removed_backend_loses_no_message() {
    let (gone, kept) = (Backend::echo(), Backend::echo());
    let frame = Frame { process: "cores = \"all\"\ndrain_window = \"500ms\"", ..Frame::default() };
    let site = Site::framed("until", frame, &route("chat", &[&gone.url()]));
    let talk = |mut client: Client| {
        thread::spawn(move || {
            let mut echoed = 0;
            loop {
                for number in echoed..echoed + 8 {
                    // What follows the Close goes nowhere.
                    let _ = client.send(text(&number.to_string()));
                }
                for _ in 0..8 {
                    let message = client.read().expect("an echo or a Close");
                    if let Message::Close(frame) = message {
                        return (echoed, u16::from(frame.expect("a code").code));
                    }
                    assert_eq!(message, text(&echoed.to_string()));
                    echoed += 1;
                }
            }
        })
    };
    let clients: Vec<_> = (0..8).map(|_| talk(connect(&site, "/chat"))).collect();
    let relayed = || site.scrape().sum("selat_messages_total", &[("direction", "from_backend")]);
    eventually("messages pass", || relayed() > 1000);
    site.rewrite(&route("chat", &[&kept.url()]));
    site.reload();
    for (echoed, code) in clients.into_iter().map(|client| client.join().unwrap()) {
        assert_eq!(code, 1012);
        assert!(echoed > 0);
    }
    expect_echo(&mut connect(&site, "/chat"), &text("elsewhere"));
}

#[test]
fn sessions_of_a_removed_pool_and_route_are_closed_over_the_drain_window() {
    let backend = Backend::echo();
    let kept = route("kept", &[&backend.url()]);
    let frame = Frame { process: "cores = \"all\"\ndrain_window = \"2s\"", ..Frame::default() };
    let site = Site::framed("window", frame, &(kept.clone() + &route("gone", &[&backend.url()])));
    let mut kept_client = connect(&site, "/kept");
    let clients: Vec<_> = (0..40).map(|_| connect(&site, "/gone")).collect();
    let wait = |mut client| {
        thread::spawn(move || {
            assert_eq!(expect_close(&mut client), restart());
            now()
        })
    };
    let closes: Vec<_> = clients.into_iter().map(wait).collect();
    site.rewrite(&kept);
    let began = now();
    site.reload();
    let mut at: Vec<_> = closes.into_iter().map(|close| close.join().unwrap()).collect();
    at.sort_unstable();
    // Forty even draws from two seconds that all fall into half of one: less likely than 10^-20.
    assert!(at[39] - at[0] > Duration::from_millis(500), "{:?}", at[39] - at[0]);
    assert!(at[39] - began > Duration::from_secs(1));
    // The same address in another pool is another backend.
    expect_echo(&mut kept_client, &text("hello"));
}

#[test]
fn counts_of_sessions_never_fall() {
    let backend = Backend::echo();
    let (a, b) = (route("a", &[&backend.url()]), route("b", &[&backend.url()]));
    let site = Site::start("counts", &(a.clone() + &b));
    let total = |route| site.scrape().sum("selat_sessions_total", &[("route", route)]);
    for path in ["/a", "/a", "/b"] {
        expect_echo(&mut connect(&site, path), &text("hello"));
    }
    let mut open = connect(&site, "/a");
    assert_eq!([total("a"), total("b")], [3, 1]);
    // Gone, and back, in another order, with another limit.
    for (text, counts) in [
        (a.clone(), [3, 1]),
        (b.clone() + &a, [3, 1]),
        (a.clone() + "[route.a.limits]\nmessage = \"1KiB\"\n" + &b, [3, 1]),
    ] {
        site.rewrite(&text);
        site.reload();
        assert_eq!([total("a"), total("b")], counts);
    }
    expect_echo(&mut open, &text("still here"));
    expect_echo(&mut connect(&site, "/b"), &text("hello"));
    assert_eq!([total("a"), total("b")], [3, 2]);
    let of_backend = site.scrape().sum("selat_backend_sessions_total", &[("pool", "a")]);
    assert_eq!(of_backend, 3);
}

#[test]
fn new_sessions_meet_the_new_limits_and_old_ones_keep_theirs() {
    let backend = Backend::echo();
    let chat = route("chat", &[&backend.url()]);
    let site = Site::start("limits", &chat);
    let mut old = connect(&site, "/chat");
    site.rewrite(&(chat + "[route.chat.limits]\nmessage = \"10B\"\n"));
    assert_eq!(site.reload(), ["route chat: changed"]);
    let mut new = connect(&site, "/chat");
    new.send(text("more than ten bytes")).unwrap();
    assert_eq!(expect_close(&mut new).0, 1009);
    expect_echo(&mut old, &text("more than ten bytes"));
}

#[test]
fn of_two_reloads_at_once_one_is_told_so() {
    let backend = Backend::echo();
    let good = route("chat", &[&backend.url()]);
    let site = Site::start("twice", &good);
    // Names enough that looking them up takes a while, the last of which leads nowhere.
    let names: String = (1..5000).map(|port| format!("\"ws://localhost:{port}\", ")).collect();
    let slow = format!("[pool.slow]\nbackends = [{names}\"ws://nobody.invalid:1\"]\n");
    site.rewrite(&(good.clone() + &slow));
    let mut asked = [site.begin("POST", "/reload", ""), site.begin("POST", "/reload", "")];
    let errors = asked.each_mut().map(|connection| {
        let (_, body) = connection.response();
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        answer["error"].as_str().expect("neither is done").to_owned()
    });
    let told = errors.iter().filter(|error| **error == "a reload is under way; try again when it is done");
    assert_eq!(told.count(), 1, "{errors:?}");
    // That it was told so is no news of the file.
    let last = &site.status()["config"]["last_reload"]["error"];
    assert!(!last.as_str().unwrap().contains("under way"), "{last}");
    site.rewrite(&good);
    site.reload();
}

#[test]
fn without_a_file_there_is_nothing_to_reload_and_that_is_said() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[], &[&backend.url()]);
    proxy.signal(Signal::HUP);
    let message = "not reloaded: this selat was started without a configuration file; start it with \
                   `selat run -c FILE`";
    proxy.line(message);
    expect_echo(&mut proxy.connect(), &text("hello"));
    // It has no admin interface either.
    let admin = nobody().to_string();
    let (code, said) = run_to_end(command(&["reload", "--admin", &admin]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("with an admin interface there? Say where it is with --admin"), "{said}");
}

#[test]
fn the_service_manager_hears_of_every_reload_and_that_it_is_over() {
    let directory = Directory::new("manager");
    let mut manager = Manager::new(&directory.file("notify"));
    let backend = Backend::echo();
    let good = route("chat", &[&backend.url()]);
    let site = Site::heard_by("notified", Frame::default(), &good, Some(&manager));
    assert_eq!([manager.next(), manager.next()][0], "READY=1");
    for text in [good.clone() + "[rout.x]\n", good.clone() + &route("new", &["ws://nobody.invalid:1"]), good]
    {
        site.rewrite(&text);
        site.proxy.signal(Signal::HUP);
        assert_eq!(manager.next(), "RELOADING=1");
        // Without it systemd takes the answer for one to an earlier reload.
        assert!(manager.next().starts_with("MONOTONIC_USEC="));
        assert_eq!([manager.next(), manager.next()], ["READY=1", "STATUS=serving"]);
    }
    assert!(manager.is_silent());
}
