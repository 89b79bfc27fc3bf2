//! The admin interface over real sockets, judged by Python's HTTP client and by bytes written out by hand.
#![cfg(feature = "runtime")]

mod played;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use selat::telemetry::{BackendState, Overview, Phase, prometheus};

use played::{Played, Scene, overview};
use support::http::Head;
use support::now;
use support::python::Script;
use support::raw::{Ending, Raw};

/// The connections that the interface serves at once.
const CONNECTIONS_MAX: usize = 64;

/// A backend that is up takes sessions, the other does not.
fn start(token: Option<&str>) -> Played {
    Played::start("127.0.0.1:0", token, overview())
}

/// Has Python's HTTP client go through a scenario of `admin.py`.
fn judge(scenario: &str, admin: &Played, more: &[&str]) {
    Script::start("admin.py", &[&[scenario, &admin.address], more].concat()).expect_success();
}

/// Sends these bytes, and reads the whole answer.
fn send(admin: &Played, bytes: &[u8]) -> (Head, String) {
    let mut connection = dial(admin);
    connection.send(bytes);
    let (head, body) = connection.response();
    (head, String::from_utf8(body).expect("text"))
}

fn dial(admin: &Played) -> Raw {
    match admin.address.strip_prefix("unix:") {
        Some(path) => Raw::connect_unix(path),
        None => Raw::connect(&admin.address),
    }
}

/// A request with these further header lines.
fn request(method: &str, path: &str, more: &[&str]) -> Vec<u8> {
    let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{more}\r\n").into_bytes()
}

/// The status of a request to the interface's own address.
fn status(admin: &Played, method: &str, path: &str) -> u16 {
    send(admin, &request(method, path, &["Host: localhost"])).0.status()
}

