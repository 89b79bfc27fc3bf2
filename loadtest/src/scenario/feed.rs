//! Followers of one feed: does everything reach everybody, how late, how evenly, and what does it cost.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Cast, open_all, record};
use crate::cli::FeedArgs;
use crate::client::{Following, Habit, Plan, Share, Swarm};
use crate::clock;
use crate::crew::{Part, Script};
use crate::net::Sessions;
use crate::record::{Record, Times, Unit};

/// How long ticks that some follower has had may take to the others at the end, before they count as lost.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs `selat-load feed`.
///
/// # Errors
/// Nothing could be measured.
pub(crate) fn feed(args: &FeedArgs) -> anyhow::Result<Record> {
    let plan = Plan::follow(args.stuck);
    let readers = |share: Share| {
        let serials = (0..share.of(args.clients)).map(|index| share.serial(index));
        serials.filter(|&serial| plan.habit(serial) == Habit::Reads).map(|_| 1_u64).sum::<u64>()
    };
    let all_readers = readers(Share { first: 0, stride: 1 });
    let stride = u32::try_from(args.common.cores(args.clients)?.len())?;
    let with_readers = (0..stride).filter(|&first| readers(Share { first, stride }) > 0).map(|_| 1).sum();
    let script = args.common.script(Unit::Delivery, args.warmup, Some(args.held.duration));
    let script = Script { followers: with_readers, ..script };
    let cast = Cast { sessions: args.clients, plan: plan.clone(), tls: Sessions::Full };
    let part =
        |share| Feed { clients: args.clients, readers: readers(share), connect_rate: args.held.connect_rate };
    let mut measured = cast.play(&args.common, &script, part)?;
    ensure!(
        measured.tally.answered > 0,
        "no tick came within {}: is `selat-load serve ticker` the source of this feed?",
        humantime::format_duration(args.held.duration)
    );

    let mut record = record("feed", Unit::Delivery, &mut measured);
    record.set("clients", args.clients);
    record.set("stuck", format!("{}%", args.stuck));
    record.count("readers", all_readers);
    record.count("evicted", measured.whole.evicted);
    record.count("held", measured.whole.held);
    record.count("ticks", measured.tally.tick_end - measured.tick_begin);
    record.latency.uncorrected = Times::with_curve(&measured.tally.round_trips);
    record.spread = Times::with_curve(&measured.spread);
    if let Some([before, after]) = &measured.memory {
        record.memory(before, after, args.clients.into());
    }
    if args.allow_loss {
        record.count("skipped", record.faults.lost);
        record.faults.lost = 0;
    }
    Ok(record)
}

/// One thread's followers.
struct Feed {
    clients: u32,
    readers: u64,
    connect_rate: Option<f64>,
}

impl Part for Feed {
    fn prepare(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        swarm.kit.following = Some(Following::new(self.readers)?);
        open_all(swarm, self.clients, self.connect_rate)
    }

    fn begin(&mut self, _: &mut Swarm, _: Instant) {}

    fn finish(&mut self, swarm: &mut Swarm, tick_end: u64) -> anyhow::Result<()> {
        swarm.run(clock::now() + DRAIN, |swarm| swarm.behind(tick_end) == 0)?;
        let lost = swarm.behind(tick_end);
        swarm.kit.tally.faults.lose(lost);
        swarm.close()
    }
}
