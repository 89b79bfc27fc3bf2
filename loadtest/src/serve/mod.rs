//! Servers to measure with: each on one thread, each cheaper than any proxy before it.

mod audience;
mod broadcast;
mod echo;
mod faulty;
mod relay;
mod ticker;

pub(crate) use broadcast::broadcast;
pub(crate) use echo::echo;
pub(crate) use faulty::faulty;
pub(crate) use relay::relay;
pub(crate) use ticker::ticker;

use std::io::{Write, stdout};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;

use crate::cli::ListenArgs;
use crate::limits;
use crate::net::{Events, Listener, Poll, Ready, SCRATCH_BYTES, Socket, Token};

/// The listener's name in the epoll set.
const LISTENER: Token = Token::MAX;

/// The name of what tells of signals.
const SIGNALS: Token = Token::MAX - 2;

/// Reads of one connection before the others have their turn.
const READS_MAX: usize = 8;

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It waits for an event.
    Going,
    /// It has had its turn, but there may be more to read on this side.
    Again(Side),
    /// It has ended.
    Over,
}

/// Which of a connection's sockets an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Backend,
}

/// An accepted connection and whatever belongs to it.
trait Connection: Sized {
    /// Adds its sockets to `poll`, each under its own name.
    fn watch(&self, poll: &Poll, name: impl Fn(Side) -> Token) -> Result<(), Errno>;

    /// Does what became possible. On an error it is dropped.
    fn handle(&mut self, side: Side, ready: Ready, scratch: &mut [u8]) -> Result<Life, Errno>;
}

/// Connections in one epoll set, with one scratch buffer.
struct Server<C, A> {
    listener: Listener,
    /// Makes a connection of an accepted socket.
    accept: A,
    poll: Poll,
    scratch: Vec<u8>,
    slots: Vec<Option<C>>,
    vacant: Vec<usize>,
    /// Sockets to handle as if there had been an event.
    again: Vec<Token>,
    /// Whether connections wait in the backlog because descriptors ran out.
    starved: bool,
    /// How often they did; said once.
    starvations: u64,
}

/// Begins to listen, for as many connections as there can be descriptors, and prints where.
///
/// # Errors
/// The address cannot be listened on.
fn listen(at: &ListenArgs, poll: &Poll) -> anyhow::Result<Listener> {
    limits::raise();
    let address = at.address;
    let listener = Listener::bind(address, at.backlog)
        .with_context(|| format!("cannot listen on {address}; is the port taken? port 0 finds a free one"))?;
    poll.add(&listener, LISTENER).context("cannot watch the listener")?;
    println!("listening {}", listener.address().context("the listener has no address")?);
    stdout().flush().context("cannot say where I listen")?;
    Ok(listener)
}

/// Serves until told to end, after printing where.
///
/// # Errors
/// The address cannot be listened on.
fn serve<C: Connection>(
    at: &ListenArgs,
    accept: impl FnMut(Socket) -> Result<C, Errno>,
) -> anyhow::Result<()> {
    let signals = end_signals().context("cannot listen to signals")?;
    let poll = Poll::new().context("cannot create an epoll set")?;
    poll.add(&signals, SIGNALS).context("cannot watch for signals")?;
    let listener = listen(at, &poll)?;
    let scratch = vec![0; SCRATCH_BYTES];
    let (slots, vacant, again) = (Vec::new(), Vec::new(), Vec::new());
    Server { listener, accept, poll, scratch, slots, vacant, again, starved: false, starvations: 0 }.run()
}

impl<C: Connection, A: FnMut(Socket) -> Result<C, Errno>> Server<C, A> {
    fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::new();
        loop {
            let timeout = (!self.again.is_empty()).then_some(std::time::Duration::ZERO);
            self.poll.wait(&mut events, timeout).context("cannot wait")?;
            for token in std::mem::take(&mut self.again) {
                self.handle(token, Ready::ALL);
            }
            for (token, ready) in events.iter() {
                match token {
                    SIGNALS if ready.to_read() => return Ok(()),
                    SIGNALS => {}
                    LISTENER => self.accept_all(),
                    _ => self.handle(token, ready),
                }
            }
        }
    }

    fn accept_all(&mut self) {
        self.starved = false;
        loop {
            match self.listener.accept() {
                // A connection that fails while it is set up concerns its client alone.
                Ok(Some(socket)) => drop(self.begin(socket)),
                Ok(None) => return,
                Err(errno) => {
                    if self.starvations == 0 {
                        eprintln!("selat-load: some connections must wait until others end: {errno}");
                    }
                    self.starvations += 1;
                    self.starved = true;
                    return;
                }
            }
        }
    }

    fn begin(&mut self, socket: Socket) -> Result<(), Errno> {
        let connection = (self.accept)(socket)?;
        let slot = self.vacant.last().copied().unwrap_or(self.slots.len());
        connection.watch(&self.poll, |side| name(slot, side))?;
        self.vacant.pop();
        match self.slots.get_mut(slot) {
            Some(place) => *place = Some(connection),
            None => self.slots.push(Some(connection)),
        }
        Ok(())
    }

    #[inline]
    fn handle(&mut self, token: Token, ready: Ready) {
        let (slot, side) = slot(token);
        let Some(place) = self.slots.get_mut(slot) else { return };
        let Some(connection) = place else { return };
        match connection.handle(side, ready, &mut self.scratch) {
            Ok(Life::Going) => {}
            Ok(Life::Again(side)) => self.again.push(name(slot, side)),
            Ok(Life::Over) | Err(_) => {
                *place = None;
                self.vacant.push(slot);
                if self.starved {
                    self.accept_all();
                }
            }
        }
    }
}

fn name(slot: usize, side: Side) -> Token {
    let side = match side {
        Side::Client => 0,
        Side::Backend => 1,
    };
    Token::try_from(slot).expect("there are fewer connections than names") * 2 + side
}

fn slot(token: Token) -> (usize, Side) {
    let side = if token.is_multiple_of(2) { Side::Client } else { Side::Backend };
    (usize::try_from(token / 2).unwrap_or(usize::MAX), side)
}

/// What becomes readable at SIGTERM and SIGINT, which do nothing else from now on.
fn end_signals() -> nix::Result<SignalFd> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
