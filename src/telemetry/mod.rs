//! What is counted: plain numbers, merged by the control plane.
//!
//! A shard owns its [`Counters`] and adds to them without locks or atomics. Never does this room look at a clock,
//! send or write anything.

mod counters;
mod histogram;

pub use counters::{
    BackendCounters, Counters, Ended, PingRtt, Refused, RouteCounters, Sessions, Tally, Traffic, close_label,
};
pub use histogram::{Histogram, SizeHistogram};
