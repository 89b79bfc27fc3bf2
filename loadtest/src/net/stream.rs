//! What a session reads and writes: TCP, plain or under TLS.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::tls::Tls;
use super::{Flow, Moved, SCRATCH_BYTES, Socket};

/// How a connection was lost.
#[derive(Debug, PartialEq)]
pub(crate) enum Broken {
    /// By TCP.
    Tcp(Errno),
    /// By TLS: what came is not it, not authentic, or not from whom it should be.
    Tls(rustls::Error),
}

impl From<Errno> for Broken {
    fn from(errno: Errno) -> Self {
        Self::Tcp(errno)
    }
}

impl From<rustls::Error> for Broken {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Bytes, which lie at the front of [`Inward::plain`].
    Bytes {
        /// How many; never zero.
        len: usize,
        /// Whether the socket is empty now, so that whatever comes later makes a new event.
        emptied: bool,
    },
    /// Nothing now; an event will say when.
    Blocked,
    /// The server has ended its side.
    Ended(End),
}

/// How a server ended its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Clean,
    /// TCP ended without TLS's close_notify (RFC 8446 §6.1): the last bytes may be missing.
    Truncated,
}

/// Buffers that all connections of a thread read into.
pub(crate) struct Inward {
    /// What sessions read.
    pub(crate) plain: Vec<u8>,
    /// What TLS reads.
    pub(super) sealed: Vec<u8>,
}

impl Inward {
    /// Room for one read. No record is longer once it is opened.
    pub(crate) fn new() -> Self {
        Self { plain: vec![0; SCRATCH_BYTES], sealed: vec![0; SCRATCH_BYTES] }
    }
}

/// A connection to a server, perhaps still being made.
pub(crate) enum Stream {
    /// TCP.
    Plain(Socket),
    /// TLS over TCP.
    Tls(Box<Tls>),
}

impl Stream {
    /// Goes on connecting. `Blocked` until there is a TCP connection; of a plain one, only writing tells.
    ///
    /// # Errors
    /// There will be none.
    pub(crate) fn connect(&mut self) -> Result<Flow, Broken> {
        match self {
            Self::Plain(_) => Ok(Flow::Clear),
            Self::Tls(tls) => tls.connect(),
        }
    }

    /// Whether bytes can be sent and received, once there is TCP.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_established(),
        }
    }

    /// TLS, where it is spoken.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls),
        }
    }

    /// Reads into the front of `buffers.plain`.
    ///
    /// # Errors
    /// The connection is lost.
    #[inline]
    pub(crate) fn read(&mut self, buffers: &mut Inward) -> Result<Arrived, Broken> {
        match self {
            Self::Plain(socket) => Ok(match socket.read(&mut buffers.plain)? {
                Moved::Bytes(len) => Arrived::Bytes { len, emptied: len < buffers.plain.len() },
                Moved::Blocked => Arrived::Blocked,
                Moved::Ended => Arrived::Ended(End::Clean),
            }),
            Self::Tls(tls) => tls.read(buffers),
        }
    }

    /// Writes from `bytes`; fewer than all only where the socket is full, so that an event will follow. `sealed` is
    /// scratch.
    ///
    /// # Errors
    /// The connection is lost.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8], sealed: &mut Vec<u8>) -> Result<Moved, Broken> {
        match self {
            Self::Plain(socket) => Ok(socket.write(bytes)?),
            Self::Tls(tls) => tls.write(bytes, sealed),
        }
    }

    /// Sends what was written and has not left.
    ///
    /// # Errors
    /// The connection is lost.
    #[inline]
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush().map(|_| ()),
        }
    }

    /// Tells the server, if there is a way, that nothing will follow. Whether it arrives makes no difference.
    pub(crate) fn end(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(tls) => tls.end(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Tls(tls) => tls.as_fd(),
        }
    }
}
