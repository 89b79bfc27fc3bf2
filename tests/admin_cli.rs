//! `selat status`, `drain`, `undrain` and `reload`: what they print, what they ask, how they fail.
#![cfg(feature = "runtime")]

mod played;
mod support;

use std::fs;

use selat::telemetry::{FeedOverview, FeedState, Overview};

use played::{Played, overview};
use support::backend::Backend;
use support::nobody;
use support::proxy::{command, run_to_end};

fn start(token: Option<&str>) -> Played {
    Played::start("127.0.0.1:0", token, overview())
}

/// Runs the program against an admin interface: its exit code, and what it wrote.
fn run(admin: &str, arguments: &[&str]) -> (Option<i32>, String) {
    run_to_end(command(&[arguments, &["--admin", admin]].concat()))
}

/// That the program fails, and says this.
fn expect_failure(admin: &str, arguments: &[&str], expected: &[&str]) {
    let (code, text) = run(admin, arguments);
    assert_eq!(code, Some(1), "{text}");
    for expected in expected {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}

fn temporary(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("selat-{name}-{}", std::process::id()));
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_status_is_a_page_for_people() {
    let admin = start(None);
    admin.set(|scene| {
        let reload = selat::telemetry::ReloadStatus { seconds_ago: 61.0, error: Some("line 3".to_owned()) };
        scene.overview.config.last_reload = Some(reload);
        let feed = scene.overview.feeds.first().expect("a feed").clone();
        scene.overview.feeds.push(FeedOverview {
            name: "stopped".to_owned(),
            state: FeedState::Stopped,
            words: "too\x1b many\nfx  up".to_owned(),
            last_message_age_seconds: None,
            ..feed
        });
    });
    let (code, text) = run(&admin.address, &["status"]);
    assert_eq!(code, Some(0), "{text}");
    let expected = [
        format!("selat 0.1.0  serving  up 1h 0m  {}  ready", admin.address),
        "configuration 1 from /etc/selat.toml, but a reload 1m 1s ago changed nothing: line 3".to_owned(),
        "ROUTE  SESSIONS  TOTAL  MESSAGES IN    OUT  BYTES IN     OUT  REFUSED".to_owned(),
        "chat         10     90        1,000  1,000    98 KiB  98 KiB        2".to_owned(),
        "FEED     SOURCE                  STATE    LAST MESSAGE  GAPS  MESSAGES  CLIENTS  DELIVERIES  LAG P99  \
         SLOWEST  CONFLATED  DROPPED  EVICTED  WORDS"
            .to_owned(),
        "fx       wss://spare.example/fx  up             2s ago     7        50    1,000      49,000        4       17        \
              600      400        5"
            .to_owned(),
        "DISPATCH  OUTSTANDING   SENT  REPLIES  RETRIED  TIMED OUT  LOST  LATE  SURPLUS  PARTIAL  HELD BACK".to_owned(),
        "work               12  2,000    1,950       20         21    22    23       24       25         26".to_owned(),
        "chat  ws://10.0.0.2:9001  10.0.0.2:9001  down   1m 30s         0     90  as the test wants"
            .to_owned(),
        "    0     0           12        10       100            5".to_owned(),
        "relay latency: p50 556 µs  p99 10.00 ms".to_owned(),
        "delivery of fx: p50 556 µs  p99 10.00 ms".to_owned(),
        "reply of work/ws://10.0.0.3:9001 (10.0.0.3:9001): p50 556 µs  p99 10.00 ms".to_owned(),
        "3 log lines lost".to_owned(),
    ];
    for line in expected {
        assert!(text.lines().any(|found| found == line), "{line:?} in\n{text}");
    }
    // A source is no more trusted with the terminal than anybody else.
    let stopped = text.lines().find(|line| line.starts_with("stopped ")).expect("the other feed");
    assert!(stopped.contains("stopped      none yet") && stopped.ends_with("too· many fx up"), "{stopped}");
}

#[test]
fn a_status_for_programs_is_the_answer_as_it_came() {
    let (code, text) = run(&start(None).address, &["status", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(serde_json::from_str::<Overview>(&text).expect("an overview"), overview());
}

#[test]
fn nobody_there_is_a_failure_with_a_remedy() {
    let address = nobody().to_string();
    expect_failure(&address, &["status"], &["no selat answers on", &address, "refused", "--admin unix:PATH"]);
    expect_failure("unix:/nowhere/selat", &["status"], &["no selat answers on unix:/nowhere/selat"]);
}

#[test]
fn somebody_else_there_is_a_failure_too() {
    let other = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    expect_failure(&other.address().to_string(), &["status"], &["is no selat", "expected value"]);
    let silent = Backend::answering("");
    expect_failure(&silent.address().to_string(), &["status"], &["is no selat"]);
}

#[test]
fn a_backend_is_drained_and_used_again_by_any_of_its_names() {
    let admin = start(None);
    for name in ["ws://10.0.0.1:9001", "10.0.0.1:9001", "chat/ws://10.0.0.1:9001"] {
        let (code, text) = run(&admin.address, &["drain", name]);
        assert_eq!(
            (code, text.as_str()),
            (Some(0), "chat/ws://10.0.0.1:9001: draining\n10 sessions there now\n")
        );
        assert_eq!(admin.asked(), format!("drain {name}"));
    }
    let (code, text) = run(&admin.address, &["undrain", "10.0.0.2:9001"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "chat/ws://10.0.0.2:9001: in use again\n0 sessions there now\n")
    );
    assert_eq!(admin.asked(), "undrain 10.0.0.2:9001");
    let odd = "ws://nobody:1/a?b#c d%";
    expect_failure(&admin.address, &["drain", odd], &["no backend is called", odd, "ws://10.0.0.2:9001"]);
    assert_eq!(admin.asked(), format!("drain {odd}"));
}

#[test]
fn a_reload_says_what_changed_or_why_nothing_did() {
    let admin = start(None);
    let (code, text) = run(&admin.address, &["reload"]);
    let expected = "configuration 2 is in effect\npool chat: added ws://10.0.0.3:9001\n";
    assert_eq!((code, text.as_str()), (Some(0), expected));
    // What a terminal would obey is shown, and no more.
    admin.set(|scene| scene.reload_error = Some("\x1b[2Jgone".to_owned()));
    expect_failure(&admin.address, &["reload"], &["·[2Jgone"]);
    let error = "selat.toml:14: unknown key \"backend\" in [pool.chat]; did you mean \"backends\"?";
    admin.set(|scene| scene.reload_error = Some(error.to_owned()));
    expect_failure(&admin.address, &["reload"], &[error]);
}

#[test]
fn a_token_comes_from_a_file() {
    let admin = start(Some("s3cret"));
    let (right, wrong, empty) = (temporary("right"), temporary("wrong"), temporary("empty"));
    for (path, text) in [(&right, "s3cret\n"), (&wrong, "guess"), (&empty, "\n")] {
        fs::write(path, text).expect("a temporary file");
    }
    let (code, text) = run(&admin.address, &["reload", "--token-file", &right]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(admin.asked(), "reload");
    expect_failure(&admin.address, &["reload"], &["--token-file", "401"]);
    expect_failure(&admin.address, &["reload", "--token-file", &wrong], &["401"]);
    expect_failure(&admin.address, &["reload", "--token-file", &empty], &[&empty, "visible ASCII"]);
    expect_failure(&admin.address, &["reload", "--token-file", "/nowhere"], &["/nowhere", "No such file"]);
    assert!(admin.was_left_alone());
    for path in [right, wrong, empty] {
        fs::remove_file(path).expect("it is ours");
    }
}

#[test]
fn a_unix_socket_is_asked_like_any_other_address() {
    let path = format!("unix:{}", temporary("socket"));
    let admin = Played::start(&path, None, overview());
    let (code, text) = run(&path, &["status"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&path, &["drain", "10.0.0.1:9001"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(admin.asked(), "drain 10.0.0.1:9001");
}
