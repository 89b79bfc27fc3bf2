//! Which backend a new session goes to: snapshots of their health, policies, one shard's view of both.
//!
//! Pure: [`Selector`] is given `now`; what it learns comes in as snapshots and dial outcomes.

mod selector;
mod snapshot;

pub use selector::{Policy, Selector};
pub use snapshot::{BackendId, BackendView, Epoch, ShardId, Snapshot};
