//! Looks whether a backend that is down can be reached again, and where its name points now.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
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

/// What a probe found.
pub(super) struct Probed {
    pub(super) is_reachable: bool,
    /// Where the backend's name points now; empty if it could not be resolved.
    pub(super) addresses: Vec<SocketAddr>,
}

/// The probes under way.
pub(super) struct Probes {
    tasks: JoinSet<(BackendId, Probed)>,
    timeout: Duration,
}

impl Probes {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { tasks: JoinSet::new(), timeout }
    }

    pub(super) fn start(&mut self, id: BackendId, backend: Option<BackendUrl>) {
        let limit = self.timeout;
        self.tasks.spawn(async move {
            let probed = match backend {
                Some(backend) => timeout(limit, probe(backend)).await.ok(),
                None => None,
            };
            (id, probed.unwrap_or(Probed { is_reachable: false, addresses: Vec::new() }))
        });
    }

    /// The next result; never, while none is under way.
    ///
    /// # Cancel safety
    /// Safe: a result that was not returned is still there.
    pub(super) async fn next(&mut self) -> (BackendId, Probed) {
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

/// Resolves the name and tries each address.
///
/// # Cancel safety
/// Safe: a probe that is not waited for has no effect.
async fn probe(backend: BackendUrl) -> Probed {
    let addresses: Vec<_> = match lookup_host((backend.host.as_str(), backend.port)).await {
        Ok(addresses) => addresses.collect(),
        Err(_) => Vec::new(),
    };
    let mut is_reachable = false;
    for address in &addresses {
        is_reachable |= TcpStream::connect(address).await.is_ok();
    }
    Probed { is_reachable, addresses }
}
