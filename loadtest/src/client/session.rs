//! One connection's life: connect, upgrade, messages, closing handshake.

use std::time::Instant;

use selat::protocol::frame::{CloseCode, Header, MaskKey, Opcode, close_frame, mask};

use super::tally::record;
use super::{Failure, Kit, Stage, Tally, Then};
use crate::clock;
use crate::net::{Moved, Ready, Socket};
use crate::wire::{Answered, ConnectionId, Event, Inbox, Ledger, Stamp, wide};

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does.
    Going,
    /// It has ended as it should.
    Over,
}

/// The message that is being timed.
#[derive(Debug)]
struct Probe {
    number: u64,
    sent_at: Instant,
}

/// One connection. Owns no payload: what a socket would not take is made again from the [`Kit`] when it will.
#[derive(Debug)]
pub(crate) struct Session {
    socket: Socket,
    stage: Stage,
    started_at: Instant,
    /// The server's head, as long as only part of it has come.
    head: Vec<u8>,
    inbox: Inbox,
    ledger: Ledger,
    /// Messages sent whole.
    sent: u64,
    /// Bytes sent of the message after those.
    sent_bytes: usize,
    /// Control frames to be sent, between messages.
    control: Vec<u8>,
    probe: Option<Probe>,
}

impl Session {
    /// The session on a socket that is connecting.
    pub(crate) fn new(socket: Socket, id: ConnectionId, started_at: Instant) -> Self {
        Self {
            socket,
            stage: Stage::Connecting,
            started_at,
            head: Vec::new(),
            inbox: Inbox::default(),
            ledger: Ledger::new(id),
            sent: 0,
            sent_bytes: 0,
            control: Vec::new(),
            probe: None,
        }
    }

    /// Which connection this is.
    pub(crate) fn id(&self) -> ConnectionId {
        self.ledger.connection()
    }

