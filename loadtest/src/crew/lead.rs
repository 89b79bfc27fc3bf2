//! The one that starts the threads of a crew, tells them when, and puts together what they saw.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

use super::hand::Hand;
use super::progress::Progress;
use super::spread::Spread;
use super::{Bell, Note, Order, Part, Slice, Timetable, signals};
use crate::client::{Swarm, Tally};
use crate::clock;
use crate::record::{Interval, Latency, Times, Unit};
use crate::watch::{Cost, Reading, Watch};

/// From the order to begin until all threads have surely had it.
const HEAD_START: Duration = Duration::from_millis(2);

/// What to measure, and when.
#[derive(Debug)]
pub(crate) struct Script {
    /// What is counted.
    pub(crate) unit: Unit,
    /// How long the load lasts before it is measured.
    pub(crate) warmup: Duration,
    /// How long it is measured; else until nothing is left to do.
    pub(crate) duration: Option<Duration>,
    /// Length of the slices that are told apart.
    pub(crate) slice: Duration,
    /// Whether each slice is shown as it ends.
    pub(crate) progress: bool,
    /// Whether each slice also tells how much memory processes have. Reading it disturbs those that are busy.
    pub(crate) memory: bool,
    /// Threads that follow a feed.
    pub(crate) followers: u32,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// From the first connection to the last.
    pub(crate) whole: Tally,
    /// While it was measured.
    pub(crate) tally: Tally,
    /// Ticks before this one came before anything was measured.
    pub(crate) tick_begin: u64,
    /// Nanoseconds between the first and the last follower's having a tick.
    pub(crate) spread: Histogram<u64>,
    /// How long that was.
    pub(crate) wall: Duration,
    /// What it cost.
    pub(crate) cost: Cost,
    /// Memory of the watched processes before the first connection and at the end, unless they are somebody else's.
    pub(crate) memory: Option<[Vec<u64>; 2]>,
    /// Slice by slice.
    pub(crate) intervals: Vec<Interval>,
    /// The share of its time that the busiest thread was at work, from 0 to 1.
    pub(crate) busiest: f64,
    /// How many threads there were.
    pub(crate) threads: usize,
    /// Whether somebody ended it early.
    pub(crate) interrupted: bool,
}

/// One thread to be.
pub(crate) struct Role<P> {
    /// What its sessions are there for.
    pub(crate) part: P,
    /// Makes them, there.
    pub(crate) swarm: Box<dyn FnOnce(Bell) -> anyhow::Result<Swarm> + Send>,
    /// The core that it is pinned to, if it is to one.
    pub(crate) core: Option<usize>,
}

/// Lets each role be played on a thread of its own.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn measure<P: Part>(
    roles: Vec<Role<P>>,
    watch: Watch,
    script: &Script,
) -> anyhow::Result<Measured> {
    let (sender, notes) = channel();
    signals::tell(sender.clone())?;
    let memory = watch.memory().ok();
    let mut lead = Lead::new(notes, watch, script);
    for (number, role) in roles.into_iter().enumerate() {
        let ((orders, receiver), notes) = (channel(), sender.clone());
        let bell = Bell::new().context("cannot create an eventfd")?;
        lead.lines.push((orders, bell.clone()));
        thread::Builder::new()
            .name(format!("load {number}"))
            .spawn(move || {
                let played = catch_unwind(AssertUnwindSafe(|| role.play(bell, receiver, notes.clone())));
                let result =
                    played.unwrap_or_else(|_| Err(anyhow!("a thread panicked: a fault of this program")));
                if let Err(error) = result {
                    // Whoever does not listen any more has failed already.
                    let _ = notes.send(Note::Failed(error));
                }
            })
            .context("cannot start a thread")?;
    }
    drop(sender);
    lead.run(script)?;
    lead.measured(memory)
}

impl<P: Part> Role<P> {
    /// Plays on this thread.
    fn play(self, bell: Bell, orders: Receiver<Order>, notes: Sender<Note>) -> anyhow::Result<()> {
        // Else the kernel may let it sleep 50 µs longer than asked. One that refuses is as it always was.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        if let Some(core) = self.core {
            let mut cores = CpuSet::new();
            cores.set(core);
            sched_setaffinity(None, &cores).with_context(|| format!("cannot run on core {core}"))?;
        }
        let swarm = (self.swarm)(bell)?;
        Hand { part: self.part, swarm, orders, notes, has_told_idle: false }.run()
    }
}

