//! `selat demo`: the program shows itself, plain and in TLS, and cleans up behind itself.
#![cfg(feature = "runtime")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use support::proxy::command;
use support::tls::{client_that_believes, dial, over};
use support::ws::{expect_echo, text};
use support::{DEADLINE, loopback};

/// A demo at work; killed when dropped.
struct Demo {
    child: Child,
    lines: Receiver<String>,
}

impl Demo {
    /// Starts one at an address of its own, whose failover is soon over.
    fn start(more: &[&str]) -> Self {
        let listen = format!("{}:0", loopback());
        let mut command = command(&["demo", "--listen", &listen, "--failover-after", "1s"]);
        let mut child =
            command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line that has this in it.
    fn line(&self, words: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(DEADLINE).unwrap_or_else(|error| unreachable!("{words}: {error}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// That messages flow: all clients have sessions, and each of them gets answers.
    fn expect_traffic(&self) {
        loop {
            let line = self.line("messages/s");
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |name: &str| -> u32 {
                let at = words.iter().position(|word| *word == name).expect("it is there");
                words.get(at + 1).and_then(|word| word.parse().ok()).expect("a number")
            };
            if number("sessions") >= 16 && number("messages/s") > 0 {
                return;
            }
        }
    }

    /// Ends it as Ctrl-C does; whether it says that all was well.
    fn interrupt(&mut self) -> bool {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        self.child.wait().expect("it is ours").success()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_demo_serves_its_clients_through_a_failover() {
    let mut demo = Demo::start(&[]);
    demo.expect_traffic();
    demo.line("-- stopping the backend");
    demo.line("-- the backend");
    let url = demo.line("echo, through the proxy");
    let address = url.trim().strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect("a URL");
    expect_echo(&mut support::ws::connect(address), &text("hello"));
    demo.expect_traffic();
    assert!(demo.interrupt());
}

#[test]
fn the_demo_speaks_tls_by_a_certificate_that_it_says_how_to_believe() {
    let mut demo = Demo::start(&["--tls"]);
    demo.expect_traffic();
    let url = demo.line("echo, through the proxy");
    let address = url.trim().strip_prefix("wss://").and_then(|rest| rest.split('/').next()).expect("a URL");
    let told = demo.line("SSL_CERT_FILE=");
    let file = told.trim().strip_prefix("SSL_CERT_FILE=").and_then(|rest| rest.split(' ').next());
    let file = Path::new(file.expect("a file"));
    let authority = std::fs::read_to_string(file).expect("it is there as long as the demo runs");
    assert!(!authority.contains("PRIVATE"), "the key is nobody's business");

    let (host, _) = address.split_once(':').expect("host and port");
    for name in ["localhost", host] {
        let stream = dial(address, name, client_that_believes(&authority)).expect("a handshake");
        expect_echo(&mut over(stream), &text("hello"));
    }
    demo.expect_traffic();
    assert!(demo.interrupt());
    assert!(!file.exists(), "it cleans up behind itself");
}

#[test]
fn a_demo_that_has_had_its_time_ends_well_and_announces_nothing_more() {
    // No longer than to the failover.
    let mut demo = Demo::start(&["--for", "1s"]);
    let lines: Vec<_> = std::iter::from_fn(|| demo.lines.recv_timeout(DEADLINE).ok()).collect();
    assert!(demo.child.wait().expect("it is ours").success());
    assert!(lines.first().is_some_and(|line| line.starts_with("proxy on ")), "{lines:#?}");
    let announced = lines.iter().find(|line| line.starts_with("--") || line.contains("Ctrl-C"));
    assert_eq!(announced, None, "{lines:#?}");
}
