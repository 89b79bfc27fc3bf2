//! An echo server that does wrong what it is asked to, and says how often it did.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::io::Errno;
use selat::protocol::frame::{CloseCode, Header, Opcode, close_frame};

use super::{Connection, Life, Side, serve};
use crate::cli::ServeFaultyArgs;
use crate::clock;
use crate::net::{Events, Flow, Moved, Outlet, Poll, Ready, Socket, Token};
use crate::wire::{Accepted, Deed, Faulting, Heard, Hearing, Planted, accept, wide};

/// Runs `selat-load serve faulty`, until it is told to end.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn faulty(args: &ServeFaultyArgs) -> anyhow::Result<()> {
    let faulting = Faulting {
        drop: args.drop,
        duplicate: args.duplicate,
        swap: args.swap,
        corrupt: args.corrupt,
        misroute: args.misroute,
        close: args.close,
    };
    let code = CloseCode::from_wire(args.close_code).context("--close-code: not a code that may be sent")?;
    let nothing = Poll::new().context("cannot create an epoll set")?;
    let stalls = Stalls { began: clock::now(), every: args.stall_every, length: args.stall, nothing };
    let faults = Rc::new(RefCell::new(Faults {
        faulting,
        code,
        stalls,
        planted: Planted::default(),
        latest: Default::default(),
    }));
    let mut accepted = 0;
    serve(&args.at, |socket| {
        accepted += 1;
        let (stage, outlet, faults) = (Stage::Opening(Vec::new()), Outlet::default(), Rc::clone(&faults));
        Ok(Faulty { serial: accepted, socket, stage, outlet, held: None, faults })
    })?;
    println!("{}", faults.borrow().planted);
    Ok(())
}

/// What all connections share.
struct Faults {
    faulting: Faulting,
    code: CloseCode,
    stalls: Stalls,
    planted: Planted,
    /// The latest messages of two connections, and whose they are.
    latest: [(u64, Vec<u8>); 2],
}

/// When the whole server stands still: at the end of every `every`, for `length`.
struct Stalls {
    began: Instant,
    every: Duration,
    length: Duration,
    /// A set of no sockets, to wait for.
    nothing: Poll,
}

impl Stalls {
    /// Stands still if it is time to.
    fn stand(&self) -> Result<(), Errno> {
        let every = self.every.as_nanos().max(1);
        let phase = clock::now().duration_since(self.began).as_nanos() % every;
        let left = Duration::from_nanos(u64::try_from(every - phase).unwrap_or(u64::MAX));
        if left <= self.length { self.nothing.wait(&mut Events::new(), Some(left)) } else { Ok(()) }
    }
}

/// One client.
struct Faulty {
    /// The how-manieth it is, counted from 1.
    serial: u64,
    socket: Socket,
    stage: Stage,
    outlet: Outlet,
    /// The answer that waits for the next one to go first.
    held: Option<Vec<u8>>,
    faults: Rc<RefCell<Faults>>,
}

enum Stage {
    /// Awaiting the request, of which this much has come.
    Opening(Vec<u8>),
    Open(Hearing),
    /// The last byte has been written.
    Closing,
}

impl Connection for Faulty {
    fn watch(&self, poll: &Poll, name: impl Fn(Side) -> Token) -> Result<(), Errno> {
        poll.add(&self.socket, name(Side::Client))
    }

    fn handle(&mut self, _: Side, _: Ready, scratch: &mut [u8]) -> Result<Life, Errno> {
        self.faults.borrow().stalls.stand()?;
        if self.outlet.flush(&self.socket)? == Flow::Blocked {
            return Ok(Life::Going);
        }
        if matches!(self.stage, Stage::Closing) {
            // Hears the client out: what is left unread would turn the end into a reset, and nobody see the Close.
            self.socket.end()?;
        }
        match self.socket.read(scratch)? {
            Moved::Bytes(len) => {
                let output = self.handle_bytes(scratch.get(..len).unwrap_or_default());
                let flow = self.outlet.send(&self.socket, &output)?;
                Ok(if flow == Flow::Blocked { Life::Going } else { Life::Again(Side::Client) })
            }
            Moved::Blocked => Ok(Life::Going),
            Moved::Ended => Ok(Life::Over),
        }
    }
}

