//! One connection's life: connect, TLS where it is spoken, upgrade, messages, closing handshake.

use std::time::Instant;

use selat::protocol::frame::{CloseCode, Header, MaskKey, Opcode, close_frame, mask};

use super::tally::record;
use super::{Failure, Habit, Kit, Stage, Tally, Then};
use crate::clock;
use crate::net::{Arrived, End, Flow, Inward, Moved, Ready, Stream};
use crate::wire::{Answered, ConnectionId, Event, Inbox, Ledger, Stamp, Tick, wide};

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
pub(crate) struct Session {
    stream: Stream,
    stage: Stage,
    started_at: Instant,
    /// The server's head, as long as only part of it has come.
    head: Vec<u8>,
    inbox: Inbox,
    ledger: Ledger,
    /// The ticks that have come, since the first.
    followed: Option<Ledger>,
    habit: Habit,
    /// Messages sent whole.
    sent: u64,
    /// Bytes sent of the message after those.
    sent_bytes: usize,
    /// Control frames to be sent, between messages.
    control: Vec<u8>,
    probe: Option<Probe>,
}

impl Session {
    /// The session on a stream that is connecting.
    pub(crate) fn new(stream: Stream, id: ConnectionId, started_at: Instant, habit: Habit) -> Self {
        Self {
            stream,
            stage: Stage::Connecting,
            started_at,
            head: Vec::new(),
            inbox: Inbox::default(),
            ledger: Ledger::new(id),
            followed: None,
            habit,
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

    /// Ticks before `end` that it should have had by now and has not; one, if it has had none that is sound.
    pub(crate) fn behind(&self, end: u64) -> u64 {
        match &self.followed {
            _ if self.habit == Habit::Stuck => 0,
            Some(ledger) => end.saturating_sub(ledger.settled()),
            None => 1,
        }
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
        buffers: &mut Inward,
        kit: &mut Kit,
    ) -> Result<Life, Failure> {
        if self.stage == Stage::Connecting {
            return self.handle_connected(kit);
        }
        if self.habit == Habit::Stuck && self.stage == Stage::Open {
            kit.tally.evicted += u64::from(ready.ended());
            return Ok(if ready.ended() { Life::Over } else { Life::Going });
        }
        if !ready.to_read() {
            return self.flush(kit, clock::now());
        }
        loop {
            match self.stream.read(buffers).map_err(Failure::at(self.stage))? {
                Arrived::Bytes { len, emptied } => {
                    let now = clock::now();
                    self.handle_bytes(buffers.plain.get(..len).unwrap_or_default(), kit, now)?;
                    self.flush(kit, now)?;
                    if emptied && !ready.ended() {
                        return Ok(Life::Going);
                    }
                }
                Arrived::Blocked => return self.flush(kit, clock::now()),
                Arrived::Ended(end) => return self.handle_end(end, kit),
            }
        }
    }

    /// Begins the closing handshake, as soon as the message being sent has left.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn close(&mut self, kit: &mut Kit) -> Result<Life, Failure> {
        if self.habit == Habit::Stuck {
            return Ok(Life::Over);
        }
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
        let stage = self.stage;
        self.stream.flush().map_err(Failure::at(stage))?;
        if self.stage == Stage::Securing && self.stream.is_ready() {
            self.handle_secured(kit)?;
        }
        loop {
            if self.sent_bytes == 0 && !self.control.is_empty() {
                let written = self.stream.write(&self.control, &mut kit.sealed).map_err(Failure::at(stage));
                let Moved::Bytes(len) = written? else { return Ok(Life::Going) };
                self.control.drain(..len);
                continue;
            }
            let allowed = match self.stage {
                Stage::Open => (self.ledger.settled() + kit.plan.in_flight).min(kit.plan.messages_max),
                Stage::Connecting | Stage::Securing | Stage::Upgrading | Stage::Closing | Stage::Ending => 0,
            };
            let count = allowed.saturating_sub(self.sent).max(u64::from(self.sent_bytes > 0));
            if count == 0 {
                return Ok(Life::Going);
            }
            let run = kit.burst.stamped(self.ledger.connection(), self.sent, count);
            let rest = run.get(self.sent_bytes..).unwrap_or_default();
            let written = self.stream.write(rest, &mut kit.sealed).map_err(Failure::at(stage));
            let Moved::Bytes(len) = written? else { return Ok(Life::Going) };
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

    fn handle_connected(&mut self, kit: &mut Kit) -> Result<Life, Failure> {
        match self.stream.connect().map_err(Failure::at(self.stage))? {
            Flow::Blocked => {}
            Flow::Clear if self.stream.is_ready() => self.ask_to_upgrade(kit)?,
            Flow::Clear => self.stage = Stage::Securing,
        }
        Ok(Life::Going)
    }

    fn handle_secured(&mut self, kit: &mut Kit) -> Result<(), Failure> {
        if kit.plan.then == Then::Leave {
            self.stream.end();
            self.stage = Stage::Ending;
        } else {
            self.ask_to_upgrade(kit)?;
        }
        if self.stage != Stage::Securing
            && let Some(tls) = self.stream.tls()
        {
            kit.tally.secure(tls.handshake());
        }
        Ok(())
    }

    fn ask_to_upgrade(&mut self, kit: &mut Kit) -> Result<(), Failure> {
        let request = kit.opening.request();
        let written = self.stream.write(request, &mut kit.sealed).map_err(Failure::at(self.stage));
        // Without TLS, this tells how connecting ended.
        match written? {
            Moved::Blocked => {}
            // An empty socket buffer takes a request whole.
            Moved::Bytes(len) if len == request.len() => self.stage = Stage::Upgrading,
            Moved::Bytes(_) | Moved::Ended => return Err(Failure::Ended(self.stage)),
        }
        Ok(())
    }

    fn handle_bytes(&mut self, bytes: &[u8], kit: &mut Kit, now: Instant) -> Result<(), Failure> {
        if kit.plan.then == Then::Leave {
            // Some say that there was no request.
            return Ok(());
        }
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
        if self.habit == Habit::Stuck {
            return Ok(());
        }
        while let Some(event) = self.inbox.next(&mut bytes, &kit.expected)? {
            match event {
                Event::Message { stamp, intact } => self.handle_message(stamp, intact, &mut kit.tally, now),
                Event::Tick(tick) => self.handle_tick(tick, kit, now),
                Event::Ping(payload) => self.control.extend(pong(payload, kit.key)),
                Event::Close(code) => return self.handle_close(code, kit),
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

    #[inline]
    fn handle_tick(&mut self, tick: Option<Tick>, kit: &mut Kit, now: Instant) {
        let (connection, faults) = (self.ledger.connection(), &mut kit.tally.faults);
        kit.tally.answered += 1;
        let Some(tick) = tick else {
            faults.corrupted += 1;
            if let Some(ledger) = &mut self.followed {
                ledger.handle_unstamped(u64::MAX, faults);
            }
            return;
        };
        let first = || Ledger::beginning_at(tick.number, connection);
        let ledger = self.followed.get_or_insert_with(first);
        ledger.handle(Stamp { connection, number: tick.number }, u64::MAX, faults);
        if let Some(following) = &mut kit.following {
            following.handle(tick, now);
        }
    }

    fn in_flight_is(&self, stamp: Stamp) -> bool {
        stamp.connection == self.id() && (self.ledger.settled()..self.sent).contains(&stamp.number)
    }

    fn handle_close(&mut self, code: Option<u16>, kit: &mut Kit) -> Result<(), Failure> {
        match self.stage {
            Stage::Closing => {
                self.stage = Stage::Ending;
                Ok(())
            }
            Stage::Ending => Ok(()),
            Stage::Connecting | Stage::Securing | Stage::Upgrading | Stage::Open => {
                if self.sent_bytes == 0 {
                    // Out of politeness; the session has failed, whether this arrives or not.
                    let close = close_frame(CloseCode::NORMAL, "", Some(kit.key));
                    let _ = self.stream.write(&close, &mut kit.sealed);
                    self.stream.end();
                }
                Err(Failure::Closed(code))
            }
        }
    }

    fn handle_end(&mut self, end: End, kit: &mut Kit) -> Result<Life, Failure> {
        match (self.stage, end) {
            (Stage::Ending, End::Clean) => self.stream.end(),
            // Both have said Close, so that nothing can be missing.
            (Stage::Ending, End::Truncated) => kit.tally.truncated += 1,
            (stage, End::Clean) => return Err(Failure::Ended(stage)),
            (stage, End::Truncated) => return Err(Failure::Truncated(stage)),
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
