//! Listening sockets: one for each shard, on one address.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::ListenAddress;

use super::{Driver, Interest, Source};

/// Connections that wait to be accepted, per shard.
pub const BACKLOG: i32 = 4096;

/// What a Unix listener leaves in the file system, told apart from a successor's file at the same path.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Removes the file, if it is still the same.
    pub fn remove(self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if is_ours {
            // Whoever removed it before us has done our work.
            let _ = fs::remove_file(self.path);
        }
    }
}

/// Why selat cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Something else has the address.
    #[error("cannot listen on {address}: another program does; stop it, or choose another address")]
    InUse {
        /// The address asked for.
        address: ListenAddress,
    },
    /// The path of a Unix socket is some other file's.
    #[error(
        "cannot listen on {address}: there is a file that is not a socket; remove it, or choose another path"
    )]
    NotASocket {
        /// The address asked for.
        address: ListenAddress,
    },
    /// Anything else the kernel says.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// The address asked for.
        address: ListenAddress,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The listening sockets of one address.
pub struct Bound {
    /// One for each shard.
    pub listeners: Vec<OwnedFd>,
    /// Where they listen, with the port that the kernel chose if none was asked for.
    pub address: ListenAddress,
    /// Whether another program listens there too, with SO_REUSEPORT: the kernel spreads connections over both.
    pub is_shared: bool,
    /// To be removed when the server ends.
    pub socket_file: Option<SocketFile>,
}

/// Binds `count` listeners to `address`: with SO_REUSEPORT for TCP, so that the kernel spreads connections over
/// them; for a Unix socket, one that is shared.
///
/// # Errors
/// [`ListenError`] with its remedy.
pub fn bind(address: &ListenAddress, count: usize) -> Result<Bound, ListenError> {
    bind_for(address, count, Reach::Umask)
}

/// Binds one listener to `address`; if that is a Unix socket, only this user may connect.
///
/// # Errors
/// [`ListenError`] with its remedy.
pub fn bind_private(address: &ListenAddress) -> Result<Bound, ListenError> {
    bind_for(address, 1, Reach::Owner)
}

/// Who may connect to a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Whom the umask lets.
    Umask,
    /// This user.
    Owner,
}

fn bind_for(address: &ListenAddress, count: usize, reach: Reach) -> Result<Bound, ListenError> {
    let bound = match address {
        ListenAddress::Tcp(address) => bind_tcp(*address, count),
        ListenAddress::Unix(path) => bind_unix(path, count, reach),
    };
    bound.map_err(|source| {
        let address = address.clone();
        if source.kind() == io::ErrorKind::AddrInUse {
            ListenError::InUse { address }
        } else if source.kind() == io::ErrorKind::AlreadyExists {
            ListenError::NotASocket { address }
        } else {
            ListenError::Io { address, source }
        }
    })
}

fn bind_tcp(mut address: SocketAddr, count: usize) -> io::Result<Bound> {
    let mut listeners = Vec::with_capacity(count);
    if address.is_ipv6() && address.ip().is_unspecified() && !has_ipv6() {
        // A host without IPv6 still has all its IPv4 addresses.
        address.set_ip(Ipv4Addr::UNSPECIFIED.into());
    }
    let is_shared = is_taken(address);
    for _ in 0..count {
        let socket = listen_tcp(address)?;
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        listeners.push(socket.into());
    }
    Ok(Bound { listeners, address: ListenAddress::Tcp(address), is_shared, socket_file: None })
}

/// Whether somebody listens on `address` already: then it cannot be bound without SO_REUSEPORT.
fn is_taken(address: SocketAddr) -> bool {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    bind().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn listen_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether an IPv6 socket can be bound at all.
fn has_ipv6() -> bool {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    Socket::new(Domain::IPV6, Type::STREAM, None).is_ok_and(|socket| socket.bind(&any.into()).is_ok())
}

fn bind_unix(path: &Path, count: usize, reach: Reach) -> io::Result<Bound> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // A socket file outlives its server; only one that nobody answers may be replaced.
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Ok(_) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if reach == Reach::Owner {
        // Before it is bound: Linux gives the file the socket's mode, so there is no moment at which others may.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    }
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    let listeners = (0..count).map(|_| Ok(socket.try_clone()?.into())).collect::<io::Result<_>>()?;
    let socket_file = Some(SocketFile::new(path)?);
    Ok(Bound { listeners, address: ListenAddress::Unix(path.to_owned()), is_shared: false, socket_file })
}

/// What an attempt to accept came to.
#[derive(Debug)]
pub enum Accepted {
    /// A connection; the client's address, where it has one.
    Connection(OwnedFd, Option<SocketAddr>),
    /// None is waiting.
    Nobody,
    /// A client that gave up while it waited; there may be more behind it.
    Aborted,
    /// Descriptors or memory have run out.
    Exhausted(io::Error),
}

/// A shard's end of a listening socket.
pub struct Listener(Source);

impl Listener {
    /// Puts a listening socket into the driver's epoll set, for the calling task.
    ///
    /// # Errors
    /// When the kernel will not watch it.
    pub fn register(driver: &Driver, fd: OwnedFd) -> io::Result<Self> {
        Source::register(driver, fd, Interest::Shared).map(Self)
    }

    /// Waits until a connection may be waiting.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn readable(&self) {
        self.0.readable().await;
    }

    /// Accepts one connection, non-blocking and close-on-exec.
    pub fn accept(&self) -> Accepted {
        use rustix::io::Errno;
        match acceptfrom_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, address)) => {
                let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                Accepted::Connection(fd, address.map(canonical))
            }
            Err(Errno::AGAIN) => {
                self.0.clear_readable();
                Accepted::Nobody
            }
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                Accepted::Exhausted(error.into())
            }
            // accept(2): already-pending network errors of the new socket are to be treated like EAGAIN.
            Err(_) => Accepted::Aborted,
        }
    }
}

/// An IPv4 client of an IPv6 socket, by its own address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
