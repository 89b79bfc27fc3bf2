//! What is counted: plain numbers, merged by the control plane.
//!
//! A shard owns its [`Counters`] and adds to them without locks or atomics. Never does this room look at a clock,
//! send or write anything.

mod counters;

pub use counters::{
    BackendCounters, Counters, Ended, Refused, RouteCounters, Sessions, Tally, Traffic, close_label,
};
