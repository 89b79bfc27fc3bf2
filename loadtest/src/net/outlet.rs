//! What a socket would not take yet.

use rustix::io::Errno;

use super::{Moved, Socket};

/// Whether more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Everything has left.
    Clear,
    /// The socket is full: read no more from where the bytes come from.
    Blocked,
}

/// The bytes between one read and a full socket: one scratch buffer's worth at most, none while the peer keeps up.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    pending: Vec<u8>,
    sent: usize,
}

impl Outlet {
    /// Whether bytes are waiting.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends `bytes`, keeping a copy of what the socket does not take. Only while nothing is waiting.
    ///
    /// # Errors
    /// The connection is lost.
    #[inline]
    pub(crate) fn send(&mut self, socket: &Socket, bytes: &[u8]) -> Result<Flow, Errno> {
        debug_assert!(!self.is_blocked(), "bytes would overtake those that wait");
        if bytes.is_empty() {
            return Ok(Flow::Clear);
        }
        let sent = match socket.write(bytes)? {
            Moved::Bytes(len) => len,
            Moved::Blocked | Moved::Ended => 0,
        };
        match bytes.get(sent..) {
            Some(rest) if !rest.is_empty() => {
                self.pending = rest.to_vec();
                Ok(Flow::Blocked)
            }
            Some(_) | None => Ok(Flow::Clear),
        }
    }

    /// Puts `bytes` behind those that wait, to leave with the next [`Self::flush`].
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Sends what is waiting.
    ///
    /// # Errors
    /// The connection is lost.
    #[inline]
    pub(crate) fn flush(&mut self, socket: &Socket) -> Result<Flow, Errno> {
        while let Some(rest) = self.pending.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let Moved::Bytes(len) = socket.write(rest)? else { return Ok(Flow::Blocked) };
            self.sent += len;
        }
        if self.is_blocked() {
            *self = Self::default();
        }
        Ok(Flow::Clear)
    }
}
