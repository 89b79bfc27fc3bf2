//! Where the backends' names point: at the start, and again and again.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use tokio::net::lookup_host;

use super::errands::Errands;
use crate::config::BackendUrl;

/// From the end of a lookup to the next of the same name. The system's resolver does not tell how long its answers
/// hold; this is HAProxy's habit. A name that cannot be resolved now keeps its addresses.
const EVERY: Duration = Duration::from_secs(10);

/// Lookups under way; each may occupy a thread for as long as the system's resolver tries.
const IN_FLIGHT_MAX: usize = 8;

/// A backend whose name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("{backend}: cannot resolve {:?}: {source}; check the name, or write an address", backend.host)]
pub struct Unresolved {
    /// The backend.
    pub backend: BackendUrl,
    /// What the resolver said.
    pub source: io::Error,
}

/// What has changed in a set of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Now there, in order.
    pub added: Vec<SocketAddr>,
    /// No longer there, in order.
    pub removed: Vec<SocketAddr>,
}

impl Difference {
    /// What leads from `old` to `new`.
    #[must_use]
    pub fn between(old: &[SocketAddr], new: &[SocketAddr]) -> Self {
        let [old, new] = [old, new].map(|addresses| addresses.iter().copied().collect::<BTreeSet<_>>());
        Self { added: (&new - &old).into_iter().collect(), removed: (&old - &new).into_iter().collect() }
    }

    /// Whether nothing has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Resolves a backend's host, waiting for the resolver: for the start, when there is nothing else to do. The
/// addresses come sorted, each once, because resolvers shuffle theirs.
///
/// # Errors
/// [`Unresolved`].
pub fn resolve(backend: &BackendUrl) -> Result<Vec<SocketAddr>, Unresolved> {
    tidy(backend, (backend.host.as_str(), backend.port).to_socket_addrs())
}

/// Resolves a backend's host as [`resolve`] does, while other things go on.
///
/// # Errors
/// [`Unresolved`].
///
/// # Cancel safety
/// Safe, but the lookup keeps its thread until the system's resolver gives up.
pub async fn resolve_all(backend: &BackendUrl) -> Result<Vec<SocketAddr>, Unresolved> {
    tidy(backend, lookup_host((backend.host.as_str(), backend.port)).await)
}

fn tidy(
    backend: &BackendUrl,
    found: io::Result<impl Iterator<Item = SocketAddr>>,
) -> Result<Vec<SocketAddr>, Unresolved> {
    let unresolved = |source| Unresolved { backend: backend.clone(), source };
    let addresses: BTreeSet<_> = found.map_err(unresolved)?.collect();
    if addresses.is_empty() {
        return Err(unresolved(io::Error::other("no addresses")));
    }
    Ok(addresses.into_iter().collect())
}

/// Resolves names again and again.
pub(super) struct Resolver<K> {
    errands: Errands<K, Result<Vec<SocketAddr>, Unresolved>>,
}

impl<K: Copy + Ord> Resolver<K> {
    pub(super) fn new() -> Self {
        Self { errands: Errands::new(IN_FLIGHT_MAX) }
    }

    /// Resolves a backend that has been resolved just now, from the next time on. An address needs no resolving. What
    /// is under way for another that had the same key is forgotten.
    pub(super) fn watch(&mut self, key: K, backend: &BackendUrl, now: Instant) {
        let is_name = backend.host.parse::<IpAddr>().is_err();
        self.errands.forget(key);
        self.errands.plan(key, is_name.then(|| now + EVERY));
    }

    /// When [`Self::start_due`] has something to do.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.errands.wake_at()
    }

    /// Starts the lookups that are due; one whose key no longer means a `backend` is forgotten.
    pub(super) fn start_due(&mut self, now: Instant, mut backend: impl FnMut(K) -> Option<BackendUrl>) {
        self.errands.start_due(now, |key| {
            let backend = backend(key)?;
            // Without a timeout of our own: the thread would not hear of it, and threads are what is bounded here.
            Some(async move { resolve_all(&backend).await })
        });
    }

    /// The next result; never, while no lookup is under way. The name is looked up again in time.
    ///
    /// # Cancel safety
    /// Safe: a result that was not returned is still there.
    pub(super) async fn next(&mut self) -> (K, Result<Vec<SocketAddr>, Unresolved>) {
        loop {
            let (key, result) = self.errands.next().await;
            self.errands.plan(key, Some(tokio::time::Instant::now().into_std() + EVERY));
            if let Some(result) = result {
                return (key, result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(url: &str) -> BackendUrl {
        url.parse().unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_difference_is_what_was_added_and_what_was_removed_in_order() {
        let old = addresses(&["10.0.0.3:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let new = addresses(&["10.0.0.9:1", "[::1]:1", "10.0.0.2:1", "10.0.0.4:1", "10.0.0.4:1"]);
        let difference = Difference::between(&old, &new);
        assert_eq!(difference.added, addresses(&["10.0.0.4:1", "10.0.0.9:1", "[::1]:1"]));
        assert_eq!(difference.removed, addresses(&["10.0.0.1:1", "10.0.0.3:1"]));
        assert!(Difference::between(&new, &new).is_empty());
    }

    #[tokio::test]
    async fn names_are_resolved_to_sorted_addresses_and_others_say_which_name_is_wrong() {
        let local = backend("ws://localhost:9001");
        let found = resolve_all(&local).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 9001));
        assert!(found.is_sorted() && !found.is_empty());
        assert_eq!(resolve(&local).unwrap(), found);
        // RFC 6761 §6.4: never exists.
        let error = resolve_all(&backend("ws://nobody.invalid:1")).await.unwrap_err().to_string();
        assert!(error.contains("ws://nobody.invalid:1") && error.contains("check the name"), "{error}");
    }

    #[tokio::test]
    async fn a_name_is_resolved_again_and_again_but_an_address_is_not() {
        let now = || tokio::time::Instant::now().into_std();
        let mut resolver = Resolver::new();
        let begin = now();
        resolver.watch(1, &backend("ws://10.0.0.1:9001"), begin);
        resolver.watch(2, &backend("ws://[::1]:9001"), begin);
        assert_eq!(resolver.wake_at(), None);
        resolver.watch(3, &backend("ws://localhost:9001"), begin);
        let mut earliest = begin;
        for _ in 0..3 {
            let at = resolver.wake_at().unwrap();
            assert!(earliest + EVERY <= at && at <= now() + EVERY);
            earliest = now();
            resolver.start_due(at, |_| Some(backend("ws://localhost:9001")));
            assert_eq!(resolver.wake_at(), None);
            let (key, found) = resolver.next().await;
            assert_eq!((key, found.unwrap().is_empty()), (3, false));
        }
        resolver.start_due(now() + EVERY, |_| None);
        assert_eq!(resolver.wake_at(), None, "it is gone");
    }
}
