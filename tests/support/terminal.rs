//! A pseudo-terminal, whose screen a foreign emulator draws.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::{Value, json};

use super::DEADLINE;
use super::python::interpreter;

/// A terminal with `selat top` in it.
pub(crate) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    answers: Receiver<String>,
}

impl Terminal {
    pub(crate) fn start(columns: u16, lines: u16, arguments: &[&str]) -> Self {
        let mut child = Command::new(interpreter())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/terminal.py"))
            .args([columns.to_string(), lines.to_string()])
            .arg(env!("CARGO_BIN_EXE_selat"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let keyboard = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, keyboard, answers }
    }

    pub(crate) fn tell(&mut self, command: &Value) -> Value {
        writeln!(self.keyboard, "{command}").expect("it listens");
        // Its own patience ends a little before.
        let answer = self.answers.recv_timeout(2 * DEADLINE);
        let answer = answer.unwrap_or_else(|_| unreachable!("{command}: what went wrong stands above"));
        serde_json::from_str(&answer).expect("JSON")
    }

    pub(crate) fn shows(&mut self, text: &str) {
        self.tell(&json!(["shows", text]));
    }

    pub(crate) fn hides(&mut self, text: &str) {
        self.tell(&json!(["hides", text]));
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.tell(&json!(["keys", keys]));
    }

    pub(crate) fn resize(&mut self, columns: u16, lines: u16) {
        self.tell(&json!(["resize", columns, lines]));
    }

    pub(crate) fn lines(&mut self) -> Vec<String> {
        let screen = self.tell(&json!(["screen"]));
        screen.as_str().expect("text").lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The line of the screen that begins so; what is drawn at once is seen at once.
    pub(crate) fn line(&mut self, start: &str) -> usize {
        self.shows(start);
        self.lines().iter().position(|line| line.starts_with(start)).expect("it is shown")
    }

    /// That the program has ended well, and left the terminal as it was.
    pub(crate) fn expect_end(&mut self) {
        let ended = self.tell(&json!(["ended"]));
        let restored = json!({
            "code": 0, "was_entered": true, "is_left": true, "is_cooked": true, "has_cursor": true
        });
        assert_eq!(ended, restored);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
