//! One connection's life: connect, TLS where it is spoken, upgrade, messages, closing handshake.

use std::time::{Duration, Instant};

use selat::protocol::frame::{CloseCode, Header, MaskKey, Opcode, close_frame, mask};

use super::alarms::{Alarm, Task};
use super::flights::Flights;
use super::tally::record;
use super::{Failure, Habit, Kit, Plan, Stage, Then};
use crate::clock;
use crate::net::{Arrived, End, Flow, Inward, Moved, Ready, Stream};
use crate::wire::{Answered, ConnectionId, Event, Inbox, Ledger, Stamp, Tick, wide};

/// How often a slow session reads.
const NAP: Duration = Duration::from_millis(100);

/// Messages that a slow session has in flight at least, so that there is always something to read.
const SLOW_IN_FLIGHT: u64 = 64;

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does.
    Going,
    /// It has ended as it should.
    Over,
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
    /// Where the swarm keeps it.
    slot: usize,
    /// Messages sent whole.
    sent: u64,
    /// Bytes sent of the message after those.
    sent_bytes: usize,
    /// Control frames to be sent, between messages.
    control: Vec<u8>,
    /// Messages that may have been sent by now.
    due: u64,
    /// Messages that have been thought about, or will be.
    thought: u64,
    flights: Flights,
    /// When it was answered last, or one that it follows.
    heard_at: Option<Instant>,
}

impl Session {
    /// The session on a stream that is connecting.
    pub(crate) fn new(
        stream: Stream,
        (slot, id): (usize, ConnectionId),
        started_at: Instant,
        plan: &Plan,
    ) -> Self {
        let habit = plan.habit(id.serial());
        Self {
            stream,
            stage: Stage::Connecting,
            started_at,
            head: Vec::new(),
            inbox: Inbox::default(),
            ledger: Ledger::new(id),
            followed: None,
            habit,
            slot,
            sent: 0,
            sent_bytes: 0,
            control: Vec::new(),
            due: match plan.think {
                _ if habit == Habit::Slow => u64::MAX,
                Some(_) => plan.in_flight,
                None if plan.is_paced => 0,
                None => u64::MAX,
            },
            thought: 0,
            flights: Flights::default(),
            heard_at: None,
        }
    }

    /// The same, for a client that comes back and was answered last at this time.
    pub(crate) fn silent_since(mut self, heard_at: Option<Instant>) -> Self {
        self.heard_at = heard_at;
        self
    }

