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
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::inherit::{Inheritance, Inherited, Owner, distinct};
use super::{Driver, Interest, Source};
use crate::config::ListenAddress;

/// Connections that wait to be accepted, per shard.
pub const BACKLOG: i32 = 4096;

/// What a Unix socket leaves in the file system, told apart from a successor's file at the same path.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
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
    /// For each shard one, or more: no socket that others have bound may be left without a shard, for connections
    /// would wait there in vain.
    pub listeners: Vec<Vec<OwnedFd>>,
    /// Where they listen, with the port that the kernel chose if none was asked for.
    pub address: ListenAddress,
    /// Whether another program listens there too, with SO_REUSEPORT: the kernel spreads connections over both.
    pub is_shared: bool,
    /// To be removed when the server ends, unless a successor listens there.
    pub socket_file: Option<SocketFile>,
    owner: Owner,
}

impl Bound {
    /// The same sockets, for a successor.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn heirloom(&self) -> io::Result<Inherited> {
        let copies =
            self.listeners.iter().flatten().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        Ok(Inherited::new(self.address.clone(), self.owner, distinct(copies)))
    }
}

/// Listeners for `count` shards at `address`: those inherited by that address or under that `name`, or else new ones,
/// with SO_REUSEPORT for TCP, so that the kernel spreads connections over them; for a Unix socket, one that is shared.
///
/// # Errors
/// [`ListenError`] with its remedy.
pub fn bind(
    name: Option<&str>,
    address: &ListenAddress,
    count: usize,
    inheritance: &mut Inheritance,
) -> Result<Bound, ListenError> {
    let address = effective(address);
    let bound = match (inheritance.take(name, &address), &address) {
        (Some(inherited), _) => adopt(inherited, count),
        (None, ListenAddress::Tcp(address)) => bind_tcp(*address, count),
        (None, ListenAddress::Unix(path)) => bind_unix(path, count, Reach::Umask),
    };
    explain(bound, address)
}

/// One new listener at `address`; if that is a Unix socket, only this user may connect.
///
/// # Errors
/// [`ListenError`] with its remedy.
pub fn bind_private(address: &ListenAddress) -> Result<Bound, ListenError> {
    let address = effective(address);
    let bound = match &address {
        ListenAddress::Tcp(address) => bind_tcp(*address, 1),
        ListenAddress::Unix(path) => bind_unix(path, 1, Reach::Owner),
    };
    explain(bound, address)
}

/// Who may connect to a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Whom the umask lets.
    Umask,
    /// This user.
    Owner,
}

fn explain(bound: io::Result<Bound>, address: ListenAddress) -> Result<Bound, ListenError> {
    bound.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            ListenError::InUse { address }
        } else if source.kind() == io::ErrorKind::AlreadyExists {
            ListenError::NotASocket { address }
        } else {
            ListenError::Io { address, source }
        }
    })
}

/// Listens with sockets that are listened on already.
fn adopt(inherited: Inherited, count: usize) -> io::Result<Bound> {
    let Inherited { address, owner, sockets, .. } = inherited;
    for socket in &sockets {
        let socket = SockRef::from(socket);
        socket.set_nonblocking(true)?;
        if let ListenAddress::Tcp(_) = address {
            socket.set_tcp_nodelay(true)?;
        }
    }
    let listeners = spread(sockets, count, || match (&address, owner) {
        (ListenAddress::Tcp(address), Owner::Selat) => listen_tcp(*address).map(OwnedFd::from),
        // The manager keeps its sockets when we end, but would not keep those that we put beside them.
        (ListenAddress::Tcp(_), Owner::Manager) | (ListenAddress::Unix(_), _) => {
            Err(io::ErrorKind::Unsupported.into())
        }
    })?;
    let socket_file = match (&address, owner) {
        (ListenAddress::Unix(path), Owner::Selat) => Some(SocketFile::new(path)?),
        (ListenAddress::Unix(_), Owner::Manager) | (ListenAddress::Tcp(_), _) => None,
    };
    Ok(Bound { listeners, address, is_shared: false, socket_file, owner })
}

/// Deals out sockets to `count` shards: all of them, and where there are too few, what `another` makes or, failing
/// that, a share of one.
fn spread(
    sockets: Vec<OwnedFd>,
    count: usize,
    mut another: impl FnMut() -> io::Result<OwnedFd>,
) -> io::Result<Vec<Vec<OwnedFd>>> {
    let mut missing = Vec::new();
    for shared in sockets.iter().cycle().take(count).skip(sockets.len()) {
        missing.push(another().or_else(|_| shared.try_clone())?);
    }
    let mut shards: Vec<_> = (0..count).map(|_| Vec::new()).collect();
    let mut sockets = sockets.into_iter().chain(missing).peekable();
    while sockets.peek().is_some() && count > 0 {
        shards.iter_mut().zip(&mut sockets).for_each(|(shard, socket)| shard.push(socket));
    }
    Ok(shards)
}

