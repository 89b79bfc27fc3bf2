//! What the black-box tests share: the program itself, run with a deadline, and a foreign server to run it against.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod terminator;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tungstenite::{Message, WebSocket};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_selat-load");

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args);
    command
}

/// A `selat-load serve …`, ended when dropped.
pub(crate) struct Served {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Kept open, so that what it might print has somewhere to go.
    output: Receiver<BufReader<ChildStdout>>,
}

impl Served {
    /// Starts it on a free port, with `args` after the address.
    pub(crate) fn start(what: &str, args: &[&str]) -> Self {
        Self::spawn(program(&[&["serve", what, "127.0.0.1:0"], args].concat()))
    }

    /// Starts one by a command that does so, and waits until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| unreachable!("{command:?}: {error}"));
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let ((line_sender, line), (output_sender, rest)) = (mpsc::channel(), mpsc::channel());
        thread::spawn(move || {
            let mut line = String::new();
            let read = output.read_line(&mut line).map(|_| line);
            let _ = line_sender.send(read);
            let _ = output_sender.send(output);
        });
        let line =
            line.recv_timeout(DEADLINE).expect("it says where it listens, in time").expect("it prints");
        let address = line.trim_end().strip_prefix("listening ").expect("`listening ADDRESS`");
        Self { child, address: address.parse().expect("an address"), output: rest }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end; returns what it says to that.
    pub(crate) fn end(mut self) -> String {
        let pid = Pid::from_raw(self.pid().try_into().expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("it runs");
        let mut output = self.output.recv_timeout(DEADLINE).expect("it has said where it listens");
        let mut said = String::new();
        output.read_to_string(&mut said).expect("it prints UTF-8");
        assert!(self.child.wait().expect("it ends").success());
        said
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS line");
        value.trim().trim_end_matches(" kB").parse().expect("a number of kB")
    }

    /// A WebSocket connection to it.
    pub(crate) fn connect(&self) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        tungstenite::client(format!("ws://{}/", self.address), stream).expect("it upgrades").0
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a run of the program ended.
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// The report; null if there was none.
    pub(crate) report: Value,
    /// What it said on standard error.
    pub(crate) errors: String,
}

impl Ended {
    /// A count of the report: `answered`, or one by its key, wherever in the report it stands once.
    pub(crate) fn count(&self, key: &str) -> u64 {
        let rooms = ["totals", "faults", "counts", "tls"];
        let mut places = rooms.iter().filter_map(|room| self.report.get(room)?.get(key)?.as_u64());
        places.next().unwrap_or_else(|| unreachable!("{key} in {}", self.report))
    }

    /// How long was measured.
    pub(crate) fn seconds(&self) -> f64 {
        let seconds = self.report.get("seconds").and_then(Value::as_f64);
        seconds.unwrap_or_else(|| unreachable!("seconds in {}", self.report))
    }

    /// How many of something were timed: `latency/uncorrected`, `spread`, …
    pub(crate) fn samples(&self, what: &str) -> u64 {
        let samples = self.report.pointer(&format!("/{what}/samples"));
        samples.and_then(Value::as_u64).unwrap_or_else(|| unreachable!("{what} in {}", self.report))
    }

    /// Sessions that failed, for whatever reason.
    pub(crate) fn failed(&self) -> u64 {
        let failures = self.report.get("failures").and_then(Value::as_object);
        failures.expect("an object").values().filter_map(Value::as_u64).sum()
    }

    /// What the first watched process cost.
    pub(crate) fn process(&self) -> &Value {
        self.report.pointer("/cost/processes/0").unwrap_or_else(|| unreachable!("{}", self.report))
    }

    /// The CPU time of the first watched process for each unit, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        let cpu = self.process().pointer("/cpu/us_per_unit").and_then(Value::as_f64);
        cpu.unwrap_or_else(|| unreachable!("{}", self.report))
    }

    /// How many sessions failed for this reason.
    pub(crate) fn failures(&self, reason: &str) -> u64 {
        self.report
            .get("failures")
            .and_then(|failures| failures.get(reason))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }
}

/// Starts the program, with its output and its errors piped.
pub(crate) fn start(args: &[&str]) -> Child {
    let mut command = program(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Runs the program with `--json`; a run past the deadline is killed and fails the test.
pub(crate) fn run(args: &[&str]) -> Ended {
    run_by(program(args))
}

/// Runs the program by a command that does so.
pub(crate) fn run_by(mut command: Command) -> Ended {
    command.arg("--json");
    let (code, out, errors) = capture(command);
    Ended { code, report: serde_json::from_str(&out).unwrap_or(Value::Null), errors }
}

/// Runs a command to its end: its exit code, and what it said on standard output and on standard error. One that is
/// past the deadline is killed and fails the test.
pub(crate) fn capture(mut command: Command) -> (i32, String, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| unreachable!("{command:?}: {error}"));
    let (out, errors) = (
        all(child.stdout.take().expect("its output is piped")),
        all(child.stderr.take().expect("its errors are piped")),
    );
    let out = out.recv_timeout(DEADLINE);
    if out.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().expect("it ends");
    let errors = errors.recv_timeout(DEADLINE).expect("it has ended");
    (status.code().expect("no signal ends it"), out.expect("it ends in time"), errors)
}

/// All that comes, read on a thread.
fn all(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, read) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    });
    read
}

/// A tungstenite server on a port of its own: `serve` gets every connection, on a thread.
pub(crate) fn foreign_server<T: Send + 'static>(
    serve: impl Fn(WebSocket<TcpStream>) -> T + Clone + Send + 'static,
) -> Foreign<T> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (serve, sender) = (serve.clone(), sender.clone());
            thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(DEADLINE));
                if let Ok(socket) = tungstenite::accept(stream) {
                    let _ = sender.send(serve(socket));
                }
            });
        }
    });
    Foreign { url: format!("ws://{address}/"), address, ended }
}

/// A foreign server at work.
pub(crate) struct Foreign<T> {
    /// Its URL.
    pub(crate) url: String,
    /// Its address.
    pub(crate) address: SocketAddr,
    ended: Receiver<T>,
}

impl<T> Foreign<T> {
    /// Whether no WebSocket connection has ended here yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.ended.try_recv().is_err()
    }

    /// What `serve` returned for the next `count` connections to end.
    pub(crate) fn ended(&self, count: usize) -> Vec<T> {
        (0..count).map(|_| self.ended.recv_timeout(DEADLINE).expect("a connection ends in time")).collect()
    }
}

/// Echoes messages until the client closes; returns how many there were, and the close code.
pub(crate) fn echo(mut socket: WebSocket<TcpStream>) -> (u64, Option<u16>) {
    let (mut messages, mut code) = (0, None);
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                messages += 1;
                if socket.send(message).is_err() {
                    return (messages, code);
                }
            }
            Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code.into()),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(_) => return (messages, code),
        }
    }
}
