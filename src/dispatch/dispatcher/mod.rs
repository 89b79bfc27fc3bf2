//! The decisions of one client's session.
//!
//! What comes from the client is `from_client`, what comes from backends is `from_lines`; `placing` finds a line for a
//! message, `answers` what a reply answers; `ending` has all ways in which lines and the session end, `time` what the
//! clock wants.

mod answers;
mod ending;
mod from_client;
mod from_lines;
mod placing;
mod stage;
#[cfg(test)]
mod tests;
mod time;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::from_client::Sending;
use self::stage::{Stage, Word};
use super::asked::{Parcel, Seq};
use super::exit::Exit;
use super::gather::Rounds;
use super::line::{self, Hope, Line, Open};
use super::side::Side;
use super::{Balance, Board, Candidate, Exchange, LineId, Order, Port, Ports, Replies, Send, Settings};
use crate::balance::{BackendId, mix};
use crate::json::Pointer;
use crate::protocol::frame::{CloseCode, MaskKey};
use crate::session::{
    self, Cause, Disposition, Drain, Ending, Farewell, Input, Meter, Output, Peer, Side as Doer, Why,
};
use crate::telemetry::Traffic;

/// Bytes of a message that has to be seen whole, where its route has no bound.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Bytes that are kept of replies that came early, and of messages that may be sent anew. Beyond the one, only those
/// lines are read that owe what is waited for; beyond the other, the client is not read.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// How long a message may stand still half-way, and bytes wait for a backend, where messages have no timeout.
const STALL: Duration = Duration::from_secs(5);

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

impl Context<'_> {
    /// A number that was not given before.
    fn next_random(&mut self) -> u64 {
        self.random = mix(self.random.wrapping_add(0x9E37_79B9_7F4A_7C15));
        self.random
    }

    fn is_candidate(&self, backend: BackendId) -> bool {
        self.candidates.iter().any(|candidate| candidate.backend == backend)
    }

    fn next_key(&mut self) -> MaskKey {
        let [a, b, c, d, ..] = self.next_random().to_le_bytes();
        MaskKey([a, b, c, d])
    }
}

/// How a session begins.
#[derive(Debug)]
pub struct Start {
    /// What holds for its dispatch.
    pub settings: Arc<Settings>,
    /// What holds for its route: sizes, rates, pings, times.
    pub session: Rc<session::Settings>,
    /// The backend that has accepted it: the first line, which is open.
    pub backend: BackendId,
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Connect to a backend, in the place of what this line was; [`Dispatcher::handle_opened`] or
    /// [`Dispatcher::handle_unopened`] says what came of it.
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

/// Whether all backends are there that are to get each message, or have been tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assembly {
    Due,
    Begun,
    /// Or it does not matter: each message goes to one.
    Done,
}

/// One client's session.
#[derive(Debug)]
pub struct Dispatcher {
    settings: Arc<Settings>,
    session: Rc<session::Settings>,
    client: Side,
    /// What becomes of the message that the client is sending.
    sending: Sending,
    /// Whole messages that wait for a line. Meanwhile the client is not read.
    parcels: VecDeque<Parcel>,
    /// Whether the client's next message found no line; until something changes.
    is_blocked: bool,
    /// By [`LineId`]; each backend has one, once it was chosen.
    lines: Vec<Line>,
    /// How many connections to backends there have been.
    opened: u32,
    assembly: Assembly,
    exit: Exit,
    /// Where all backends get each message.
    rounds: Option<Box<Rounds>>,
    next_seq: Seq,
    /// Messages that wait for a reply.
    outstanding: usize,
    /// Bytes of messages that may be sent anew.
    kept_bytes: usize,
    /// When a backend may be dialled again, where none is there.
    seek_at: Option<Instant>,
    /// What the last backend said that closed.
    last_word: Option<Word>,
    since: Instant,
    last_activity: Instant,
    meter: Option<Box<Meter>>,
    drain: Drain,
    stage: Stage,
    cause: Option<Cause>,
    is_cut: bool,
    /// What was forwarded.
    from_client: Traffic,
    from_backends: Traffic,
    commands: VecDeque<Command>,
}

