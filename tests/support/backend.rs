//! Backends: played by the test itself, or by tungstenite in threads.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tungstenite::{Message, WebSocket};

use super::http::{Head, switching, upgrade_request};
use super::proxy::Proxy;
use super::raw::Raw;
use super::{DEADLINE, bind};

/// A backend that the test plays: it accepts when the test says so, and is deaf until then.
pub(crate) struct Stage(TcpListener);

impl Stage {
    pub(crate) fn new() -> Self {
        Self::on(bind())
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        // On Linux the receive timeout is the accept timeout too.
        socket2::SockRef::from(&listener).set_read_timeout(Some(DEADLINE)).expect("not zero");
        Self(listener)
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.0.local_addr().expect("it is bound"))
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Raw {
        let (stream, _) = self.0.accept().expect("a connection in time");
        stream.set_nodelay(true).expect("it is TCP");
        Raw::new(stream)
    }

    /// The next connection that asks for something, and what.
    pub(crate) fn request(&self) -> (Raw, Head) {
        let mut connection = self.accept();
        let head = connection.head();
        (connection, head)
    }

    /// Opens a session through `proxy`: the client's end and the backend's, both behind the handshake.
    pub(crate) fn open(&self, proxy: &Proxy) -> (Raw, Raw) {
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        let (mut backend, _) = self.request();
        backend.send(&switching(&[]));
        assert_eq!(client.head().status(), 101);
        (client, backend)
    }
}

/// A backend whose every connection is served on a thread of its own.
pub(crate) struct Backend {
    address: SocketAddr,
    /// To stop accepting by; the acceptor has its own.
    listener: Option<TcpListener>,
    acceptor: Option<JoinHandle<Vec<TcpStream>>>,
    served: Receiver<()>,
    served_before: usize,
}

impl Backend {
    /// Serves with `serve`, which says on the channel when it has upgraded or answered.
    pub(crate) fn on(
        listener: TcpListener,
        serve: impl Fn(TcpStream, Sender<()>) + Clone + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let accepting = listener.try_clone().expect("a descriptor");
        let (sender, served) = mpsc::channel();
        let acceptor = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in accepting.incoming().map_while(Result::ok) {
                connections.extend(stream.try_clone());
                stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
                stream.set_nodelay(true).expect("it is TCP");
                let (serve, sender) = (serve.clone(), sender.clone());
                thread::spawn(move || {
                    let ours = stream.try_clone();
                    serve(stream, sender);
                    // The acceptor's descriptor would keep the connection open.
                    ours.map(|stream| stream.shutdown(Shutdown::Both))
                });
            }
            connections
        });
        Self { address, listener: Some(listener), acceptor: Some(acceptor), served, served_before: 0 }
    }

    /// Sends every message back.
    pub(crate) fn echo() -> Self {
        Self::on(bind(), echo)
    }

    /// Answers every request with these bytes, and ends the connection.
    pub(crate) fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::on(bind(), move |stream, served| {
            let mut connection = Raw::new(stream);
            // A probe of the proxy's asks nothing.
            if connection.stream.peek(&mut [0]).is_ok_and(|len| len > 0) {
                connection.head();
                connection.send(&bytes);
                let _ = served.send(());
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The same, of one that speaks TLS.
    pub(crate) fn tls_url(&self) -> String {
        format!("wss://{}", self.address)
    }

    /// Requests answered so far.
    pub(crate) fn served(&mut self) -> usize {
        self.served_before += self.served.try_iter().count();
        self.served_before
    }

    /// Dies: refuses new connections, and the open ones end without a Close. Its address, to come back to.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.stop();
        self.address
    }

    /// Comes back to where a backend was.
    pub(crate) fn echo_at(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).expect("only we know this address"), echo)
    }

    fn stop(&mut self) {
        // Wakes the acceptor; the port is free once both descriptors are closed.
        if let Some(listener) = self.listener.take() {
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
        let connections = self.acceptor.take().map(JoinHandle::join);
        for connection in connections.into_iter().flatten().flatten() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends every message back until the client closes.
pub(crate) fn echo<S: Read + Write>(stream: S, served: Sender<()>) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    let _ = served.send(());
    // The test may be over already.
    while let Ok(message) = socket.read() {
        if !answer(&mut socket, message) {
            return;
        }
    }
}

fn answer<S: Read + Write>(socket: &mut WebSocket<S>, message: Message) -> bool {
    !(message.is_text() || message.is_binary()) || socket.send(message).is_ok()
}
