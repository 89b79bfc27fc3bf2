//! What a session writes in one round, until the round is over: so that it costs each connection one system call,
//! however many messages it was.

use crate::dispatch::Port;

/// Bytes that wait for the end of the round; as many and more leave at once, for copying them would cost more than it
/// saves.
const WAITING_BYTES_MAX: usize = 16 * 1024;

/// Lent to the session that is being polled: no other owns any of it.
#[derive(Default)]
pub(super) struct Outbox {
    /// By connection.
    waiting: Vec<Vec<u8>>,
    /// Those to which something is to go.
    ports: Vec<Port>,
}

impl Outbox {
    /// Keeps `bytes` for a connection, behind what is kept for it. If that is too much it is returned, to be written at
    /// once, and then to be given back with [`Self::reclaim`].
    pub(super) fn put(&mut self, to: Port, bytes: &[u8]) -> Option<Vec<u8>> {
        let index = index(to);
        if self.waiting.len() <= index {
            self.waiting.resize_with(index + 1, Vec::new);
        }
        let waiting = self.waiting.get_mut(index).filter(|_| !bytes.is_empty())?;
        if waiting.is_empty() {
            self.ports.push(to);
        }
        waiting.extend_from_slice(bytes);
        (waiting.len() >= WAITING_BYTES_MAX).then(|| std::mem::take(waiting))
    }

    /// Whether so many bytes for this connection are to be written at once.
    pub(super) fn is_passed_by(&self, to: Port, len: usize) -> bool {
        len >= WAITING_BYTES_MAX && self.waiting.get(index(to)).is_none_or(Vec::is_empty)
    }

    /// What is kept for some connection, to be written now, and then to be given back.
    pub(super) fn take(&mut self) -> Option<(Port, Vec<u8>)> {
        while let Some(to) = self.ports.pop() {
            // What was too much, or was forgotten, is not there any more.
            if let Some(waiting) = self.waiting.get_mut(index(to)).filter(|waiting| !waiting.is_empty()) {
                return Some((to, std::mem::take(waiting)));
            }
        }
        None
    }

    /// Takes a buffer back, so that the next round need not make one.
    pub(super) fn reclaim(&mut self, to: Port, mut buffer: Vec<u8>) {
        buffer.clear();
        if let Some(place) = self.waiting.get_mut(index(to))
            && place.is_empty()
        {
            *place = buffer;
        }
    }

    /// Forgets what is kept for a connection that is gone.
    pub(super) fn forget(&mut self, to: Port) {
        self.waiting.get_mut(index(to)).into_iter().for_each(Vec::clear);
    }
}

fn index(port: Port) -> usize {
    match port {
        Port::Client => 0,
        Port::Line(line) => 1 + line.index(),
    }
}
