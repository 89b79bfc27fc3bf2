//! The listener and its connections.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::config::ListenAddress;
use crate::runtime::listener::{Bound, ListenError, SocketFile, bind_private};

use super::guard::Guard;
use super::routes::router;
use super::{Ask, Token};

/// Connections at once; more wait to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// Bytes of a request's head; beyond: 431. The least that hyper takes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request; beyond: 431.
const FIELDS_MAX: usize = 64;

/// How long a client may take to send its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a whole exchange may take: the head, the control plane's answer, and the client's reading of it.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// An admin interface that has its address.
#[derive(Debug)]
pub struct Admin {
    listener: OwnedFd,
    address: ListenAddress,
    socket_file: Option<SocketFile>,
    guard: Guard,
}

impl Admin {
    /// Takes the address; of a Unix socket, only this user may connect. Whoever changes something must show the
    /// token, if there is one.
    ///
    /// # Errors
    /// [`ListenError`] with its remedy.
    pub fn bind(address: &ListenAddress, token: Option<Token>) -> Result<Self, ListenError> {
        let Bound { listeners, address, is_shared, socket_file, .. } = bind_private(address)?;
        let Some(listener) = listeners.into_iter().flatten().next() else {
            let source = io::Error::other("no listener was made");
            return Err(ListenError::Io { address, source });
        };
        if is_shared {
            warn!(%address, "another program of this user has the admin address too; requests reach either");
        }
        let guard = Guard::new(&address, token);
        if guard.is_open_to_the_network() {
            warn!(%address, "the admin interface can be read by the network, and changes nothing without a token");
        }
        Ok(Self { listener, address, socket_file, guard })
    }

    /// Where it is, with the port that the kernel chose if none was asked for.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Serves for ever; its requests go to `asks`.
    ///
    /// # Errors
    /// When tokio cannot watch the listener.
    ///
    /// # Cancel safety
    /// To be dropped to end it: that closes the listener and every connection.
    pub async fn serve(self, asks: mpsc::Sender<Ask>) -> io::Result<Infallible> {
        let _removed_at_the_end = self.socket_file.map(RemovedWhenDropped::new);
        let connections = Connections::new(router(asks, self.guard));
        match self.address {
            ListenAddress::Tcp(_) => {
                Ok(connections.accept_from(TcpListener::from_std(self.listener.into())?).await)
            }
            ListenAddress::Unix(_) => {
                Ok(connections.accept_from(UnixListener::from_std(self.listener.into())?).await)
            }
        }
    }
}

struct Connections {
    router: Router,
    permits: Arc<Semaphore>,
    /// They end when this is dropped.
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(router: Router) -> Self {
        Self { router, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)), tasks: JoinSet::new() }
    }

    /// Serves for ever.
    ///
    /// # Cancel safety
    /// To be dropped to end it.
    async fn accept_from<L: Listener>(mut self, mut listener: L) -> Infallible {
        loop {
            while self.tasks.try_join_next().is_some() {}
            // The semaphore is never closed.
            let permit = self.permits.clone().acquire_owned().await.ok();
            // It deals with failures itself, and pauses where a resource is short.
            let (stream, _) = listener.accept().await;
            self.start(stream, permit);
        }
    }

    fn start<S>(&mut self, stream: S, permit: Option<OwnedSemaphorePermit>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(FIELDS_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        self.tasks.spawn(async move {
            match timeout(EXCHANGE_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "an admin connection ended badly"),
                Err(_) => debug!("an admin connection took too long"),
            }
            drop(permit);
        });
    }
}

struct RemovedWhenDropped(Option<SocketFile>);

impl RemovedWhenDropped {
    fn new(file: SocketFile) -> Self {
        Self(Some(file))
    }
}

impl Drop for RemovedWhenDropped {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            file.remove();
        }
    }
}
