//! Non-blocking descriptors in a driver's epoll set.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::task::Poll;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, recv, send, shutdown,
    socket_with, sockopt,
};

use super::Driver;
use super::driver::SourceId;

/// What the kernel last said of a source, less what was found to be used up since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Readiness {
    readable: bool,
    writable: bool,
    /// The peer will send no more; what it sent may still be unread.
    hung_up: bool,
    /// The connection was reset.
    broken: bool,
}

impl Readiness {
    pub(super) fn with(self, flags: EventFlags) -> Self {
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        Self {
            readable: self.readable || broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
            writable: self.writable || broken || flags.contains(EventFlags::OUT),
            hung_up: self.hung_up || broken || flags.contains(EventFlags::RDHUP),
            broken: self.broken || flags.contains(EventFlags::ERR),
        }
    }
}

/// How a source is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Both directions, edge-triggered.
    Stream,
    /// Readable, edge-triggered.
    Bell,
    /// Readable, as long as it is so; where several shards share it, only some are told.
    Shared,
}

/// A descriptor in the epoll set of its owner task's driver.
pub struct Source {
    driver: Driver,
    key: SourceId,
    fd: OwnedFd,
}

impl Source {
    /// Registers a non-blocking descriptor for the calling task.
    ///
    /// # Errors
    /// When the kernel will not watch it.
    pub fn register(driver: &Driver, fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        let flags = match interest {
            Interest::Stream => EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
            Interest::Bell => EventFlags::IN | EventFlags::ET,
            Interest::Shared => EventFlags::IN | EventFlags::EXCLUSIVE,
        };
        let key = driver.register(&fd, flags)?;
        Ok(Self { driver: driver.clone(), key, fd })
    }

    /// Whether it was readable when last heard of, and has not been found empty since.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.driver.readiness(self.key).readable
    }

    /// The peer has ended its stream or the connection is broken.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.driver.readiness(self.key).hung_up
    }

    /// Notes that nothing is left to read.
    pub fn clear_readable(&self) {
        self.driver.set_readiness(self.key, Readiness { readable: false, ..self.driver.readiness(self.key) });
    }

    /// The calling task is woken from now on, and no other.
    pub fn take_over(&self) {
        self.driver.take_over(self.key);
    }

    /// Takes the descriptor out of the epoll set. Closing does that too, unless somebody else has it open.
    pub fn unwatch(&self) {
        self.driver.unwatch(&self.fd);
    }

    fn set_writable(&self, writable: bool) {
        self.driver.set_readiness(self.key, Readiness { writable, ..self.driver.readiness(self.key) });
    }

    /// Waits until [`Self::is_readable`].
    ///
    /// # Cancel safety
    /// Safe: readiness stays noted.
    pub async fn readable(&self) {
        poll_fn(|_| if self.is_readable() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.driver.forget(self.key);
    }
}

/// Offers all of `bytes` to `try_write`, from the front, until it has taken them.
///
/// # Errors
/// Its.
///
/// # Cancel safety
/// Not safe: how much was written is lost.
pub(super) async fn write_all(
    bytes: &[u8],
    try_write: impl Fn(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut written = 0;
    poll_fn(|_| match try_write(bytes.get(written..).unwrap_or_default()) {
        Ok(len) => {
            written += len;
            if written == bytes.len() { Poll::Ready(Ok(())) } else { Poll::Pending }
        }
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

/// Sends what fits at once and FIN, on a connection that nobody will wait for.
pub fn send_farewell(fd: &OwnedFd, bytes: &[u8]) {
    // There is nobody to tell if the client is gone already.
    let _ = send(fd, bytes, SendFlags::NOSIGNAL);
    let _ = shutdown(fd, Shutdown::Write);
}

/// What is behind a failure to connect, read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Descriptors, ports or memory have run out on our side.
    NoResource,
    /// The peer did not answer the kernel in time.
    TimedOut,
    /// The connection stood, and broke.
    Broken,
    /// There was no connection to be had.
    Unreachable,
}

/// What is behind `error`.
#[must_use]
pub fn fault(error: &io::Error) -> Fault {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL) => {
            Fault::NoResource
        }
        Some(Errno::TIMEDOUT) => Fault::TimedOut,
        // What the kernel has no number for, TLS says of a connection that stood.
        Some(Errno::PIPE | Errno::CONNRESET) | None => Fault::Broken,
        _ => Fault::Unreachable,
    }
}

/// A connected stream socket. Dropping it closes it.
pub struct Socket(Source);

impl Socket {
    /// Takes over an accepted, non-blocking connection for the calling task.
    ///
    /// # Errors
    /// When the kernel will not watch it.
    pub fn accepted(driver: &Driver, fd: OwnedFd) -> io::Result<Self> {
        let source = Source::register(driver, fd, Interest::Stream)?;
        source.set_writable(true);
        Ok(Self(source))
    }

    /// Begins to connect. The connection may be written to at once: if it is not established yet,
    /// [`Self::try_write`] says so, and a failure to connect shows as a failure to write.
    ///
    /// # Errors
    /// When there is no descriptor or port left, or no route.
    pub fn connect(driver: &Driver, address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let source = Source::register(driver, fd, Interest::Stream)?;
        source.set_writable(true);
        Ok(Self(source))
    }

    /// The calling task is woken from now on when there is more to read or room to write, and no other.
    pub fn take_over(&self) {
        self.0.take_over();
    }

    /// Our own address in this connection: what a client has connected to. `None` for a Unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        let address = rustix::net::getsockname(&self.0).ok()?;
        SocketAddr::try_from(address).ok()
    }

    /// Reads what is there into `buffer`; `None` if that is nothing yet, `Some(0)` at the end of the stream.
    ///
    /// # Errors
    /// The connection is broken.
    #[inline]
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let readiness = self.0.driver.readiness(self.0.key);
        if !readiness.readable {
            return Ok(None);
        }
        let wanted = buffer.len();
        loop {
            match recv(&self.0.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((_, len)) => {
                    // A short read has emptied the socket (epoll(7)), but for an end that is yet to be read.
                    if len < wanted && !readiness.hung_up {
                        self.0.clear_readable();
                    }
                    return Ok(Some(len));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.0.clear_readable();
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes as much of `bytes` as the socket takes, and says how much that was.
    ///
    /// # Errors
    /// The connection is broken, or could not be established.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while self.0.driver.readiness(self.0.key).writable {
            let rest = bytes.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match send(&self.0.fd, rest, SendFlags::NOSIGNAL) {
                Ok(len) => {
                    written += len;
                    // A short write has filled the socket; there will be an edge when it drains.
                    if len < rest.len() {
                        self.0.set_writable(false);
                    }
                }
                Err(Errno::INTR) => {}
                // NOTCONN and ALREADY: still connecting.
                Err(Errno::AGAIN | Errno::NOTCONN | Errno::ALREADY) => self.0.set_writable(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(written)
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

    /// Whether there may be something to read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.0.is_readable()
    }

    /// The peer has ended its stream, or the connection is broken.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.0.is_hung_up()
    }

    /// The connection was reset: what was not read is lost.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.driver.readiness(self.0.key).broken
    }

    /// Sends FIN behind all that was written.
    pub fn finish(&self) {
        // It fails only on a connection that is gone already, where there is nobody to tell.
        let _ = shutdown(&self.0.fd, Shutdown::Write);
    }
}
