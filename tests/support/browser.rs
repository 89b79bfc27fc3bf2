//! Chromium without a window, at a page that tells the test what it sees.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::backend::Backend;
use super::path::Directory;
use super::raw::Raw;
use super::tls::Certificate;
use super::{DEADLINE, Deadline, bind};

const PROGRAM: &str = "/usr/bin/chromium";
const PAGE: &str = include_str!("../browser/page.html");

/// A browser at work; ended when dropped.
pub(crate) struct Browser {
    child: Child,
    reports: Receiver<String>,
    directory: Directory,
    /// Who serves the page, and hears what it reports.
    _page: Backend,
}

impl Browser {
    /// Has the page go through `scenario` with `localhost`, which to it is at `address`. The browser believes whatever
    /// certificate has the key of this one; of any other it thinks as it always does.
    pub(crate) fn open(scenario: &str, address: &str, believed: &Certificate) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = Directory::new(&format!("browser-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let (sender, reports) = mpsc::channel();
        let page = Backend::on(bind(), move |stream, _| serve(stream, &sender));
        let (address, page_address) = (address.parse::<SocketAddr>().expect("an address"), page.address());
        let mut command = Command::new(PROGRAM);
        command.args([
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
        ]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        // For containers: as root it has no sandbox, and there may be little shared memory.
        command.args(["--no-sandbox", "--disable-dev-shm-usage", "--enable-logging=stderr"]);
        command.arg(format!("--user-data-dir={}", directory.argument("profile")));
        command.arg(format!("--ignore-certificate-errors-spki-list={}", believed.pin()));
        // Nobody else is found, so that nothing leaves this machine.
        command.arg(format!(
            "--host-resolver-rules=EXCLUDE {}, MAP localhost {}, MAP * ~NOTFOUND",
            page_address.ip(),
            address.ip()
        ));
        command.arg(format!("http://{page_address}/?scenario={scenario}&port={}", address.port()));
        // What it leaves behind goes with the directory.
        command.env("HOME", directory.as_ref()).env("TMPDIR", directory.as_ref());
        let said = File::create(directory.file("said")).expect("it is ours");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().unwrap_or_else(|error| {
            unreachable!(
                "{PROGRAM}: {error}; scripts/check installs it (apt-get install --no-install-recommends chromium)"
            )
        });
        Self { child, reports, directory, _page: page }
    }

    /// The page's next report.
    pub(crate) fn report(&self) -> Value {
        let report = self.reports.recv_timeout(DEADLINE).expect("the page reports in time");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert!(report.get("error").is_none(), "{report}");
        report
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked, and not killed: it has processes and files of its own to clear away.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Deadline::new();
        while matches!(self.child.try_wait(), Ok(None)) && !deadline.left().is_zero() {
            thread::park_timeout(Duration::from_millis(5));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let said = fs::read(self.directory.file("said")).unwrap_or_default();
            eprintln!("the browser said:\n{}", String::from_utf8_lossy(&said));
        }
    }
}

/// Answers one request: with the page, or by passing a report on.
fn serve(stream: TcpStream, reports: &Sender<String>) {
    // A browser opens connections ahead of need, and may ask nothing over them.
    if !stream.peek(&mut [0]).is_ok_and(|len| len > 0) {
        return;
    }
    let mut connection = Raw::new(stream);
    let request = connection.head();
    if request.start.starts_with("POST /report ") {
        let report = connection.exactly(request.one("content-length").parse().expect("a length"));
        // The test may be over already.
        let _ = reports.send(String::from_utf8(report).expect("it is JSON"));
    }
    let (status, body) = match request.target() {
        "/report" => ("204 No Content", ""),
        target if target.starts_with("/?") => ("200 OK", PAGE),
        _ => ("404 Not Found", ""),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n");
    connection.send(&[head.as_bytes(), body.as_bytes()].concat());
}
