//! RFC 6455 without I/O: the opening handshake of both roles and the framing; and the PROXY protocol before it.
//!
//! Pure: bytes in, verdicts and bytes out. No clock, no sockets, no randomness (masking keys are arguments).

pub mod frame;
pub mod handshake;
pub mod proxy_protocol;

/// The two ends of a WebSocket connection (RFC 6455 §1.2).
///
/// selat is a server toward clients and a client toward backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opened the connection; masks every frame it sends.
    Client,
    /// Accepted the connection; never masks.
    Server,
}
