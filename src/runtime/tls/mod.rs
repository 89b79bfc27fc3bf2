//! A TLS connection over a socket. Its buffers are the shard's: an idle connection has none of its own.
//!
//! Reads and writes look like the socket's. Bytes are read into the shard's workspace, decrypted there and copied out;
//! what is written is encrypted there. Only an incomplete record, what a reader had no room for, and records that the
//! socket did not take stay with the connection, until they are gone.

mod machine;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ServerConfig};

use super::Socket;
use crate::tls::{self, Peer};
use machine::{Machine, OVERHEAD_MAX, PAYLOAD_MAX, Pause, Plain};

/// Bytes of the workspace: what is read or encrypted at once.
const WORKSPACE_BYTES: usize = 128 * 1024;

/// Bytes encrypted at once. While they wait for a slow peer they are there twice: encrypted, and with whoever writes.
const ENCRYPTED_AT_ONCE: usize = 4 * PAYLOAD_MAX;

/// Bytes of a handshake that are held until it is complete; beyond, it fails. Room for any chain of certificates (rustls
/// allows 64 KiB), and a bound for what a peer can make us hold.
const HANDSHAKE_BYTES_MAX: usize = 72 * 1024;

/// What all connections of a shard work in, never across an await.
#[derive(Clone)]
pub struct Workspace(Rc<RefCell<Box<[u8]>>>);

impl Workspace {
    /// One for a shard. Its memory is the kernel's until it is used.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; WORKSPACE_BYTES].into_boxed_slice())))
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The peer hung up in the middle.
    #[error("the peer ended the connection during the TLS handshake")]
    Ended,
    /// The connection broke, or could not be established.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One side did not like the other.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Failure {
    /// What TLS has against the peer, if that is what is behind an error in reading or writing.
    #[must_use]
    pub fn within(error: &io::Error) -> Option<Self> {
        Some(Self::Tls(error.get_ref()?.downcast_ref::<rustls::Error>()?.clone()))
    }

    /// A word for it, for counters.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Io(_) => "broken",
            Self::Tls(error) => tls::label(error),
        }
    }

    /// What went wrong, in a sentence: whose fault it is and what to do.
    #[must_use]
    pub fn explain(&self, peer: Peer) -> String {
        match self {
            Self::Ended | Self::Io(_) => self.to_string(),
            Self::Tls(error) => tls::explain(error, peer),
        }
    }
}

/// A TLS connection.
pub struct Tls {
    socket: Socket,
    workspace: Workspace,
    session: RefCell<Session>,
}

struct Session {
    machine: Machine,
    /// Bytes from the peer that are not decrypted yet.
    incoming: Vec<u8>,
    /// Whether there may be whole records among them.
    may_have_records: bool,
    /// Decrypted bytes that the reader had no room for.
    decrypted: Vec<u8>,
    /// Of the bytes that the writer offers next, those at the front are encrypted already, and outgoing.
    owed: usize,
    /// The peer's bytes have ended, whether it said so or not.
    has_ended: bool,
    has_said_goodbye: bool,
}

impl Tls {
    /// Performs the handshake with a client. `early` is what has been read from it.
    ///
    /// # Errors
    /// [`Failure`]. The client has been told why, as far as TLS has an alert for it.
    ///
    /// # Cancel safety
    /// Not safe: the connection is of no further use.
    pub async fn accept(
        socket: Socket,
        early: Vec<u8>,
        config: Arc<ServerConfig>,
        workspace: Workspace,
    ) -> Result<Self, Failure> {
        let tls = Self::new(socket, early, Machine::server(config)?, workspace);
        tls.handshake().await?;
        Ok(tls)
    }

    /// Performs the handshake with a server, of which `name` has to be proved.
    ///
    /// # Errors
    /// [`Failure`].
    ///
    /// # Cancel safety
    /// Not safe: the connection is of no further use.
    pub async fn connect(
        socket: Socket,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
        workspace: Workspace,
    ) -> Result<Self, Failure> {
        let tls = Self::new(socket, Vec::new(), Machine::client(config, name)?, workspace);
        tls.handshake().await?;
        Ok(tls)
    }

    fn new(socket: Socket, early: Vec<u8>, machine: Machine, workspace: Workspace) -> Self {
        Self { socket, workspace, session: RefCell::new(Session::new(early, machine)) }
    }

