//! Carries out what the control plane says, and reports to it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Shard;
use crate::balance::Policy;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::{Interest, Source};
use crate::wires::{Drain, Latecomers, ToControl, ToShard};

/// How often session counts go out where the policy needs those of all shards.
const SESSIONS_REPORT: Duration = Duration::from_millis(50);

/// Serves the mailbox until the shard ends.
///
/// # Cancel safety
/// Dropped only when the shard ends.
pub(super) async fn run(shard: Rc<Shard>, mailbox: Mailbox<ToShard>) {
    let bell = mailbox.bell().and_then(|fd| Source::register(&shard.driver, fd, Interest::Bell));
    // Without a mailbox nobody could stop this shard.
    let Ok(bell) = bell else { return shard.driver.stop() };
    let counts_due = (shard.config.policy == Policy::LeastConnections).then(|| shard.now());
    let mut orders = Orders { shard, counts_due };
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
    /// When this shard's session counts are to go out; `None` where nobody needs them.
    counts_due: Option<Instant>,
}

impl Orders {
    fn obey(&mut self, order: ToShard) {
        let shard = &self.shard;
        match order {
            ToShard::Snapshot(snapshot) => shard.selector.borrow_mut().handle_snapshot(snapshot),
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

    /// Begins to drain, or to drain faster. The acceptor ends the shard if there is no session, the last session
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
        } else if self.counts_due.is_some_and(|due| due <= now) {
            self.counts_due = Some(now + SESSIONS_REPORT);
            self.report_counts();
        }
        let drain_deadline = self.shard.drain.get().map(|drain| drain.deadline);
        let next = [drain_deadline, self.counts_due].into_iter().flatten().min();
        self.shard.driver.set_deadline(next);
    }

    fn report_counts(&self) {
        if !self.shard.sessions_changed.replace(false) {
            return;
        }
        let counts = self.shard.selector.borrow().sessions();
        let report = ToControl::Sessions { shard: self.shard.id, counts };
        if self.shard.control.send(report).is_err() {
            self.shard.sessions_changed.set(true);
        }
    }
}