/// How many threads have come how far.
#[derive(Debug, Default)]
struct Count {
    ready: usize,
    idle: usize,
    last: usize,
    ended: usize,
}

/// A slice of which some threads have told.
struct Pending {
    /// How many.
    told: usize,
    from: Instant,
    to: Instant,
    tally: Tally,
    /// How long the busiest thread was at work.
    busiest: Duration,
}

struct Lead<'s> {
    script: &'s Script,
    notes: Receiver<Note>,
    lines: Vec<(Sender<Order>, Bell)>,
    count: Count,
    watch: Watch,
    /// At the beginning of what is measured, and at the end of each slice.
    readings: Vec<Reading>,
    /// Slices of which not all threads have told.
    pending: BTreeMap<u32, Pending>,
    whole: Tally,
    tally: Tally,
    spread: Spread,
    tick_begin: u64,
    intervals: Vec<Interval>,
    memory: Option<Vec<u64>>,
    /// When what is measured began, by the threads' clocks, and how long it has been by now.
    began: Option<Instant>,
    wall: Duration,
    /// How long each slice's busiest thread was at work, together.
    busiest: Duration,
    progress: Progress,
    interrupted: bool,
}

impl<'s> Lead<'s> {
    fn new(notes: Receiver<Note>, watch: Watch, script: &'s Script) -> Self {
        Self {
            script,
            notes,
            lines: Vec::new(),
            count: Count::default(),
            watch,
            readings: Vec::new(),
            pending: BTreeMap::new(),
            whole: Tally::new(),
            tally: Tally::new(),
            spread: Spread::new(script.followers),
            tick_begin: 0,
            intervals: Vec::new(),
            memory: None,
            began: None,
            wall: Duration::ZERO,
            busiest: Duration::ZERO,
            progress: Progress::new(script.unit, script.progress),
            interrupted: false,
        }
    }

    /// Listens until all have ended.
    fn run(&mut self, script: &Script) -> anyhow::Result<()> {
        let hands = self.lines.len();
        while self.count.ended < hands {
            match self.notes.recv().context("all threads are gone")? {
                Note::Ready => {
                    self.count.ready += 1;
                    if self.count.ready == hands {
                        self.start(script);
                    }
                }
                Note::Warm(tally) => {
                    if self.readings.is_empty() {
                        self.readings.push(self.watch.read()?);
                    }
                    self.tick_begin = self.tick_begin.max(tally.tick_end);
                    self.whole.absorb(&tally);
                }
                Note::Slice(slice) => self.handle(slice)?,
                Note::Idle => {
                    self.count.idle += 1;
                    if self.count.idle == hands {
                        self.tell_all(|| Order::Stop);
                    }
                }
                Note::Ended(tally) => {
                    self.whole.absorb(&tally);
                    self.count.ended += 1;
                }
                Note::Failed(error) => return Err(error),
                Note::Interrupted if self.readings.is_empty() => {
                    bail!("interrupted before anything was measured")
                }
                Note::Interrupted => {
                    self.interrupted = true;
                    self.tell_all(|| Order::Stop);
                }
            }
        }
        Ok(())
    }

    fn start(&self, script: &Script) {
        let begin = clock::now() + HEAD_START;
        let measure = begin + script.warmup;
        let end = script.duration.map(|duration| measure + duration);
        self.tell_all(|| Order::Start(Timetable { begin, measure, end, slice: script.slice }));
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        for (orders, bell) in &self.lines {
            // A thread that has ended has told so, or will.
            let _ = orders.send(order());
            bell.ring();
        }
    }