/// A path for a socket.
fn socket() -> String {
    let path = std::env::temp_dir().join(format!("selat-admin-{}", std::process::id()));
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn every_path_answers_a_python_client() {
    judge("reads", &start(None), &[]);
}

#[test]
fn a_scrape_passes_both_parsers_of_the_python_client() {
    let admin = start(None);
    // Names that a configuration may hold.
    let name = "we\\ird \"na\nme\"";
    admin.set(|scene| {
        let route = scene.overview.routes.first_mut().expect("a route");
        name.clone_into(&mut route.name);
    });
    judge("scrape", &admin, &[name]);
}

#[test]
fn a_scrape_of_nothing_yet_is_a_scrape() {
    judge("lint", &Played::start("127.0.0.1:0", None, Overview::default()), &[]);
}

#[test]
fn every_metric_stands_in_the_documentation_with_its_type() {
    let scrape = prometheus::render(overview());
    let families = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let families: BTreeSet<_> = families
        .map(|(name, kind)| {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/admin.md");
    let page = fs::read_to_string(page).expect("it is in the repository");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `selat_")?.split_once("` | "));
    let rows =
        rows.filter_map(|(name, rest)| Some((format!("selat_{name}"), rest.split_once(" |")?.0.to_owned())));
    assert_eq!(rows.collect::<BTreeSet<_>>(), families);
}

#[test]
fn a_status_is_an_overview() {
    let admin = start(None);
    let (head, body) = send(&admin, &request("GET", "/status", &["Host: localhost"]));
    assert_eq!((head.status(), head.one("Content-Type")), (200, "application/json"));
    assert_eq!(serde_json::from_str::<Overview>(&body).expect("an overview"), overview());
}

#[test]
fn it_is_ready_while_each_pool_has_a_backend_and_it_does_not_drain() {
    let admin = start(None);
    let set_state = |state| {
        move |scene: &mut Scene| {
            let backends = scene.overview.pools.iter_mut().flat_map(|pool| &mut pool.backends);
            backends.for_each(|backend| backend.state = state);
        }
    };
    let readiness = || {
        let (head, body) = send(&admin, &request("GET", "/readyz", &["Host: localhost"]));
        (head.status(), body)
    };
    assert_eq!(readiness(), (200, "ready\n".to_owned()));
    admin.set(set_state(BackendState::Down));
    assert_eq!(readiness(), (503, "pool chat: none of 2 backends is up\n".to_owned()));
    admin.set(set_state(BackendState::Up));
    assert_eq!(readiness().0, 200);
    admin.set(|scene| scene.overview.phase = Phase::Draining);
    assert_eq!(readiness(), (503, "draining\n".to_owned()));
    assert_eq!(status(&admin, "GET", "/healthz"), 200);
}

#[test]
fn a_token_guards_whatever_changes_something() {
    let admin = start(Some("s3cret"));
    judge("token", &admin, &["s3cret"]);
    assert_eq!(admin.asked(), "drain ws://10.0.0.1:9001");
    assert_eq!(admin.asked(), "undrain chat/10.0.0.1:9001");
    assert_eq!(admin.asked(), "reload");
    assert_eq!(admin.asked(), "shutdown");
    assert!(admin.was_left_alone());
}

#[test]
fn no_web_page_reaches_a_loopback_interface() {
    let admin = start(None);
    let rows: [(&str, &[&str], u16); 8] = [
        ("GET", &["Host: evil.example"], 421),
        ("POST", &["Host: evil.example:9765"], 421),
        ("POST", &[], 421),
        ("POST", &["Host: localhost", "Host: evil.example"], 421),
        ("POST", &["Host: localhost", "Origin: http://evil.example"], 403),
        ("POST", &["Host: localhost", "Origin: null"], 403),
        ("GET", &["Host: 127.0.0.1"], 405),
        ("POST", &["Host: [::1]:9765"], 200),
    ];
    for (method, lines, expected) in rows {
        let (head, _) = send(&admin, &request(method, "/reload", lines));
        assert_eq!(head.status(), expected, "{method} {lines:?}");
    }
    assert_eq!(admin.asked(), "reload");
    assert!(admin.was_left_alone());
}

#[test]
fn over_the_network_nothing_changes_without_a_token() {
    let admin = Played::start("0.0.0.0:0", None, overview());
    let address = admin.address.replace("0.0.0.0", "127.0.0.1");
    for (path, method, expected) in
        [("/status", "GET", 200), ("/reload", "POST", 403), ("/drain", "POST", 403)]
    {
        let mut connection = Raw::connect(&address);
        connection.send(&request(method, path, &["Host: selat.example"]));
        assert_eq!(connection.response().0.status(), expected, "{path}");
    }
    assert!(admin.was_left_alone());
}

#[test]
fn a_unix_socket_is_for_this_user_alone_and_leaves_no_file() {
    let path = socket();
    let admin = Played::start(&format!("unix:{path}"), None, overview());
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(status(&admin, "GET", "/healthz"), 200);
    assert_eq!(status(&admin, "POST", "/reload"), 200);
    assert_eq!(admin.asked(), "reload");
    drop(admin);
    assert!(!fs::exists(&path).expect("a directory"));
}

#[test]
fn what_is_no_request_of_ours_gets_an_honest_answer() {
    let admin = start(None);
    let long = format!("X-Long: {}", "x".repeat(10_000));
    let many: Vec<_> = (0..100).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).chain(["Host: localhost"]).collect();
    let rows = [
        (request("GET", "/nowhere", &["Host: localhost"]), 404),
        (request("POST", "/status", &["Host: localhost"]), 405),
        (request("GET", "/drain/x", &["Host: localhost"]), 405),
        (request("POST", "/drain/%ff", &["Host: localhost"]), 400),
        (request("POST", "/drain/nobody", &["Host: localhost"]), 404),
        (request("POST", "/reload", &["Host: localhost", "Content-Length: 3"]), 413),
        (request("POST", "/reload", &["Host: localhost", "Transfer-Encoding: chunked"]), 413),
        (request("GET", "/status", &["Host: localhost", &long]), 431),
        (request("GET", "/status", &many), 431),
        (b"\x16\x03\x01\x02\x00 this is TLS \r\n\r\n".to_vec(), 400),
        (b"GET /status\r\n\r\n".to_vec(), 400),
    ];
    for (bytes, expected) in rows {
        let (head, _) = send(&admin, &bytes);
        assert_eq!(head.status(), expected, "{}", bytes.escape_ascii());
    }
    let _ = admin.asked();
    assert!(admin.was_left_alone());
}

#[test]
fn clients_that_say_nothing_hold_it_up_for_a_moment_only() {
    let admin = start(None);
    let began = now();
    let mut slow: Vec<_> = (0..CONNECTIONS_MAX).map(|_| dial(&admin)).collect();
    slow.iter_mut().for_each(|connection| connection.send(b"GET /status HTTP/1.1\r\n"));
    // Every connection that there may be is taken; this one waits until they have used up their time.
    assert_eq!(status(&admin, "GET", "/healthz"), 200);
    assert!(began.elapsed() > Duration::from_secs(4));
    for connection in &mut slow {
        assert_eq!(connection.rest().1, Ending::Fin);
    }
}

#[test]
fn a_control_plane_that_does_not_answer_is_said_so() {
    let admin = start(None);
    admin.set(|scene| scene.is_hung = true);
    let (head, body) = send(&admin, &request("GET", "/status", &["Host: localhost"]));
    assert_eq!(head.status(), 504);
    assert!(body.contains("did not answer"), "{body}");
    // Whether the process is alive does not depend on it.
    assert_eq!(status(&admin, "GET", "/healthz"), 200);
}
