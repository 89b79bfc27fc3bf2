//! One backend's health as the control plane sees it: a machine over dial outcomes and probes.
//!
//! Pure: given `now`, owns no clock and sends nothing.

mod state;

pub use state::{Health, Outcome};
