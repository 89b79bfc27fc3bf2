//! Many sessions on one thread.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::tally::record;
use super::{Failure, Habit, Kit, Life, Plan, Session, Stage};
use crate::clock;
use crate::net::{Dialer, Events, Inward, Poll, Token, Window};
use crate::wire::ConnectionId;

/// When a session must have come to rest.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    slot: usize,
    id: ConnectionId,
}

/// Sessions that share one epoll set, one plan and one scratch buffer.
pub(crate) struct Swarm {
    dialer: Dialer,
    timeout: Duration,
    poll: Poll,
    events: Events,
    buffers: Inward,
    slots: Vec<Option<Session>>,
    vacant: Vec<usize>,
    serial: u32,
    opening: u32,
    /// In order of time, since all sessions are given the same.
    deadlines: VecDeque<Deadline>,
    pub(crate) kit: Kit,
}

impl Swarm {
    /// No sessions yet. Each will go where `dialer` does, and have `timeout` to open, and to close.
    ///
    /// # Errors
    /// No epoll set could be had.
    pub(crate) fn new(dialer: Dialer, plan: Plan, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            timeout,
            poll: Poll::new().context("cannot create an epoll set")?,
            events: Events::new(),
            buffers: Inward::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            serial: 0,
            opening: 0,
            deadlines: VecDeque::new(),
            kit: Kit::new(dialer.target(), plan)?,
            dialer,
        })
    }

    /// Sessions begun so far.
    pub(crate) fn begun(&self) -> u32 {
        self.serial
    }

    /// Sessions that go on.
    pub(crate) fn alive(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Sessions that are connecting, securing or upgrading.
    pub(crate) fn opening(&self) -> u32 {
        self.opening
    }

    /// Messages that await their answer.
    pub(crate) fn in_flight(&self) -> u64 {
        self.slots.iter().flatten().map(Session::in_flight).sum()
    }

    /// Ticks before `end` that sessions should have had by now and have not.
    pub(crate) fn behind(&self, end: u64) -> u64 {
        self.slots.iter().flatten().map(|session| session.behind(end)).sum()
    }

    /// Begins one more session. A failure is counted, like that of any session.
    ///
    /// # Errors
    /// The kernel cannot watch one more socket.
    pub(crate) fn open(&mut self) -> anyhow::Result<()> {
        let (id, now) = (ConnectionId::new(self.serial), clock::now());
        let habit = self.kit.plan.habit(self.serial);
        let window = match habit {
            Habit::Reads => Window::Usual,
            Habit::Stuck => Window::Small,
        };
        let dialled = self.dialer.dial(self.serial, window);
        self.serial = self.serial.wrapping_add(1);
        let stream = match dialled {
            Ok(stream) => stream,
            Err(broken) => {
                self.kit.tally.fail(&Failure::at(Stage::Connecting)(broken));
                return Ok(());
            }
        };
        let slot = self.vacant.pop().unwrap_or(self.slots.len());
        let token = Token::try_from(slot).context("more sessions than tokens")?;
        self.poll.add(&stream, token).context("cannot watch one more socket")?;
        let session = Some(Session::new(stream, id, now, &self.kit.plan));
        match self.slots.get_mut(slot) {
            Some(vacant) => *vacant = session,
            None => self.slots.push(session),
        }
        self.opening += 1;
        self.deadlines.push_back(Deadline { at: now + self.timeout, slot, id });
        Ok(())
    }

    /// Waits for something to happen and handles it, until `until` at most; returns the time.
    ///
    /// # Errors
    /// Those of the epoll set.
    pub(crate) fn turn(&mut self, now: Instant, until: Instant) -> anyhow::Result<Instant> {
        let mut until = self.deadlines.front().map_or(until, |deadline| deadline.at.min(until));
        if let Some(pace) = &self.kit.pace {
            until = until.min(pace.next_due());
        }
        self.poll.wait_until(&mut self.events, now, until).context("cannot wait")?;
        let events = std::mem::take(&mut self.events);
        for (token, ready) in events.iter() {
            if let Ok(slot) = usize::try_from(token) {
                self.handle(slot, |session, buffers, kit| session.handle(ready, buffers, kit));
            }
        }
        self.events = events;
        let now = clock::now();
        self.expire(now);
        self.release(now);
        Ok(now)
    }

    /// Lets go the messages that are due. Those of sessions that have ended are never sent.
    fn release(&mut self, now: Instant) {
        let Some(mut pace) = self.kit.pace else { return };
        for (slot, due) in pace.take(now) {
            self.kit.tally.intended += 1;
            record(&mut self.kit.tally.lag, now.duration_since(due), 1);
            if let Ok(slot) = usize::try_from(slot) {
                self.handle(slot, |session, _, kit| session.release(kit));
            }
        }
        self.kit.pace = Some(pace);
    }

    /// Turns until `until`, or until `enough` says so; returns the time.
    ///
    /// # Errors
    /// Those of [`Self::turn`].
    pub(crate) fn run(&mut self, until: Instant, enough: impl Fn(&Self) -> bool) -> anyhow::Result<Instant> {
        let mut now = clock::now();
        while now < until && !enough(self) {
            now = self.turn(now, until)?;
        }
        Ok(now)
    }

    /// Allows every session this many messages in all, from now on.
    pub(crate) fn allow(&mut self, messages_max: u64) {
        self.kit.plan.messages_max = messages_max;
        self.deadlines.clear();
        self.for_each(|session, kit| session.flush(kit));
    }

    /// Closes every session, and waits until all have ended or timed out.
    ///
    /// # Errors
    /// Those of [`Self::turn`].
    pub(crate) fn close(&mut self) -> anyhow::Result<()> {
        let at = clock::now() + self.timeout;
        let ids = self.slots.iter().enumerate();
        let ids = ids.filter_map(|(slot, session)| session.as_ref().map(|session| (slot, session.id())));
        self.deadlines = ids.map(|(slot, id)| Deadline { at, slot, id }).collect();
        self.for_each(Session::close);
        self.run(at + self.timeout, |swarm| swarm.alive() == 0)?;
        Ok(())
    }

    fn for_each(&mut self, mut act: impl FnMut(&mut Session, &mut Kit) -> Result<Life, Failure>) {
        for slot in 0..self.slots.len() {
            self.handle(slot, |session, _, kit| act(session, kit));
        }
    }

    /// Lets the session in `slot` act, and sees to what comes of it.
    #[inline]
    fn handle(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Session, &mut Inward, &mut Kit) -> Result<Life, Failure>,
    ) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        let Some(session) = place else { return };
        let was_opening = is_opening(session);
        let outcome = act(session, &mut self.buffers, &mut self.kit);
        if was_opening && (outcome.is_err() || !is_opening(session)) {
            self.opening -= 1;
        }
        if outcome != Ok(Life::Going) {
            if let Err(failure) = outcome {
                self.kit.tally.fail(&failure);
                self.kit.tally.faults.lost += session.in_flight();
            }
            *place = None;
            self.vacant.push(slot);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.deadlines.front().is_some_and(|deadline| deadline.at <= now) {
            let Some(deadline) = self.deadlines.pop_front() else { return };
            self.handle(deadline.slot, |session, _, kit| {
                let met = session.id() != deadline.id || session.rests(kit);
                if met { Ok(Life::Going) } else { Err(Failure::TimedOut(session.stage())) }
            });
        }
    }
}

fn is_opening(session: &Session) -> bool {
    matches!(session.stage(), Stage::Connecting | Stage::Securing | Stage::Upgrading)
}
