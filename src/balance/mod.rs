//! Which backend a new session goes to: snapshots of their health, policies, one shard's view of both, and the
//! process-wide [`Arbiter`] for pools whose backends have a limit.
//!
//! Pure: [`Selector`] and [`Arbiter`] are given `now` and random numbers; what they learn comes in as snapshots
//! and outcomes.

mod arbiter;
mod desperation;
mod ewma;
mod hash;
mod policy;
mod ranking;
mod rendezvous;
mod ring;
mod roster;
mod sampling;
mod selector;
mod snapshot;
mod turns;

pub use arbiter::{Arbiter, Ask, Decision, Queue, Ticket};
pub(crate) use ewma::PeakEwma;
pub(crate) use hash::{mix, stable_hash};
pub use policy::{HashBy, Policy};
pub(crate) use rendezvous::rendezvous_cost;
pub(crate) use sampling::scale;
pub use selector::Selector;
pub use snapshot::{BackendId, BackendState, BackendView, Epoch, PoolView, ShardId, Snapshot, Weight};
pub(crate) use turns::turn_length;