    async fn handshake(&self) -> Result<(), Failure> {
        poll_fn(|_| {
            let mut workspace = self.workspace.0.borrow_mut();
            let result = self.session.borrow_mut().shake_hands(&self.socket, &mut workspace);
            match result {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => Poll::Pending,
                Err(failure) => Poll::Ready(Err(failure)),
            }
        })
        .await
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether a session of before was taken up again.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.session.borrow().machine.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether this is the protocol that was agreed on (RFC 7301).
    #[must_use]
    pub fn is_for(&self, protocol: &[u8]) -> bool {
        self.session.borrow().machine.state().alpn_protocol() == Some(protocol)
    }

    /// The peer's own certificate, in DER, if it has shown one.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        let session = self.session.borrow();
        session.machine.state().peer_certificates()?.first().map(|leaf| leaf.to_vec())
    }

    /// As [`Socket::try_read`]. A stream that ends without the peer's close_notify has been cut: that is an error of
    /// kind [`io::ErrorKind::UnexpectedEof`] (RFC 8446 §6.1).
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut session = self.session.borrow_mut();
        if !session.decrypted.is_empty() {
            return Ok(Some(session.give(buffer)));
        }
        if session.machine.has_peer_closed() {
            return Ok(Some(0));
        }
        if session.has_ended {
            return Err(cut_off());
        }
        if !session.may_have_records && !self.socket.is_readable() {
            return Ok(None);
        }
        session.read(&self.socket, &mut self.workspace.0.borrow_mut(), buffer)
    }

    /// As [`Socket::try_write`]; what it did not take is to be offered again, unchanged, before anything else: some of
    /// it may be encrypted already.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.session.borrow_mut().write(&self.socket, &mut self.workspace.0.borrow_mut(), bytes)
    }

    /// So many of those are encrypted.
    pub(super) fn owed(&self) -> usize {
        self.session.borrow().owed
    }

    /// Sends close_notify and FIN behind all that was written. Whether both have left; if not, it is to be called again.
    pub(super) fn finish(&self) -> bool {
        let mut session = self.session.borrow_mut();
        if !std::mem::replace(&mut session.has_said_goodbye, true) {
            session.close();
        }
        // A connection that is gone has nobody to tell.
        let is_done = session.flush(&self.socket).unwrap_or(true);
        if is_done {
            self.socket.finish();
        }
        is_done
    }

    /// The peer has ended its stream, or the connection is broken.
    pub(super) fn is_hung_up(&self) -> bool {
        self.socket.is_hung_up() || self.session.borrow().machine.has_peer_closed()
    }
}

impl Session {
    /// One that begins with these bytes of the peer's.
    fn new(incoming: Vec<u8>, machine: Machine) -> Self {
        Self {
            machine,
            incoming,
            may_have_records: true,
            decrypted: Vec::new(),
            owed: 0,
            has_ended: false,
            has_said_goodbye: false,
        }
    }

    /// Goes on with the handshake; whether it is complete.
    fn shake_hands(&mut self, socket: &Socket, workspace: &mut [u8]) -> Result<bool, Failure> {
        loop {
            if self.may_have_records {
                let mut plain = Plain::none();
                let taken = self.take(workspace, 0, &mut plain);
                self.decrypted.append(&mut plain.overflow);
                if let Err(error) = taken {
                    // The alert that says why; to a peer that takes it.
                    let _ = self.flush(socket);
                    return Err(error.into());
                }
            }
            self.flush(socket)?;
            if !self.machine.state().is_handshaking() {
                return Ok(self.machine.outgoing.is_empty());
            }
            if self.incoming.len() > HANDSHAKE_BYTES_MAX {
                return Err(rustls::Error::General("the peer's handshake is too long".to_owned()).into());
            }
            let room = workspace.get_mut(..PAYLOAD_MAX + OVERHEAD_MAX).unwrap_or_default();
            match socket.try_read(room)? {
                None => return Ok(false),
                Some(0) => return Err(Failure::Ended),
                Some(len) => {
                    self.incoming.extend_from_slice(room.get(..len).unwrap_or_default());
                    self.may_have_records = true;
                }
            }
        }
    }