    /// When it was answered last; none before the first answer.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        self.heard_at
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
        if !ready.to_read() || self.naps(kit) {
            return self.flush(kit);
        }
        self.read(ready, buffers, kit)
    }

    /// Does what it was to do about now.
    ///
    /// # Errors
    /// The session is over and should not be.
    pub(crate) fn handle_alarm(
        &mut self,
        task: Task,
        buffers: &mut Inward,
        kit: &mut Kit,
    ) -> Result<Life, Failure> {
        match task {
            Task::Send(count) => {
                self.due = self.due.saturating_add(count);
                self.flush(kit)
            }
            Task::Read if !self.naps(kit) => self.read(Ready::ALL, buffers, kit),
            Task::Read => {
                self.set_alarm(kit, NAP, Task::Read);
                match self.stream.read(buffers).map_err(Failure::at(self.stage))? {
                    Arrived::Bytes { len, .. } => {
                        let bytes = buffers.plain.get(..len).unwrap_or_default();
                        self.handle_bytes(bytes, kit, clock::now())?;
                        self.flush(kit)
                    }
                    Arrived::Blocked => Ok(Life::Going),
                    Arrived::Ended(end) => self.handle_end(end, kit),
                }
            }
        }
    }

    /// Whether it reads when it wakes only: a slow session, until the load ends.
    fn naps(&self, kit: &Kit) -> bool {
        self.habit == Habit::Slow && self.stage == Stage::Open && kit.plan.messages_max > 0
    }

    fn set_alarm(&self, kit: &mut Kit, after: Duration, task: Task) {
        kit.alarms.set(Alarm { at: clock::now() + after, slot: self.slot, id: self.id(), task });
    }

    /// Reads whatever there is.
    fn read(&mut self, ready: Ready, buffers: &mut Inward, kit: &mut Kit) -> Result<Life, Failure> {
        loop {
            match self.stream.read(buffers).map_err(Failure::at(self.stage))? {
                Arrived::Bytes { len, emptied } => {
                    let now = clock::now();
                    self.handle_bytes(buffers.plain.get(..len).unwrap_or_default(), kit, now)?;
                    self.flush(kit)?;
                    if emptied && !ready.ended() {
                        return Ok(Life::Going);
                    }
                }
                Arrived::Blocked => return self.flush(kit),
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
        self.flush(kit)
    }

    /// Sends what the plan allows and the socket takes.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn flush(&mut self, kit: &mut Kit) -> Result<Life, Failure> {
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
                Stage::Open => {
                    let in_flight = match self.habit {
                        Habit::Slow => kit.plan.in_flight.max(SLOW_IN_FLIGHT),
                        Habit::Reads | Habit::Stuck => kit.plan.in_flight,
                    };
                    (self.ledger.settled() + in_flight).min(kit.plan.messages_max).min(self.due)
                }
                Stage::Connecting | Stage::Securing | Stage::Upgrading | Stage::Closing | Stage::Ending => 0,
            };
            let count = allowed.saturating_sub(self.sent).max(u64::from(self.sent_bytes > 0));
            if count == 0 {
                return Ok(Life::Going);
            }
            let (id, at) = (self.ledger.connection(), (self.sent, self.sent_bytes));
            let rest = kit.burst.stamped(id, self.sent, count).get(self.sent_bytes..).unwrap_or_default();
            let (now, rest_bytes) = (clock::now(), rest.len());
            let written = self.stream.write(rest, &mut kit.sealed).map_err(Failure::at(stage));
            let Moved::Bytes(len) = written? else { return Ok(Life::Going) };
            (self.sent, self.sent_bytes) = kit.burst.after(id, at, len);
            kit.tally.sent += (self.sent - at.0) * self.weight();
            self.flights.depart(self.sent + u64::from(self.sent_bytes > 0), now);
            if len < rest_bytes {
                return Ok(Life::Going);
            }
        }
    }

    /// Lets one more message go.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn release(&mut self, kit: &mut Kit) -> Result<Life, Failure> {
        self.due = self.due.saturating_add(1);
        self.flush(kit)
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
                if self.habit == Habit::Slow {
                    self.set_alarm(kit, NAP, Task::Read);
                }
                self.handle_frames(bytes.get(head_bytes..).unwrap_or_default(), kit, now)?;
            }
        }
        Ok(())
    }

    fn handle_frames(&mut self, mut bytes: &[u8], kit: &mut Kit, now: Instant) -> Result<(), Failure> {
        if self.habit == Habit::Stuck {
            return Ok(());
        }
        let settled = self.ledger.settled();
        while let Some(event) = self.inbox.next(&mut bytes, &kit.expected)? {
            match event {
                Event::Message { stamp, bytes, intact } => {
                    let of = stamp.unwrap_or_else(|| Stamp::new(self.id(), self.ledger.settled()));
                    kit.tally.bytes += wide(bytes) * self.weight();
                    let intact = intact && bytes == kit.plan.mix.size(of.connection(), of.number());
                    self.handle_message(stamp, intact, kit, now);
                }
                Event::Tick(tick) => self.handle_tick(tick, kit, now),
                Event::Ping(payload) => self.control.extend(pong(payload, kit.key)),
                Event::Close(code) => return self.handle_close(code, kit),
            }
        }
        self.time(kit, now);
        if self.ledger.settled() > settled {
            let silence = self.heard_at.replace(now).map(|heard_at| now.duration_since(heard_at));
            kit.tally.silence = kit.tally.silence.max(silence.unwrap_or_default());
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
    fn handle_message(&mut self, stamp: Option<Stamp>, intact: bool, kit: &mut Kit, now: Instant) {
        let (settled, faults) = (self.ledger.settled(), &mut kit.tally.faults);
        kit.tally.answered += self.weight();
        faults.corrupted += u64::from(!intact);
        match stamp {
            Some(stamp) => self.ledger.handle(stamp, self.sent, faults),
            None => self.ledger.handle_unstamped(self.sent, faults),
        }
        if self.ledger.settled() > settled + 1 {
            self.time_up_to(settled, kit, now);
            self.flights.forget(self.ledger.settled() - 1);
        }
    }

    /// How often what it sends and hears counts.
    fn weight(&self) -> u64 {
        u64::from(self.habit != Habit::Slow)
    }

    /// Times what has been answered, once for all that one read brought, since that came at one time; and thinks.
    #[inline]
    fn time(&mut self, kit: &mut Kit, now: Instant) {
        let settled = self.ledger.settled();
        self.time_up_to(settled, kit, now);
        if let Some(think) = kit.plan.think
            && settled > self.thought
        {
            self.set_alarm(kit, think, Task::Send(settled - self.thought));
            self.thought = settled;
        }
    }

    fn time_up_to(&mut self, end: u64, kit: &mut Kit, now: Instant) {
        if self.habit == Habit::Slow {
            return self.flights.forget(end);
        }
        let serial = u64::from(self.id().serial());
        let (tally, pace) = (&mut kit.tally, &kit.pace);
        self.flights.land(end, |numbers, left_at| {
            let count = numbers.end - numbers.start;
            record(&mut tally.round_trips, now.duration_since(left_at), count);
            if let Some(pace) = pace {
                for number in numbers {
                    record(&mut tally.corrected, now.saturating_duration_since(pace.due(serial, number)), 1);
                }
            }
        });
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
        ledger.handle(Stamp::new(connection, tick.number), u64::MAX, faults);
        if let Some(following) = &mut kit.following {
            following.handle(tick, now, &mut kit.tally);
        }
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
        record(&mut kit.tally.sessions, clock::now().duration_since(self.started_at), 1);
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
