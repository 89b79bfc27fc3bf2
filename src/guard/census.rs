//! How many sessions there are, of the whole process, by route, by client address and by who the clients are.
//!
//! One ledger, on the control plane: a shard asks before it dials and says so when a session has ended. Clients of one
//! address come to every shard, and so do those of one identity, so no shard could count them alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use super::{Denial, IdentityKey};

/// Bits of an IPv6 address that name the subscriber. The other 64 are its own to choose (RFC 4291 §2.5.4, RFC 8981
/// for how often it does), so a limit per full address would be none.
const IPV6_PREFIX_BITS: u32 = 64;

/// The limits that the ledger keeps for one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Sessions of one client address on the route; an IPv6 /64 is one address.
    pub per_ip: Option<u32>,
    /// Sessions of one identity on the route.
    pub per_identity: Option<u32>,
    /// Sessions on the route.
    pub max: Option<u32>,
}

/// Whose a session is, as far as that is known: what it is counted under beside its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Party {
    /// The client's address; `None` for a Unix socket.
    pub ip: Option<IpAddr>,
    /// Who the client has proved to be; `None`: nobody in particular.
    pub identity: Option<IdentityKey>,
}

/// The ledger. It holds one entry for each route, address and identity that has a session and none for others: at most
/// three a session, each of a fixed size, and those that have left leave nothing behind but room for the next.
///
/// Routes are numbered by the caller, who keeps a route's number for as long as it has sessions: a reload that
/// renumbers would make them others'.
#[derive(Debug, Default)]
pub struct Census {
    routes: HashMap<u32, u32>,
    addresses: HashMap<(u32, IpAddr), u32>,
    identities: HashMap<(u32, IdentityKey), u32>,
}

impl Census {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a session, or says which limit is against it. Every session of a route with limits is entered, and so
    /// counts if a later reload brings the limits down; no session is ended for that.
    ///
    /// A client without an address (a Unix socket) or an identity counts for the rest alone.
    ///
    /// # Errors
    /// [`Denial::RouteFull`], [`Denial::AddressFull`] or [`Denial::IdentityFull`], and nothing is entered.
    pub fn handle_ask(&mut self, route: u32, party: Party, limits: Limits) -> Result<(), Denial> {
        let address = party.ip.map(|ip| (route, subscriber(ip)));
        let identity = party.identity.map(|identity| (route, identity));
        if is_full(self.sessions(route), limits.max) {
            return Err(Denial::RouteFull);
        }
        if address.is_some_and(|address| is_full(count(&self.addresses, &address), limits.per_ip)) {
            return Err(Denial::AddressFull);
        }
        if identity.is_some_and(|identity| is_full(count(&self.identities, &identity), limits.per_identity)) {
            return Err(Denial::IdentityFull);
        }
        enter(&mut self.routes, route);
        address.into_iter().for_each(|address| enter(&mut self.addresses, address));
        identity.into_iter().for_each(|identity| enter(&mut self.identities, identity));
        Ok(())
    }

    /// Strikes a session off that was entered with the same route and party. One that was not is ignored.
    pub fn handle_release(&mut self, route: u32, party: Party) {
        strike_off(&mut self.routes, route);
        if let Some(ip) = party.ip {
            strike_off(&mut self.addresses, (route, subscriber(ip)));
        }
        if let Some(identity) = party.identity {
            strike_off(&mut self.identities, (route, identity));
        }
    }

    /// Sessions on a route.
    #[must_use]
    pub fn sessions(&self, route: u32) -> u32 {
        count(&self.routes, &route)
    }

    /// Client addresses that have a session, each counted once a route.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Identities that have a session, each counted once a route.
    #[must_use]
    pub fn identities(&self) -> usize {
        self.identities.len()
    }
}

/// The address that a client's sessions are counted under.
fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let mask = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

fn is_full(count: u32, max: Option<u32>) -> bool {
    // A counter at its end is full too, or it would lose sessions.
    count >= max.unwrap_or(u32::MAX)
}

fn count<K: Eq + Hash>(counts: &HashMap<K, u32>, key: &K) -> u32 {
    counts.get(key).copied().unwrap_or_default()
}

