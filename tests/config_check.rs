//! `selat check` and `selat run -c`: exit codes, messages with file and line, and what never appears.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::backend::{Backend, Stage};
use support::proxy::{Proxy, command};
use support::raw::Raw;
use support::ws::{expect_echo, text};
use support::{allowed_cores, loopback};

const SECRET: &str = "n0b0dy-may-see-this-and-it-is-long-enough";

/// A file of its own for each test; removed when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("selat-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a file in the temporary folder");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What a command with these arguments came to.
fn outcome(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command: Command = command(args);
    let Output { status, stdout, stderr } =
        command.env("SELAT_TEST_SECRET", SECRET).stdin(Stdio::null()).output().expect("it runs");
    let utf8 = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), utf8(stdout), utf8(stderr))
}

/// A file that is right on any machine: one core, few connections.
fn right(listen: &str, backend: &str) -> String {
    let core = allowed_cores().first().expect("one core").to_string();
    format!(
        "[process]\ncores = \"{core}\"\nmax_connections = 8\n[listen.public]\naddr = \"{listen}\"\n\
         [route.all]\npool = \"app\"\n[pool.app]\nbackends = [\"{backend}\"]\n"
    )
}

#[test]
fn a_right_file_is_shown_with_every_default_and_that_is_right_too() {
    let file = File::new("right.toml", &right("127.0.0.1:0", "ws://127.0.0.1:9001"));
    let (code, effective, errors) = outcome(&["check", file.path()]);
    assert_eq!(code, Some(0), "{errors}");
    for line in [
        "[route.all.timeouts]",
        "idle = \"1h\"",
        "backends = [\"ws://127.0.0.1:9001\"]",
        "balance = \"round-robin\"",
    ] {
        assert!(effective.contains(line), "{line} in {effective}");
    }
    let again = File::new("again.toml", &effective);
    let (code, same, errors) = outcome(&["check", again.path()]);
    assert_eq!((code, same), (Some(0), effective), "{errors}");
}

#[test]
fn every_mistake_is_told_with_file_and_line_and_the_exit_code_is_1() {
    let wrong =
        "[listen.public]\naddr = \":8765\"\n[route.all]\npool = \"ap\"\n[pool.app]\nbackend = [\"ws://x\"]\n";
    let file = File::new("wrong.toml", wrong);
    let (code, effective, errors) = outcome(&["check", file.path()]);
    assert_eq!((code, effective.as_str()), (Some(1), ""));
    let path = file.path();
    let lines = [
        format!("{path}:4: pool in [route.all]: there is no [pool.ap]; did you mean \"app\"?"),
        format!("{path}:5: [pool.app]: backends is missing; write backends = [\"ws://10.0.0.1:9001\"]"),
        format!("{path}:6: unknown key \"backend\" in [pool.app]; did you mean \"backends\"?"),
    ];
    assert_eq!(errors, lines.map(|line| line + "\n").concat());

    let (code, _, same) = outcome(&["run", "-c", file.path()]);
    assert_eq!((code, same), (Some(2), errors));
}

#[test]
fn flags_are_held_to_the_same_rules_as_a_file() {
    let backend = "ws://127.0.0.1:9001";
    let (code, _, errors) = outcome(&["127.0.0.1:0", backend, backend]);
    let told =
        "backends[1] in [pool.default]: this backend is there already; for a larger share give it a weight\n";
    assert_eq!((code, errors.as_str()), (Some(2), told));
}

