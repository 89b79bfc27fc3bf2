//! Looks whether a backend that is down can be reached again.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::balance::BackendId;
use crate::config::BackendUrl;

/// A backend whose name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("{backend}: cannot resolve {:?}: {source}; check the name, or write an address", backend.host)]
pub struct Unresolved {
    /// The backend.
    pub backend: BackendUrl,
    /// What the resolver said.
    pub source: io::Error,
}

/// Resolves a backend's host, waiting for the resolver: for the start, when there is nothing else to do.
///
/// # Errors
/// [`Unresolved`].
pub fn resolve(backend: &BackendUrl) -> Result<Vec<SocketAddr>, Unresolved> {
    let unresolved = |source| Unresolved { backend: backend.clone(), source };
    let addresses: Vec<_> =
        (backend.host.as_str(), backend.port).to_socket_addrs().map_err(unresolved)?.collect();
    if addresses.is_empty() {
        return Err(unresolved(io::Error::other("no addresses")));
    }
    Ok(addresses)
}

/// The probes under way.
pub(super) struct Probes {
    tasks: JoinSet<(BackendId, bool)>,
    timeout: Duration,
}

impl Probes {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { tasks: JoinSet::new(), timeout }
    }

    pub(super) fn start(&mut self, id: BackendId, address: SocketAddr) {
        let limit = self.timeout;
        self.tasks.spawn(async move { (id, timeout(limit, probe(address)).await.unwrap_or(false)) });
    }

    /// The next result, whether a backend can be reached; never, while none is under way.
    ///
    /// # Cancel safety
    /// Safe: a result that was not returned is still there.
    pub(super) async fn next(&mut self) -> (BackendId, bool) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(probed)) => return probed,
                // A probe has nothing to panic about; if it does, its backend stays down.
                Some(Err(_)) => {}
                None => pending::<()>().await,
            }
        }
    }
}

/// Tries to connect.
///
/// # Cancel safety
/// Safe: a probe that is not waited for has no effect.
async fn probe(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}
