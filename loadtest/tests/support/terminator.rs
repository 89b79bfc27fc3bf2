//! Python's `ssl` before a plain server: what speaks TLS with the client is not ours.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::{fs, thread};

use serde_json::Value;

use super::DEADLINE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/terminate.py");

/// `terminate.py` at work; killed when dropped, and its files removed.
pub(crate) struct Terminator {
    child: Child,
    directory: PathBuf,
    /// Where it listens, by the address that is in its certificate.
    pub(crate) url: String,
    port: String,
    lines: Receiver<String>,
}

impl Terminator {
    /// Ends TLS before `server`, with a new certificate that has signed itself.
    pub(crate) fn start(server: SocketAddr, args: &[&str]) -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a P-256 key");
        let directory = directory();
        fs::create_dir_all(&directory).expect("it is ours");
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        fs::write(&certificate, certified.cert.pem()).expect("it is ours");
        fs::write(&key, certified.signing_key.serialize_pem()).expect("it is ours");

        let mut command = Command::new("python3");
        command.arg(SCRIPT).arg(&certificate).arg(&key).arg(server.to_string()).args(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let port = lines.recv_timeout(DEADLINE).expect("it prints its port, in time");
        Self { url: format!("wss://127.0.0.1:{port}/"), port, child, directory, lines }
    }

    /// The same place by a name that is not in its certificate.
    pub(crate) fn url_of_another_name(&self) -> String {
        format!("wss://localhost:{}/", self.port)
    }

    /// The PEM file of its certificate.
    pub(crate) fn certificate(&self) -> String {
        self.directory.join("certificate.pem").display().to_string()
    }

    /// What TLS was on the next `count` connections to end.
    pub(crate) fn ended(&self, count: usize) -> Vec<Value> {
        let line = || self.lines.recv_timeout(DEADLINE).expect("a connection ends in time");
        (0..count).map(|_| serde_json::from_str(&line()).expect("it prints JSON")).collect()
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A directory that nobody else uses.
fn directory() -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("terminator-{}-{serial}", std::process::id()))
}
