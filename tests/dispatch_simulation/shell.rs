//! Moves bytes between the peers as the dispatcher decides, as the shard's session does.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use selat::balance::{BackendId, Weight};
use selat::dispatch::{Board, Candidate, Command, Context, Dispatcher, LineId, Port, Ports, Start};
use selat::session::{Disposition, Ending, Peer};

use super::plan::Plan;

/// Bytes that the kernel holds for a peer that does not read them.
const SOCKET_BYTES_MAX: usize = 4_000;

/// Bytes of one read.
const READ_BYTES_MAX: usize = 16 * 1024;

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// From the peer, not read yet.
    pub(crate) inbox: VecDeque<u8>,
    /// How its stream ends behind that.
    pub(crate) ending: Option<Ending>,
    has_ended: bool,
    kept: Vec<u8>,
    unsent: VecDeque<u8>,
    /// To the peer, in the kernel.
    pub(crate) outbox: VecDeque<u8>,
    pub(crate) is_finished: bool,
}

#[derive(Default)]
pub(crate) struct Ends(pub(crate) BTreeMap<Port, End>);

impl Ports for Ends {
    fn write(&mut self, to: Port, bytes: &[u8]) {
        if let Some(end) = self.0.get_mut(&to) {
            end.unsent.extend(bytes);
        }
    }

    fn count(&mut self, _: LineId, _: Peer) {}

    fn is_flushed(&self, port: Port) -> bool {
        self.0.get(&port).is_none_or(|end| end.unsent.is_empty())
    }
}

/// One session.
pub(crate) struct Shell {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) ends: Ends,
    pub(crate) board: Board,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) commands: Vec<Command>,
    pub(crate) now: Instant,
    random: u64,
    pub(crate) is_over: bool,
    /// Whose the lines are that are open.
    pub(crate) backends: BTreeMap<LineId, BackendId>,
}

impl Shell {
    pub(crate) fn new(plan: &Plan, now: Instant) -> Self {
        let start = Start {
            settings: Arc::new(plan.settings.clone()),
            session: Rc::new(plan.session.clone()),
            backend: BackendId(0),
        };
        Self {
            dispatcher: Dispatcher::new(start, now),
            ends: Ends::default(),
            board: Board::default(),
            candidates: Self::candidates(plan),
            commands: Vec::new(),
            now,
            random: 0,
            is_over: false,
            backends: BTreeMap::from([(LineId(0), BackendId(0))]),
        }
    }

    /// All backends.
    pub(crate) fn candidates(plan: &Plan) -> Vec<Candidate> {
        let candidate = |index: usize| {
            let id = u32::try_from(index).unwrap();
            Candidate { backend: BackendId(id), weight: Weight::ONE, identity: u64::from(id) << 40 }
        };
        (0..plan.backends).map(candidate).collect()
    }

    pub(crate) fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Dispatcher, &mut Ends, &mut Context<'_>) -> T,
    ) -> T {
        self.random = self.random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let mut context = Context {
            now: self.now,
            random: self.random,
            board: &mut self.board,
            candidates: &self.candidates,
        };
        act(&mut self.dispatcher, &mut self.ends, &mut context)
    }

    /// Does all that can be done now.
    pub(crate) fn step(&mut self) {
        for round in 0.. {
            assert!(round < 2_000, "it spins");
            let mut is_moving = false;
            for port in self.ends.0.keys().copied().collect::<Vec<_>>() {
                is_moving |= self.flow(port);
            }
            // What has come in the meantime may be a sign of life, or a reply.
            if !is_moving && self.dispatcher.deadline().is_some_and(|at| at <= self.now) {
                self.with(|dispatcher, ends, context| dispatcher.handle_time(ends, context));
                is_moving = true;
            }
            for port in self.retired() {
                self.with(|dispatcher, ends, context| dispatcher.handle_retired(port, ends, context));
            }
            while let Some(command) = self.dispatcher.poll_command() {
                is_moving = true;
                let (Command::Dial { line, .. } | Command::Drop { line }) = command;
                self.ends.0.remove(&Port::Line(line));
                self.backends.remove(&line);
                self.commands.push(command);
            }
            self.settle();
            if self.is_over || !is_moving {
                return;
            }
        }
    }

    /// Lines to backends that are to go.
    fn retired(&self) -> Vec<LineId> {
        let is_gone = |backend| !self.candidates.iter().any(|candidate| candidate.backend == backend);
        self.backends.iter().filter(|(_, backend)| is_gone(**backend)).map(|(line, _)| *line).collect()
    }

    fn flow(&mut self, port: Port) -> bool {
        self.flush(port);
        let mut is_moving = false;
        let reads = self.dispatcher.reads(port, &self.ends);
        let Some(end) = self.ends.0.get_mut(&port) else { return false };
        if reads && !end.kept.is_empty() {
            let kept = end.kept.len();
            self.take(port, Vec::new());
            is_moving |= self.ends.0.get(&port).is_none_or(|end| end.kept.len() < kept);
        }
        if !self.dispatcher.reads(port, &self.ends) {
            return is_moving;
        }
        let Some(end) = self.ends.0.get_mut(&port).filter(|end| !end.has_ended) else { return is_moving };
        if !end.inbox.is_empty() {
            let len = end.inbox.len().min(READ_BYTES_MAX);
            let read = end.inbox.drain(..len).collect();
            self.take(port, read);
            return true;
        }
        let Some(ending) = end.ending else { return is_moving };
        end.has_ended = true;
        self.with(|dispatcher, ends, context| dispatcher.handle_ending(port, ending, ends, context));
        true
    }

    fn flush(&mut self, port: Port) {
        let Some(end) = self.ends.0.get_mut(&port) else { return };
        let room = SOCKET_BYTES_MAX.saturating_sub(end.outbox.len()).min(end.unsent.len());
        if room > 0 {
            end.outbox.extend(end.unsent.drain(..room));
            self.with(|dispatcher, ends, context| dispatcher.handle_progress(port, ends, context));
        }
    }

    fn take(&mut self, port: Port, read: Vec<u8>) {
        let Some(end) = self.ends.0.get_mut(&port) else { return };
        let bytes = [std::mem::take(&mut end.kept), read].concat();
        let used =
            self.with(|dispatcher, ends, context| dispatcher.handle_bytes(port, &bytes, ends, context));
        assert!(used <= bytes.len());
        if let Some(end) = self.ends.0.get_mut(&port) {
            end.kept = bytes[used..].to_vec();
        }
    }

    fn settle(&mut self) {
        let disposition = self.dispatcher.disposition(Port::Client);
        let Some(client) = self.ends.0.get_mut(&Port::Client) else { return };
        match disposition {
            Disposition::Keep => {}
            Disposition::Finish => client.is_finished |= client.unsent.is_empty(),
            Disposition::Drop if !client.unsent.is_empty() => {}
            Disposition::Drop | Disposition::Abandon => {
                client.is_finished = true;
                self.is_over = true;
                self.dispatcher.handle_over(&mut self.board);
            }
        }
    }

    /// The most that is held for anybody.
    pub(crate) fn held(&self) -> usize {
        self.ends.0.values().map(|end| end.unsent.len() + end.kept.len()).sum()
    }
}
