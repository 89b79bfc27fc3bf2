//! Permits: what the control plane grants, because the whole process has only so many of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::Shard;
use crate::balance::{BackendId, Ticket};
use crate::runtime::TaskId;
use crate::wires::{Ask, Release, Ruling, ToControl};

/// The questions that a shard has asked, and what it gives back.
#[derive(Debug, Default)]
pub(super) struct Desk {
    last: Cell<u64>,
    open: RefCell<BTreeMap<Ticket, Waiting>>,
    /// What found the control plane's box full, in order.
    unsent: RefCell<VecDeque<ToControl>>,
}

/// A question, until its ruling has come: each gets exactly one.
#[derive(Debug)]
struct Waiting {
    ask: Ask,
    /// Who waits for it; `None` once nobody does.
    task: Option<TaskId>,
    ruling: Option<Ruling>,
}

/// Something granted, given back when dropped. Small where nothing was: every session has room for two.
pub(super) struct Permit(Option<Box<Granted>>);

struct Granted {
    shard: Rc<Shard>,
    release: Release,
}

impl Permit {
    /// What needs none.
    pub(super) const NONE: Self = Self(None);

    /// Whether nothing was granted.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(granted) = self.0.take() {
            let Granted { shard, release } = *granted;
            shard.release(release);
        }
    }
}

/// Asks the control plane, and waits for its ruling. What it grants is given back with the permit.
///
/// # Cancel safety
/// Safe: the question is withdrawn, and what was granted meanwhile is given back.
pub(super) async fn ask(shard: &Rc<Shard>, ask: Ask) -> (Ruling, Permit) {
    let question = Question::put(shard, ask);
    let ruling = poll_fn(|_| question.ruling().map_or(Poll::Pending, Poll::Ready)).await;
    let release = question.close().and_then(|ask| granted(ask, ruling));
    (ruling, Permit(release.map(|release| Box::new(Granted { shard: shard.clone(), release }))))
}

/// What has to be given back after this ruling.
fn granted(ask: Ask, ruling: Ruling) -> Option<Release> {
    match (ruling, ask) {
        (Ruling::Admitted, Ask::Route { route, client, .. }) => Some(Release::Route { route, client }),
        (Ruling::Placed(backend), Ask::Backend { .. }) => Some(Release::Backend(backend)),
        (Ruling::Admitted | Ruling::Placed(_) | Ruling::Denied(_) | Ruling::Crowded, _) => None,
    }
}

/// A question that somebody waits for.
struct Question<'s> {
    shard: &'s Shard,
    ticket: Ticket,
}

impl<'s> Question<'s> {
    fn put(shard: &'s Shard, ask: Ask) -> Self {
        let desk = &shard.desk;
        desk.last.set(desk.last.get() + 1);
        let ticket = Ticket { shard: shard.id, number: desk.last.get() };
        let message = ToControl::Ask(ticket, Box::new(ask.clone()));
        // A control plane that takes no question cannot grant anything.
        let ruling = shard.control.send(message).is_err().then_some(Ruling::Crowded);
        let waiting = Waiting { ask, task: Some(shard.driver.current()), ruling };
        desk.open.borrow_mut().insert(ticket, waiting);
        Self { shard, ticket }
    }

    fn ruling(&self) -> Option<Ruling> {
        self.shard.desk.open.borrow().get(&self.ticket)?.ruling
    }

    /// Its ruling has been taken.
    fn close(&self) -> Option<Ask> {
        self.shard.desk.open.borrow_mut().remove(&self.ticket).map(|waiting| waiting.ask)
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(ruling) = self.ruling() {
            let release = self.close().and_then(|ask| granted(ask, ruling));
            release.into_iter().for_each(|release| self.shard.release(release));
        } else if let Some(waiting) = self.shard.desk.open.borrow_mut().get_mut(&self.ticket) {
            waiting.task = None;
            self.shard.release(Release::Ask(self.ticket));
        }
    }
}

impl Shard {
    /// The control plane has ruled. What nobody waits for any more is given back.
    pub(super) fn handle_ruling(&self, ticket: Ticket, ruling: Ruling) {
        let mut open = self.desk.open.borrow_mut();
        let Some(waiting) = open.get_mut(&ticket) else { return };
        if let Some(task) = waiting.task {
            waiting.ruling = Some(ruling);
            return self.driver.wake(task);
        }
        let ask = open.remove(&ticket).map(|waiting| waiting.ask);
        drop(open);
        let release = ask.and_then(|ask| granted(ask, ruling));
        release.into_iter().for_each(|release| self.release(release));
    }

    /// Gives something back.
    pub(super) fn release(&self, release: Release) {
        self.account(ToControl::Release(release));
    }

    /// Has these sessions, which nobody was asked for, count like those that were granted.
    pub(super) fn adopt(&self, sessions: Vec<(BackendId, u32)>) {
        self.account(ToControl::Adopted(sessions));
    }

    /// Tells the control plane what must neither be lost nor overtaken; what finds its box full goes out with
    /// [`Self::send_unsent`].
    fn account(&self, message: ToControl) {
        self.desk.unsent.borrow_mut().push_back(message);
        self.send_unsent();
    }

    /// Sends what could not be sent before.
    pub(super) fn send_unsent(&self) {
        let mut unsent = self.desk.unsent.borrow_mut();
        while let Some(message) = unsent.pop_front() {
            if let Err(error) = self.control.give(message) {
                unsent.push_front(error.into_inner());
                break;
            }
        }
    }
}
