//! The connections of a client's session, as its dispatcher sees them.

use crate::session::Peer;

/// Which of a session's connections to backends; given again after it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(pub u16);

impl LineId {
    /// As an index into a table of all lines.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// One end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// Who connected to us.
    Client,
    /// One of those whom we dialled.
    Line(LineId),
}

/// Where a dispatcher writes.
pub trait Ports {
    /// Writes whole or partial frames, behind what waits for this end. What its connection does not take at once waits;
    /// to one that is closed nothing is written.
    fn write(&mut self, to: Port, bytes: &[u8]);

    /// Counts a whole message that a backend got, or that came from it.
    fn count(&mut self, line: LineId, from: Peer);

    /// Whether all that was written has left.
    fn is_flushed(&self, port: Port) -> bool;
}