impl Faulty {
    /// What to send upon these bytes.
    fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        match &mut self.stage {
            Stage::Closing => Vec::new(),
            Stage::Opening(head) => {
                head.extend_from_slice(bytes);
                match accept(head) {
                    Accepted::Partly => Vec::new(),
                    Accepted::Refused { answer } => {
                        self.stage = Stage::Closing;
                        answer
                    }
                    Accepted::Upgraded { head_bytes, mut answer } => {
                        let mut hearing = Hearing::default();
                        hearing.handle(head.get(head_bytes..).unwrap_or_default());
                        self.stage = Stage::Open(hearing);
                        answer.append(&mut self.answers());
                        answer
                    }
                }
            }
            Stage::Open(hearing) => {
                hearing.handle(bytes);
                self.answers()
            }
        }
    }

    /// What to send upon all that is whole.
    fn answers(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while let Stage::Open(hearing) = &mut self.stage
            && let Some(heard) = hearing.poll()
        {
            let is_over = match heard {
                Heard::Message(opcode, payload) => !self.answer(opcode, payload, &mut output),
                Heard::Ping(payload) => {
                    output.append(&mut frame(Opcode::Pong, &payload));
                    false
                }
                Heard::Close(payload) => {
                    output.append(&mut frame(Opcode::Close, &payload));
                    true
                }
                Heard::Wrong(code) => {
                    output.append(&mut close_frame(code, "", None));
                    true
                }
            };
            if is_over {
                self.stage = Stage::Closing;
            }
        }
        output
    }

    /// Answers a message, or does it wrong; returns whether the connection goes on.
    fn answer(&mut self, opcode: Opcode, payload: Vec<u8>, output: &mut Vec<u8>) -> bool {
        let mut faults = self.faults.borrow_mut();
        let Faults { faulting, planted, latest, code, .. } = &mut *faults;
        planted.heard += 1;
        let (deed, mut answer) = (faulting.deed(planted.heard), frame(opcode, &payload));
        match deed {
            Deed::Answer => {}
            Deed::Drop => {
                planted.dropped += 1;
                return true;
            }
            Deed::Duplicate => {
                planted.duplicated += 1;
                answer.extend_from_within(..);
            }
            Deed::Swap if self.held.is_none() => {
                self.held = Some(answer);
                return true;
            }
            Deed::Swap => {}
            Deed::Corrupt { at } => {
                let header_bytes = answer.len() - payload.len();
                let at = usize::try_from(at.checked_rem(wide(payload.len())).unwrap_or(0)).unwrap_or(0);
                if let Some(byte) = answer.get_mut(header_bytes + at) {
                    planted.corrupted += 1;
                    *byte ^= 1;
                }
            }
            Deed::Misroute => {
                let foreign = latest.iter().find(|(serial, _)| *serial > 0 && *serial != self.serial);
                if let Some((_, foreign)) = foreign {
                    planted.misrouted += 1;
                    output.append(&mut frame(opcode, foreign));
                }
            }
            Deed::Close => {
                planted.closed += 1;
                output.append(&mut close_frame(*code, "planted", None));
                return false;
            }
        }
        output.append(&mut answer);
        if let Some(mut held) = self.held.take() {
            planted.swapped += 1;
            output.append(&mut held);
        }
        if faulting.misroute > 0 {
            let [first, second] = latest;
            if first.0 != self.serial {
                std::mem::swap(first, second);
            }
            *first = (self.serial, payload);
        }
        true
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.faults.borrow_mut().planted.dropped += u64::from(self.held.is_some());
    }
}

/// A server's frame.
fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    Header::whole(opcode, None, wide(payload.len())).encode(&mut frame);
    frame.extend_from_slice(payload);
    frame
}
