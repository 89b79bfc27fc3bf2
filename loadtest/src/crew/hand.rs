//! One thread of a crew.

use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::time::{ClockId, clock_gettime};

use super::{Note, Order, Slice, Timetable};
use crate::client::Swarm;
use crate::clock;

/// How long to wait for events where nothing else is due.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the sessions of one thread are there for.
pub(crate) trait Part: Send + 'static {
    /// Opens what has to be open before the load begins.
    ///
    /// # Errors
    /// What was asked for cannot be had.
    fn prepare(&mut self, swarm: &mut Swarm) -> anyhow::Result<()>;

    /// Begins the load; `at` is the same for all threads.
    fn begin(&mut self, swarm: &mut Swarm, at: Instant);

    /// Does what is due, beside what sessions do by themselves; returns when there will be more to do.
    ///
    /// # Errors
    /// There is no use in going on.
    fn act(&mut self, _: &mut Swarm, now: Instant) -> anyhow::Result<Instant> {
        Ok(now + PATIENCE)
    }

    /// Whether nothing is left to do.
    fn is_idle(&self, swarm: &Swarm) -> bool {
        swarm.alive() == 0
    }

    /// Ends the load, counts what is lost, and closes every session. Of a feed, some session of some thread has had
    /// all ticks before `tick_end`.
    ///
    /// # Errors
    /// Those of [`Swarm::turn`].
    fn finish(&mut self, swarm: &mut Swarm, tick_end: u64) -> anyhow::Result<()>;
}

/// One thread's sessions, and its lines to the lead.
pub(super) struct Hand<P> {
    pub(super) part: P,
    pub(super) swarm: Swarm,
    pub(super) orders: Receiver<Order>,
    pub(super) notes: Sender<Note>,
    pub(super) has_told_idle: bool,
}

impl<P: Part> Hand<P> {
    /// Plays the part from the first connection to the last.
    ///
    /// # Errors
    /// It cannot go on.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        self.part.prepare(&mut self.swarm)?;
        self.tell(Note::Ready)?;
        let Order::Start(times) = self.wait()? else { bail!("interrupted before anything was measured") };
        self.part.begin(&mut self.swarm, times.begin);
        let played = self.play(times.measure)?;
        let warm = self.swarm.kit.tally.take();
        self.tell(Note::Warm(warm))?;
        self.measure(times, played)?;
        loop {
            if let Order::Finish { tick_end } = self.wait()? {
                self.part.finish(&mut self.swarm, tick_end)?;
                let rest = self.swarm.kit.tally.take();
                return self.tell(Note::Ended(rest));
            }
        }
    }

    /// Plays slice by slice; one at least, though it be empty.
    fn measure(&mut self, times: Timetable, mut played: Played) -> anyhow::Result<()> {
        let (mut from, mut busy_before) = (times.measure, self.busy()?);
        for number in 0..u32::MAX {
            let until = times.measure + times.slice * (number + 1);
            // No last slice is shorter than half of one.
            let end = times.end.filter(|end| *end <= until + times.slice / 2);
            if played == Played::ToTheEnd {
                played = self.play(end.unwrap_or(until))?;
            }
            let is_last = played == Played::Stopped || end.is_some();
            let (to, tally, busy) = (clock::now(), self.swarm.kit.tally.take(), self.busy()?);
            let busy_here = busy.saturating_sub(busy_before);
            self.tell(Note::Slice(Slice { number, from, to, tally, busy: busy_here, is_last }))?;
            if is_last {
                break;
            }
            (from, busy_before) = (to, busy);
        }
        Ok(())
    }

    /// CPU time of this thread, without that in which it only looked for something to do.
    fn busy(&self) -> anyhow::Result<Duration> {
        let cpu = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("threads have no CPU clock")?;
        Ok(Duration::from(cpu).saturating_sub(self.swarm.looked()))
    }

    /// Goes on until `until`, or until told to stop.
    fn play(&mut self, until: Instant) -> anyhow::Result<Played> {
        let mut now = clock::now();
        while now < until {
            if self.swarm.is_called() && self.order()?.is_some() {
                return Ok(Played::Stopped);
            }
            let next = self.part.act(&mut self.swarm, now)?.min(until);
            now = self.swarm.turn(now, next)?;
            if !self.has_told_idle && self.part.is_idle(&self.swarm) {
                self.has_told_idle = true;
                self.tell(Note::Idle)?;
            }
        }
        Ok(Played::ToTheEnd)
    }

    /// Looks after the sessions until there is an order.
    fn wait(&mut self) -> anyhow::Result<Order> {
        let mut now = clock::now();
        loop {
            if let Some(order) = self.order()? {
                return Ok(order);
            }
            now = self.swarm.turn(now, now + PATIENCE)?;
        }
    }

    fn order(&mut self) -> anyhow::Result<Option<Order>> {
        match self.orders.try_recv() {
            Ok(order) => Ok(Some(order)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("given up by the other threads"),
        }
    }

    fn tell(&self, note: Note) -> anyhow::Result<()> {
        self.notes.send(note).ok().context("nobody listens any more")
    }
}

/// How a stretch of time ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Played {
    ToTheEnd,
    /// By an order.
    Stopped,
}
