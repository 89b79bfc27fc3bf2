//! Running selat from day to day: the access log, the admin interface, `selat status` and `selat top`.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use support::backend::{Backend, Stage};
use support::frames::{CLOSE, client_frame, server_frame};
use support::http::upgrade_request;
use support::path::Directory;
use support::proxy::{command, run_to_end};
use support::site::{Frame, Site, pool, route};
use support::terminal::Terminal;
use support::ws::{Client, expect_echo, text};
use support::{eventually, nobody};

fn connect(site: &Site, path: &str) -> Client {
    let stream = site.proxy.dial().stream;
    let client = tungstenite::client(format!("ws://chat.example{path}"), stream);
    client.unwrap_or_else(|error| unreachable!("{path} upgrades: {error}")).0
}

/// A whole session with one echo.
fn visit(site: &Site, path: &str) {
    let mut client = connect(site, path);
    expect_echo(&mut client, &text("hello"));
    client.close(None).expect("it is open");
    while client.read().is_ok() {}
}

/// The JSON lines of a file; none if there is no file.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // Of the last line there may be a part only.
    let whole = text.get(..text.rfind('\n').map_or(0, |end| end + 1)).unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn the_log_has_one_json_line_a_session_and_a_refusal() {
    let backend = Backend::echo();
    let mut site = Site::start("lines", &route("chat", &[&backend.url()]));
    visit(&site, "/chat?secret=1");
    let mut stranger = site.proxy.dial();
    stranger.send(&upgrade_request("/nowhere?secret=1", &[]));
    assert_eq!(stranger.response().0.status(), 404);
    let session: Value = serde_json::from_str(&site.proxy.session().0).expect("JSON");
    let expected = json!({
        "target": "session", "message": "session ended", "route": "chat", "path": "/chat",
        "backend": backend.url(), "messages_from_client": 1, "messages_from_backend": 1,
        // 11 bytes a masked "hello", 6 for the empty Close; 4 less without a mask.
        "bytes_from_client": 17, "bytes_from_backend": 9, "ended_by": "client", "why": "closed", "cut": false,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(session[field], *value, "{field} in {session}");
    }
    assert!(session["client"].as_str().unwrap().starts_with("127."), "{session}");
    let refusal: Value = serde_json::from_str(&site.proxy.line("request refused").0).expect("JSON");
    assert_eq!([&refusal["status"], &refusal["path"]], [&json!(404), &json!("/nowhere")]);
    site.proxy.signal(Signal::TERM);
    let rest = site.proxy.ended();
    assert!(!rest.lines.iter().any(|line| line.is("session ended") || line.is("request refused")));
}

#[test]
fn the_access_log_can_be_off() {
    let backend = Backend::echo();
    let mut site = Site::start("off", &(route("chat", &[&backend.url()]) + "[log]\naccess = \"off\"\n"));
    visit(&site, "/chat");
    site.proxy.signal(Signal::TERM);
    let ended = site.proxy.ended();
    assert_eq!(ended.last().number("sessions"), 1);
    assert!(!ended.lines.iter().any(|line| line.0.contains("\"target\":\"session\"")), "{:?}", ended.lines);
}

#[test]
fn the_access_log_can_be_a_file_that_may_be_renamed() {
    let directory = Directory::new("access");
    let file = directory.file("access.log");
    let backend = Backend::echo();
    let log = format!("[log]\naccess = {:?}\n", file.to_str().unwrap());
    let chat = route("chat", &[&backend.url()]);
    let mut site = Site::start("file", &(chat + &log));
    visit(&site, "/chat");
    visit(&site, "/chat");
    eventually("two lines are written", || lines(&file).len() == 2);
    for line in lines(&file) {
        assert_eq!([&line["message"], &line["route"]], [&json!("session ended"), &json!("chat")]);
    }
    let rotated = directory.file("access.log.1");
    fs::rename(&file, &rotated).expect("it is ours");
    visit(&site, "/chat");
    eventually("a new file is written", || lines(&file).len() == 1);
    assert_eq!(lines(&rotated).len(), 2);
    site.proxy.signal(Signal::TERM);
    let ended = site.proxy.ended();
    assert!(!ended.lines.iter().any(|line| line.0.contains("\"target\":\"session\"")), "{:?}", ended.lines);
}

#[test]
fn an_access_log_that_nobody_reads_holds_up_no_session() {
    let directory = Directory::new("unread");
    let fifo = directory.argument("access.log");
    let (code, said) = run_to_end({
        let mut mkfifo = Command::new("mkfifo");
        mkfifo.arg(&fifo);
        mkfifo
    });
    assert_eq!(code, Some(0), "{said}");
    // Both ways, so that it is open though nobody else has it open; and never read.
    let _unread = fs::File::options().read(true).write(true).open(&fifo).expect("it is ours");
    let backend = Backend::echo();
    let chat = route("chat", &[&backend.url()]);
    let mut site = Site::start("deaf", &(chat + &format!("[log]\naccess = {fifo:?}\n")));
    // More lines than a pipe holds.
    (0..400).for_each(|_| visit(&site, "/chat"));
    site.proxy.signal(Signal::TERM);
    let ended = site.proxy.ended();
    assert_eq!((ended.code, ended.last().number("sessions")), (Some(0), 400));
}

#[test]
fn an_access_log_that_cannot_be_written_is_a_mistake() {
    let directory = Directory::new("unwritable");
    let file = directory.file("selat.toml");
    let text =
        "[listen.public]\naddr = \"127.0.0.1:0\"\n[log]\naccess = \"/nowhere/access.log\"\n".to_owned();
    fs::write(&file, text + &route("chat", &[&format!("ws://{}", nobody())])).expect("it is ours");
    let (code, said) = run_to_end(command(&["run", "-c", file.to_str().unwrap()]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("[log] access: /nowhere/access.log cannot be opened: No such file"), "{said}");
    assert!(said.contains("name a file in a directory that selat may write to"), "{said}");
}

#[test]
fn it_is_ready_while_each_pool_has_a_backend() {
    let mut backend = Some(Backend::echo());
    let address = backend.as_ref().unwrap().address();
    let site = Site::start("ready", &route("chat", &[&format!("ws://{address}")]));
    visit(&site, "/chat");
    assert_eq!(site.get("/readyz"), (200, "ready\n".to_owned()));
    backend.take().unwrap().kill();
    let mut client = site.proxy.dial();
    client.send(&upgrade_request("/chat", &[]));
    assert!(client.response().0.status() >= 500);
    eventually("it is not ready", || site.get("/readyz").0 == 503);
    assert_eq!(site.get("/readyz").1, "pool chat: none of 1 backends is up\n");
    assert_eq!(site.get("/healthz"), (200, "alive\n".to_owned()));
    let _back = Backend::echo_at(address);
    eventually("it is ready again", || site.get("/readyz").0 == 200);
}

#[test]
fn the_configuration_is_shown_without_secrets_and_the_token_guards_orders() {
    let backend = Backend::echo();
    let frame = Frame { admin: "token = \"${SELAT_TEST_TOKEN}\"", ..Frame::default() };
    let site = Site::framed("secrets", frame, &route("chat", &[&backend.url()]));
    let (status, config) = site.get("/config");
    assert_eq!(status, 200, "{config}");
    assert!(
        config.contains("token = \"${SELAT_TEST_TOKEN}\"") && config.contains(&backend.url()),
        "{config}"
    );
    for path in ["/config", "/status", "/metrics", "/backends"] {
        assert!(!site.get(path).1.contains("t0ps3cret"), "{path}");
    }
    // What it shows is a file of the same meaning.
    fs::write(site.file(), &config).expect("it is ours");
    let reload = |more| site.ask("POST", "/reload", more);
    assert_eq!(reload("").0.status(), 401);
    assert_eq!(reload("Authorization: Bearer wrong\r\n").0.status(), 401);
    let (head, body) = reload("Authorization: Bearer t0ps3cret\r\n");
    assert_eq!((head.status(), body.as_str()), (200, r#"{"generation":2,"changes":[]}"#));
    let token = site.directory.argument("token");
    fs::write(&token, "t0ps3cret\n").expect("it is ours");
    let (code, said) = site.operate(&["reload", "--token-file", &token]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = site.operate(&["reload"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--token-file") && said.contains("401"), "{said}");
}

#[test]
fn backends_are_listed_drained_and_used_again() {
    let (one, two) = (Backend::echo(), Backend::echo());
    let site = Site::start("backends", &route("chat", &[&one.url(), &two.url()]));
    let mut clients: Vec<_> = (0..4).map(|_| connect(&site, "/chat")).collect();
    let sessions = || {
        let pools: Value = serde_json::from_str(&site.get("/backends").1).expect("JSON");
        let backends = pools[0]["backends"].as_array().unwrap().clone();
        let row = |backend: &Value| {
            (backend["state"].as_str().unwrap().to_owned(), backend["sessions_now"].as_u64().unwrap())
        };
        backends.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(sessions().iter().map(|row| row.1).collect::<Vec<_>>(), [2, 2]);
    let (code, said) = site.operate(&["drain", &one.url()]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said, format!("chat/{}: draining\n2 sessions there now\n", one.url()));
    let stays = |client: &mut Client| {
        client.send(text("hello")).expect("it is open");
        let stays = !client.read().expect("an echo or a Close").is_close();
        while !stays && client.read().is_ok() {}
        stays
    };
    eventually("its sessions are sent away", || {
        clients.retain_mut(stays);
        clients.len() == 2
    });
    eventually("it is empty", || sessions()[0] == ("draining".to_owned(), 0));
    (0..3).for_each(|_| visit(&site, "/chat"));
    let total =
        |backend: &Backend| site.scrape().sum("selat_backend_sessions_total", &[("backend", &backend.url())]);
    assert_eq!([total(&one), total(&two)], [2, 5]);
    let (code, said) = site.operate(&["undrain", &one.address().to_string()]);
    assert_eq!(code, Some(0), "{said}");
    (0..2).for_each(|_| visit(&site, "/chat"));
    assert!(total(&one) > 2);
}

#[test]
fn the_whole_process_drains_by_order() {
    let stage = Stage::new();
    let mut site = Site::start(
        "drain",
        &pool("chat", &[&stage.url()]).replace("[pool", "[route.chat]\npool = \"chat\"\n[pool"),
    );
    let (mut client, mut backend) = stage.open(&site.proxy);
    let (head, body) = site.ask("POST", "/drain", "");
    assert_eq!((head.status(), body.as_str()), (202, ""));
    let close = client.frame();
    assert_eq!(close.close(), (1001, "going away".to_owned()));
    assert_eq!(site.status()["phase"], json!("draining"));
    assert_eq!(site.get("/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(site.scrape().sum("selat_draining", &[]), 1);
    assert_eq!(site.post("/reload").0, 422);
    client.send(&client_frame(CLOSE, true, &close.payload));
    client.expect_fin();
    assert_eq!(backend.leave(server_frame).0, 1001);
    let ended = site.proxy.ended();
    assert_eq!((ended.code, ended.last().number("drained")), (Some(0), 1));
}

#[test]
fn a_status_is_a_page_for_people() {
    let backend = Backend::echo();
    let down = format!("ws://{}", nobody());
    let site = Site::start("status", &(route("chat", &[&backend.url()]) + &route("dead", &[&down])));
    let _open = connect(&site, "/chat");
    visit(&site, "/chat");
    let mut client = site.proxy.dial();
    client.send(&upgrade_request("/dead", &[]));
    client.response();
    site.rewrite("nonsense");
    site.post("/reload");
    let (code, page) = site.operate(&["status"]);
    assert_eq!(code, Some(0), "{page}");
    let has = |words: &[&str]| {
        let found = page.lines().any(|line| {
            let cells: Vec<_> = line.split_whitespace().collect();
            cells.join(" ").contains(&words.join(" "))
        });
        assert!(found, "{words:?} in\n{page}");
    };
    has(&["selat", env!("CARGO_PKG_VERSION"), "serving", "up"]);
    has(&[&site.admin, "not ready: pool dead: none of 1 backends is up"]);
    has(&["configuration 1 from", site.file().to_str().unwrap()]);
    has(&["changed nothing:", &format!("{}:", site.file().display())]);
    has(&["chat", "1", "2", "1", "1", "17 B"]);
    has(&["chat", &backend.url(), &backend.address().to_string(), "up"]);
    has(&["dead", &down]);
    has(&["a session's connection was refused"]);
    has(&["backend handshake:", "p50"]);
}

#[test]
fn top_shows_traffic_as_it_is() {
    let backend = Backend::echo();
    let site = Site::start("top", &route("chat", &[&backend.url()]));
    let is_over = AtomicBool::new(false);
    let mut client = connect(&site, "/chat");
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                expect_echo(&mut client, &text("hello"));
            }
            client
                .close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
                .expect("it is open");
            while client.read().is_ok() {}
        });
        let mut terminal = Terminal::start(100, 24, &["top", "--every", "100ms", "--admin", &site.admin]);
        terminal.shows("sessions 1 ");
        terminal.shows("relay latency   p50");
        terminal.shows(&format!("chat/{}", backend.url()));
        let screen = terminal.lines();
        assert!(
            screen.iter().any(|line| line.starts_with("in ") && !line.starts_with("in 0 ")),
            "{screen:?}"
        );
        is_over.store(true, Ordering::Relaxed);
        terminal.shows("sessions 0 ");
        terminal.shows("closes   1000: 1");
        terminal.press("q");
        terminal.expect_end();
    });
}
