//! `selat demo`: the program shows itself, plain and in TLS, and cleans up behind itself.
#![cfg(feature = "runtime")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use support::proxy::command;
use support::tls::{client_that_believes, dial, over};
use support::ws::{Client, expect_echo, text};
use support::{DEADLINE, allowed_cores, loopback};

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
        command.args(more);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line that has this in it.
    fn line(&self, words: &str) -> String {
        self.lines_to(words).pop().expect("it is the last of them")
    }

    /// The lines up to, and with, the next that has this in it.
    fn lines_to(&self, words: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.contains(words)) {
            let line = self.lines.recv_timeout(DEADLINE);
            lines.push(line.unwrap_or_else(|error| unreachable!("{words}: {error}, behind {lines:#?}")));
        }
        lines
    }

    /// That messages flow: all clients have sessions and get answers, and at least so many subscribers hear the feed.
    fn expect_traffic(&self, subscribers: u64) {
        let is_there = |second: Second| {
            let is_answered = second.sessions >= 16 && second.messages > 0;
            // Ten messages a second, some of which may wait for the next.
            let is_fed = second.subscribers >= subscribers && second.deliveries >= subscribers;
            is_answered && is_fed
        };
        while !Second::read(&self.line("messages/s")).is_some_and(is_there) {}
    }

    /// Ends it as Ctrl-C does; whether it says that all was well.
    fn interrupt(&mut self) -> bool {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        self.child.wait().expect("it is ours").success()
    }
}

/// What the demo says of one second.
struct Second {
    sessions: u64,
    messages: u64,
    subscribers: u64,
    deliveries: u64,
    /// Of one worker, and of four together.
    work: [u64; 2],
}

impl Second {
    /// `None` if the line is about something else.
    fn read(line: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut words = line.split_whitespace().skip_while(|word| *word != name);
            words.nth(1)?.parse().ok()
        };
        Some(Self {
            sessions: number("sessions")?,
            messages: number("messages/s")?,
            subscribers: number("subscribers")?,
            deliveries: number("deliveries/s")?,
            work: [number("worker")?, number("together")?],
        })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number of the ticker's next message.
fn tick(subscriber: &mut Client) -> u64 {
    let message = subscriber.read().expect("a message").into_text().expect("text");
    let number = message.strip_prefix("{\"tick\":").and_then(|rest| rest.strip_suffix('}'));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| unreachable!("{message} is no tick"))
}

#[test]
fn the_demo_serves_its_clients_through_a_failover() {
    let mut demo = Demo::start(&[]);
    demo.expect_traffic(0);
    let failover = [demo.lines_to("-- stopping the backend"), demo.lines_to("-- the backend")].concat();
    let subscribers: Vec<_> =
        failover.iter().filter_map(|line| Some(Second::read(line)?.subscribers)).collect();
    assert!(subscribers.is_sorted(), "whose source is lost keeps its subscribers: {failover:#?}");
    let url = demo.line("echo, through the proxy");
    let address = url.trim().strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect("a URL");
    expect_echo(&mut support::ws::connect(address), &text("hello"));
    let open = |words: &str| {
        let line = demo.line(words);
        let url = line.split_whitespace().next().expect("a URL");
        let stream = TcpStream::connect(address).expect("it listens");
        tungstenite::client(url, stream).expect("it upgrades").0
    };
    let mut subscriber = open("sent to every client");
    let [one, next] = [tick(&mut subscriber), tick(&mut subscriber)];
    assert_eq!(one + 1, next);
    drop(subscriber);
    expect_echo(&mut open("slow workers has the least to do"), &text("hello"));
    demo.expect_traffic(1000);
    assert!(demo.interrupt());
}

#[test]
fn workers_get_more_done_together_than_one_alone() {
    let mut demo = Demo::start(&[]);
    // They sleep over their work, so that this holds on a busy machine too.
    let is_more = |second: Second| second.work[0] > 0 && second.work[1] >= 3 * second.work[0];
    while !Second::read(&demo.line("together")).is_some_and(is_more) {}
    assert!(demo.interrupt());
}

#[test]
fn a_demo_with_few_open_files_has_fewer_subscribers_and_says_so() {
    // What the shards need beside their connections grows with the cores.
    let limit = 700 + 32 * allowed_cores().len();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]);
    let demo = command(&["demo", "--listen", "127.0.0.1:0", "--failover-after", "1h"]);
    shell.arg(demo.get_program()).args(demo.get_args());
    let mut demo = Demo::spawn(shell);
    let told = demo.line("open files are limited");
    let mut words = told.split_whitespace().skip_while(|word| *word != "gets");
    let subscribers = words.nth(1).and_then(|word| word.parse().ok()).expect("how many");
    assert!((1..1000).contains(&subscribers), "{told}");
    demo.expect_traffic(subscribers);
    assert!(demo.interrupt());
}

#[test]
fn the_demo_speaks_tls_by_a_certificate_that_it_says_how_to_believe() {
    let mut demo = Demo::start(&["--tls"]);
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
    demo.expect_traffic(1000);
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
