//! A connection with a peer: plain or in TLS, and whoever reads or writes it need not know which.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use super::Socket;
use super::socket::write_all;
use super::tls::Tls;

/// A connected stream. Dropping it closes its connection; in TLS, without a word: to its peer that is a cut.
pub enum Stream {
    /// Bytes as they are.
    Plain(Socket),
    /// Bytes in records. Boxed, so that the others need not be as large.
    Tls(Box<Tls>),
}

impl Stream {
    /// Reads what is there into `buffer`; `None` if that is nothing yet, `Some(0)` at the end of the stream.
    ///
    /// # Errors
    /// The connection is broken; in TLS also: the peer broke the protocol, or its stream was cut off.
    #[inline]
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(socket) => socket.try_read(buffer),
            Self::Tls(tls) => tls.try_read(buffer),
        }
    }

    /// Writes as much of `bytes` as the connection takes, and says how much that was. What is left is to be offered
    /// again, unchanged, before anything else.
    ///
    /// # Errors
    /// The connection is broken.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(tls) => tls.try_write(bytes),
        }
    }

    /// Of the bytes that [`Self::try_write`] did not take, those at the front that it has to be offered before anything
    /// else: in TLS they may be encrypted already.
    #[inline]
    pub fn owed(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.owed(),
        }
    }

    /// Reads into `buffer` as soon as there is something; 0 at the end of the stream.
    ///
    /// # Errors
    /// As [`Self::try_read`].
    ///
    /// # Cancel safety
    /// Safe: what was not returned was not read.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|_| match self.try_read(buffer) {
            Ok(None) => Poll::Pending,
            Ok(Some(len)) => Poll::Ready(Ok(len)),
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The connection is broken.
    ///
    /// # Cancel safety
    /// Not safe: how much was written is lost.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        write_all(bytes, |bytes| self.try_write(bytes)).await
    }

    /// Ends our side behind all that was written: with FIN, in TLS after close_notify. Whether that has left; if not, it
    /// is to be called again when the connection takes more.
    pub fn finish(&self) -> bool {
        match self {
            Self::Plain(socket) => {
                socket.finish();
                true
            }
            Self::Tls(tls) => tls.finish(),
        }
    }

    /// Closes the connection in order, behind all that was written.
    pub fn close(self) {
        match self {
            Self::Plain(socket) => drop(socket),
            // A peer that has no room for the last record has not read what came before it either.
            Self::Tls(tls) => drop(tls.finish()),
        }
    }

    /// The peer has ended its stream, or the connection is broken.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_hung_up(),
            Self::Tls(tls) => tls.is_hung_up(),
        }
    }

    /// The connection was reset: what was not read is lost.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.socket().is_broken()
    }

    /// Our own address in this connection. `None` for a Unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket().local_address()
    }

    /// The calling task is woken from now on when there is more to read or room to write, and no other.
    pub fn take_over(&self) {
        self.socket().take_over();
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.socket(),
        }
    }
}
