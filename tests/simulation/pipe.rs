//! One direction of a simulated connection: a socket buffer of limited size.

use std::collections::VecDeque;

/// Bytes under way from one end to the other.
#[derive(Debug)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    bytes_max: usize,
    has_fin: bool,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(Vec<u8>),
    Fin,
    Nothing,
}

impl Pipe {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes: VecDeque::new(), bytes_max, has_fin: false }
    }

    /// Takes what fits and says how much that was.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        assert!(!self.has_fin, "written behind the FIN");
        let len = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..len]);
        len
    }

    pub(crate) fn room(&self) -> usize {
        self.bytes_max - self.bytes.len()
    }

    pub(crate) fn finish(&mut self) {
        self.has_fin = true;
    }

    pub(crate) fn read(&mut self, len_max: usize) -> Read {
        if self.bytes.is_empty() {
            return if self.has_fin { Read::Fin } else { Read::Nothing };
        }
        Read::Bytes(self.bytes.drain(..len_max.min(self.bytes.len())).collect())
    }

    /// Whether a read would come to something.
    pub(crate) fn is_readable(&self) -> bool {
        self.has_fin || !self.bytes.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// A connection between an endpoint and the proxy.
#[derive(Debug)]
pub(crate) struct Connection {
    /// From the endpoint.
    pub(crate) up: Pipe,
    /// To the endpoint.
    pub(crate) down: Pipe,
    /// A reset passed, either way: nothing can be read or written any more.
    pub(crate) is_reset: bool,
    /// The proxy has closed it: what the endpoint still writes is answered with a reset.
    pub(crate) is_closed: bool,
}

impl Connection {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { up: Pipe::new(bytes_max), down: Pipe::new(bytes_max), is_reset: false, is_closed: false }
    }

    /// The proxy closes: a FIN, but a reset where something was left unread, as TCP does it.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.down.finish();
        self.is_reset |= !self.up.is_empty();
    }
}
