//! Records as files: shown again, and as a page that a real browser reads.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{capture, echo, foreign_server, run};

const CHROMIUM: &str = "/usr/bin/chromium";

/// A record in which everything occurs, markup among it.
const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/report/echo.json");

/// A directory of this test's own, which goes when it ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it is ours");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The document that Chromium makes of a page, and what its console says.
fn browsed(directory: &Directory, page: &str) -> (String, String) {
    let mut command = Command::new(CHROMIUM);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args([
        "--enable-logging=stderr",
        "--disable-background-networking",
        "--disable-component-update",
    ]);
    // Nothing is found on the network: the page must be whole without.
    command.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", directory.file("profile")));
    command.env("HOME", &directory.0).env("TMPDIR", &directory.0).arg(format!("file://{page}"));
    let (code, document, said) = capture(command);
    assert_eq!(code, 0, "{said}");
    let console = said.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    (document, console)
}

#[test]
fn a_browser_shows_the_page_without_a_script_error() {
    let directory = Directory::new("page");
    let page = directory.file("page.html");
    assert_eq!(run_report(&[FULL, "--html", &page]).0, 1, "the record has faults");
    let (document, console) = browsed(&directory, &page);
    assert_eq!(console, "");
    // The script says so at its end.
    assert!(document.contains(r#"data-ready="yes""#), "{document}");
    assert_eq!(document.matches("<svg").count(), 7, "{document}");
    assert!(document.contains("Faults and failures over time") && !document.contains("NaN"), "{document}");
    // What came from outside is text, and nothing is fetched.
    assert!(
        document.contains("ws://127.0.0.1:8765/&lt;chat&gt;") && !document.contains("<chat>"),
        "{document}"
    );
    let page = fs::read_to_string(&page).unwrap();
    assert!(!page.contains("src=") && !page.contains("@import") && !page.contains("url("), "{page}");
}

#[test]
fn what_a_run_wrote_can_be_shown_again() {
    let directory = Directory::new("again");
    let (json, page) = (directory.file("run.json"), directory.file("run.html"));
    let server = foreign_server(echo);
    let args =
        ["echo", &server.url, "--for", "300ms", "--warmup", "0s", "--connections", "2", "--html", &page];
    let ended = run(&args);
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    assert!(fs::read_to_string(&page).unwrap().contains("Latency by percentile"));
    fs::write(&json, ended.report.to_string()).unwrap();
    let (code, table, errors) = run_report(&[&json]);
    assert_eq!(code, 0, "{errors}");
    assert!(table.lines().any(|line| line.starts_with("connections") && line.ends_with(" 2")), "{table}");
    fs::write(&json, "{}").unwrap();
    let (code, _, errors) = run_report(&[&json]);
    assert!(code == 2 && errors.contains("is not what --json writes"), "{errors}");
}

fn run_report(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selat-load"));
    command.arg("report").args(args);
    capture(command)
}
