//! Many sessions on one thread.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::returns::Returns;
use super::tally::record;
use super::{Failure, Habit, Kit, Life, Plan, Session, Stage};
use crate::clock;
use crate::crew::Bell;
use crate::net::{Dialer, Events, Inward, Poll, Token, Window};
use crate::wire::{ConnectionId, wide};

/// When a session must have come to rest.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    slot: usize,
    id: ConnectionId,
}

/// The name of the bell in the epoll set; no session's.
const BELL: Token = Token::MAX;

/// Which of a run's connections a thread has: `first`, and then each `stride`-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) first: u32,
    pub(crate) stride: u32,
}

impl Share {
    /// How many of `all` that is.
    pub(crate) fn of(self, all: u32) -> u32 {
        all.saturating_sub(self.first).div_ceil(self.stride)
    }

    /// Which of all connections its `index`-th is.
    pub(crate) fn serial(self, index: u32) -> u32 {
        index.wrapping_mul(self.stride).wrapping_add(self.first)
    }
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
    share: Share,
    begun: u32,
    opening: u32,
    /// Sessions that have ended as they should.
    completed: u64,
    /// Sessions that have failed, and why the first did.
    failed: u64,
    first_failure: Option<String>,
    is_called: bool,
    /// In order of time, since all sessions are given the same.
    deadlines: VecDeque<Deadline>,
    returns: Returns,
    pub(crate) kit: Kit,
}

impl Swarm {
    /// No sessions yet. Each will go where `dialer` does, be one of `share`, and have `timeout` to open, and to close.
    /// Whoever rings `bell` calls this thread.
    ///
    /// # Errors
    /// No epoll set could be had.
    pub(crate) fn new(
        dialer: Dialer,
        plan: Plan,
        share: Share,
        timeout: Duration,
        bell: &Bell,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new().context("cannot create an epoll set")?;
        poll.add(bell.fd(), BELL).context("cannot watch an eventfd")?;
        Ok(Self {
            timeout,
            poll,
            share,
            is_called: false,
            completed: 0,
            failed: 0,
            first_failure: None,
            events: Events::new(),
            buffers: Inward::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            begun: 0,
            opening: 0,
            deadlines: VecDeque::new(),
            returns: Returns::default(),
            kit: Kit::new(dialer.target(), plan),
            dialer,
        })
    }

    /// Sessions begun so far.
    pub(crate) fn begun(&self) -> u32 {
        self.begun
    }

    /// Sessions that have ended as they should.
    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// How long a session may take to open, and to close.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sessions that have failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Why the first of those did.
    pub(crate) fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    /// Which of a run's connections these are.
    pub(crate) fn share(&self) -> Share {
        self.share
    }

    /// How long it has looked for something to do, instead of sleeping.
    pub(crate) fn looked(&self) -> Duration {
        self.poll.looked()
    }

    /// Whether somebody has called since this was asked last.
    pub(crate) fn is_called(&mut self) -> bool {
        std::mem::take(&mut self.is_called)
    }