fn enter<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn strike_off<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        match entry.get().checked_sub(1) {
            None | Some(0) => drop(entry.remove()),
            Some(left) => *entry.get_mut() = left,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Identity;
    use super::*;

    const UNLIMITED: Limits = Limits { per_ip: None, per_identity: None, max: None };

    fn ip(text: &str) -> Party {
        Party { ip: Some(text.parse().unwrap()), identity: None }
    }

    fn named(name: &str, ip: &str) -> Party {
        Party { ip: Some(ip.parse().unwrap()), identity: Identity::named(name).key() }
    }

    #[test]
    fn grants_up_to_the_limit_and_again_after_a_release() {
        let mut census = Census::new();
        let limits = Limits { per_ip: Some(2), max: Some(3), ..UNLIMITED };
        assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Ok(()));
        assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Ok(()));
        assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Err(Denial::AddressFull));
        assert_eq!(census.handle_ask(1, ip("192.0.2.2"), limits), Ok(()));
        assert_eq!(census.handle_ask(1, ip("192.0.2.3"), limits), Err(Denial::RouteFull));
        assert_eq!(census.handle_ask(2, ip("192.0.2.1"), limits), Ok(()), "another route has its own counts");
        census.handle_release(1, ip("192.0.2.1"));
        assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Ok(()));
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let limits = Limits { per_ip: Some(1), ..UNLIMITED };
        let rows = [
            // RFC 4291 §2.5.4: the interface identifier is the lower half.
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", Err(Denial::AddressFull)),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", Ok(())),
            // §2.5.5.2: mapped addresses are IPv4, and not one /64 of everybody.
            ("::ffff:192.0.2.1", "192.0.2.1", Err(Denial::AddressFull)),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", Ok(())),
            ("192.0.2.1", "192.0.2.2", Ok(())),
        ];
        for (first, second, verdict) in rows {
            let mut census = Census::new();
            assert_eq!(census.handle_ask(7, ip(first), limits), Ok(()));
            assert_eq!(census.handle_ask(7, ip(second), limits), verdict, "{second} after {first}");
        }
    }

    #[test]
    fn an_identity_is_one_wherever_it_comes_from() {
        let mut census = Census::new();
        let limits = Limits { per_identity: Some(2), ..UNLIMITED };
        assert_eq!(census.handle_ask(1, named("ann", "192.0.2.1"), limits), Ok(()));
        assert_eq!(census.handle_ask(1, named("ann", "192.0.2.2"), limits), Ok(()));
        assert_eq!(census.handle_ask(1, named("ann", "192.0.2.3"), limits), Err(Denial::IdentityFull));
        assert_eq!((census.sessions(1), census.addresses()), (2, 2), "the refusal has left no trace");
        assert_eq!(census.handle_ask(1, named("bob", "192.0.2.1"), limits), Ok(()));
        assert_eq!(census.handle_ask(2, named("ann", "192.0.2.1"), limits), Ok(()), "another route");
        census.handle_release(1, named("ann", "192.0.2.2"));
        assert_eq!(census.handle_ask(1, named("ann", "192.0.2.1"), limits), Ok(()));
    }

    #[test]
    fn names_that_look_alike_in_a_log_do_not_share_a_limit() {
        let mut census = Census::new();
        let limits = Limits { per_identity: Some(1), ..UNLIMITED };
        let long = "x".repeat(1000);
        for name in [format!("{long}1"), format!("{long}2"), "a b".to_owned(), "a\tb".to_owned()] {
            assert_eq!(census.handle_ask(1, named(&name, "192.0.2.1"), limits), Ok(()));
        }
        assert_eq!(census.identities(), 4);
    }

    #[test]
    fn a_client_without_an_address_or_identity_counts_for_its_route() {
        let mut census = Census::new();
        let limits = Limits { per_ip: Some(1), per_identity: Some(1), max: Some(2) };
        let unknown = Party::default();
        assert_eq!(census.handle_ask(1, unknown, limits), Ok(()));
        assert_eq!(census.handle_ask(1, unknown, limits), Ok(()));
        assert_eq!(census.handle_ask(1, unknown, limits), Err(Denial::RouteFull));
        assert_eq!((census.addresses(), census.identities()), (0, 0));
    }

    #[test]
    fn a_release_that_nobody_asked_for_gives_nobody_a_place() {
        let mut census = Census::new();
        let limits = Limits { max: Some(1), ..UNLIMITED };
        census.handle_release(1, ip("192.0.2.1"));
        assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Ok(()));
        assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Err(Denial::RouteFull));
    }

    #[test]
    fn a_lower_limit_ends_nobody_and_lets_nobody_in() {
        let mut census = Census::new();
        for _ in 0..5 {
            census.handle_ask(1, ip("192.0.2.1"), Limits::default()).unwrap();
        }
        let limits = Limits { per_ip: Some(3), ..UNLIMITED };
        for left in (3..5).rev() {
            assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Err(Denial::AddressFull));
            census.handle_release(1, ip("192.0.2.1"));
            assert_eq!(census.sessions(1), left);
        }
        assert_eq!(census.handle_ask(1, ip("192.0.2.1"), limits), Err(Denial::AddressFull));
    }

    proptest! {
        /// Against a plain list of the sessions there are.
        #[test]
        fn never_passes_a_limit_and_forgets_who_has_left(
            ops in proptest::collection::vec(
                (any::<bool>(), 0..3_u32, proptest::option::of(0..4_u8), proptest::option::of("[a-c]")), 0..200,
            ),
            per_ip in 1..4_u32, per_identity in 1..4_u32, max in 1..8_u32,
        ) {
            let limits = Limits { per_ip: Some(per_ip), per_identity: Some(per_identity), max: Some(max) };
            let mut census = Census::new();
            let mut live: Vec<(u32, Party)> = Vec::new();
            for (is_ask, route, host, name) in ops {
                let ip = host.map(|host| IpAddr::from([192, 0, 2, host]));
                let identity = name.and_then(|name| Identity::named(&name).key());
                let session = (route, Party { ip, identity });
                let on_route = live.iter().filter(|(other, _)| *other == route);
                let counts = [
                    (on_route.clone().count(), max),
                    (on_route.clone().filter(|(_, other)| ip.is_some() && other.ip == ip).count(), per_ip),
                    (
                        on_route.filter(|(_, other)| identity.is_some() && other.identity == identity).count(),
                        per_identity,
                    ),
                ];
                if is_ask {
                    let is_full = counts.iter().any(|(count, limit)| *count >= (*limit).try_into().unwrap());
                    prop_assert_eq!(census.handle_ask(route, session.1, limits).is_err(), is_full);
                    if !is_full {
                        live.push(session);
                    }
                } else if let Some(at) = live.iter().position(|other| *other == session) {
                    live.swap_remove(at);
                    census.handle_release(route, session.1);
                }
                prop_assert!(census.addresses() <= live.len() && census.identities() <= live.len());
            }
            for (route, party) in live.drain(..) {
                census.handle_release(route, party);
            }
            prop_assert!(census.routes.is_empty() && census.addresses.is_empty());
            prop_assert!(census.identities.is_empty());
        }
    }
}
