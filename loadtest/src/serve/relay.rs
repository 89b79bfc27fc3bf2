//! A relay of bytes: what a proxy costs that does nothing but move them.

use rustix::io::Errno;

use super::{Connection, Life, READS_MAX, Side, serve};
use crate::cli::ServeRelayArgs;
use crate::net::{Flow, Moved, Outlet, Poll, Ready, Socket, Token, Window};

/// Runs `selat-load serve relay`, until it is told to end.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn relay(args: &ServeRelayArgs) -> anyhow::Result<()> {
    serve(&args.at, |client| {
        let backend = Socket::connect(args.to, None, Window::Usual)?;
        Ok(Relay { client: End::new(client), backend: End::new(backend) })
    })
}

/// Two sockets, each passing on what the other reads.
struct Relay {
    client: End,
    backend: End,
}

/// One of the two.
struct End {
    socket: Socket,
    /// What is on its way to this socket.
    outlet: Outlet,
    /// Whether everything has been read that there was.
    drained: bool,
}

impl End {
    fn new(socket: Socket) -> Self {
        Self { socket, outlet: Outlet::default(), drained: false }
    }
}

impl Connection for Relay {
    fn watch(&self, poll: &Poll, name: impl Fn(Side) -> Token) -> Result<(), Errno> {
        poll.add(&self.client.socket, name(Side::Client))?;
        poll.add(&self.backend.socket, name(Side::Backend))
    }

    fn handle(&mut self, side: Side, ready: Ready, scratch: &mut [u8]) -> Result<Life, Errno> {
        let (this, other, other_side) = match side {
            Side::Client => (&mut self.client, &mut self.backend, Side::Backend),
            Side::Backend => (&mut self.backend, &mut self.client, Side::Client),
        };
        let mut life = Life::Going;
        if ready.to_read() && pump(this, other, ready, scratch)? == Pumped::More {
            life = Life::Again(side);
        }
        // The socket may take bytes again; and what comes from the other one had to wait for that.
        if life == Life::Going
            && this.outlet.is_blocked()
            && pump(other, this, Ready::ALL, scratch)? == Pumped::More
        {
            life = Life::Again(other_side);
        }
        let over = self.client.drained && self.backend.drained;
        Ok(if over && !self.client.outlet.is_blocked() && !self.backend.outlet.is_blocked() {
            Life::Over
        } else {
            life
        })
    }
}

/// What a turn of pumping came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pumped {
    /// There is nothing to read, or no room for it: an event will tell.
    All,
    /// There may be more to read.
    More,
}

/// Moves bytes `from` one socket `to` the other, until there are none or no more are taken.
#[inline]
fn pump(from: &mut End, to: &mut End, ready: Ready, scratch: &mut [u8]) -> Result<Pumped, Errno> {
    if to.outlet.flush(&to.socket)? == Flow::Blocked || from.drained {
        return Ok(Pumped::All);
    }
    for _ in 0..READS_MAX {
        match from.socket.read(scratch)? {
            Moved::Bytes(len) => {
                let flow = to.outlet.send(&to.socket, scratch.get(..len).unwrap_or_default())?;
                if flow == Flow::Blocked || len < scratch.len() && !ready.ended() {
                    return Ok(Pumped::All);
                }
            }
            Moved::Blocked => return Ok(Pumped::All),
            Moved::Ended => {
                from.drained = true;
                to.socket.end()?;
                return Ok(Pumped::All);
            }
        }
    }
    Ok(Pumped::More)
}
