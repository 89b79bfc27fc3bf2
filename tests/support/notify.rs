//! The service manager's end of sd_notify(3): a Unix datagram socket.

use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::DEADLINE;

/// A socket that a service's news arrive at.
pub(crate) struct Manager {
    socket: UnixDatagram,
    unread: VecDeque<String>,
}

impl Manager {
    pub(crate) fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("nobody else has it");
        socket.set_read_timeout(Some(DEADLINE)).expect("not zero");
        Self { socket, unread: VecDeque::new() }
    }

    /// Makes `command` report to it.
    pub(crate) fn hears(&self, command: &mut Command) {
        let address = self.socket.local_addr().expect("it is bound");
        command.env("NOTIFY_SOCKET", address.as_pathname().expect("it has a path"));
    }

    /// The next thing that it is told, such as `READY=1`.
    pub(crate) fn next(&mut self) -> String {
        while self.unread.is_empty() {
            let mut buffer = [0; 4096];
            let len = self.socket.recv(&mut buffer).expect("news in time");
            let text = String::from_utf8(buffer.into_iter().take(len).collect()).expect("it is text");
            self.unread.extend(text.lines().map(str::to_owned));
        }
        self.unread.pop_front().expect("it was filled just now")
    }

    /// Whether it is told something before so much time has passed.
    pub(crate) fn speaks_within(&mut self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).expect("not zero");
        let speaks = self.unread.pop_front().is_some() || self.socket.recv(&mut [0; 4096]).is_ok();
        self.socket.set_read_timeout(Some(DEADLINE)).expect("not zero");
        speaks
    }

    /// Whether there is no news.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.socket.set_nonblocking(true).expect("it is a socket");
        let is_silent = self.unread.is_empty() && self.socket.recv(&mut [0]).is_err();
        self.socket.set_nonblocking(false).expect("it is a socket");
        is_silent
    }
}
