//! The connections of one client's session: its own, and those to its backends.

use super::outbox::Outbox;
use crate::dispatch::{LineId, Port, Ports};
use crate::runtime::Stream;
use crate::session::Peer;
use crate::shard::lane::Lane;
use crate::shard::placement::Placement;

/// Where a session's bytes come from and go to.
pub(super) struct Ends {
    client: End,
    /// By [`LineId`].
    lines: Vec<Option<Line>>,
    /// Those that could not be written to.
    broken: Vec<Port>,
    /// The shard's, while the session is being polled.
    pub(super) outbox: Outbox,
}

/// One connection.
pub(super) struct End {
    pub(super) lane: Lane,
    /// Whether something was left over because there was no room for it, and not because it was incomplete.
    pub(super) is_held: bool,
    /// Whether its stream has stopped.
    pub(super) has_ended: bool,
}

/// A connection to a backend.
struct Line {
    end: End,
    placement: Placement,
}

impl End {
    fn new(stream: Stream) -> Self {
        Self { lane: Lane::new(stream), is_held: false, has_ended: false }
    }
}

impl Ends {
    pub(super) fn new(client: Stream) -> Self {
        Self { client: End::new(client), lines: Vec::new(), broken: Vec::new(), outbox: Outbox::default() }
    }

    /// A connection to a backend, in the place of what was there under this name.
    pub(super) fn open(&mut self, line: LineId, stream: Stream, placement: Placement) {
        if self.lines.len() <= line.index() {
            self.lines.resize_with(line.index() + 1, || None);
        }
        if let Some(place) = self.lines.get_mut(line.index()) {
            *place = Some(Line { end: End::new(stream), placement });
        }
    }

    /// Hangs up, whatever waits.
    pub(super) fn drop_line(&mut self, line: LineId) {
        self.outbox.forget(Port::Line(line));
        self.lines.get_mut(line.index()).into_iter().for_each(|place| *place = None);
    }

    pub(super) fn at(&mut self, port: Port) -> Option<&mut End> {
        match port {
            Port::Client => Some(&mut self.client),
            Port::Line(line) => Some(&mut self.lines.get_mut(line.index())?.as_mut()?.end),
        }
    }

    /// The client's connection, unless it is closed.
    pub(super) fn client(&self) -> Option<&Stream> {
        self.client.lane.stream()
    }

    pub(super) fn placement(&self, line: LineId) -> Option<&Placement> {
        Some(&self.lines.get(line.index())?.as_ref()?.placement)
    }

    /// Counts bytes that were read and used.
    pub(super) fn count_read(&self, from: Port, bytes: usize) {
        if let Port::Line(line) = from
            && let Some(placement) = self.placement(line)
        {
            placement.books().counters.borrow_mut().sessions.from_backends.add(bytes, 0);
        }
    }

    /// Whether a backend's sessions have been sent away since this line opened.
    pub(super) fn is_retired(&self, line: LineId) -> bool {
        self.placement(line).is_some_and(Placement::is_retired)
    }

    /// The names that lines have or may have had.
    pub(super) fn lines(&self) -> impl Iterator<Item = LineId> + use<> {
        (0..self.lines.len()).filter_map(|index| u16::try_from(index).ok()).map(LineId)
    }

    /// Writes what the round that is over has for each connection.
    pub(super) fn deliver(&mut self) {
        while let Some((to, bytes)) = self.outbox.take() {
            self.write_now(to, &bytes);
            self.outbox.reclaim(to, bytes);
        }
    }

    fn write_now(&mut self, to: Port, bytes: &[u8]) {
        let Some(end) = self.at(to) else { return };
        if end.lane.write(bytes).is_err() {
            self.broken.push(to);
        }
    }

    /// One that could not be written to, each once.
    pub(super) fn take_broken(&mut self) -> Option<Port> {
        self.broken.pop()
    }
}

impl Ports for Ends {
    fn write(&mut self, to: Port, bytes: &[u8]) {
        if let Port::Line(line) = to
            && let Some(placement) = self.placement(line)
        {
            placement.books().counters.borrow_mut().sessions.from_clients.add(bytes.len(), 0);
        }
        if !self.is_flushed(to) || self.outbox.is_passed_by(to, bytes.len()) {
            self.write_now(to, bytes);
        } else if let Some(bytes) = self.outbox.put(to, bytes) {
            self.write_now(to, &bytes);
            self.outbox.reclaim(to, bytes);
        }
    }

    fn count(&mut self, line: LineId, from: Peer) {
        let Some(placement) = self.placement(line) else { return };
        let sessions = &mut placement.books().counters.borrow_mut().sessions;
        match from {
            Peer::Client => sessions.from_clients.add(0, 1),
            Peer::Backend => sessions.from_backends.add(0, 1),
        }
    }

    fn is_flushed(&self, port: Port) -> bool {
        match port {
            Port::Client => self.client.lane.is_flushed(),
            Port::Line(line) => {
                let line = self.lines.get(line.index()).and_then(Option::as_ref);
                line.is_none_or(|line| line.end.lane.is_flushed())
            }
        }
    }
}
