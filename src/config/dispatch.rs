//! Many backends for each client, and how its messages are spread over them.

use std::sync::Arc;

use super::PoolId;
use crate::dispatch;

/// What the names of pools of a dispatch's backends begin with. A name in a file has no dot.
const POOL_PREFIX: &str = "dispatch.";

/// A dispatch's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DispatchId(pub u16);

impl DispatchId {
    /// As an index into a table of all dispatches.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// Its name in the configuration, for logs and metrics.
    pub name: Arc<str>,
    /// Its backends: a pool of their own, called `dispatch.NAME`.
    pub backends: PoolId,
    /// What is done with messages and replies.
    pub settings: Arc<dispatch::Settings>,
}

impl Dispatch {
    /// The name of the pool of a dispatch's backends. No pool in a configuration can have it.
    #[must_use]
    pub fn pool_name(dispatch: &str) -> String {
        format!("{POOL_PREFIX}{dispatch}")
    }

    /// The name of the dispatch whose backends the pool of this name has.
    #[must_use]
    pub fn of_pool(name: &str) -> Option<&str> {
        name.strip_prefix(POOL_PREFIX)
    }

    /// Whether nobody could tell it from `other`, but for its backends: in another configuration the same pool may stand
    /// elsewhere.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { name, backends: _, settings } = self;
        (name, settings) == (&other.name, &other.settings)
    }
}
