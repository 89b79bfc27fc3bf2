//! The program itself, at work.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::log::Line;
use super::raw::Raw;
use super::toml::File;
use super::ws::{Client, connect};
use super::{DEADLINE, Deadline, allowed_cores, loopback};

/// The program with these arguments.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selat"));
    command.args(args);
    command
}

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    /// As `listening` says it.
    pub(crate) address: String,
    output: Receiver<String>,
    /// Lines that no test has asked for yet.
    unasked: Vec<Line>,
    /// All of them, for when a test fails.
    all: Vec<String>,
    /// Where its configuration is, if that is a file.
    file: Option<File>,
}

/// How a proxy ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it had written and nobody had asked for.
    pub(crate) lines: Vec<Line>,
}

impl Ended {
    /// The last word: how many sessions ended how.
    pub(crate) fn last(&self) -> &Line {
        self.lines.iter().rev().find(|line| line.is("ended")).expect("a line with the numbers")
    }
}

impl Proxy {
    /// Starts it on an address of its own and, unless `flags` say otherwise, one core.
    pub(crate) fn start(flags: &[&str], backends: &[&str]) -> Self {
        Self::listen(&format!("{}:0", loopback()), flags, backends)
    }

    /// Starts it there.
    pub(crate) fn listen(listen: &str, flags: &[&str], backends: &[&str]) -> Self {
        let core = allowed_cores().first().expect("one core").to_string();
        let cores: &[&str] = if flags.contains(&"--cores") { &[] } else { &["--cores", &core] };
        Self::spawn(command(&[&[listen], backends, flags, cores].concat()))
    }

    /// Starts it with this configuration, in a file of its own.
    pub(crate) fn from_toml(text: &str) -> Self {
        let file = File::new(text);
        let mut proxy = Self::spawn(command(&["run", "-c", file.path()]));
        proxy.file = Some(file);
        proxy
    }

    /// Writes another configuration over the one it was started with, for a reload to find.
    pub(crate) fn rewrite(&self, text: &str) {
        self.file.as_ref().expect("it was started from a file").write(text);
    }

    /// Starts it this way; a test that does not get it to listen fails.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.args(["--log-format", "json"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let errors = BufReader::new(child.stderr.take().expect("its errors are piped"));
        let (sender, output) = mpsc::channel();
        thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let (address, unasked, all) = (String::new(), Vec::new(), Vec::new());
        let mut proxy = Self { child, address, output, unasked, all, file: None };
        proxy.address = proxy.line("listening").get("address");
        proxy
    }

    /// A WebSocket connection to it.
    pub(crate) fn connect(&self) -> Client {
        connect(&self.address)
    }

    /// A connection to it.
    pub(crate) fn dial(&self) -> Raw {
        match self.address.strip_prefix("unix:") {
            Some(path) => Raw::connect_unix(path),
            None => Raw::connect(&self.address),
        }
    }

    /// The next line with this message that was not asked for yet.
    pub(crate) fn line(&mut self, message: &str) -> Line {
        if let Some(at) = self.unasked.iter().position(|line| line.is(message)) {
            return self.unasked.remove(at);
        }
        let deadline = Deadline::new();
        loop {
            // Each line is looked at once: there may be thousands.
            match self.output.recv_timeout(deadline.left()) {
                Ok(line) => self.take(line),
                Err(error) => unreachable!("the proxy logs {message:?}: {error}"),
            }
            if let Some(line) = self.unasked.pop_if(|line| line.is(message)) {
                return line;
            }
        }
    }

    fn take(&mut self, line: String) {
        self.all.push(line.clone());
        self.unasked.push(Line(line));
    }

    /// The line of a session that has ended.
    pub(crate) fn session(&mut self) -> Line {
        self.line("session ended")
    }

    /// What it counts at this moment: a line a shard, and one for all of them.
    pub(crate) fn counters(&mut self) -> Vec<Line> {
        self.signal(Signal::USR1);
        self.line("backends");
        let is_counters = |line: &mut Line| line.is("counters");
        self.unasked.extract_if(.., is_counters).collect()
    }

    /// What all shards count together.
    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        self.counters().last().expect("a line for all shards").number(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> Ended {
        let deadline = Deadline::new();
        loop {
            match self.output.recv_timeout(deadline.left()) {
                Ok(line) => self.take(line),
                // Its standard error is closed.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => unreachable!("the proxy ends in time"),
            }
        }
        let code = self.child.wait().expect("it is our child").code();
        Ended { code, lines: std::mem::take(&mut self.unasked) }
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// Processor time that its threads have taken so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs").flatten();
        // Its first field: nanoseconds on a processor.
        let schedstats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        let nanos = schedstats.filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok());
        Duration::from_nanos(nanos.sum())
    }

    /// Memory of its own, in KiB: what it allocated and touched, not what it shares with others of its kind.
    pub(crate) fn memory_kib(&self) -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("it runs");
        let value = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("the kernel says");
        value.trim().trim_end_matches(" kB").parse().expect("a number of kB")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.all.extend(self.output.iter());
            eprintln!("the proxy said:\n{}", self.all.join("\n"));
        }
    }
}

/// Runs a command that must end by itself: its exit code, and what it wrote.
pub(crate) fn run_to_end(mut command: Command) -> (Option<i32>, String) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| unreachable!("{command:?} starts: {error}"));
    let pid = Pid::from_child(&child);
    let (sender, output) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let output = output.recv_timeout(DEADLINE);
    if output.is_err() {
        // Not reaped yet, so the id is still its own.
        let _ = kill_process(pid, Signal::KILL);
    }
    let output = output.expect("it ends in time").expect("it is our child");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("it writes UTF-8"))
}
