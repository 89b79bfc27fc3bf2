//! Backends that say who they are, and sessions that know where they are.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Sender;

use tungstenite::Message;

use super::backend::Backend;
use super::bind;
use super::proxy::Proxy;
use super::ws::{Client, connect};

/// A backend that greets each client with its `name`, then echoes.
pub(crate) fn greeter(name: &str) -> Backend {
    greeter_on(bind(), name)
}

/// The same, there.
pub(crate) fn greeter_on(listener: TcpListener, name: &str) -> Backend {
    Backend::on(listener, greet(name))
}

/// Greets a client with this name, and sends its messages back.
pub(crate) fn greet(name: &str) -> impl Fn(TcpStream, Sender<()>) + Clone + Send + 'static {
    let name = name.to_owned();
    move |stream, served| {
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        let _ = served.send(());
        if socket.send(Message::text(name.as_str())).is_err() {
            return;
        }
        while let Ok(message) = socket.read() {
            if message.is_text() && socket.send(message).is_err() {
                return;
            }
        }
    }
}

/// A session, and where it is.
pub(crate) struct Session {
    pub(crate) backend: String,
    pub(crate) client: Client,
}

/// Opens one.
pub(crate) fn open(proxy: &Proxy) -> Session {
    greeted(connect(&proxy.address))
}

/// Waits for the greeting.
pub(crate) fn greeted(mut client: Client) -> Session {
    let backend = client.read().expect("a greeting").to_string();
    Session { backend, client }
}

/// How many of them each backend has.
pub(crate) fn count<'s>(sessions: impl IntoIterator<Item = &'s Session>) -> BTreeMap<&'s str, usize> {
    let mut counts = BTreeMap::new();
    for session in sessions {
        *counts.entry(session.backend.as_str()).or_default() += 1;
    }
    counts
}
