//! `openssl s_client` and `openssl s_server`, with the test at the keyboard.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::tls::Certificate;
use super::{Deadline, loopback};

/// A client or a server at work; killed when dropped.
pub(crate) struct OpenSsl {
    child: Child,
    keyboard: Option<ChildStdin>,
    lines: Receiver<String>,
    /// All that it has said so far.
    said: String,
}

impl OpenSsl {
    /// Connects to `address`. Without `-quiet` or `-ign_eof`, a line that is just a letter is a command to it.
    pub(crate) fn connect(address: &str, arguments: &[&str]) -> Self {
        Self::start(&[&["s_client", "-connect", address], arguments].concat())
    }

    /// Serves at an address of its own, with this certificate; where.
    pub(crate) fn serve(certificate: &Certificate, arguments: &[&str]) -> (Self, String) {
        let (chain, key) = (certificate.chain_file(), certificate.key_file());
        let accept = format!("{}:0", loopback());
        let common = ["s_server", "-accept", &accept, "-cert", &chain, "-key", &key];
        let mut server = Self::start(&[&common, arguments].concat());
        let address = server.line("ACCEPT ").trim().trim_start_matches("ACCEPT ").to_owned();
        (server, address)
    }

    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("these tests need the program openssl");
        let (sender, lines) = mpsc::channel();
        listen(child.stdout.take().expect("it is piped"), sender.clone());
        listen(child.stderr.take().expect("it is piped"), sender);
        let keyboard = child.stdin.take();
        Self { child, keyboard, lines, said: String::new() }
    }

    /// Connects, shakes hands and leaves; what it said, and whether all was well.
    pub(crate) fn greet(address: &str, arguments: &[&str]) -> (bool, String) {
        Self::connect(address, arguments).leave()
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let keyboard = self.keyboard.as_mut().expect("it has not been left");
        keyboard.write_all(text.as_bytes()).expect("it reads");
    }

    /// The next line that has this in it.
    pub(crate) fn line(&mut self, words: &str) -> String {
        let deadline = Deadline::new();
        loop {
            let line = self.lines.recv_timeout(deadline.left());
            let line = line.unwrap_or_else(|error| unreachable!("{words:?}: {error}, after {}", self.said));
            self.said.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Has it end, as its keyboard has; what it has said, and whether all was well.
    pub(crate) fn leave(mut self) -> (bool, String) {
        self.keyboard = None;
        self.ended()
    }

    /// Waits until it has ended by itself; what it has said, and whether all was well.
    pub(crate) fn ended(mut self) -> (bool, String) {
        let deadline = Deadline::new();
        while let Ok(line) = self.lines.recv_timeout(deadline.left()) {
            self.said.push_str(&line);
        }
        assert!(!deadline.left().is_zero(), "it ends in time, after {}", self.said);
        (self.child.wait().expect("it is ours").success(), std::mem::take(&mut self.said))
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes on every line, which need not be text.
fn listen(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        let lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
        for line in lines {
            if to.send(String::from_utf8_lossy(&line).into_owned() + "\n").is_err() {
                return;
            }
        }
    });
}
