//! What the control plane tells every shard about the backends: always the whole of it.

use std::net::SocketAddr;

/// A backend's place in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u16);

impl BackendId {
    /// As an index into a table of all backends.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// A data core's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index into a table of all shards.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// The number of a snapshot; a later one replaces an earlier one whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

/// One backend as the control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendView {
    /// Whether new sessions may go there.
    pub is_up: bool,
    /// What its host resolved to; tried in this order.
    pub addresses: Vec<SocketAddr>,
    /// Sessions it has on each shard, by [`ShardId`], as last reported.
    pub sessions: Vec<u32>,
}

/// All backends at one moment, by [`BackendId`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Its number.
    pub epoch: Epoch,
    /// One entry a backend.
    pub backends: Vec<BackendView>,
}
