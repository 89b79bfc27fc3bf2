//! WebSocket clients to whom all is sent alike, and of whom nothing is expected but that they keep up.

use std::time::Duration;

use anyhow::Context;
use rustix::fd::AsFd;
use rustix::io::Errno;
use selat::protocol::frame::{CloseCode, Header, MaskKey, Opcode, close_frame, mask};

use super::{LISTENER, listen};
use crate::cli::ListenArgs;
use crate::net::{Events, Listener, Moved, Poll, Ready, SCRATCH_BYTES, Socket, Token};
use crate::wire::{Accepted, accept, wide};

/// The names from here on are not members'.
pub(super) const NAMES_END: Token = Token::MAX - 16;

/// Everybody who has connected, in one epoll set.
pub(super) struct Audience {
    listener: Listener,
    poll: Poll,
    scratch: Vec<u8>,
    members: Vec<Option<Member>>,
    vacant: Vec<usize>,
    /// Members that are upgraded.
    open: usize,
    /// How many have ever been.
    joined: u64,
}

/// Whether a member stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Going,
    Over,
}

/// One client.
struct Member {
    socket: Socket,
    /// What has come of its request; `None` once that is answered.
    head: Option<Vec<u8>>,
}

impl Audience {
    /// Listens, and prints where.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub(super) fn new(at: &ListenArgs) -> anyhow::Result<Self> {
        let poll = Poll::new().context("cannot create an epoll set")?;
        let listener = listen(at, &poll)?;
        let (scratch, members, vacant) = (vec![0; SCRATCH_BYTES], Vec::new(), Vec::new());
        Ok(Self { listener, poll, scratch, members, vacant, open: 0, joined: 0 })
    }

    /// Also watches `socket`, which is no member; `name` is one from [`NAMES_END`] on.
    ///
    /// # Errors
    /// The kernel cannot.
    pub(super) fn watch(&self, socket: impl AsFd, name: Token) -> anyhow::Result<()> {
        self.poll.add(socket, name).context("cannot watch one more socket")
    }

    /// Waits for events, at most `timeout` if there is one.
    ///
    /// # Errors
    /// Those of the epoll set.
    pub(super) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> anyhow::Result<()> {
        self.poll.wait(events, timeout).context("cannot wait")
    }

    /// Whether there is nobody to send anything to.
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// How many have ever connected, with an upgrade.
    pub(super) fn joined(&self) -> u64 {
        self.joined
    }

    /// Sends `frame` to every member. Whoever does not take it whole is dropped.
    #[inline]
    pub(super) fn send(&mut self, frame: &[u8]) {
        for (slot, place) in self.members.iter_mut().enumerate() {
            let Some(Member { socket, head: None }) = place else { continue };
            if socket.write(frame) != Ok(Moved::Bytes(frame.len())) {
                *place = None;
                self.vacant.push(slot);
                self.open -= 1;
            }
        }
    }

    /// Does what became possible.
    pub(super) fn handle(&mut self, name: Token, ready: Ready) {
        if name == LISTENER {
            self.accept_all();
        } else if ready.to_read()
            && let Ok(slot) = usize::try_from(name)
        {
            self.read(slot);
        }
    }

    fn accept_all(&mut self) {
        loop {
            match self.listener.accept() {
                Ok(Some(socket)) => {
                    let slot = self.vacant.last().copied().unwrap_or(self.members.len());
                    let name = Token::try_from(slot).expect("there are fewer members than names");
                    if self.poll.add(&socket, name).is_err() {
                        continue;
                    }
                    self.vacant.pop();
                    let member = Some(Member { socket, head: Some(Vec::new()) });
                    match self.members.get_mut(slot) {
                        Some(place) => *place = member,
                        None => self.members.push(member),
                    }
                }
                Ok(None) => return,
                Err(errno) => {
                    eprintln!("selat-load: some connections must wait until others come: {errno}");
                    return;
                }
            }
        }
    }

    fn read(&mut self, slot: usize) {
        let Some(place) = self.members.get_mut(slot) else { return };
        let Some(member) = place else { return };
        let was_open = member.head.is_none();
        let life = member.read(&mut self.scratch);
        let is_open = member.head.is_none();
        self.joined += u64::from(is_open && !was_open);
        self.open += usize::from(is_open && !was_open);
        if life != Ok(Life::Going) {
            self.open -= usize::from(is_open);
            *place = None;
            self.vacant.push(slot);
        }
    }
}

impl Member {
    /// Reads whatever there is.
    fn read(&mut self, scratch: &mut [u8]) -> Result<Life, Errno> {
        loop {
            let life = match self.socket.read(scratch)? {
                Moved::Bytes(len) => self.handle_bytes(scratch.get(..len).unwrap_or_default())?,
                Moved::Blocked => return Ok(Life::Going),
                Moved::Ended => Life::Over,
            };
            if life == Life::Over {
                return Ok(life);
            }
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Life, Errno> {
        let Some(head) = &mut self.head else {
            return self.handle_frames(bytes);
        };
        head.extend_from_slice(bytes);
        match accept(head) {
            Accepted::Partly => Ok(Life::Going),
            Accepted::Refused { answer } => self.socket.write(&answer).map(|_| Life::Over),
            Accepted::Upgraded { answer, .. } => {
                self.head = None;
                // An empty socket buffer takes an answer whole.
                self.socket.write(&answer).map(|_| Life::Going)
            }
        }
    }

    /// Answers pings and Close. Whatever else it says is nobody's business, nor is a frame that comes in pieces.
    fn handle_frames(&self, mut bytes: &[u8]) -> Result<Life, Errno> {
        while let Ok(Some((header, len))) = Header::parse(bytes) {
            let payload_bytes = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
            let after = bytes.get(len..).unwrap_or_default();
            let Some((payload, rest)) = after.split_at_checked(payload_bytes) else { break };
            match header.opcode {
                Opcode::Close => {
                    let close = close_frame(CloseCode::NORMAL, "", None);
                    return self.socket.write(&close).map(|_| Life::Over);
                }
                Opcode::Ping => {
                    self.socket.write(&pong(payload, header.mask))?;
                }
                Opcode::Pong | Opcode::Text | Opcode::Binary | Opcode::Continuation => {}
            }
            bytes = rest;
        }
        Ok(Life::Going)
    }
}

/// The answer to a ping with this payload, masked with `key`.
fn pong(payload: &[u8], key: Option<MaskKey>) -> Vec<u8> {
    let (mut frame, mut payload) = (Vec::new(), payload.to_vec());
    Header::whole(Opcode::Pong, None, wide(payload.len())).encode(&mut frame);
    if let Some(key) = key {
        mask(&mut payload, key, 0);
    }
    frame.append(&mut payload);
    frame
}
