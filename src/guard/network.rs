//! Networks of clients, IPv4 and IPv6, whichever way an IPv4 address is written.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not an address or a network; write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")]
pub struct InvalidNetwork {
    given: String,
}

/// Reads a network (`192.0.2.0/24`) or a single address (`192.0.2.7`).
///
/// # Errors
/// It is neither.
pub fn parse_network(text: &str) -> Result<IpNet, InvalidNetwork> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.map(canonical).ok_or_else(|| InvalidNetwork { given: text.to_owned() })
}

/// Networks to hold an address against. The search is linear: these lists are written by people.
#[derive(Debug)]
pub(super) struct Networks(Vec<IpNet>);

impl Networks {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        Self(networks.iter().copied().map(canonical).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a client's address is in one of them. An IPv4 client of an IPv6 listener counts as IPv4.
    pub(super) fn contain(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.0.iter().any(|network| network.contains(&client))
    }
}

/// The IPv4 network that an IPv4-mapped IPv6 network means; every other as it is.
fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(address), Some(prefix_len)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, prefix_len).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_client_is_found_however_it_and_the_network_are_written() {
        // RFC 4291 §2.5.5.2: ::ffff:a.b.c.d; RFC 5737, RFC 3849: documentation addresses.
        let rows = [
            ("192.0.2.0/24", "192.0.2.9", true),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            ("::ffff:192.0.2.0/120", "::ffff:192.0.2.9", true),
            ("192.0.2.0/24", "192.0.3.9", false),
            ("::ffff:192.0.2.0/120", "192.0.3.9", false),
            ("192.0.2.9", "192.0.2.9", true),
            ("192.0.2.9", "192.0.2.8", false),
            ("0.0.0.0/0", "192.0.2.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.9", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            // A compatible address (deprecated) is not a mapped one.
            ("192.0.2.0/24", "::192.0.2.9", false),
        ];
        for (network, client, is_in) in rows {
            let networks =
                Networks::new(&[network.parse().unwrap_or_else(|_| parse_network(network).unwrap())]);
            assert_eq!(networks.contain(client.parse().unwrap()), is_in, "{client} in {network}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_network() {
        for text in
            ["", "localhost", "192.0.2.0/33", "192.0.2/24", "2001:db8::/129", "192.0.2.0/-1", "1.2.3.4/8/9"]
        {
            let error = parse_network(text).unwrap_err().to_string();
            assert!(error.contains("write 192.0.2.7"), "{error}");
        }
    }
}
