//! A backend that echoes, and answers its probes as the test says.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use tungstenite::Message;

use super::backend::{Backend, echo};
use super::bind;
use super::greeting::greet;
use super::raw::Raw;

/// What is wrong with a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It answers 503.
    Status,
    /// It accepts and says nothing.
    Silence,
    /// It ends the connection.
    HangUp,
    /// It upgrades, and answers something else.
    WrongAnswer,
    /// It upgrades, and answers nothing.
    NoAnswer,
}

/// Probes of it ask for `/health`; whatever else is asked for is a session.
pub(crate) struct Probed {
    pub(crate) backend: Backend,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Probes answered so far, well or badly.
    asked: AtomicU32,
    /// Probes still to be answered badly.
    bad_left: AtomicU32,
}

impl Probed {
    /// Is well, until it is told to have this fault.
    pub(crate) fn new(fault: Fault) -> Self {
        Self::serving(fault, echo)
    }

    /// The same, but greets each client with this name.
    pub(crate) fn greeting(name: &str, fault: Fault) -> Self {
        Self::serving(fault, greet(name))
    }

    fn serving(fault: Fault, serve: impl Fn(TcpStream, Sender<()>) + Clone + Send + 'static) -> Self {
        let counts = Arc::new(Counts::default());
        let ours = counts.clone();
        let backend = Backend::on(bind(), move |stream, served| {
            let mut start = [0; 11];
            // Whoever sends a head sends it in one piece; who sends nothing wants to know only that it can connect.
            match stream.peek(&mut start) {
                Ok(0) | Err(_) => {}
                Ok(_) if start == *b"GET /health" => answer(stream, ours.ask().then_some(fault)),
                Ok(_) => serve(stream, served),
            }
        });
        Self { backend, counts }
    }

    pub(crate) fn url(&self) -> String {
        self.backend.url()
    }

    /// Probes that it has been asked.
    pub(crate) fn asked(&self) -> u32 {
        self.counts.asked.load(Ordering::SeqCst)
    }

    /// Answers badly from now on.
    pub(crate) fn fall_ill(&self) {
        self.fail(u32::MAX);
    }

    /// Answers the next probes badly, so many.
    pub(crate) fn fail(&self, probes: u32) {
        self.counts.bad_left.store(probes, Ordering::SeqCst);
    }

    /// Answers well again.
    pub(crate) fn recover(&self) {
        self.fail(0);
    }
}

impl Counts {
    /// Counts a probe; whether to answer it badly.
    fn ask(&self) -> bool {
        let is_bad = self
            .bad_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        self.asked.fetch_add(1, Ordering::SeqCst);
        is_bad
    }
}

fn answer(stream: TcpStream, fault: Option<Fault>) {
    match fault {
        Some(Fault::Status) => respond(stream, "503 Service Unavailable"),
        // Until the probe gives up.
        Some(Fault::Silence) => drop(Raw::new(stream).rest()),
        Some(Fault::HangUp) => {}
        Some(Fault::WrongAnswer) => converse(stream, Some("pang")),
        Some(Fault::NoAnswer) => converse(stream, None),
        None if is_upgrade(&stream) => converse(stream, Some("all is well: pong")),
        None => respond(stream, "200 OK"),
    }
}

fn is_upgrade(stream: &TcpStream) -> bool {
    let mut head = vec![0; 4096];
    let len = stream.peek(&mut head).unwrap_or_default();
    head.get(..len).unwrap_or_default().windows(9).any(|at| at.eq_ignore_ascii_case(b"websocket"))
}

fn respond(stream: TcpStream, status: &str) {
    let mut connection = Raw::new(stream);
    connection.head();
    connection
        .send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
}

/// Answers each message with this, until the probe goes.
fn converse(stream: TcpStream, words: Option<&str>) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    while let Ok(message) = socket.read() {
        if let (Message::Text(_), Some(words)) = (message, words)
            && socket.send(Message::text(words)).is_err()
        {
            return;
        }
    }
}