/// Where sockets asked to listen at `address` will say they do.
fn effective(address: &ListenAddress) -> ListenAddress {
    match address {
        // A host without IPv6 still has all its IPv4 addresses.
        ListenAddress::Tcp(address) if address.is_ipv6() && address.ip().is_unspecified() && !has_ipv6() => {
            ListenAddress::Tcp((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => address.clone(),
    }
}

fn bind_tcp(mut address: SocketAddr, count: usize) -> io::Result<Bound> {
    let mut listeners = Vec::with_capacity(count);
    let is_shared = is_taken(address);
    for _ in 0..count {
        let socket = listen_tcp(address)?;
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        listeners.push(vec![socket.into()]);
    }
    let address = ListenAddress::Tcp(address);
    Ok(Bound { listeners, address, is_shared, socket_file: None, owner: Owner::Selat })
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
    let listeners = spread(vec![socket.into()], count, || Err(io::ErrorKind::Unsupported.into()))?;
    let (address, socket_file) = (ListenAddress::Unix(path.to_owned()), Some(SocketFile::new(path)?));
    Ok(Bound { listeners, address, is_shared: false, socket_file, owner: Owner::Selat })
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

    /// Is not told of further connections; those that wait may still be accepted. Closing it would not be enough:
    /// a socket that others hold too stays in the epoll set, and would be woken in their place.
    pub fn retire(&self) {
        self.0.unwatch();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::net::{TcpListener, TcpStream};
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    fn who_retires_from_a_shared_socket_takes_no_wake_up_from_the_other() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        ours.set_nonblocking(true).unwrap();
        let (address, theirs) = (ours.local_addr().unwrap(), ours.try_clone().unwrap());
        let (is_parked, parked) = std::sync::mpsc::channel();
        let (hold, is_over) = std::sync::mpsc::channel::<()>();
        // Registered before us, so it would be woken before us. It stays until the test is over.
        let retired = std::thread::spawn(move || {
            let driver = Driver::new().unwrap();
            let handle = driver.clone();
            driver.spawn(async move {
                let listener = Listener::register(&handle, theirs.into()).unwrap();
                listener.retire();
                drop(listener);
                is_parked.send(()).unwrap();
                while is_over.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    let soon = handle.now() + Duration::from_millis(300);
                    let _ = handle.until(soon, std::future::pending::<()>()).await;
                }
                handle.stop();
            });
            driver.run();
        });
        parked.recv().unwrap();
        let driver = Driver::new().unwrap();
        let handle = driver.clone();
        let clients = Rc::new(RefCell::new(Vec::new()));
        let connected = clients.clone();
        driver.spawn(async move {
            let listener = Listener::register(&handle, ours.into()).unwrap();
            for _ in 0..5 {
                // After a while in which both have gone to sleep.
                let soon = handle.now() + Duration::from_millis(20);
                let _ = handle.until(soon, std::future::pending::<()>()).await;
                let client = std::thread::spawn(move || TcpStream::connect(address).unwrap());
                let late = handle.now() + Duration::from_secs(10);
                while matches!(listener.accept(), Accepted::Nobody) {
                    if handle.until(late, listener.readable()).await.is_err() {
                        return handle.stop();
                    }
                }
                connected.borrow_mut().push(client.join().unwrap());
            }
            handle.stop();
        });
        driver.run();
        assert_eq!((clients.borrow().len(), driver.panics()), (5, 0));
        drop(hold);
        retired.join().unwrap();
    }

    fn sockets(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap().into()).collect()
    }

    #[test]
    fn no_socket_is_left_without_a_shard_nor_a_shard_without_a_socket() {
        for inherited in 1..6 {
            for count in 1..6 {
                let shards =
                    spread(sockets(inherited), count, || Err(io::ErrorKind::Unsupported.into())).unwrap();
                assert_eq!(shards.len(), count);
                assert!(shards.iter().all(|shard| !shard.is_empty()));
                assert_eq!(distinct(shards.into_iter().flatten()).len(), inherited);
            }
        }
    }

    #[test]
    fn shards_that_are_more_than_the_sockets_get_new_ones() {
        let shards = spread(sockets(1), 3, || Ok(sockets(1).remove(0))).unwrap();
        assert_eq!(shards.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(distinct(shards.into_iter().flatten()).len(), 3);
    }
}
