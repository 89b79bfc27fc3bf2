//! Frames: header, rules, scanner, mask, close (RFC 6455 §5 and §7).
//!
//! [`Scanner`] is the heart: it finds frame boundaries in a byte stream and judges its legality without touching
//! a payload. [`Header`] reads and writes one frame header, [`mask()`] XORs payloads, [`CloseCode`] knows which
//! codes may stand on the wire, [`PingSeries`] which pongs answer the proxy's own pings.

mod close;
mod header;
mod mask;
mod ping;
mod scanner;
mod violation;

pub(crate) use close::control_frame;
pub use close::{CloseCode, close_frame};
pub use header::{CONTROL_PAYLOAD_MAX, HEADER_BYTES_MAX, Header, Opcode, Rsv};
pub use mask::{MaskKey, mask};
pub use ping::{Answered, PingSeries};
pub use scanner::{End, Rules, Scan, Scanner, Stops, Unit};
pub use violation::Violation;
