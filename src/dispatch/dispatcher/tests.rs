//! A dispatcher between a client and backends that a test speaks for.

mod closing;
mod replies;
mod sending;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Command, Context, Dispatcher, Start};
use crate::balance::{BackendId, Weight};
use crate::dispatch::{
    Balance, Board, Candidate, Exchange, LineId, Order, Port, Ports, Replies, Send, Settings, Unanswered,
};
use crate::protocol::frame::{Header, MaskKey, Opcode, mask};
use crate::session::{self, Ending, Peer};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What was written, and who does not take it.
#[derive(Debug, Default)]
struct Wires {
    written: BTreeMap<Port, Vec<u8>>,
    stuck: Vec<Port>,
    /// Who will not take what is written next.
    jams: Vec<Port>,
    /// Whole messages of each line, by who sent them.
    counted: HashMap<(LineId, Peer), u64>,
}

impl Ports for Wires {
    fn write(&mut self, to: Port, bytes: &[u8]) {
        if self.jams.contains(&to) {
            self.stuck.push(to);
        }
        self.written.entry(to).or_default().extend_from_slice(bytes);
    }

    fn count(&mut self, line: LineId, from: Peer) {
        *self.counted.entry((line, from)).or_default() += 1;
    }

    fn is_flushed(&self, port: Port) -> bool {
        !self.stuck.contains(&port)
    }
}

struct World {
    dispatcher: Dispatcher,
    board: Board,
    wires: Wires,
    candidates: Vec<Candidate>,
    now: Instant,
    random: u64,
    /// What was left over, by whom.
    kept: BTreeMap<Port, Vec<u8>>,
}

fn settings(send: Send, replies: Replies) -> Settings {
    Settings { send, replies, outstanding_max: 100 }
}

fn one() -> Exchange {
    Exchange {
        correlate: None,
        order: Order::AsTheyCome,
        retries: 0,
        timeout: TIMEOUT,
        unanswered: Unanswered::Drop,
    }
}

fn turns(exchange: Exchange) -> Settings {
    settings(Send::One(Balance::RoundRobin), Replies::One(exchange))
}

impl World {
    /// The first of these backends has accepted the client.
    fn new(settings: Settings, backends: u32) -> Self {
        Self::under(settings, session::Settings::default(), backends)
    }