    /// Sessions that go on, and those that will.
    pub(crate) fn alive(&self) -> usize {
        self.slots.len() - self.vacant.len() + self.returns.len()
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

    /// Begins one more session, which was due at `due`. A failure is counted, like that of any session.
    ///
    /// # Errors
    /// The kernel cannot watch one more socket.
    pub(crate) fn open(&mut self, due: Instant) -> anyhow::Result<()> {
        let id = ConnectionId::new(self.share.serial(self.begun));
        self.begun = self.begun.wrapping_add(1);
        self.open_as(id, due, None)
    }

    /// Begins a session of this client, who was answered last at `heard_at`, if ever.
    fn open_as(&mut self, id: ConnectionId, due: Instant, heard_at: Option<Instant>) -> anyhow::Result<()> {
        let (serial, habit) = (id.serial(), self.kit.plan.habit(id.serial()));
        let window = match habit {
            Habit::Reads => Window::Usual,
            Habit::Slow | Habit::Stuck => Window::Small,
        };
        self.kit.tally.begun += 1;
        let stream = match self.dialer.dial(serial, window) {
            Ok(stream) => stream,
            Err(broken) => {
                self.fail(id, &Failure::at(Stage::Connecting)(broken), heard_at);
                return Ok(());
            }
        };
        let slot = self.vacant.pop().unwrap_or(self.slots.len());
        let token = Token::try_from(slot).context("more sessions than tokens")?;
        self.poll.add(&stream, token).context("cannot watch one more socket")?;
        let session = Session::new(stream, (slot, id), due, &self.kit.plan).silent_since(heard_at);
        match self.slots.get_mut(slot) {
            Some(vacant) => *vacant = Some(session),
            None => self.slots.push(Some(session)),
        }
        self.opening += 1;
        self.deadlines.push_back(Deadline { at: clock::now() + self.timeout, slot, id });
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
        until = self.returns.next().map_or(until, |due| due.min(until));
        until = self.kit.alarms.next().map_or(until, |alarm| alarm.min(until));
        self.poll.wait_until(&mut self.events, now, until).context("cannot wait")?;
        let events = std::mem::take(&mut self.events);
        for (token, ready) in events.iter() {
            if token == BELL {
                self.is_called |= ready.to_read();
            } else if let Ok(slot) = usize::try_from(token) {
                self.handle(slot, |session, buffers, kit| session.handle(ready, buffers, kit));
            }
        }
        self.events = events;
        let now = clock::now();
        self.expire(now);
        while let Some(client) = self.returns.take(now) {
            self.open_as(client.id, client.due, Some(client.heard_at))?;
        }
        self.release(now);
        while let Some(alarm) = self.kit.alarms.take(now) {
            self.handle(alarm.slot, |session, buffers, kit| {
                let is_meant = session.id() == alarm.id;
                if is_meant { session.handle_alarm(alarm.task, buffers, kit) } else { Ok(Life::Going) }
            });
        }
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

    /// Lets nobody come back any more; whoever waits for an answer has been silent up to now.
    pub(crate) fn settle(&mut self) {
        let now = clock::now();
        self.kit.plan.reconnects = false;
        let waiting =
            self.slots.iter().flatten().filter(|session| session.in_flight() > 0 || is_opening(session));
        let heard = waiting.filter_map(Session::heard_at);
        let heard = heard.chain(self.returns.give_up().map(|client| client.heard_at));
        let silence = heard.map(|heard_at| now.duration_since(heard_at)).max();
        self.kit.tally.silence = self.kit.tally.silence.max(silence.unwrap_or_default());
    }

    /// Closes every session, and waits until all have ended or timed out.
    ///
    /// # Errors
    /// Those of [`Self::turn`].
    pub(crate) fn close(&mut self) -> anyhow::Result<()> {
        self.kit.tally.held += wide(self.alive());
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
            let (id, lost, heard_at) = (session.id(), session.in_flight(), session.heard_at());
            *place = None;
            self.vacant.push(slot);
            match outcome {
                Ok(_) => self.completed += 1,
                Err(failure) => {
                    self.kit.tally.faults.lose(lost);
                    self.fail(id, &failure, heard_at);
                }
            }
        }
    }

    /// Counts a failure of a client that was answered last at `heard_at`, if it ever was; and lets it come back.
    fn fail(&mut self, id: ConnectionId, failure: &Failure, heard_at: Option<Instant>) {
        if self.kit.plan.reconnects
            && let Some(heard_at) = heard_at
        {
            self.returns.add(id, clock::now(), heard_at);
        }
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| failure.to_string());
        self.kit.tally.fail(failure);
    }

    fn expire(&mut self, now: Instant) {
        while self.deadlines.front().is_some_and(|deadline| deadline.at <= now) {
            let Some(deadline) = self.deadlines.pop_front() else { return };
            self.handle(deadline.slot, |session, _, kit| {
                let is_back = kit.plan.reconnects && session.stage() == Stage::Open;
                let met = session.id() != deadline.id || session.rests(kit) || is_back;
                if met { Ok(Life::Going) } else { Err(Failure::TimedOut(session.stage())) }
            });
        }
    }
}

fn is_opening(session: &Session) -> bool {
    matches!(session.stage(), Stage::Connecting | Stage::Securing | Stage::Upgrading)
}
