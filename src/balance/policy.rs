//! The policies by name.

use std::fmt;

/// How a backend is chosen among those that are up. Weights count in every policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Policy {
    /// Each in turn, as often as its weight says; strictly in turn where all weigh the same.
    #[default]
    RoundRobin,
    /// Smooth weighted round robin: [`Self::RoundRobin`] under the name that says what it does with weights.
    Weighted,
    /// The one with the fewest sessions for its weight, over all shards; in turn among equals.
    LeastConnections,
    /// Of two at random the one with the fewer sessions for its weight.
    PowerOfTwo,
    /// Of two at random the one that answers handshakes faster for its sessions and weight.
    Ewma,
    /// The same backend for the same key, as long as it is there.
    Hash(HashBy),
}

impl fmt::Display for Policy {
    /// As the configuration has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round-robin"),
            Self::Weighted => f.write_str("weighted"),
            Self::LeastConnections => f.write_str("least-connections"),
            Self::PowerOfTwo => f.write_str("p2c"),
            Self::Ewma => f.write_str("ewma"),
            Self::Hash(HashBy::Ip) => f.write_str("hash:ip"),
            Self::Hash(HashBy::Header(name)) => write!(f, "hash:header:{name}"),
            Self::Hash(HashBy::Cookie(name)) => write!(f, "hash:cookie:{name}"),
            Self::Hash(HashBy::Query(name)) => write!(f, "hash:query:{name}"),
            Self::Hash(HashBy::Path) => f.write_str("hash:path"),
        }
    }
}

/// What a session's key is, under [`Policy::Hash`]. A session without one is placed in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address, without its port.
    Ip,
    /// The value of this request header.
    Header(String),
    /// The value of this cookie. It is only read; selat sets none.
    Cookie(String),
    /// The value of this query parameter.
    Query(String),
    /// The path, without the query.
    Path,
}