    /// Reads what the socket has behind what it had, and decrypts it into `buffer`.
    fn read(
        &mut self,
        socket: &Socket,
        workspace: &mut [u8],
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        loop {
            // As much as the reader has room for, or else one record.
            let kept = self.incoming.len();
            let most = kept.max(buffer.len()).max(PAYLOAD_MAX) + OVERHEAD_MAX;
            let most = most.min(workspace.len());
            let room = workspace.get_mut(kept..most).unwrap_or_default();
            let read = if self.has_ended || room.is_empty() { None } else { socket.try_read(room)? };
            self.has_ended |= read == Some(0);
            let mut plain = Plain::new(buffer);
            let taken = self.take(workspace, read.unwrap_or(0), &mut plain);
            let len = plain.len;
            self.decrypted = plain.overflow;
            // Answers to key updates, and alerts. A peer that does not take them now gets them with the next bytes.
            let flushed = self.flush(socket);
            taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            flushed?;
            if len > 0 {
                return Ok(Some(len));
            }
            if self.machine.has_peer_closed() {
                return Ok(Some(0));
            }
            if self.has_ended {
                return Err(cut_off());
            }
            if read.is_none() {
                return Ok(None);
            }
        }
    }

    /// Decrypts what is incoming, and behind it the `read` bytes that are in their place in the workspace.
    fn take(
        &mut self,
        workspace: &mut [u8],
        read: usize,
        plain: &mut Plain<'_>,
    ) -> Result<(), rustls::Error> {
        let kept = self.incoming.len();
        if let Some(front) = workspace.get_mut(..kept) {
            front.copy_from_slice(&self.incoming);
        }
        let bytes = workspace.get_mut(..kept + read).unwrap_or_default();
        let (taken, pause) = self.machine.take(bytes, plain)?;
        self.may_have_records = pause == Pause::Full;
        let rest = bytes.get(taken..).unwrap_or_default();
        // Made anew, so that an idle connection holds no memory, and a busy one what it needs.
        self.incoming = rest.to_vec();
        Ok(())
    }

    /// Gives the reader what it had no room for.
    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.decrypted.len());
        if let (Some(room), Some(bytes)) = (buffer.get_mut(..len), self.decrypted.get(..len)) {
            room.copy_from_slice(bytes);
        }
        self.decrypted = self.decrypted.get(len..).unwrap_or_default().to_vec();
        len
    }

    /// Has rustls do all that it has to do before it takes bytes of ours: behind a handshake with which the peer's first
    /// bytes came, there are tickets. What the peer has sent is decrypted for its reader.
    fn settle(&mut self) -> Result<(), rustls::Error> {
        let mut plain = Plain::none();
        let mut pause = Pause::Full;
        while pause == Pause::Full {
            let taken;
            (taken, pause) = self.machine.take(&mut self.incoming, &mut plain)?;
            self.incoming = self.incoming.get(taken..).unwrap_or_default().to_vec();
        }
        self.decrypted.append(&mut plain.overflow);
        self.may_have_records = false;
        Ok(())
    }

    /// Says goodbye, to a peer that can still be told.
    fn close(&mut self) {
        if self.settle().is_ok() {
            self.machine.close(&mut self.incoming);
        }
    }

    /// Encrypts and sends as much of `bytes` as the socket takes.
    fn write(&mut self, socket: &Socket, workspace: &mut [u8], bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        self.settle().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        while self.flush(socket)? {
            written += std::mem::take(&mut self.owed).min(bytes.len() - written);
            let rest = bytes.get(written..).unwrap_or_default();
            let chunk = rest.get(..rest.len().min(ENCRYPTED_AT_ONCE)).unwrap_or_default();
            if chunk.is_empty() {
                break;
            }
            let encrypted = self.machine.encrypt(&mut self.incoming, chunk, workspace);
            let len = encrypted.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let records = workspace.get(..len).unwrap_or_default();
            let sent = socket.try_write(records)?;
            self.machine.outgoing.extend_from_slice(records.get(sent..).unwrap_or_default());
            self.owed = chunk.len();
        }
        Ok(written)
    }

    /// Sends what is outgoing; whether all of it has left.
    fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        let outgoing = &mut self.machine.outgoing;
        if outgoing.is_empty() {
            return Ok(true);
        }
        let sent = socket.try_write(outgoing)?;
        *outgoing = outgoing.get(sent..).unwrap_or_default().to_vec();
        Ok(outgoing.is_empty())
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the TLS stream was cut off: there was no close_notify")
}
