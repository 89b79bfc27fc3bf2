//! Many short sessions, at a steady rate: each connects, upgrades, gets one echo and closes.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tungstenite::handshake::HandshakeError;
use tungstenite::{Error, Message};

use super::backend::echo;
use super::{DEADLINE, bind, eventually, now};

/// Clients that come and go side by side.
const CLIENTS: u32 = 32;

/// What came of the sessions that a crowd tried to open.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// An echo and a clean end.
    pub(crate) served: u32,
    /// A Close 1001 before the echo: what a drain may do to a session that is open.
    pub(crate) drained: u32,
    /// Nobody listened.
    pub(crate) refused: u32,
    /// Cut off before the 101, or answered with something else.
    pub(crate) not_upgraded: u32,
    /// Cut off after the 101, or a wrong echo.
    pub(crate) broken: u32,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            served: self.served + other.served,
            drained: self.drained + other.drained,
            refused: self.refused + other.refused,
            not_upgraded: self.not_upgraded + other.not_upgraded,
            broken: self.broken + other.broken,
        }
    }

    /// Sessions that a client has reason to complain of.
    pub(crate) fn lost(&self) -> u32 {
        self.refused + self.not_upgraded + self.broken
    }
}

/// Clients at work, until they are told to stop.
pub(crate) struct Crowd {
    clients: Vec<JoinHandle<Tally>>,
    is_over: Arc<AtomicBool>,
    sessions: Arc<AtomicU32>,
}

impl Crowd {
    /// Opens sessions at `address`, `rate` a second or as many as the machine manages.
    pub(crate) fn start(address: &str, rate: u32) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let sessions = Arc::new(AtomicU32::new(0));
        let every = Duration::from_secs(1) * CLIENTS / rate;
        let client = |number: u32| {
            let (address, is_over, sessions) = (address.to_owned(), is_over.clone(), sessions.clone());
            thread::spawn(move || {
                let mut tally = Tally::default();
                let mut next = now() + every * number / CLIENTS;
                while !is_over.load(Ordering::Relaxed) {
                    thread::park_timeout(next.saturating_duration_since(now()));
                    // What it could not do in time it does not try to make up for.
                    next = (next + every).max(now());
                    tally = tally.add(session(&address, &format!("client {number} says {next:?}")));
                    sessions.fetch_add(1, Ordering::Relaxed);
                }
                tally
            })
        };
        Self { clients: (0..CLIENTS).map(client).collect(), is_over, sessions }
    }

    /// Waits until it has opened so many more sessions, whatever came of them.
    pub(crate) fn wait_for_sessions(&self, count: u32) {
        let wanted = self.sessions.load(Ordering::Relaxed) + count;
        eventually("sessions are opened", || self.sessions.load(Ordering::Relaxed) >= wanted);
    }

    /// What came of them all.
    pub(crate) fn stop(self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        let tallies = self.clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        tallies.fold(Tally::default(), Tally::add)
    }
}

/// One session, and what came of it.
fn session(address: &str, words: &str) -> Tally {
    let none = Tally::default();
    let stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Tally { refused: 1, ..none },
        Err(_) => return Tally { not_upgraded: 1, ..none },
    };
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    stream.set_nodelay(true).expect("it is TCP");
    let mut client = match tungstenite::client("ws://chat.example/", stream) {
        Ok((client, _)) => client,
        Err(HandshakeError::Failure(_) | HandshakeError::Interrupted(_)) => {
            return Tally { not_upgraded: 1, ..none };
        }
    };
    let echo = client.send(Message::text(words)).and_then(|()| client.read());
    match echo {
        Ok(Message::Text(text)) if text.as_str() == words => {}
        Ok(Message::Close(Some(frame))) if u16::from(frame.code) == 1001 => {
            return Tally { drained: 1, ..none };
        }
        Ok(_) | Err(_) => return Tally { broken: 1, ..none },
    }
    let end = client.close(None).and_then(|()| {
        loop {
            client.read()?;
        }
    });
    match end {
        Ok(()) | Err(Error::ConnectionClosed) => Tally { served: 1, ..none },
        Err(_) => Tally { broken: 1, ..none },
    }
}

/// An echo backend that keeps nothing of the sessions it has served. Ends with the test.
pub(crate) fn echo_backend() -> String {
    let listener: TcpListener = bind();
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (served, _) = std::sync::mpsc::channel();
            thread::spawn(move || {
                stream.set_nodelay(true).expect("it is TCP");
                echo(stream, served);
            });
        }
    });
    format!("ws://{address}")
}
