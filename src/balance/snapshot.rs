//! What the control plane tells every shard about the backends: always the whole of it.

use std::net::SocketAddr;

/// A backend's identity for the life of the process: survives reloads, never reused while anything refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

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

/// All pools at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Its number.
    pub epoch: Epoch,
    /// By index in the configuration.
    pub pools: Vec<PoolView>,
}

/// One pool as the control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolView {
    /// Every address of every backend, each once.
    pub backends: Vec<BackendView>,
    /// So large a share is down that health is to be ignored: backends that are down are chosen like the others.
    pub is_panicking: bool,
}

/// One backend as the control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendView {
    /// Which.
    pub id: BackendId,
    /// Its line in the pool's configuration, by index; the addresses of one name share it.
    pub spec: usize,
    /// Where it is. Each address that a name resolves to is a backend of its own.
    pub address: SocketAddr,
    /// Whether new sessions may go there.
    pub state: BackendState,
    /// Its share as of now.
    pub weight: Weight,
    /// Sessions of the whole process beyond which it gets no new one.
    pub connections_max: Option<u32>,
    /// Sessions it has on each shard, by [`ShardId`], as last reported.
    pub sessions: Vec<u32>,
}

impl BackendView {
    /// Whether it gets new sessions, in a pool that is panicking or not.
    #[must_use]
    pub fn is_open(&self, is_panicking: bool) -> bool {
        let is_allowed = match self.state {
            BackendState::Up => true,
            BackendState::Down => is_panicking,
            BackendState::Draining => false,
        };
        is_allowed && self.weight > Weight::ZERO
    }
}

/// Whether new sessions may go to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendState {
    /// Yes.
    Up,
    /// Not while others are up: it fails its probes or its sessions.
    Down,
    /// No, by order; those it has may stay.
    Draining,
}

/// A backend's effective weight: its configured weight times its slow start, in 256ths. Zero: no new sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(pub u32);

impl Weight {
    /// 1.0.
    pub const ONE: Self = Self(256);
    /// No share at all.
    pub const ZERO: Self = Self(0);

    /// How loaded a backend of this weight would be with one session more than it has: comparable, without a unit.
    /// Counting the one to come gives the first session of all to the heaviest.
    pub(crate) fn load(self, sessions: u32) -> u64 {
        ((u64::from(sessions) + 1) << 24) / u64::from(self.0.max(1))
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}
