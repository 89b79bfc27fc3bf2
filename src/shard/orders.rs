//! Carries out what the control plane says, and reports to it.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Shard, acceptor};
use crate::balance::Snapshot;
use crate::config::{Config, Placement};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::{Interest, Source};
use crate::wires::{Drain, FeedNote, Latecomers, ToControl, ToShard};

/// How often a shard reports what it holds, where others decide by it, and gives back what it could not before.
/// Divides a second.
const LOAD_REPORT: Duration = Duration::from_millis(50);

/// Serves the mailbox until the shard ends.
///
/// # Cancel safety
/// Dropped only when the shard ends.
pub(super) async fn run(shard: Rc<Shard>, mailbox: Mailbox<ToShard>) {
    let bell = mailbox.bell().and_then(|fd| Source::register(&shard.driver, fd, Interest::Bell));
    // Without a mailbox nobody could stop this shard.
    let Ok(bell) = bell else { return shard.driver.stop() };
    let mut orders = Orders { load_due: shard.now(), shard };
    poll_fn(|_| {
        if bell.is_readable() {
            bell.clear_readable();
            mailbox.hush();
            while let Some(order) = mailbox.take() {
                orders.obey(order);
            }
        }
        orders.keep_time();
        Poll::Pending
    })
    .await
}

struct Orders {
    shard: Rc<Shard>,
    /// When the next report of what this shard holds may go out.
    load_due: Instant,
}

impl Orders {
    fn obey(&mut self, order: ToShard) {
        let shard = &self.shard;
        match order {
            ToShard::Snapshot(snapshot) => shard.plan().handle_snapshot(&snapshot),
            ToShard::Config(config, snapshot) => self.adopt(config, &snapshot),
            ToShard::Retire(backends) => {
                shard.books.borrow().retire(&backends);
                shard.driver.wake_all();
            }
            ToShard::Loads(loads) => shard.neighbours.handle_loads(&loads),
            ToShard::Connection(arrival) => acceptor::start(shard, arrival),
            ToShard::Feed(FeedNote { feed, word }) => {
                // One that a reload has not brought yet, or has taken away: whoever wants something asks again.
                if let Some(feed) = shard.plan().feed(&feed) {
                    feed.handle_word(shard, word);
                }
            }
            ToShard::Ruling(ticket, ruling) => shard.handle_ruling(ticket, ruling),
            ToShard::Challenges(challenges) => drop(shard.challenges.replace(challenges)),
            ToShard::Report => {
                // If it is lost it will be asked for again.
                let _ = shard.control.send(ToControl::Report(Box::new(shard.report())));
            }
            ToShard::Drain(drain) => self.drain(drain),
            ToShard::Cut => {
                let (window, deadline) = (Duration::ZERO, shard.now());
                self.drain(Drain { window, deadline, latecomers: Latecomers::Refused });
            }
        }
    }

    /// New requests meet the new configuration; sessions keep theirs.
    fn adopt(&self, config: Arc<Config>, snapshot: &Arc<Snapshot>) {
        let shard = &self.shard;
        let former = shard.plan();
        let plan = former.next(config, snapshot, &mut shard.books.borrow_mut(), &shard.driver);
        let is_gone = |backend| !plan.has(backend);
        shard.books.borrow_mut().forget(is_gone);
        let unasked = plan.take_unasked();
        if !unasked.is_empty() {
            shard.adopt(unasked);
        }
        for feed in former.feeds().iter().filter(|feed| plan.feed(&feed.name).is_none()) {
            feed.handle_gone(&shard.driver);
        }
        for dispatch in former.dispatches() {
            if plan.dispatches().iter().any(|kept| Rc::ptr_eq(kept, dispatch)) {
                dispatch.forget(is_gone);
            } else {
                dispatch.handle_gone(&shard.driver);
            }
        }
        shard.plan.replace(Rc::new(plan));
        shard.start_feeds();
    }

    /// Begins to drain, or to drain faster. The acceptors end the shard if there is no session, the last session
    /// if there is.
    fn drain(&self, drain: Drain) {
        self.shard.drain.set(Some(drain));
        self.shard.driver.wake_all();
    }

    fn keep_time(&mut self) {
        let now = self.shard.now();
        if self.shard.is_cut.get() {
            // All sessions are polled, and see it, in the same pass as this.
            self.shard.driver.stop();
        } else if self.shard.drain.get().is_some_and(|drain| drain.deadline <= now) {
            self.shard.is_cut.set(true);
            self.shard.driver.wake_all();
        } else if self.load_due <= now {
            self.load_due = next_report(self.shard.since, now);
            self.shard.send_unsent();
            self.shard.neighbours.handle_report();
            self.report_load();
        }
        let drain_deadline = self.shard.drain.get().map(|drain| drain.deadline);
        let load_due = self.reports_load().then_some(self.load_due);
        self.shard.driver.set_deadline([drain_deadline, load_due].into_iter().flatten().min());
    }

    /// Whether others decide by what this shard holds.
    fn reports_load(&self) -> bool {
        let plan = self.shard.plan.borrow();
        plan.config.placement == Placement::Balanced || plan.needs_counts()
    }

    fn report_load(&self) {
        if !self.reports_load() || !self.shard.has_changed.replace(false) {
            return;
        }
        let sessions = self.shard.plan.borrow().sessions();
        let connections = self.shard.connections.get();
        let report = ToControl::Load { shard: self.shard.id, connections, sessions };
        if self.shard.control.send(report).is_err() {
            self.shard.has_changed.set(true);
        }
    }
}

/// When a shard reports next. All do so at the same moments, so that what is compared is equally old.
fn next_report(since: Instant, now: Instant) -> Instant {
    let passed = now.saturating_duration_since(since).subsec_nanos() % LOAD_REPORT.subsec_nanos();
    now + LOAD_REPORT - Duration::from_nanos(passed.into())
}