    fn handle(&mut self, slice: Slice) -> anyhow::Result<()> {
        let number = slice.number;
        if self.reading(number + 1).is_none() {
            self.readings.push(self.watch.read()?);
        }
        for wave in &slice.tally.waves {
            self.spread.handle(*wave);
        }
        let Slice { from, to, .. } = slice;
        let begin = || Pending { told: 0, from, to, tally: Tally::new(), busiest: Duration::ZERO };
        let pending = self.pending.entry(number).or_insert_with(begin);
        pending.told += 1;
        pending.from = from.min(pending.from);
        pending.to = to.max(pending.to);
        pending.busiest = slice.busy.max(pending.busiest);
        pending.tally.absorb(&slice.tally);
        if pending.told == self.lines.len() {
            self.conclude(number)?;
        }
        self.count.last += usize::from(slice.is_last);
        if self.count.last == self.lines.len() {
            while let Some((&number, _)) = self.pending.first_key_value() {
                self.conclude(number)?;
            }
            self.memory = self.watch.memory().ok();
            let tick_end = self.tally.tick_end;
            self.tell_all(|| Order::Finish { tick_end });
        }
        Ok(())
    }

    /// The reading at the beginning of a slice.
    fn reading(&self, slice: u32) -> Option<&Reading> {
        self.readings.get(usize::try_from(slice).ok()?)
    }

    /// All that will be told of a slice has been.
    fn conclude(&mut self, number: u32) -> anyhow::Result<()> {
        let Some(Pending { from, to, tally, busiest, .. }) = self.pending.remove(&number) else {
            return Ok(());
        };
        self.whole.absorb(&tally);
        self.tally.absorb(&tally);
        self.busiest += busiest;
        let began = *self.began.get_or_insert(from);
        self.wall = to.duration_since(began);
        let Some((before, after)) = self.reading(number).zip(self.reading(number + 1)) else { return Ok(()) };
        let cost = self.watch.between(before, after);
        let pss_kib = if self.script.memory { self.watch.memory().unwrap_or_default() } else { Vec::new() };
        let (at, seconds) = (from.duration_since(began).as_secs_f64(), to.duration_since(from).as_secs_f64());
        let interval = Interval { at, seconds, pss_kib, ..interval(self.script.unit, &tally, &cost) };
        self.progress.show(&interval, &self.whole);
        self.intervals.push(interval);
        Ok(())
    }

    fn measured(self, memory_before: Option<Vec<u64>>) -> anyhow::Result<Measured> {
        self.progress.end();
        let (Some(before), Some(after)) = (self.readings.first(), self.readings.last()) else {
            bail!("nothing was measured")
        };
        let cost = self.watch.between(before, after);
        Ok(Measured {
            whole: self.whole,
            tally: self.tally,
            tick_begin: self.tick_begin,
            spread: self.spread.times,
            memory: memory_before.zip(self.memory).map(|(before, after)| [before, after]),
            intervals: self.intervals,
            busiest: share(self.busiest, self.wall),
            wall: self.wall,
            threads: self.lines.len(),
            interrupted: self.interrupted,
            cost,
        })
    }
}

/// What stands in a record of a slice.
fn interval(unit: Unit, tally: &Tally, cost: &Cost) -> Interval {
    let (sent, answered, times) = match unit {
        Unit::Message => (Some(tally.sent), tally.answered, &tally.round_trips),
        Unit::Delivery => (None, tally.answered, &tally.round_trips),
        Unit::Session => (Some(tally.begun), tally.completed, &tally.sessions),
        Unit::Connection => (None, tally.opened, &tally.sessions),
    };
    // Of what was missing before, more may have come late than is missing now.
    let faults = i64::try_from(tally.faults.total()).map_or(0, i64::unsigned_abs);
    Interval {
        at: 0.0,
        seconds: 0.0,
        intended: (tally.intended > 0).then_some(tally.intended),
        sent,
        answered,
        errors: faults + tally.failed(),
        latency: Latency { corrected: Times::of(&tally.corrected), uncorrected: Times::of(times) },
        processes_busy: cost.processes.iter().map(|process| share(process.cpu, cost.wall)).collect(),
        pss_kib: Vec::new(),
        generator_busy: share(cost.own, cost.wall),
        stolen: cost.stolen,
    }
}

fn share(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.as_secs_f64().max(f64::MIN_POSITIVE)
}
