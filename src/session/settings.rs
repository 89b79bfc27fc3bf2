//! What holds for the sessions of one route.

use std::time::Duration;

/// Bounds and times of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// From the first sign of an end to cutting what is left.
    pub close: Duration,
    /// Without a byte in either direction; then Close 1001.
    pub idle: Duration,
    /// Bytes of a message, as on the wire; beyond: Close 1009.
    pub message_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            close: Duration::from_secs(10),
            idle: Duration::from_secs(60 * 60),
            message_bytes_max: u64::MAX,
        }
    }
}
