//! Non-blocking TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, accept_with, bind, connect,
    getsockname, listen, recv, send, shutdown, socket_with, sockopt,
};

/// Bytes of the one buffer that all connections of a thread read into. At 16 KiB messages, reads of 16 KiB cost
/// twice what reads of this size do.
pub(crate) const SCRATCH_BYTES: usize = 256 * 1024;

/// What a read or write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// This many bytes; never zero.
    Bytes(usize),
    /// Nothing now; an event will say when.
    Blocked,
    /// The peer has ended its side (reads only).
    Ended,
}

/// How many bytes may wait in the kernel to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// As many as the kernel thinks good.
    Usual,
    /// As few as it allows.
    Small,
}

/// A connection, perhaps still being made.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Begins to connect, from `source` if one is given.
    ///
    /// # Errors
    /// What can be known at once: no descriptor, no local port, no route.
    pub(crate) fn connect(
        address: SocketAddr,
        source: Option<IpAddr>,
        window: Window,
    ) -> Result<Self, Errno> {
        let fd = stream_socket(address)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        if window == Window::Small {
            // Before connecting, so that it is what the peer is told.
            sockopt::set_socket_recv_buffer_size(&fd, 0)?;
        }
        if let Some(source) = source {
            sockopt::set_socket_reuseaddr(&fd, true)?;
            bind(&fd, &SocketAddr::new(source, 0))?;
        }
        match connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self(fd)),
            Err(errno) => Err(errno),
        }
    }

    /// Makes one of a connection that the standard library has made.
    ///
    /// # Errors
    /// None for a TCP socket.
    pub(crate) fn from_blocking(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(stream.into()))
    }

    /// Reads into `buf`.
    ///
    /// # Errors
    /// The connection was reset or otherwise lost.
    #[inline]
    pub(crate) fn read(&self, buf: &mut [u8]) -> Result<Moved, Errno> {
        loop {
            match recv(&self.0, &mut *buf, RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(Moved::Ended),
                Ok((_, len)) => return Ok(Moved::Bytes(len)),
                Err(Errno::AGAIN) => return Ok(Moved::Blocked),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Writes from `bytes`, perhaps not all; none at all before the connection is made.
    ///
    /// # Errors
    /// The connection could not be made, was reset or otherwise lost.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<Moved, Errno> {
        loop {
            match send(&self.0, bytes, SendFlags::NOSIGNAL) {
                Ok(len) => return Ok(Moved::Bytes(len)),
                Err(Errno::AGAIN) => return Ok(Moved::Blocked),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Ends our side; the peer's stays open.
    ///
    /// # Errors
    /// The connection is gone already.
    pub(crate) fn end(&self) -> Result<(), Errno> {
        shutdown(&self.0, Shutdown::Write)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl Listener {
    /// Listens on `address`; where that is every address of IPv6, on those of IPv4 too.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub(crate) fn bind(address: SocketAddr, backlog: i32) -> Result<Self, Errno> {
        let is_any = address.ip() == Ipv6Addr::UNSPECIFIED;
        let fd = match stream_socket(address) {
            Ok(fd) if is_any => sockopt::set_ipv6_v6only(&fd, false).map(|()| fd)?,
            Ok(fd) => fd,
            // A machine without IPv6.
            Err(Errno::AFNOSUPPORT) if is_any => {
                return Self::bind((Ipv4Addr::UNSPECIFIED, address.port()).into(), backlog);
            }
            Err(errno) => return Err(errno),
        };
        sockopt::set_socket_reuseaddr(&fd, true)?;
        bind(&fd, &address)?;
        listen(&fd, backlog)?;
        Ok(Self(fd))
    }

    /// Where it listens, with the port that the kernel chose.
    ///
    /// # Errors
    /// None for a TCP socket.
    pub(crate) fn address(&self) -> Result<SocketAddr, Errno> {
        SocketAddr::try_from(getsockname(&self.0)?)
    }

    /// The next connection, if one waits.
    ///
    /// # Errors
    /// Out of descriptors, for one.
    pub(crate) fn accept(&self) -> Result<Option<Socket>, Errno> {
        loop {
            match accept_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => {
                    sockopt::set_tcp_nodelay(&fd, true)?;
                    return Ok(Some(Socket(fd)));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn stream_socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}
