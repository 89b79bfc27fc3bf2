//! How many sessions there are, of the whole process, by route and by client address.
//!
//! One ledger, on the control plane: a shard asks before it dials and says so when a session has ended. Clients of one
//! address come to every shard, so no shard could count them alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use super::Denial;

/// Bits of an IPv6 address that name the subscriber. The other 64 are its own to choose (RFC 4291 §2.5.4, RFC 8981
/// for how often it does), so a limit per full address would be none.
const IPV6_PREFIX_BITS: u32 = 64;

/// The limits that the ledger keeps for one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Sessions of one client address on the route; an IPv6 /64 is one address.
    pub per_ip: Option<u32>,
    /// Sessions on the route.
    pub max: Option<u32>,
}

/// The ledger. It holds one entry for each route and each client address that has a session and none for others: at
/// most two a session, and those that have left leave nothing behind but room for the next.
///
/// Routes are numbered by the caller, who keeps a route's number for as long as it has sessions: a reload that
/// renumbers would make them others'.
#[derive(Debug, Default)]
pub struct Census {
    routes: HashMap<u32, u32>,
    addresses: HashMap<(u32, IpAddr), u32>,
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
    /// A client without an address (a Unix socket) counts for its route alone.
    ///
    /// # Errors
    /// [`Denial::RouteFull`] or [`Denial::AddressFull`], and nothing is entered.
    pub fn handle_ask(&mut self, route: u32, ip: Option<IpAddr>, limits: Limits) -> Result<(), Denial> {
        let address = ip.map(|ip| (route, subscriber(ip)));
        if is_full(self.sessions(route), limits.max) {
            return Err(Denial::RouteFull);
        }
        if let Some(address) = address {
            if is_full(count(&self.addresses, &address), limits.per_ip) {
                return Err(Denial::AddressFull);
            }
            enter(&mut self.addresses, address);
        }
        enter(&mut self.routes, route);
        Ok(())
    }

    /// Strikes a session off that was entered with the same route and address. One that was not is ignored.
    pub fn handle_release(&mut self, route: u32, ip: Option<IpAddr>) {
        strike_off(&mut self.routes, route);
        if let Some(ip) = ip {
            strike_off(&mut self.addresses, (route, subscriber(ip)));
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

    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn grants_up_to_the_limit_and_again_after_a_release() {
        let mut census = Census::new();
        let limits = Limits { per_ip: Some(2), max: Some(3) };
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
        let limits = Limits { per_ip: Some(1), max: None };
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
    fn a_client_without_an_address_counts_for_its_route() {
        let mut census = Census::new();
        let limits = Limits { per_ip: Some(1), max: Some(2) };
        assert_eq!(census.handle_ask(1, None, limits), Ok(()));
        assert_eq!(census.handle_ask(1, None, limits), Ok(()));
        assert_eq!(census.handle_ask(1, None, limits), Err(Denial::RouteFull));
        assert_eq!(census.addresses(), 0);
    }

    #[test]
    fn a_release_that_nobody_asked_for_gives_nobody_a_place() {
        let mut census = Census::new();
        let limits = Limits { per_ip: None, max: Some(1) };
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
        let limits = Limits { per_ip: Some(3), max: None };
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
            ops in proptest::collection::vec((any::<bool>(), 0..3_u32, proptest::option::of(0..4_u8)), 0..200),
            per_ip in 1..4_u32, max in 1..8_u32,
        ) {
            let limits = Limits { per_ip: Some(per_ip), max: Some(max) };
            let mut census = Census::new();
            let mut live: Vec<(u32, Option<IpAddr>)> = Vec::new();
            for (is_ask, route, host) in ops {
                let session = (route, host.map(|host| IpAddr::from([192, 0, 2, host])));
                let on_route = live.iter().filter(|(other, _)| *other == route).count();
                let same = live.iter().filter(|other| **other == session).count();
                if is_ask {
                    let is_full = on_route >= max.try_into().unwrap()
                        || (host.is_some() && same >= per_ip.try_into().unwrap());
                    prop_assert_eq!(census.handle_ask(route, session.1, limits).is_err(), is_full);
                    if !is_full {
                        live.push(session);
                    }
                } else if let Some(at) = live.iter().position(|other| *other == session) {
                    live.swap_remove(at);
                    census.handle_release(route, session.1);
                }
                prop_assert!(census.addresses() <= live.len());
            }
            for (route, ip) in live.drain(..) {
                census.handle_release(route, ip);
            }
            prop_assert!(census.routes.is_empty() && census.addresses.is_empty());
        }
    }
}
