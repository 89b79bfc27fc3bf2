//! A proxy that does what a file says, and its admin interface.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::http::Head;
use super::notify::Manager;
use super::path::Directory;
use super::proxy::{Proxy, command, run_to_end};
use super::raw::Raw;
use super::scrape::Scrape;
use super::{allowed_cores, loopback};

/// A running proxy and its file.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    /// Where its admin interface is.
    pub(crate) admin: String,
    /// What every version of its file begins with.
    frame: String,
    pub(crate) directory: Directory,
}

/// Tables that a test may replace.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'t> {
    pub(crate) process: &'t str,
    pub(crate) admin: &'t str,
}

impl Default for Frame<'_> {
    fn default() -> Self {
        Self { process: "drain_window = \"1ms\"", admin: "" }
    }
}

impl Site {
    /// Starts it with these routes and pools: on one core, with drains that happen at once.
    pub(crate) fn start(name: &str, text: &str) -> Self {
        Self::framed(name, Frame::default(), text)
    }

    /// Starts it with more in the tables that all files have.
    pub(crate) fn framed(name: &str, frame: Frame<'_>, text: &str) -> Self {
        Self::heard_by(name, frame, text, None)
    }

    /// Starts it as the service of a service manager.
    pub(crate) fn heard_by(name: &str, frame: Frame<'_>, text: &str, manager: Option<&Manager>) -> Self {
        let directory = Directory::new(name);
        let cores = allowed_cores().first().expect("one core").to_string();
        let cores =
            if frame.process.contains("cores") { String::new() } else { format!("cores = \"{cores}\"\n") };
        let frame = format!(
            "[listen.public]\naddr = \"{}:0\"\n[admin]\naddr = \"{}:0\"\n{}\n[process]\n{cores}{}\n",
            loopback(),
            loopback(),
            frame.admin,
            frame.process
        );
        let file = directory.file("selat.toml");
        write(&file, &format!("{frame}{text}"));
        let mut command = command(&["run", "-c", file.to_str().expect("it is ASCII")]);
        if let Some(manager) = manager {
            manager.hears(&mut command);
        }
        // The token's, for the tests that have one.
        command.env("SELAT_TEST_TOKEN", "t0ps3cret");
        let mut proxy = Proxy::spawn(command);
        let admin = proxy.line("admin interface").get("address");
        Self { proxy, admin, frame, directory }
    }

    /// Its file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.file("selat.toml")
    }

    /// Gives the file other routes and pools.
    pub(crate) fn rewrite(&self, text: &str) {
        write(&self.file(), &format!("{}{text}", self.frame));
    }

    /// Gives the file another frame, in which `from` is `to`.
    pub(crate) fn reframe(&self, from: &str, to: &str, text: &str) {
        assert!(self.frame.contains(from), "{from} in {}", self.frame);
        write(&self.file(), &format!("{}{text}", self.frame.replace(from, to)));
    }

    /// The line of the file that these words stand in, from 1.
    pub(crate) fn line_of(&self, words: &str) -> usize {
        let text = fs::read_to_string(self.file()).expect("it is ours");
        1 + text.lines().position(|line| line.contains(words)).expect("they are there")
    }

    /// Asks the admin interface something, and does not wait for the answer.
    pub(crate) fn begin(&self, method: &str, path: &str, more: &str) -> Raw {
        let mut connection = Raw::connect(&self.admin);
        connection.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").as_bytes());
        connection
    }

    /// An exchange with the admin interface.
    pub(crate) fn ask(&self, method: &str, path: &str, more: &str) -> (Head, String) {
        let (head, body) = self.begin(method, path, more).response();
        (head, String::from_utf8(body).expect("text"))
    }

    /// Reads.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let (head, body) = self.ask("GET", path, "");
        (head.status(), body)
    }

    /// Orders.
    pub(crate) fn post(&self, path: &str) -> (u16, Value) {
        let (head, body) = self.ask("POST", path, "");
        (head.status(), serde_json::from_str(&body).unwrap_or_default())
    }

    pub(crate) fn status(&self) -> Value {
        let (status, body) = self.get("/status");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub(crate) fn scrape(&self) -> Scrape {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        Scrape(body)
    }

    /// Reloads what the file says now, which must be possible; what has changed.
    pub(crate) fn reload(&self) -> Vec<String> {
        let (status, report) = self.post("/reload");
        assert_eq!(status, 200, "{report}");
        self.settle();
        let changes = report.get("changes").and_then(Value::as_array).expect("a list").iter();
        changes.map(|change| change.as_str().expect("a line").to_owned()).collect()
    }

    /// Waits until every shard has done what it was told so far: each says how it is in its turn.
    pub(crate) fn settle(&self) {
        self.status();
    }

    /// `selat status` and its like: the exit code, and what it wrote.
    pub(crate) fn operate(&self, arguments: &[&str]) -> (Option<i32>, String) {
        run_to_end(command(&[arguments, &["--admin", &self.admin]].concat()))
    }
}

/// At once, so that nobody reads half of it.
fn write(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    fs::write(&draft, text).expect("it is ours");
    fs::rename(&draft, file).expect("it is ours");
}

/// A pool of these backends.
pub(crate) fn pool(name: &str, backends: &[&str]) -> String {
    format!("[pool.{name}]\nbackends = {backends:?}\n")
}

/// A route to a pool of the same name.
pub(crate) fn route(name: &str, backends: &[&str]) -> String {
    format!("[route.{name}]\npath = \"/{name}\"\npool = \"{name}\"\n{}", pool(name, backends))
}