#[test]
fn the_flags_of_a_feed_are_held_to_the_same_rules_and_show_no_secret() {
    let secret = "${SELAT_TEST_SECRET}";
    let [source, said, header] = [
        format!("ws://127.0.0.1:1/#{secret}"),
        format!("{{\"key\":\"{secret}\"}}"),
        format!("X: a\n{secret}"),
    ];
    let (code, output, errors) = outcome(&[
        "feed",
        "127.0.0.1:0",
        &source,
        "ws://127.0.0.1:2",
        "ws://127.0.0.1:2/",
        "--on-open",
        &said,
        "--header",
        &header,
        "--key",
        "symbol",
        "--stall-after",
        "30s",
        "--quiet",
        "weekends",
    ]);
    let told = [
        "sources[0] in [feed.default]: \"ws://127.0.0.1:1/#${SELAT_TEST_SECRET}\" has a path or query that is none",
        "sources[2] in [feed.default]: this source is in the feed already; remove it",
        "headers.X in [feed.default]: what it refers to is not a header's value; write ",
        "key in [feed.default]: a JSON pointer begins with /; write /symbol, or /data/0/id",
        "quiet[0] in [feed.default.stall]: not a part of a week; write \"Fri 22:00-Sun 22:00 UTC\"",
    ];
    assert_eq!((code, output.as_str()), (Some(2), ""));
    for part in told {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    assert!(!errors.contains(SECRET), "{errors}");

    let twice = ["feed", ":0", "ws://x", "--header", "A: 1", "--header", "a: 2"];
    let (code, _, errors) = outcome(&twice);
    assert!(code == Some(2) && errors.contains("--header: a is there twice"), "{errors}");
}

#[test]
fn the_help_of_a_feed_says_how_a_secret_is_written() {
    let (code, help, _) = outcome(&["feed", "--help"]);
    assert_eq!(code, Some(0));
    let help: Vec<_> = help.split_whitespace().collect();
    for part in ["${NAME} stands for an environment variable", "in single quotes", "--on-open <TEXT>"] {
        assert!(help.join(" ").contains(part), "{part} in {help:?}");
    }
}

#[test]
fn a_feed_is_shown_with_references_and_its_sources_are_looked_for() {
    let text = right("127.0.0.1:0", "ws://127.0.0.1:1")
        .replace("pool = \"app\"", "feed = \"fx\"")
        .replace("[pool.app]\nbackends = [\"ws://127.0.0.1:1\"]", "[feed.fx]\nsources = [\"SOURCE\"]");
    let file = |host: &str| {
        let source = format!("ws://{host}/feed?token=${{SELAT_TEST_SECRET}}");
        File::new(&format!("feed-{host}.toml"), &text.replace("SOURCE", &source))
    };
    let (code, effective, errors) = outcome(&["check", file("127.0.0.1").path()]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for line in
        ["[feed.fx.slow]", "policy = \"disconnect\"", "ws://127.0.0.1/feed?token=${SELAT_TEST_SECRET}"]
    {
        assert!(effective.contains(line), "{line} in {effective}");
    }
    let (code, same, more) = outcome(&["check", file("nowhere.invalid").path()]);
    assert_eq!(code, Some(1));
    assert!(more.contains("[feed.fx]: ") && more.contains("nowhere.invalid"), "{more}");
    assert!(![effective, same, more].concat().contains(SECRET));
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let (code, _, errors) = outcome(&["check", "/nowhere/selat.toml"]);
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("/nowhere/selat.toml: cannot be read: "), "{errors}");
}

#[test]
fn names_that_lead_nowhere_and_limits_of_the_host_are_told() {
    let text = right("127.0.0.1:0", "ws://nowhere.invalid:9001")
        .replace("max_connections = 8", "max_connections = 4000000000");
    let file = File::new("names.toml", &text);
    let (code, effective, errors) = outcome(&["check", file.path()]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("[pool.app]: ") && errors.contains("nowhere.invalid"), "{errors}");
    assert!(errors.contains("open files are limited to"), "{errors}");
    assert!(effective.contains("nowhere.invalid"), "{effective}");
}

#[test]
fn what_is_odd_is_told_and_allowed() {
    let file = File::new(
        "odd.toml",
        &format!("{}[route.never]\nrespond = \"echo\"\n", right("127.0.0.1:0", "ws://127.0.0.1:1")),
    );
    let (code, _, errors) = outcome(&["check", file.path()]);
    assert_eq!(code, Some(0));
    assert!(
        errors.contains(":10: [route.never]: no request gets here: [route.all] before it takes them all"),
        "{errors}"
    );
}

#[test]
fn a_secret_is_in_no_output() {
    let secret = File::new("secret", &format!("{SECRET}\n"));
    let auth = "auth = { kind = \"jwt\", algorithm = \"HS256\", secret = \"${SELAT_TEST_SECRET}\" }\n\
                request_headers.set = { X-Token = \"{route} ${SELAT_TEST_SECRET}\" }";
    let text = right("127.0.0.1:0", "ws://127.0.0.1:1")
        .replace("pool = \"app\"", &format!("pool = \"app\"\n{auth}"));
    let text = format!("{text}[admin]\naddr = \"127.0.0.1:0\"\ntoken = \"file:{}\"\n", secret.path());
    let good = File::new("good.toml", &text);
    let (code, effective, errors) = outcome(&["check", good.path()]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        effective.contains("token = \"file:") && effective.contains("secret = \"${SELAT_TEST_SECRET}\""),
        "{effective}"
    );
    let bad = File::new(
        "bad.toml",
        &text.replace("\"HS256\"", "\"${SELAT_TEST_SECRET}\"").replace("127.0.0.1:0", "${SELAT_TEST_SECRET}"),
    );
    let (code, _, more) = outcome(&["check", bad.path()]);
    assert_eq!((code, more.lines().count()), (Some(1), 3), "{more}");
    for output in [effective, errors, more] {
        assert!(!output.contains(SECRET), "{output}");
    }
}

#[test]
fn a_secret_in_a_sources_url_reaches_the_source_and_nobody_else() {
    let source = Stage::new();
    let url = format!("{}/feed/?token=${{SELAT_TEST_SECRET}}&v=1", source.url());
    let text = right(&format!("{}:0", loopback()), "").replace("pool = \"app\"", "feed = \"fx\"").replace(
        "[pool.app]\nbackends = [\"\"]",
        &format!("[feed.fx]\nsources = [\"{url}\"]\nbackoff.min = \"1ms\""),
    );
    let file = File::new("source.toml", &format!("{text}[admin]\naddr = \"{}:0\"\n", loopback()));
    let mut command = command(&["run", "-c", file.path(), "--log-level", "trace"]);
    command.env("SELAT_TEST_SECRET", SECRET);
    let mut proxy = Proxy::spawn(command);
    let admin = proxy.line("admin interface").get("address");
    // Before it is dialled again, it has said whatever it says of an attempt that failed.
    for _ in 0..2 {
        let (mut attempt, head) = source.request();
        assert_eq!(head.target(), format!("/feed/?token={SECRET}&v=1"));
        attempt.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    }
    for path in ["/config", "/status", "/metrics", "/backends", "/readyz"] {
        let mut client = Raw::connect(&admin);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let (_, body) = client.response();
        let body = String::from_utf8(body).expect("text");
        assert!(!body.is_empty() && !body.contains(SECRET), "{path}: {body}");
    }
    proxy.expect_never_logged(SECRET);
}

#[test]
fn what_a_file_says_is_run() {
    let backend = Backend::echo();
    let listen = format!("{}:0", loopback());
    let file = File::new("run.toml", &right(&listen, &backend.url()));
    let proxy = Proxy::spawn(command(&["run", "-c", file.path()]));
    let mut client = proxy.connect();
    expect_echo(&mut client, &text("through"));
}
