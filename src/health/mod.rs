//! One backend's health as the control plane sees it: a machine over dial outcomes and probes.
//!
//! Pure: given `now`, owns no clock and sends nothing.

mod settings;
mod state;

pub use settings::{Exchange, Outlier, Percent, Probe, Settings};
pub use state::{Health, Outcome};
