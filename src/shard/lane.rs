//! One connection of a session, as the pump holds it.

use std::io;
use std::mem;
use std::time::Instant;

use crate::runtime::Stream;
use crate::session::{Disposition, Ending};

/// Bytes read at once from a peer whose bytes the other one does not take as fast; doubles with every read that
/// leaves nothing unsent. So a slow reader costs this much, a fast one has the whole scratch.
const READ_LEAST: usize = 16 * 1024;

/// How often it doubles until it is the whole scratch.
const DOUBLINGS_MAX: u8 = 4;
const _: () = assert!(READ_LEAST << DOUBLINGS_MAX == super::SCRATCH_BYTES);

/// A connection, what came from it and could not be judged yet, and what is to go to it and could not leave.
pub(super) struct Lane {
    /// `None` once it is closed.
    stream: Option<Stream>,
    /// Boxed, and given back once nothing waits: an idle session owns no buffer.
    waiting: Option<Box<Waiting>>,
    /// Of what is read at once.
    doublings: u8,
    is_finished: bool,
}

/// Bytes that wait.
#[derive(Default)]
struct Waiting {
    /// For those behind them that are to come.
    kept: Vec<u8>,
    /// For room in their connection.
    unsent: Vec<u8>,
    /// Of these, at the front, have left.
    sent: usize,
    /// When the read was learned of that is being measured, if one of them is.
    measured_since: Option<Instant>,
}

/// What became of bytes that were waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// There were none, or there was no room for them.
    Nothing,
    /// Some have left: the peer has made room.
    Some,
    /// The last of them have left.
    All {
        /// When the read was learned of that was measured, if one of them was.
        measured_since: Option<Instant>,
    },
}

/// How a stream has ended that cannot be read.
pub(super) fn ending(error: &io::Error) -> Ending {
    // What TLS says of one that was cut.
    if error.kind() == io::ErrorKind::UnexpectedEof { Ending::Truncated } else { Ending::Reset }
}

impl Lane {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream: Some(stream), waiting: None, doublings: 0, is_finished: false }
    }

    /// Reads behind what was kept, which is put in front. Says how many bytes are in `scratch` now, if any came;
    /// `Some(0)` at the end of the stream.
    #[inline]
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(stream) = &self.stream else { return Ok(None) };
        let kept = self.kept().len();
        let room = scratch.len().min((READ_LEAST << self.doublings) + kept);
        let Some(room) = scratch.get_mut(kept..room) else { return Ok(None) };
        let read = stream.try_read(room)?;
        let Some(len @ 1..) = read else { return Ok(read) };
        if kept > 0
            && let Some(front) = scratch.get_mut(..kept)
        {
            front.copy_from_slice(&self.take_kept());
        }
        Ok(Some(kept + len))
    }

    /// What came and could not be judged yet.
    #[inline]
    pub(super) fn kept(&self) -> &[u8] {
        self.waiting.as_ref().map(|waiting| waiting.kept.as_slice()).unwrap_or_default()
    }

    /// The same, to be judged.
    pub(super) fn take_kept(&mut self) -> Vec<u8> {
        let kept = self.waiting.as_mut().map(|waiting| mem::take(&mut waiting.kept)).unwrap_or_default();
        self.give_back();
        kept
    }

    /// Keeps bytes that came and cannot be judged yet, behind those that are kept.
    #[inline]
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.waiting.get_or_insert_default().kept.extend_from_slice(bytes);
        }
    }

    /// The connection, unless it is closed.
    pub(super) fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// Whether the connection was reset.
    pub(super) fn is_broken(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_broken)
    }

    /// Whether everything written has left.
    #[inline]
    pub(super) fn is_flushed(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.unsent.is_empty())
    }

    /// Writes what the connection takes and keeps the rest, behind what is already waiting.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let written = if self.is_flushed() { stream.try_write(bytes)? } else { 0 };
        self.hold(bytes.get(written..).unwrap_or_default());
        Ok(())
    }

    /// Offers bytes to a connection that nothing waits for; says how many of them need not be offered again: those that
    /// it took, and those that only it can send, for some are encrypted already.
    #[inline]
    pub(super) fn offer(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = &self.stream else { return Ok(bytes.len()) };
        let written = stream.try_write(bytes)?;
        let taken = bytes.len().min(written + stream.owed());
        self.hold(bytes.get(written..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Has bytes wait for the connection, behind those that do already.
    #[inline]
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.waiting.get_or_insert_default().unsent.extend_from_slice(bytes);
        }
    }

    /// What has been written last is of a read that was learned of at `since`, and is being measured. Whether it waits;
    /// else it has left already.
    pub(super) fn measure(&mut self, since: Instant) -> bool {
        let Some(waiting) = self.waiting.as_mut().filter(|waiting| !waiting.unsent.is_empty()) else {
            return false;
        };
        waiting.measured_since.get_or_insert(since);
        true
    }

    /// Writes what has been waiting.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<Flush> {
        let (Some(stream), Some(waiting)) = (&self.stream, &mut self.waiting) else {
            return Ok(Flush::Nothing);
        };
        if waiting.unsent.is_empty() {
            return Ok(Flush::Nothing);
        }
        let written = stream.try_write(waiting.unsent.get(waiting.sent..).unwrap_or_default())?;
        waiting.sent += written;
        if waiting.sent < waiting.unsent.len() {
            return Ok(if written == 0 { Flush::Nothing } else { Flush::Some });
        }
        (waiting.unsent, waiting.sent) = (Vec::new(), 0);
        let measured_since = waiting.measured_since.take();
        self.give_back();
        Ok(Flush::All { measured_since })
    }

    fn give_back(&mut self) {
        self.waiting.take_if(|waiting| waiting.kept.is_empty() && waiting.unsent.is_empty());
    }

    /// Reads less at once while the other peer does not keep up, more while it does.
    #[inline]
    pub(super) fn adapt(&mut self, is_other_flushed: bool) {
        self.doublings = if is_other_flushed { DOUBLINGS_MAX.min(self.doublings + 1) } else { 0 };
    }

    /// Does with the connection what the tunnel says, as soon as everything has left.
    pub(super) fn settle(&mut self, disposition: Disposition) {
        match disposition {
            Disposition::Keep => {}
            Disposition::Finish => {
                if let Some(stream) = self.stream.as_ref().filter(|_| self.is_flushed() && !self.is_finished)
                {
                    self.is_finished = stream.finish();
                }
            }
            Disposition::Drop => {
                if self.is_flushed()
                    && let Some(stream) = self.stream.take()
                {
                    stream.close();
                }
            }
            Disposition::Abandon => self.stream = None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stream.is_none()
    }
}
