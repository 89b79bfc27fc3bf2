//! What a tunnel tells its shell to do, and what the shell tells it.

use super::Peer;
use crate::protocol::frame::MaskKey;

/// What to do with bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// This many leading bytes go to the other peer.
    pub forward: usize,
    /// This many leading bytes are judged, and done with once those are forwarded. At least `forward`.
    pub judged: usize,
    /// Data messages that ended within them.
    pub messages: u64,
    /// What becomes of the bytes behind.
    pub then: Then,
}

/// What becomes of bytes that are not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They are presented again in front of the next ones.
    Keep,
    /// They are presented again at once, behind the frames of the proxy's own that are due now.
    Judge,
    /// They are dropped.
    Drop,
}

impl Flow {
    /// All that came is of no interest any more.
    pub(super) const DROP: Self = Self { forward: 0, judged: 0, messages: 0, then: Then::Drop };

    /// The bytes to present again.
    #[must_use]
    pub fn rest(self, bytes: &[u8]) -> &[u8] {
        match self.then {
            Then::Keep | Then::Judge => bytes.get(self.judged..).unwrap_or_default(),
            Then::Drop => &[],
        }
    }
}

/// What to do with a connection once everything written to it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Leave it open.
    Keep,
    /// FIN; read and drop what still comes, so that no reset destroys what we sent.
    Finish,
    /// Close it: nothing more will be read or written.
    Drop,
    /// Close it at once, whatever has not left.
    Abandon,
}

/// What frames of the proxy's own need of chance.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    /// Masks a frame to a server; unpredictable (RFC 6455 §10.3).
    pub key: MaskKey,
    /// Where the payloads of pings begin; unpredictable.
    pub nonce: u64,
}

/// Toward whom bytes are waiting because the peer does not take them; meanwhile the other one is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Toward the client.
    pub client: bool,
    /// Toward the backend.
    pub backend: bool,
}

impl Backlog {
    pub(super) fn toward(self, peer: Peer) -> bool {
        match peer {
            Peer::Client => self.client,
            Peer::Backend => self.backend,
        }
    }
}
