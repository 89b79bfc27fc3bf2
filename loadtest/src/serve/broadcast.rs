//! A broadcaster: what it costs to send every message of a source to all clients, and nothing else.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use selat::protocol::frame::{Header, Opcode};

use super::audience::{Audience, NAMES_END};
use crate::cli::ServeBroadcastArgs;
use crate::net::{Events, Moved, Socket, Target, Token, Transport};
use crate::wire::{Answered, Asks, Opening};

/// The source's name in the epoll set.
const SOURCE: Token = NAMES_END;

/// Bytes read from the source at a time; a few dozen messages.
const READ_BYTES: usize = 16 * 1024;

/// Bytes of a frame; a source that sends longer ones is none for this.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Runs `selat-load serve broadcast`.
///
/// # Errors
/// The address cannot be listened on, or the source is lost.
pub(crate) fn broadcast(args: &ServeBroadcastArgs) -> anyhow::Result<Infallible> {
    let url = &args.from.host;
    let mut source = Source::open(&args.from).with_context(|| format!("cannot follow the source {url}"))?;
    let mut audience = Audience::new(&args.at)?;
    audience.watch(&source.socket, SOURCE)?;
    let (mut events, mut is_drained) = (Events::new(), false);
    loop {
        // Clients have their turn between two messages, however much the source has to say.
        audience.wait(&mut events, if is_drained { None } else { Some(Duration::ZERO) })?;
        for (name, ready) in events.iter() {
            if name == SOURCE {
                is_drained = false;
            } else {
                audience.handle(name, ready);
            }
        }
        if !is_drained {
            match source.next().with_context(|| format!("lost the source {url}"))? {
                Some(frame) => audience.send(frame),
                None => is_drained = true,
            }
        }
    }
}

/// Where the messages come from.
struct Source {
    socket: Socket,
    scratch: Vec<u8>,
    /// What has come, of which this much is taken.
    pending: Vec<u8>,
    taken: usize,
}

impl Source {
    /// Connects, and waits until there is a WebSocket connection.
    fn open(target: &Target) -> anyhow::Result<Self> {
        ensure!(target.transport == Transport::Tcp, "it must be ws://…");
        let opening =
            Opening::new(&target.host, &target.path, &Asks::default(), fastrand::u128(..).to_ne_bytes());
        let mut stream = TcpStream::connect(target.address).context("cannot connect")?;
        stream.write_all(opening.request())?;
        let (mut scratch, mut pending) = (vec![0; READ_BYTES], Vec::new());
        loop {
            let len = stream.read(&mut scratch)?;
            ensure!(len > 0, "it ended the connection instead of upgrading it");
            pending.extend_from_slice(scratch.get(..len).unwrap_or_default());
            match opening.handle(&pending) {
                Ok(Answered::Partly) => {}
                Ok(Answered::Upgraded { head_bytes }) => {
                    pending.drain(..head_bytes);
                    return Ok(Self { socket: Socket::from_blocking(stream)?, scratch, pending, taken: 0 });
                }
                Err(refused) => bail!("it does not upgrade: {refused:?}"),
            }
        }
    }

    /// The next frame, if it has come. A server's frame is a message as clients want it, so that there is nothing to
    /// prepare.
    fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        loop {
            if let Some(len) = first_frame(self.pending.get(self.taken..).unwrap_or_default())? {
                let frame = self.taken..self.taken + len;
                self.taken = frame.end;
                return Ok(self.pending.get(frame));
            }
            self.pending.drain(..self.taken);
            self.taken = 0;
            match self.socket.read(&mut self.scratch)? {
                Moved::Bytes(len) => {
                    self.pending.extend_from_slice(self.scratch.get(..len).unwrap_or_default());
                }
                Moved::Blocked => return Ok(None),
                Moved::Ended => bail!("it ended the connection"),
            }
        }
    }
}

/// The length of the data frame at the front of `bytes`, once it is whole.
fn first_frame(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some((header, len)) = Header::parse(bytes)? else { return Ok(None) };
    match header.opcode {
        Opcode::Text | Opcode::Binary | Opcode::Continuation => {}
        Opcode::Close | Opcode::Ping | Opcode::Pong => bail!("it sent a {:?}, and may not", header.opcode),
    }
    let frame_bytes = usize::try_from(header.payload_len)?.saturating_add(len);
    ensure!(frame_bytes <= FRAME_BYTES_MAX, "it sent a frame of {frame_bytes} bytes");
    Ok((frame_bytes <= bytes.len()).then_some(frame_bytes))
}
