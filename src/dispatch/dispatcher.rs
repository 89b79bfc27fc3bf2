//! The decisions of one client's session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Board, Candidate, LineId, Port, Ports, Settings};
use crate::balance::BackendId;
use crate::session::{self, Cause, Disposition, Ending, Farewell, Peer};
use crate::telemetry::Traffic;

/// What a dispatcher is told with everything that happens.
#[derive(Debug)]
pub struct Context<'c> {
    /// The time.
    pub now: Instant,
    /// For masks of frames of selat's own, and for choices; drawn anew each time.
    pub random: u64,
    /// What the shard's dispatchers know together.
    pub board: &'c mut Board,
    /// The backends that may get messages now, in any order. Those of lines that are missing here get no new ones.
    pub candidates: &'c [Candidate],
}

/// How a session begins.
#[derive(Debug)]
pub struct Start {
    /// What holds for its dispatch.
    pub settings: Arc<Settings>,
    /// What holds for its route: sizes, rates, pings, times.
    pub session: session::Settings,
    /// The backend that has accepted it: the first line, which is open.
    pub backend: BackendId,
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Connect to a backend; [`Dispatcher::handle_opened`] or [`Dispatcher::handle_unopened`] says what came of it.
    Dial {
        /// Under this name from now on.
        line: LineId,
        /// Where.
        backend: BackendId,
    },
    /// Close the connection at once, or give up dialling. The dispatcher hears no more of this line.
    Drop {
        /// Which.
        line: LineId,
    },
}

/// One client's session.
#[derive(Debug)]
pub struct Dispatcher {
    settings: Arc<Settings>,
}

impl Dispatcher {
    /// The client has its 101, and one backend has accepted it.
    #[must_use]
    pub fn new(start: Start, now: Instant) -> Self {
        let _ = (start.session, start.backend, now);
        Self { settings: start.settings }
    }

    /// Bytes of one end, beginning with those that the last call for it left over. Says how many were used: what is
    /// behind them is to be presented again, with more, or once [`Self::reads`] allows it.
    pub fn handle_bytes(
        &mut self,
        from: Port,
        bytes: &[u8],
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) -> usize {
        let _ = (from, ports, context, &self.settings);
        bytes.len()
    }

    /// An end's stream has stopped.
    pub fn handle_ending(
        &mut self,
        port: Port,
        ending: Ending,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        let _ = (port, ending, ports, context);
    }

    /// A backend that was to be dialled has accepted the client.
    pub fn handle_opened(&mut self, line: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let _ = (line, ports, context);
    }

    /// It has not.
    pub fn handle_unopened(&mut self, line: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let _ = (line, ports, context);
    }

    /// Some of what waited for an end has left.
    pub fn handle_progress(&mut self, port: Port, now: Instant) {
        let _ = (port, now);
    }

    /// What the clock wants; to be called at [`Self::deadline`], and never too early.
    pub fn handle_time(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let _ = (ports, context);
    }

    /// The session is to end at `at`, between two messages to the client.
    pub fn handle_drain(&mut self, at: Instant, farewell: Farewell) {
        let _ = (at, farewell);
    }

    /// A fault of selat's own: ends with Close 1011.
    pub fn handle_fault(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        let _ = (ports, context);
    }

    /// Ends at once.
    pub fn cut(&mut self) {}

    /// What to do next; to be asked until there is nothing, after anything was handled.
    pub fn poll_command(&mut self) -> Option<Command> {
        None
    }

    /// Whether bytes of this end would be used now.
    #[must_use]
    pub fn reads(&self, port: Port, ports: &impl Ports) -> bool {
        let _ = (port, ports);
        true
    }

    /// When [`Self::handle_time`] is wanted next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// What becomes of a connection, once everything written to it has left. The session is over when the client's is
    /// closed; lines go with it.
    #[must_use]
    pub fn disposition(&self, port: Port) -> Disposition {
        let _ = port;
        Disposition::Keep
    }

    /// Whether the session was told this, or something stronger.
    #[must_use]
    pub fn has_heard(&self, farewell: Farewell) -> bool {
        let _ = farewell;
        false
    }

    /// What ended it.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        None
    }

    /// Whether a peer had to be cut off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        false
    }

    /// What was forwarded of the client's, or of the backends'.
    #[must_use]
    pub fn traffic(&self, from: Peer) -> Traffic {
        let _ = from;
        Traffic::default()
    }

    /// The round trip of a ping that was answered since this was asked last.
    pub fn take_rtt(&mut self, from: Peer) -> Option<Duration> {
        let _ = from;
        None
    }

    /// How often the client was slowed down.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        0
    }
}
