//! Python and its `websockets` library, as servers and clients.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::DEADLINE;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");

const NEEDS: &str = "these tests need python3 with venv, and PyPI at their first run";

/// The interpreter of a virtual environment that has what `requirements.txt` asks for; made at the first use.
pub(crate) fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let wanted =
            fs::read_to_string(format!("{SCRIPTS}/requirements.txt")).expect("it is in the repository");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (venv, stamp) = (directory.join("python"), directory.join("python/requirements.txt"));
        if fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
            // Made under another name, so that what is found under this one is whole.
            let unfinished = directory.join(format!("python-{}", std::process::id()));
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&unfinished), NEEDS);
            let mut pip = Command::new(unfinished.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
            run(pip.arg(format!("{SCRIPTS}/requirements.txt")), NEEDS);
            fs::write(unfinished.join("requirements.txt"), wanted).expect("it is ours");
            let _ = fs::remove_dir_all(&venv);
            fs::rename(&unfinished, &venv).expect("nobody else makes it");
        }
        venv.join("bin/python")
    })
}

/// Runs a command that has to succeed, and says what it needs where it does not.
pub(super) fn run(command: &mut Command, needs: &str) {
    let output = command.output().unwrap_or_else(|error| unreachable!("{command:?}: {error}; {needs}"));
    assert!(
        output.status.success(),
        "{command:?} failed; {needs}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A script at work; killed when dropped.
pub(crate) struct Script {
    child: Child,
    keyboard: ChildStdin,
    lines: Receiver<String>,
}

impl Script {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(interpreter());
        command.arg(format!("{SCRIPTS}/{name}")).args(arguments);
        Self::spawn(command)
    }

    /// Starts it this way.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let keyboard = child.stdin.take().expect("it is piped");
        let output: BufReader<ChildStdout> = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, keyboard, lines }
    }

    /// Has it read this line.
    pub(crate) fn type_in(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("it prints a line, in time")
    }

    /// The same, unless none comes in this time.
    pub(crate) fn line_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits until it has ended by itself, and well.
    pub(crate) fn expect_success(mut self) {
        // Its own time limit is shorter than the harness's patience.
        while self.lines.recv().is_ok() {}
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "what it found wrong stands above: {status}");
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