impl Dispatcher {
    /// The client has its 101, and one backend has accepted it.
    #[must_use]
    pub fn new(start: Start, now: Instant) -> Self {
        let Start { settings, mut session, backend } = start;
        if reads_messages(&settings) && session.message_bytes_max == u64::MAX {
            Rc::make_mut(&mut session).message_bytes_max = MESSAGE_BYTES_MAX;
        }
        let mut first = Line::new(backend);
        first.stage = line::Stage::Open(Open::new(1, &session, now));
        let order = match &settings.replies {
            Replies::One(Exchange { order, .. }) => *order,
            Replies::Any => Order::AsTheyCome,
        };
        let rounds = match (&settings.send, &settings.replies) {
            (Send::All(gather), Replies::One(_)) => Some(Box::new(Rounds::new(*gather))),
            (Send::All(_), Replies::Any) | (Send::One(_), _) => None,
        };
        Self {
            client: Side::new(Peer::Client, &session, now),
            sending: Sending::Nothing,
            parcels: VecDeque::new(),
            is_blocked: false,
            lines: vec![first],
            opened: 1,
            assembly: if matches!(settings.send, Send::One(_)) { Assembly::Done } else { Assembly::Due },
            exit: if order == Order::AsAsked { Exit::in_order() } else { Exit::default() },
            rounds,
            next_seq: Seq::default(),
            outstanding: 0,
            kept_bytes: 0,
            seek_at: None,
            last_word: None,
            since: now,
            last_activity: now,
            meter: session.rate.map(|limit| Box::new(Meter::new(limit, now))),
            drain: Drain::default(),
            stage: Stage::Open,
            cause: None,
            is_cut: false,
            from_client: Traffic::default(),
            from_backends: Traffic::default(),
            commands: VecDeque::new(),
            settings,
            session,
        }
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
        let used = match from {
            Port::Client => self.hear_client(bytes, ports, context),
            Port::Line(line) => self.hear_line(line, bytes, ports, context),
        };
        self.go_on(ports, context);
        used
    }

    /// An end's stream has stopped.
    pub fn handle_ending(
        &mut self,
        port: Port,
        ending: Ending,
        ports: &mut impl Ports,
        context: &mut Context<'_>,
    ) {
        match port {
            Port::Client => self.client_ended(ending, ports, context),
            Port::Line(line) => self.line_ended(line, ports, context),
        }
        self.go_on(ports, context);
    }

    /// A backend that was to be dialled has accepted the client.
    pub fn handle_opened(&mut self, line: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        if let Some(line) = self.lines.get_mut(line.index()).filter(|line| line.is_dialling()) {
            self.opened = self.opened.wrapping_add(1);
            line.stage = line::Stage::Open(Open::new(self.opened, &self.session, context.now));
            line.hope = Hope::Untried;
            self.is_blocked = false;
            self.last_word = None;
            let tried = self.lines.iter_mut().filter(|line| line.hope == Hope::Tried);
            tried.for_each(|line| line.hope = Hope::Untried);
        }
        self.go_on(ports, context);
    }

    /// It has not.
    pub fn handle_unopened(&mut self, line: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        let random = context.next_random();
        if let Some(line) = self.line_mut(line).filter(|line| line.is_dialling()) {
            line.stage = line::Stage::Vacant;
            line.handle_failure(Hope::Tried, random, context.now);
            self.is_blocked = false;
        }
        self.go_on(ports, context);
    }

    /// A backend's connections are to go: it is no candidate any more, and this one is closed as soon as it owes nothing.
    /// To be called again until then, after anything was handled.
    pub fn handle_retired(&mut self, line: LineId, ports: &mut impl Ports, context: &mut Context<'_>) {
        self.retire(line, ports, context);
        self.go_on(ports, context);
    }

    /// Some of what waited for an end has left.
    pub fn handle_progress(&mut self, port: Port, ports: &mut impl Ports, context: &mut Context<'_>) {
        let stall = self.stall();
        match port {
            Port::Client => self.client.handle_progress(context.now),
            Port::Line(line) => {
                if let Some(open) = self.open_mut(line) {
                    open.side.handle_progress(context.now);
                    open.note_progress(stall, context.now);
                }
            }
        }
        self.is_blocked = false;
        self.go_on(ports, context);
    }

    /// What the clock wants; to be called at [`Self::deadline`], once all has been presented that came by then: it may be a
    /// sign of life, or a reply.
    pub fn handle_time(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        self.is_blocked = false;
        self.keep_time(ports, context);
        self.go_on(ports, context);
    }

    /// The session is to end at `at`, between two messages to the client.
    pub fn handle_drain(&mut self, at: Instant, farewell: Farewell) {
        self.drain.handle(at, farewell);
    }

    /// A fault of selat's own: ends with Close 1011.
    pub fn handle_fault(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        self.close(
            (Doer::Proxy, Why::Fault),
            Word::new(CloseCode::INTERNAL_ERROR, "internal error"),
            ports,
            context,
        );
    }

    /// Ends at once.
    pub fn cut(&mut self) {
        // Where both had their say, only a connection lingered.
        self.is_cut = self.client.half.input == Input::Open;
        self.cause.get_or_insert(Cause { side: Doer::Proxy, why: Why::Drained, code: None });
        self.stage = Stage::Cut;
    }

