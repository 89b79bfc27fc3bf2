//! One shard's loop: an edge-triggered epoll set, the tasks that wait on it, and their deadlines.
//!
//! A task is a future that waits on nothing but this driver's sources and its own deadline. So the driver needs no
//! wakers: a source belongs to the task that registered it, and whatever happens to it gets that task polled, in
//! the same pass. When nothing is left to poll the driver parks in `epoll_wait` until the next deadline.
//! A spurious poll is harmless to every task, so keys may be reused without generations.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use slab::Slab;

use super::socket::Readiness;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 512;

/// A deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// Why [`Driver::run`] returned.
#[derive(Debug)]
pub enum Stop {
    /// [`Driver::stop`] was called.
    Asked,
    /// The kernel refused to wait.
    Failed(io::Error),
}

/// A handle on one shard's driver. Never leaves its thread.
#[derive(Clone)]
pub struct Driver(Rc<Inner>);

type TaskKey = usize;

/// A task, to be woken by another one of its shard. It may have ended: then waking it wakes nobody, or one that does
/// not mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId(TaskKey);

/// A source in a driver's epoll set. Four bytes, for every connection has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceId(u32);

impl SourceId {
    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

struct Inner {
    epoll: OwnedFd,
    sources: RefCell<Slab<Registration>>,
    tasks: RefCell<Slab<Task>>,
    /// Tasks to poll before the driver looks at the kernel again; `Task::is_queued` keeps each to one entry.
    queue: RefCell<VecDeque<TaskKey>>,
    /// Tasks that have more to do, but let the kernel and the others have their turn first.
    later: RefCell<Vec<TaskKey>>,
    deadlines: RefCell<BTreeSet<(Instant, TaskKey)>>,
    /// The task being polled, and what is to go on in its place.
    current: Cell<TaskKey>,
    successor: Cell<Option<Boxed>>,
    now: Cell<Instant>,
    panics: Cell<u64>,
    is_stopping: Cell<bool>,
}

struct Registration {
    readiness: Readiness,
    owner: TaskKey,
}

struct Task {
    /// Absent while it is being polled.
    future: Option<Boxed>,
    /// The last one that was set, also when it has passed.
    deadline: Option<Instant>,
    is_queued: bool,
}

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

impl Driver {
    /// A driver with an empty epoll set.
    ///
    /// # Errors
    /// When the kernel has no descriptor to spare.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Rc::new(Inner {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sources: RefCell::new(Slab::new()),
            tasks: RefCell::new(Slab::new()),
            queue: RefCell::new(VecDeque::new()),
            later: RefCell::new(Vec::new()),
            deadlines: RefCell::new(BTreeSet::new()),
            current: Cell::new(TaskKey::MAX),
            successor: Cell::new(None),
            now: Cell::new(clock()),
            panics: Cell::new(0),
            is_stopping: Cell::new(false),
        })))
    }

    /// Runs until [`Self::stop`], then drops every task.
    pub fn run(&self) -> Stop {
        let stop = self.passes();
        let tasks = mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
        stop
    }

    /// Ends [`Self::run`] after the pass in progress.
    pub fn stop(&self) {
        self.0.is_stopping.set(true);
    }

    /// The time of the pass in progress. Coarse by design: one look at the clock a pass.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// A fresh look at the clock, for measurements: some tens of nanoseconds.
    #[must_use]
    pub fn clock(&self) -> Instant {
        clock()
    }

    /// Tasks that ended by a panic.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.panics.get()
    }

    /// Adds a task and polls it in the pass in progress.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let task = Task { future: Some(Box::pin(future)), deadline: None, is_queued: false };
        let key = self.0.tasks.borrow_mut().insert(task);
        self.enqueue(key);
    }

    /// Has `future` go on in the place of the calling task, which is to end with this poll: under its name, with its
    /// sources. So a task need not carry for all its life what it takes to begin.
    pub fn go_on(&self, future: impl Future<Output = ()> + 'static) {
        self.0.successor.set(Some(Box::pin(future)));
    }

    /// Polls every task in the pass in progress, for news that concern them all.
    pub fn wake_all(&self) {
        let keys: Vec<_> = self.0.tasks.borrow().iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.enqueue(key));
    }

    /// The calling task.
    #[must_use]
    pub fn current(&self) -> TaskId {
        TaskId(self.0.current.get())
    }

    /// Polls a task in the pass in progress, for news that concern it.
    pub fn wake(&self, task: TaskId) {
        self.enqueue(task.0);
    }

    /// Polls the calling task again in the next pass: for tasks that have more to do but let others go first.
    pub fn poll_again(&self) {
        self.0.later.borrow_mut().push(self.0.current.get());
    }

    /// Polls the calling task at `at`, in place of its deadline so far.
    pub fn set_deadline(&self, at: Option<Instant>) {
        let key = self.0.current.get();
        let mut tasks = self.0.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(key) else { return };
        let mut deadlines = self.0.deadlines.borrow_mut();
        if let Some(former) = mem::replace(&mut task.deadline, at) {
            deadlines.remove(&(former, key));
        }
        if let Some(at) = at {
            deadlines.insert((at, key));
        }
    }

    /// Polls the calling task by `at`. An earlier deadline stays: deadlines of sessions move back with traffic, and being
    /// early costs less than setting it anew with every message.
    pub fn set_deadline_by(&self, at: Instant) {
        if self.deadline().is_none_or(|former| at < former) {
            self.set_deadline(Some(at));
        }
    }

    /// The calling task's deadline, also when it has passed, until another one is set.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.tasks.borrow().get(self.0.current.get())?.deadline
    }

    /// Waits for `future` until `at`. Uses the calling task's only deadline, so such waits do not nest.
    ///
    /// # Errors
    /// [`Elapsed`] when `at` has come first.
    ///
    /// # Cancel safety
    /// As that of `future`.
    pub async fn until<T>(&self, at: Instant, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut future = pin!(future);
        self.set_deadline(Some(at));
        let result = poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending if self.now() >= at => Poll::Ready(Err(Elapsed)),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.set_deadline(None);
        result
    }

    /// Puts `fd` into the epoll set, owned by the calling task.
    pub(super) fn register(&self, fd: impl AsFd, flags: epoll::EventFlags) -> io::Result<SourceId> {
        let registration = Registration { readiness: Readiness::default(), owner: self.0.current.get() };
        let mut sources = self.0.sources.borrow_mut();
        let key = sources.insert(registration);
        let id =
            SourceId(u32::try_from(key).expect("a process has fewer descriptors than there are numbers"));
        let data = epoll::EventData::new_u64(id.0.into());
        if let Err(error) = epoll::add(&self.0.epoll, fd, data, flags) {
            sources.remove(key);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Has a source wake the calling task from now on, and no other.
    pub(super) fn take_over(&self, source: SourceId) {
        if let Some(source) = self.0.sources.borrow_mut().get_mut(source.index()) {
            source.owner = self.0.current.get();
        }
    }

    /// Takes `fd` out of the epoll set.
    pub(super) fn unwatch(&self, fd: impl AsFd) {
        // It fails only if it is out already.
        let _ = epoll::delete(&self.0.epoll, fd);
    }

    /// Forgets a source. Closing its descriptor takes it out of the epoll set.
    pub(super) fn forget(&self, source: SourceId) {
        self.0.sources.borrow_mut().try_remove(source.index());
    }

    pub(super) fn readiness(&self, source: SourceId) -> Readiness {
        self.0.sources.borrow().get(source.index()).map_or(Readiness::default(), |source| source.readiness)
    }

    pub(super) fn set_readiness(&self, source: SourceId, readiness: Readiness) {
        if let Some(source) = self.0.sources.borrow_mut().get_mut(source.index()) {
            source.readiness = readiness;
        }
    }

    fn passes(&self) -> Stop {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            while let Some(key) = self.next_task() {
                self.poll_task(key);
            }
            if self.0.is_stopping.get() {
                return Stop::Asked;
            }
            let timeout = self.timeout();
            match epoll::wait(&self.0.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Stop::Failed(error.into()),
            }
            self.0.now.set(clock());
            events.drain(..).for_each(|event| self.mark(event));
            self.expire();
            self.0.later.take().into_iter().for_each(|key| self.enqueue(key));
        }
    }

    fn next_task(&self) -> Option<TaskKey> {
        self.0.queue.borrow_mut().pop_front()
    }

    /// How long to park: not at all with tasks that have more to do, else to the next deadline, rounded up to the
    /// milliseconds of `epoll_wait` so as not to wake before it.
    fn timeout(&self) -> Option<Timespec> {
        let wait = if self.0.later.borrow().is_empty() {
            let (next, _) = *self.0.deadlines.borrow().first()?;
            next.saturating_duration_since(clock())
        } else {
            Duration::ZERO
        };
        let millis = wait.as_nanos().div_ceil(1_000_000);
        let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        Timespec::try_from(wait).ok()
    }

    fn mark(&self, event: epoll::Event) {
        // Packed in the kernel's layout, so copied out by value.
        let (flags, data) = (event.flags, event.data);
        let Ok(key) = usize::try_from(data.u64()) else { return };
        let owner = self.0.sources.borrow_mut().get_mut(key).map(|source| {
            source.readiness = source.readiness.with(flags);
            source.owner
        });
        if let Some(owner) = owner {
            self.enqueue(owner);
        }
    }

    fn expire(&self) {
        let now = self.now();
        loop {
            let next = self.0.deadlines.borrow().first().copied();
            let Some((at, key)) = next.filter(|(at, _)| *at <= now) else { return };
            self.0.deadlines.borrow_mut().remove(&(at, key));
            self.enqueue(key);
        }
    }

    fn enqueue(&self, key: TaskKey) {
        let mut tasks = self.0.tasks.borrow_mut();
        if let Some(task) = tasks.get_mut(key)
            && !mem::replace(&mut task.is_queued, true)
        {
            self.0.queue.borrow_mut().push_back(key);
        }
    }

    fn poll_task(&self, key: TaskKey) {
        let future = self.0.tasks.borrow_mut().get_mut(key).and_then(|task| {
            task.is_queued = false;
            task.future.take()
        });
        let Some(mut future) = future else { return };
        self.0.current.set(key);
        let mut context = Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        if let Ok(Poll::Pending) = polled {
            return self.put(key, future);
        }
        // Ended, or panicked: whatever it held goes with it; the shard goes on.
        self.0.panics.set(self.0.panics.get() + u64::from(polled.is_err()));
        self.set_deadline(None);
        match self.0.successor.take().filter(|_| polled.is_ok()) {
            Some(successor) => {
                self.put(key, successor);
                self.enqueue(key);
            }
            None => drop(self.0.tasks.borrow_mut().try_remove(key)),
        }
        // Last, for its destructors may come back to the driver; and they may panic too.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        self.0.panics.set(self.0.panics.get() + u64::from(dropped.is_err()));
    }

    fn put(&self, key: TaskKey, future: Boxed) {
        if let Some(task) = self.0.tasks.borrow_mut().get_mut(key) {
            task.future = Some(future);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one home of a shard's clock")]
fn clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_task_and_no_other() {
        let driver = Driver::new().unwrap();
        let survived = Rc::new(Cell::new(false));
        driver.spawn(async { panic!("planted") });
        let (handle, flag) = (driver.clone(), survived.clone());
        driver.spawn(async move {
            let never = std::future::pending::<()>();
            let soon = handle.now() + Duration::from_millis(5);
            flag.set(handle.until(soon, never).await == Err(Elapsed));
            handle.stop();
        });
        assert!(matches!(driver.run(), Stop::Asked));
        assert!(survived.get());
        assert_eq!(driver.panics(), 1);
    }

    #[test]
    fn another_future_goes_on_in_the_place_of_one_that_ends() {
        let driver = Driver::new().unwrap();
        let (handle, first) = (driver.clone(), Rc::new(Cell::new(None)));
        driver.spawn(async move {
            first.set(Some(handle.current()));
            handle.set_deadline(Some(handle.now()));
            let driver = handle.clone();
            handle.go_on(async move {
                assert_eq!(first.get(), Some(driver.current()));
                assert_eq!(driver.deadline(), None);
                driver.stop();
            });
        });
        assert!(matches!(driver.run(), Stop::Asked));
        assert_eq!(driver.panics(), 0);
    }

    #[test]
    fn nothing_goes_on_in_the_place_of_one_that_panics() {
        let driver = Driver::new().unwrap();
        let (handle, has_gone_on) = (driver.clone(), Rc::new(Cell::new(false)));
        let flag = has_gone_on.clone();
        driver.spawn(async move {
            handle.go_on(async move { flag.set(true) });
            panic!("planted")
        });
        let handle = driver.clone();
        driver.spawn(async move {
            let at = handle.now() + Duration::from_millis(5);
            assert_eq!(handle.until(at, std::future::pending::<()>()).await, Err(Elapsed));
            handle.stop();
        });
        driver.run();
        assert_eq!((driver.panics(), has_gone_on.get()), (1, false));
    }

    #[test]
    fn a_deadline_is_only_ever_moved_forward_unless_it_is_set_anew() {
        let driver = Driver::new().unwrap();
        let handle = driver.clone();
        driver.spawn(poll_fn(move |_| {
            if handle.deadline().is_some_and(|at| at <= handle.now()) {
                handle.stop();
            }
            let at = handle.now() + Duration::from_millis(5);
            handle.set_deadline_by(at);
            handle.set_deadline_by(at + Duration::from_secs(3600));
            Poll::Pending
        }));
        assert!(matches!(driver.run(), Stop::Asked));
    }

    #[test]
    fn a_task_is_woken_by_another() {
        let driver = Driver::new().unwrap();
        let (news, waiting) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(None)));
        let (handle, heard, place) = (driver.clone(), news.clone(), waiting.clone());
        driver.spawn(poll_fn(move |_| {
            place.set(Some(handle.current()));
            if heard.get() {
                handle.stop();
            }
            Poll::Pending
        }));
        let handle = driver.clone();
        driver.spawn(async move {
            news.set(true);
            handle.wake(waiting.get().unwrap());
        });
        assert!(matches!(driver.run(), Stop::Asked));
    }

    #[test]
    fn deadlines_come_in_their_order_and_not_before_time() {
        let driver = Driver::new().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        for millis in [30, 10, 20] {
            let (handle, order) = (driver.clone(), order.clone());
            driver.spawn(async move {
                let at = handle.now() + Duration::from_millis(millis);
                assert_eq!(handle.until(at, std::future::pending::<()>()).await, Err(Elapsed));
                assert!(handle.now() >= at);
                order.borrow_mut().push(millis);
                if millis == 30 {
                    handle.stop();
                }
            });
        }
        driver.run();
        assert_eq!(*order.borrow(), [10, 20, 30]);
    }

    #[test]
    fn a_task_that_polls_itself_again_starves_nobody() {
        let driver = Driver::new().unwrap();
        let busy = driver.clone();
        driver.spawn(poll_fn(move |_| {
            busy.poll_again();
            Poll::Pending
        }));
        let handle = driver.clone();
        driver.spawn(async move {
            let at = handle.now() + Duration::from_millis(5);
            assert_eq!(handle.until(at, std::future::pending::<()>()).await, Err(Elapsed));
            handle.stop();
        });
        assert!(matches!(driver.run(), Stop::Asked));
    }
}
