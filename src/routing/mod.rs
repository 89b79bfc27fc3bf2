//! Which route a request takes: by listener, host and path, the first match in file order (RFC 9110 §4.2).
//!
//! Pure. [`Router`] finds it without looking at every route; [`Matcher`] is one route's condition.

mod matcher;
mod normal;
mod router;

pub use matcher::{HostPattern, InvalidPattern, ListenId, Matcher, PathPattern};
pub use normal::{host_name, normal_path};
pub use router::Router;
