//! The health of a pool's backends as the control plane sees it: a machine for each over dial outcomes and probes.
//!
//! Pure: given `now` and random numbers, owns no clock, asks nobody and sends nothing. [`Settings`] say how to judge,
//! [`Health`] judges one backend, [`Pool`] holds what the backends of one pool share.

mod fault;
mod pool;
mod settings;
mod state;

pub use fault::ProbeFault;
pub use pool::{Pool, is_panicking};
pub use settings::{Exchange, Outlier, Percent, Probe, Settings};
pub use state::{Health, Outcome, State, Weight, Why};