    fn under(settings: Settings, session: session::Settings, backends: u32) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let now = Instant::now();
        let start = Start { settings: Arc::new(settings), session: Rc::new(session), backend: BackendId(0) };
        let candidate = |id| Candidate { backend: BackendId(id), weight: Weight::ONE, identity: id.into() };
        Self {
            dispatcher: Dispatcher::new(start, now),
            board: Board::default(),
            wires: Wires::default(),
            candidates: (0..backends).map(candidate).collect(),
            now,
            random: 1,
            kept: BTreeMap::new(),
        }
    }

    /// All of these have accepted the client. The first is the first in turn.
    fn open(settings: Settings, backends: u32) -> Self {
        let mut world = Self::new(settings, backends);
        for backend in 1..backends {
            world.with(|dispatcher, _, context| dispatcher.dial(BackendId(backend), context));
        }
        world.accept();
        world
    }

    fn end(&mut self, port: Port, ending: Ending) {
        self.with(|dispatcher, wires, context| dispatcher.handle_ending(port, ending, wires, context));
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Dispatcher, &mut Wires, &mut Context<'_>) -> T) -> T {
        self.random += 1;
        let mut context = Context {
            now: self.now,
            random: self.random,
            board: &mut self.board,
            candidates: &self.candidates,
        };
        act(&mut self.dispatcher, &mut self.wires, &mut context)
    }

    /// Bytes come; what cannot be used yet is kept, as a shell does.
    fn bytes(&mut self, from: Port, bytes: &[u8]) {
        let all = [self.kept.remove(&from).unwrap_or_default().as_slice(), bytes].concat();
        let used =
            self.with(|dispatcher, wires, context| dispatcher.handle_bytes(from, &all, wires, context));
        self.kept.insert(from, all[used..].to_vec());
    }

    fn client(&mut self, text: &str) {
        self.bytes(Port::Client, &frame(Opcode::Text, true, text.as_bytes(), Some(MaskKey([1, 2, 3, 4]))));
    }

    fn backend(&mut self, line: u16, text: &str) {
        self.bytes(Port::Line(LineId(line)), &frame(Opcode::Text, true, text.as_bytes(), None));
    }

    /// Every backend that is dialled accepts.
    fn accept(&mut self) -> Vec<BackendId> {
        let mut dialled = Vec::new();
        while let Some(command) = self.dispatcher.poll_command() {
            if let Command::Dial { line, backend } = command {
                dialled.push(backend);
                self.with(|dispatcher, wires, context| dispatcher.handle_opened(line, wires, context));
            }
        }
        self.again();
        dialled
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.dispatcher.poll_command()).collect()
    }

    /// Whoever is read again gets what was kept presented.
    fn again(&mut self) {
        let ports: Vec<_> =
            self.kept.iter().filter(|(_, kept)| !kept.is_empty()).map(|(port, _)| *port).collect();
        for port in ports {
            if self.dispatcher.reads(port, &self.wires) {
                self.bytes(port, &[]);
            }
        }
    }

    /// Time passes, deadline by deadline.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..10_000 {
            let Some(at) = self.dispatcher.deadline().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            self.with(|dispatcher, wires, context| dispatcher.handle_time(wires, context));
            self.again();
        }
        panic!("its deadlines have no end");
    }

    fn unstick(&mut self, port: Port) {
        self.wires.stuck.retain(|stuck| *stuck != port);
        self.wires.jams.retain(|jammed| *jammed != port);
        self.with(|dispatcher, wires, context| dispatcher.handle_progress(port, wires, context));
        self.again();
    }

    /// The messages that were written since this was asked last, and what else was, by its name.
    fn heard(&mut self, port: Port) -> Vec<String> {
        let written = self.wires.written.remove(&port).unwrap_or_default();
        let (mut rest, mut heard, mut message) = (&written[..], Vec::new(), String::new());
        while let Ok(Some((header, len))) = Header::parse(rest) {
            let end = len + usize::try_from(header.payload_len).unwrap();
            let Some(payload) = rest.get(len..end) else { break };
            let mut payload = payload.to_vec();
            assert_eq!(header.mask.is_some(), port != Port::Client);
            mask(&mut payload, header.mask.unwrap_or(MaskKey([0; 4])), 0);
            rest = &rest[end..];
            match header.opcode {
                Opcode::Close => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    heard.push(format!("close {code}"));
                }
                Opcode::Ping => heard.push("ping".to_owned()),
                Opcode::Pong => heard.push(format!("pong {}", String::from_utf8(payload).unwrap())),
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    message.push_str(std::str::from_utf8(&payload).unwrap());
                    if header.fin {
                        heard.push(std::mem::take(&mut message));
                    }
                }
            }
        }
        // What is not whole yet is looked at the next time.
        if !rest.is_empty() {
            self.wires.written.insert(port, rest.to_vec());
        }
        heard
    }

    fn said(&mut self) -> Vec<String> {
        self.heard(Port::Client)
    }

    fn got(&mut self, line: u16) -> Vec<String> {
        self.heard(Port::Line(LineId(line)))
    }
}

fn frame(opcode: Opcode, fin: bool, said: &[u8], key: Option<MaskKey>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { fin, ..Header::whole(opcode, key, said.len().try_into().unwrap()) }.encode(&mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(said);
    mask(&mut bytes[start..], key.unwrap_or(MaskKey([0; 4])), 0);
    bytes
}

fn close(code: u16, key: Option<MaskKey>) -> Vec<u8> {
    frame(Opcode::Close, true, &code.to_be_bytes(), key)
}