    /// The session is over: what it waited for is not waited for any more.
    pub fn handle_over(&mut self, board: &mut Board) {
        self.forget_all(board);
    }

    /// What to do next; to be asked until there is nothing, after anything was handled.
    pub fn poll_command(&mut self) -> Option<Command> {
        let command = self.commands.pop_front();
        if command.is_none() {
            // It will not dial again for long.
            self.commands = VecDeque::new();
        }
        command
    }

    /// Whether bytes of this end would be used now.
    #[must_use]
    pub fn reads(&self, port: Port, ports: &impl Ports) -> bool {
        match port {
            Port::Client => self.reads_client(ports),
            Port::Line(line) => self.reads_line(line, ports),
        }
    }

    /// What becomes of a connection, once everything written to it has left. The session is over when the client's is
    /// closed; lines go with it.
    #[must_use]
    pub fn disposition(&self, port: Port) -> Disposition {
        match (&self.stage, port) {
            (Stage::Cut, _) => Disposition::Abandon,
            (Stage::Open | Stage::Settling(_), _) | (_, Port::Line(_)) => Disposition::Keep,
            (Stage::Over { .. }, Port::Client) => {
                let is_last = self.lines.iter().all(Line::is_vacant);
                match (self.client.half.input, self.client.half.output) {
                    // Its echo is still to come.
                    (Input::Open, Output::Closed) => Disposition::Keep,
                    // §7.1.1: after both Closes the server closes first.
                    (Input::Closed | Input::Ended, _) if is_last => Disposition::Drop,
                    // The client need not wait for the backends' last words.
                    _ => Disposition::Finish,
                }
            }
        }
    }

    /// Whether the session was told this, or something stronger.
    #[must_use]
    pub fn has_heard(&self, farewell: Farewell) -> bool {
        self.drain.has_heard(farewell)
    }

    /// What ended it.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether a peer had to be cut off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// When the session began.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What was forwarded of the client's, or of the backends'.
    #[must_use]
    pub fn traffic(&self, from: Peer) -> Traffic {
        match from {
            Peer::Client => self.from_client,
            Peer::Backend => self.from_backends,
        }
    }

    /// The round trip of a ping that was answered since this was asked last.
    pub fn take_rtt(&mut self, from: Port) -> Option<Duration> {
        let side = match from {
            Port::Client => &mut self.client,
            Port::Line(line) => &mut self.open_mut(line)?.side,
        };
        side.half.keepalive.as_mut()?.take_rtt()
    }

    /// How often the client was slowed down since this was asked last.
    pub fn take_throttled(&mut self) -> u64 {
        self.meter.as_mut().map_or(0, |meter| meter.take_throttled())
    }

    /// What may have become possible by whatever happened.
    fn go_on(&mut self, ports: &mut impl Ports, context: &mut Context<'_>) {
        self.assemble(context);
        self.place_parcels(ports, context);
        self.seek(ports, context);
        self.part(ports, context);
        self.answer_pings(ports, context);
    }

    fn line(&self, id: LineId) -> Option<&Line> {
        self.lines.get(id.index())
    }

    fn line_mut(&mut self, id: LineId) -> Option<&mut Line> {
        self.lines.get_mut(id.index())
    }

    fn open(&self, id: LineId) -> Option<&Open> {
        self.line(id)?.open()
    }

    fn open_mut(&mut self, id: LineId) -> Option<&mut Open> {
        self.line_mut(id)?.open_mut()
    }

    fn line_ids(&self) -> impl Iterator<Item = LineId> + use<> {
        (0..self.lines.len()).filter_map(|index| u16::try_from(index).ok()).map(LineId)
    }

    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    fn exchange(&self) -> Option<&Exchange> {
        exchange(&self.settings)
    }

    fn correlate(&self) -> Option<&Pointer> {
        self.exchange()?.correlate.as_ref()
    }

    /// How long a message may stand still half-way.
    fn stall(&self) -> Duration {
        self.exchange().map_or(STALL, |exchange| exchange.timeout)
    }
}

fn exchange(settings: &Settings) -> Option<&Exchange> {
    match &settings.replies {
        Replies::One(exchange) => Some(exchange),
        Replies::Any => None,
    }
}

/// Whether messages have to be seen whole.
fn reads_messages(settings: &Settings) -> bool {
    let is_correlated = exchange(settings).is_some_and(|exchange| exchange.correlate.is_some());
    let is_gathered = matches!(settings.send, Send::All(super::Gather::Array { .. }));
    is_correlated || is_gathered || matches!(settings.send, Send::One(Balance::Hash(_)))
}
