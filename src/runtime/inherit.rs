//! Listening sockets that somebody else has bound for us: the service manager (systemd's socket activation) or the
//! selat whose place we take. They are shared, not copied: whoever holds one accepts from the same queue.

use std::collections::BTreeSet;
use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use listenfd::ListenFd;
use rustix::net::sockopt::{socket_acceptconn, socket_cookie};
use socket2::{Domain, SockRef};
use tracing::warn;

use crate::config::ListenAddress;

/// Names of the sockets that the service manager passes, in their order, separated by colons (sd_listen_fds(3)).
const NAMES: &str = "LISTEN_FDNAMES";

/// Who has bound a socket, and so removes the file of a Unix one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A selat.
    Selat,
    /// The service manager.
    Manager,
}

/// The listening sockets of one address.
#[derive(Debug)]
pub struct Inherited {
    /// Where they listen.
    pub address: ListenAddress,
    /// Whose they are.
    pub owner: Owner,
    /// At least one.
    pub sockets: Vec<OwnedFd>,
    /// What the service manager calls them.
    name: Option<String>,
}

impl Inherited {
    /// Sockets that a selat has bound, or has inherited in its turn.
    #[must_use]
    pub fn new(address: ListenAddress, owner: Owner, sockets: Vec<OwnedFd>) -> Self {
        Self { address, owner, sockets, name: None }
    }
}

/// All that a starting server inherits.
#[derive(Debug, Default)]
pub struct Inheritance(Vec<Inherited>);

impl Inheritance {
    /// What the service manager passes to this process: once, for it is taken out of the environment.
    #[must_use]
    pub fn from_service_manager() -> Self {
        let mut passed = ListenFd::from_env();
        let names = env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut inheritance = Self::default();
        for index in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty());
            match take(&mut passed, index) {
                Ok((address, socket)) => {
                    let (owner, sockets) = (Owner::Manager, vec![socket]);
                    inheritance.add(Inherited { address, owner, sockets, name });
                }
                Err(error) => warn!(index, name, %error, "a socket from the service manager is of no use"),
            }
        }
        inheritance
    }

    /// Adds what else there is.
    pub fn add(&mut self, inherited: Inherited) {
        self.0.push(inherited);
    }

    /// Takes the sockets that the service manager calls `name`, or else all that listen on `address`.
    pub fn take(&mut self, name: Option<&str>, address: &ListenAddress) -> Option<Inherited> {
        let is_named = |inherited: &Inherited| name.is_some() && inherited.name.as_deref() == name;
        let address =
            self.0.iter().find(|inherited| is_named(inherited)).map_or(address, |found| &found.address);
        let address = address.clone();
        let found: Vec<_> =
            self.0.extract_if(.., |inherited| is_named(inherited) || inherited.address == address).collect();
        // One that the manager has a hand in is the manager's.
        let is_managed = found.iter().any(|inherited| inherited.owner == Owner::Manager);
        let owner = if is_managed { Owner::Manager } else { Owner::Selat };
        let sockets = distinct(found.into_iter().flat_map(|inherited| inherited.sockets));
        (!sockets.is_empty()).then(|| Inherited::new(address, owner, sockets))
    }

    /// Closes what nobody has taken. A predecessor's are not missed: it drains, and what listens nowhere any more was
    /// taken out of the configuration. The manager's would be waited at in vain.
    pub fn give_back(self) {
        for Inherited { address, .. } in self.0.iter().filter(|rest| rest.owner == Owner::Manager) {
            warn!(%address, "the service manager passes a socket that no listener is configured for");
        }
    }
}

/// Each socket once, however many descriptors it has.
pub(super) fn distinct(sockets: impl IntoIterator<Item = OwnedFd>) -> Vec<OwnedFd> {
    let mut seen = BTreeSet::new();
    // A kernel that does not say lets us keep them all: two descriptors of one socket do no harm.
    sockets
        .into_iter()
        .filter(|socket| socket_cookie(socket).map_or(true, |cookie| seen.insert(cookie)))
        .collect()
}

fn take(passed: &mut ListenFd, index: usize) -> io::Result<(ListenAddress, OwnedFd)> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let socket = match passed.take_tcp_listener(index) {
        Ok(listener) => OwnedFd::from(listener.ok_or_else(gone)?),
        Err(_) => OwnedFd::from(passed.take_unix_listener(index)?.ok_or_else(gone)?),
    };
    Ok((address(&socket)?, socket))
}

/// Where a socket listens.
///
/// # Errors
/// When it does not, or not on an address that selat knows.
pub(super) fn address(socket: &impl AsFd) -> io::Result<ListenAddress> {
    let unfit = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    if !socket_acceptconn(socket)? {
        return Err(unfit("it does not listen; in a socket unit that is ListenStream= and Accept=no"));
    }
    let local = SockRef::from(socket).local_addr()?;
    if local.domain() == Domain::UNIX {
        let path = local.as_pathname().ok_or_else(|| unfit("it is a Unix socket without a path"))?;
        return Ok(ListenAddress::Unix(path.to_owned()));
    }
    local.as_socket().map(ListenAddress::Tcp).ok_or_else(|| unfit("it is neither TCP nor a Unix socket"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn bound() -> (ListenAddress, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (ListenAddress::Tcp(listener.local_addr().unwrap()), listener.into())
    }

    #[test]
    fn sockets_are_found_by_their_address_or_their_name_and_each_once() {
        let (address, socket) = bound();
        let (elsewhere, other) = bound();
        let twice = [socket.try_clone().unwrap(), socket].into();
        let mut inheritance = Inheritance::default();
        inheritance.add(Inherited::new(address.clone(), Owner::Selat, twice));
        let name = Some("public".to_owned());
        let named =
            Inherited { address: elsewhere.clone(), owner: Owner::Manager, sockets: vec![other], name };
        inheritance.add(named);
        let nowhere = "127.0.0.1:1".parse().unwrap();
        assert!(inheritance.take(Some("private"), &nowhere).is_none());
        // By its name, wherever it listens.
        let found = inheritance.take(Some("public"), &nowhere).unwrap();
        assert_eq!((found.address, found.owner, found.sockets.len()), (elsewhere, Owner::Manager, 1));
        let found = inheritance.take(None, &address).unwrap();
        assert_eq!((found.address, found.owner, found.sockets.len()), (address.clone(), Owner::Selat, 1));
        assert!(inheritance.take(None, &address).is_none());
    }

    #[test]
    fn a_socket_that_does_not_listen_is_no_inheritance() {
        let (_, listening) = bound();
        assert!(address(&listening).is_ok());
        let connecting = socket2::Socket::new(Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        assert!(address(&connecting).unwrap_err().to_string().contains("does not listen"));
    }
}
