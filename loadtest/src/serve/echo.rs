//! A WebSocket echo server.

use rustix::io::Errno;
use selat::protocol::frame::close_frame;

use super::{Connection, Life, READS_MAX, Side, serve};
use crate::cli::ServeEchoArgs;
use crate::net::{Flow, Moved, Outlet, Poll, Ready, Socket, Token};
use crate::wire::{Accepted, Echoing, Next, accept};

/// Runs `selat-load serve echo`, until it is told to end.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn echo(args: &ServeEchoArgs) -> anyhow::Result<()> {
    serve(&args.at, |socket| {
        Ok(Echo { socket, stage: Stage::Opening { head: Vec::new() }, outlet: Outlet::default() })
    })
}

/// One client.
struct Echo {
    socket: Socket,
    stage: Stage,
    outlet: Outlet,
}

enum Stage {
    /// Awaiting the request, of which this much has come.
    Opening { head: Vec<u8> },
    /// Echoing.
    Open(Echoing),
    /// The last byte has been written: the server is the one to end TCP (RFC 6455 §7.1.1).
    Closing,
}

impl Connection for Echo {
    fn watch(&self, poll: &Poll, name: impl Fn(Side) -> Token) -> Result<(), Errno> {
        poll.add(&self.socket, name(Side::Client))
    }

    fn handle(&mut self, _: Side, ready: Ready, scratch: &mut [u8]) -> Result<Life, Errno> {
        if !ready.to_read() && !self.outlet.is_blocked() {
            return Ok(Life::Going);
        }
        if self.outlet.flush(&self.socket)? == Flow::Blocked {
            return Ok(Life::Going);
        }
        for _ in 0..READS_MAX {
            if matches!(self.stage, Stage::Closing) {
                return Ok(Life::Over);
            }
            let held = self.restore(scratch);
            match self.socket.read(scratch.get_mut(held..).unwrap_or_default())? {
                Moved::Bytes(len) => {
                    let filled = scratch.get_mut(..held + len).unwrap_or_default();
                    let flow = self.handle_bytes(filled)?;
                    if flow == Flow::Blocked {
                        return Ok(Life::Going);
                    }
                    // A short read empties the socket; whatever comes later makes a new event.
                    let emptied = held + len < scratch.len() && !ready.ended();
                    if emptied && !matches!(self.stage, Stage::Closing) {
                        return Ok(Life::Going);
                    }
                }
                Moved::Blocked => return Ok(Life::Going),
                Moved::Ended => return Ok(Life::Over),
            }
        }
        Ok(Life::Again(Side::Client))
    }
}

impl Echo {
    /// Puts back in front what the last read left undone; returns how much that is.
    #[inline]
    fn restore(&self, scratch: &mut [u8]) -> usize {
        let held = match &self.stage {
            Stage::Opening { head } => head.as_slice(),
            Stage::Open(echoing) => echoing.held(),
            Stage::Closing => &[],
        };
        if let Some(front) = scratch.get_mut(..held.len()) {
            front.copy_from_slice(held);
        }
        held.len()
    }

    fn handle_bytes(&mut self, bytes: &mut [u8]) -> Result<Flow, Errno> {
        match &mut self.stage {
            Stage::Opening { head } => match accept(bytes) {
                Accepted::Partly => {
                    *head = bytes.to_vec();
                    Ok(Flow::Clear)
                }
                Accepted::Refused { answer } => {
                    self.stage = Stage::Closing;
                    self.outlet.send(&self.socket, &answer)
                }
                Accepted::Upgraded { head_bytes, mut answer } => {
                    let early = bytes.get_mut(head_bytes..).unwrap_or_default();
                    let mut echoing = Echoing::default();
                    let turn = echoing.handle(early);
                    answer.extend_from_slice(early.get(turn.output).unwrap_or_default());
                    self.stage = Stage::Open(echoing);
                    self.finish(&answer, turn.next)
                }
            },
            Stage::Open(echoing) => {
                let turn = echoing.handle(bytes);
                let output = bytes.get(turn.output).unwrap_or_default();
                self.finish(output, turn.next)
            }
            Stage::Closing => Ok(Flow::Clear),
        }
    }

    /// Sends `output`, and what `next` asks for.
    #[inline]
    fn finish(&mut self, output: &[u8], next: Next) -> Result<Flow, Errno> {
        match next {
            Next::Read => self.outlet.send(&self.socket, output),
            Next::Close => {
                self.stage = Stage::Closing;
                self.outlet.send(&self.socket, output)
            }
            Next::Fail(violation) => {
                self.stage = Stage::Closing;
                let close = close_frame(violation.close_code(), &violation.to_string(), None);
                self.outlet.send(&self.socket, &[output, &close].concat())
            }
        }
    }
}