    /// How far it has come.
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Messages that await their answer.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent - self.ledger.settled() + u64::from(self.sent_bytes > 0)
    }

    /// Whether it has done all that `plan` asks of it for now.
    pub(crate) fn rests(&self, kit: &Kit) -> bool {
        self.stage == Stage::Open
            && kit.plan.then == Then::Hold
            && self.in_flight() == 0
            && self.sent >= kit.plan.messages_max
    }

    /// Does whatever became possible.
    ///
    /// # Errors
    /// The session is over and should not be.
    pub(crate) fn handle(
        &mut self,
        ready: Ready,
        scratch: &mut [u8],
        kit: &mut Kit,
    ) -> Result<Life, Failure> {
        if self.stage == Stage::Connecting {
            return self.handle_connected(kit);
        }
        if !ready.to_read() {
            return self.flush(kit, clock::now());
        }
        loop {
            match self.socket.read(scratch).map_err(|errno| Failure::Lost(self.stage, errno))? {
                Moved::Bytes(len) => {
                    let now = clock::now();
                    self.handle_bytes(scratch.get(..len).unwrap_or_default(), kit, now)?;
                    self.flush(kit, now)?;
                    // A short read empties the socket; whatever comes later makes a new event.
                    if len < scratch.len() && !ready.ended() {
                        return Ok(Life::Going);
                    }
                }
                Moved::Blocked => return self.flush(kit, clock::now()),
                Moved::Ended => return self.handle_end(kit),
            }
        }
    }

    /// Begins the closing handshake, as soon as the message being sent has left.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn close(&mut self, kit: &mut Kit) -> Result<Life, Failure> {
        if self.stage == Stage::Open {
            self.control.extend(close_frame(CloseCode::NORMAL, "", Some(kit.key)));
            self.stage = Stage::Closing;
        }
        self.flush(kit, clock::now())
    }

    /// Sends what the plan allows and the socket takes.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn flush(&mut self, kit: &mut Kit, now: Instant) -> Result<Life, Failure> {
        loop {
            if self.sent_bytes == 0 && !self.control.is_empty() {
                let Moved::Bytes(len) = self.write(&self.control)? else { return Ok(Life::Going) };
                self.control.drain(..len);
                continue;
            }
            let allowed = match self.stage {
                Stage::Open => (self.ledger.settled() + kit.plan.in_flight).min(kit.plan.messages_max),
                Stage::Connecting | Stage::Upgrading | Stage::Closing | Stage::Ending => 0,
            };
            let count = allowed.saturating_sub(self.sent).max(u64::from(self.sent_bytes > 0));
            if count == 0 {
                return Ok(Life::Going);
            }
            let run = kit.burst.stamped(self.ledger.connection(), self.sent, count);
            let rest = run.get(self.sent_bytes..).unwrap_or_default();
            let Moved::Bytes(len) = self.write(rest)? else { return Ok(Life::Going) };
            let blocked = len < rest.len();
            if self.probe.is_none() && self.sent_bytes == 0 {
                self.probe = Some(Probe { number: self.sent, sent_at: now });
            }
            self.sent_bytes += len;
            self.sent += wide(self.sent_bytes / kit.burst.frame_bytes());
            self.sent_bytes %= kit.burst.frame_bytes();
            if blocked {
                return Ok(Life::Going);
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<Moved, Failure> {
        self.socket.write(bytes).map_err(|errno| Failure::Lost(self.stage, errno))
    }

    fn handle_connected(&mut self, kit: &Kit) -> Result<Life, Failure> {
        let request = kit.opening.request();
        // Writing tells how connecting ended.
        match self.socket.write(request).map_err(Failure::Connect)? {
            Moved::Blocked => {}
            // An empty socket buffer takes a request whole.
            Moved::Bytes(len) if len == request.len() => self.stage = Stage::Upgrading,
            Moved::Bytes(_) | Moved::Ended => return Err(Failure::Ended(self.stage)),
        }
        Ok(Life::Going)
    }

    fn handle_bytes(&mut self, bytes: &[u8], kit: &mut Kit, now: Instant) -> Result<(), Failure> {
        if self.stage != Stage::Upgrading {
            return self.handle_frames(bytes, kit, now);
        }
        let head = std::mem::take(&mut self.head);
        let bytes = if head.is_empty() { bytes } else { &[head.as_slice(), bytes].concat() };
        match kit.opening.handle(bytes)? {
            Answered::Partly => self.head = bytes.to_vec(),
            Answered::Upgraded { head_bytes } => {
                self.stage = Stage::Open;
                kit.tally.opened += 1;
                self.handle_frames(bytes.get(head_bytes..).unwrap_or_default(), kit, now)?;
            }
        }
        Ok(())
    }

    fn handle_frames(&mut self, mut bytes: &[u8], kit: &mut Kit, now: Instant) -> Result<(), Failure> {
        while let Some(event) = self.inbox.next(&mut bytes, &kit.expected)? {
            match event {
                Event::Message { stamp, intact } => self.handle_message(stamp, intact, &mut kit.tally, now),
                Event::Ping(payload) => self.control.extend(pong(payload, kit.key)),
                Event::Close(code) => return self.handle_close(code, kit.key),
            }
        }
        if self.stage == Stage::Open
            && kit.plan.then == Then::Close
            && self.ledger.settled() >= kit.plan.messages_max
        {
            self.close(kit)?;
        }
        Ok(())
    }

    #[inline]
    fn handle_message(&mut self, stamp: Option<Stamp>, intact: bool, tally: &mut Tally, now: Instant) {
        tally.answered += 1;
        tally.faults.corrupted += u64::from(!intact);
        match stamp {
            Some(stamp) if intact || self.in_flight_is(stamp) => {
                self.ledger.handle(stamp, self.sent, &mut tally.faults);
            }
            Some(_) | None => self.ledger.handle_unstamped(self.sent, &mut tally.faults),
        }
        if let Some(probe) = self.probe.take_if(|probe| self.ledger.settled() > probe.number) {
            record(&mut tally.round_trips, now.duration_since(probe.sent_at));
        }
    }

    fn in_flight_is(&self, stamp: Stamp) -> bool {
        stamp.connection == self.id() && (self.ledger.settled()..self.sent).contains(&stamp.number)
    }

    fn handle_close(&mut self, code: Option<u16>, key: MaskKey) -> Result<(), Failure> {
        match self.stage {
            Stage::Closing => {
                self.stage = Stage::Ending;
                Ok(())
            }
            Stage::Ending => Ok(()),
            Stage::Connecting | Stage::Upgrading | Stage::Open => {
                if self.sent_bytes == 0 {
                    // Out of politeness; the session has failed, whether this arrives or not.
                    let _ = self.write(&close_frame(CloseCode::NORMAL, "", Some(key)));
                }
                Err(Failure::Closed(code))
            }
        }
    }

    fn handle_end(&self, kit: &mut Kit) -> Result<Life, Failure> {
        if self.stage != Stage::Ending {
            return Err(Failure::Ended(self.stage));
        }
        kit.tally.completed += 1;
        record(&mut kit.tally.sessions, clock::now().duration_since(self.started_at));
        Ok(Life::Over)
    }
}

/// The wire form of the answer to a ping.
fn pong(mut payload: Vec<u8>, key: MaskKey) -> Vec<u8> {
    let mut frame = Vec::new();
    Header::whole(Opcode::Pong, Some(key), wide(payload.len())).encode(&mut frame);
    mask(&mut payload, key, 0);
    frame.append(&mut payload);
    frame
}
