//! A client of the demo: sends, waits for the answer, rests, and comes back whenever it loses its session.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tungstenite::{Message, WebSocket, client};

use super::certificate::NAME;
use super::now;

/// Between two messages.
const REST: Duration = Duration::from_millis(5);

/// Messages that one with work to do has sent, and that are not answered.
const UNDER_WAY: usize = 16;

/// Before it comes back, and before it gives up waiting for an answer.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client has to tell.
pub(super) enum News {
    /// A message came back after this long.
    Answered(Duration),
    /// It lost its session, and has a new one.
    Reconnected,
    /// Workers are done with a message.
    Worked(Crew),
}

/// Who works for a client that has work to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crew {
    /// One worker, by a pool.
    One,
    /// Several, by a dispatch.
    Many,
}

/// Where the proxy is, and how it is spoken with.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) address: SocketAddr,
    /// `None`: not in TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// A connection, in TLS or not.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

type Socket = WebSocket<Box<dyn Stream>>;

/// Starts one on a thread of its own, until nobody listens to its news any more.
pub(super) fn start(dialler: Dialler, news: SyncSender<News>) {
    thread::spawn(move || {
        // Never sent on: waiting for it is how to rest.
        let (_hold, rest) = sync_channel::<()>(0);
        let mut is_first = true;
        loop {
            let session = dialler.connect("/");
            if let Ok(mut socket) = session {
                if !is_first && news.send(News::Reconnected).is_err() {
                    return;
                }
                is_first = false;
                while let Ok(after) = exchange(&mut socket) {
                    if news.send(News::Answered(after)).is_err() {
                        return;
                    }
                    let _ = rest.recv_timeout(REST);
                }
            }
            let _ = rest.recv_timeout(RECONNECT_AFTER);
        }
    });
}

/// Starts one that always has the same number of messages under way with its workers, until nobody listens to its news
/// any more.
pub(super) fn start_work(dialler: Dialler, crew: Crew, news: SyncSender<News>) {
    thread::spawn(move || {
        let (_hold, rest) = sync_channel::<()>(0);
        loop {
            let session = dialler.connect(crew.path());
            if let Ok(mut socket) = session {
                let mut asked = (0..UNDER_WAY).try_for_each(|_| ask(&mut socket));
                while asked.is_ok() && hear(&mut socket).is_ok() {
                    if news.send(News::Worked(crew)).is_err() {
                        return;
                    }
                    asked = ask(&mut socket);
                }
            }
            let _ = rest.recv_timeout(RECONNECT_AFTER);
        }
    });
}

impl Crew {
    /// The route to it.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::One => "/worker",
            Self::Many => "/workers",
        }
    }
}

impl Dialler {
    fn connect(&self, path: &str) -> Result<Socket, Box<dyn Error>> {
        let stream = TcpStream::connect_timeout(&self.address, ANSWER_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let (scheme, stream): (_, Box<dyn Stream>) = match &self.tls {
            None => ("ws", Box::new(stream)),
            Some(tls) => {
                let connection = ClientConnection::new(tls.clone(), ServerName::try_from(NAME)?)?;
                ("wss", Box::new(StreamOwned::new(connection, stream)))
            }
        };
        let (socket, _) = client(format!("{scheme}://{}{path}", self.address), stream)
            .map_err(|error| error.to_string())?;
        Ok(socket)
    }
}

fn exchange(socket: &mut Socket) -> tungstenite::Result<Duration> {
    let sent_at = now();
    ask(socket)?;
    hear(socket)?;
    Ok(sent_at.elapsed())
}

fn ask(socket: &mut Socket) -> tungstenite::Result<()> {
    socket.send(Message::text("how far is it across the strait?"))
}

/// Waits for an answer.
fn hear(socket: &mut Socket) -> tungstenite::Result<()> {
    while !socket.read()?.is_text() {}
    Ok(())
}
