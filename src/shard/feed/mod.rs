//! A feed on this shard: its clients, and on the shard that owns it, its source.
//!
//! A shard with clients asks the owner for the feed's state and gets all that is published from then on; with its last
//! client gone it says so. What finds the other's box full waits here, in order.

mod fanout;
mod line;
mod session;
mod source;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

pub(super) use session::FeedSession;

use super::Shard;
use super::plan::{self, PoolState};
use crate::balance::ShardId;
use crate::config;
use crate::feed::{Batch, Interest, Key, Kind, Settings, State, SubscriberId, Wish};
use crate::runtime::mailbox::TrySendError;
use crate::runtime::{Driver, TaskId};
use crate::telemetry::FeedCounters;
use crate::wires::{FeedNote, FeedWord, SourceEvent, SourceNews, ToControl, ToShard};
use fanout::{Fanout, SeatId};
use source::Source;

/// Between two attempts to be heard by the owner.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Between two attempts to tell a shard something whose box is full.
const RETRY_EVERY: Duration = Duration::from_millis(1);

/// Notes that wait for a shard that does not read them; beyond, the oldest messages are left out, which its clients
/// then miss.
const NOTES_MAX: usize = 1024;

/// One feed. A reload keeps it, by its name, so that its clients stay.
pub(super) struct FeedState {
    pub(super) name: Arc<str>,
    feed: RefCell<Arc<config::Feed>>,
    pool: RefCell<Rc<PoolState>>,
    owner: ShardId,
    fanout: Rc<Fanout>,
    interest: RefCell<Interest>,
    /// How this shard stands with the owner.
    link: Cell<Link>,
    /// Where this shard is the owner.
    source: Option<Source>,
    /// What waits to be told, and whom.
    unsent: RefCell<VecDeque<(ShardId, FeedNote)>>,
    /// The task that does what the clock wants; `None` before it has run.
    keeper: Cell<Option<TaskId>>,
    /// Whether its tasks have been started.
    is_started: Cell<bool>,
    is_gone: Cell<bool>,
}

/// How a shard stands with the owner of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// It wants nothing.
    Detached,
    /// It has asked for the feed, and asks again then.
    Asked { again_at: Instant },
    /// It gets what is published.
    Attached,
}

impl FeedState {
    pub(super) fn new(
        shard: plan::Place,
        driver: &Driver,
        feed: &Arc<config::Feed>,
        pool: &Rc<PoolState>,
    ) -> Rc<Self> {
        let owner = owner(&feed.name, shard.shards);
        let fanout = Rc::new(Fanout::new(driver.clone(), &feed.settings));
        let source = (owner == shard.shard).then(|| Source::new(feed, pool, driver.now()));
        if source.is_some() {
            // What is published begins here.
            fanout.handle_state(State::default());
        }
        Rc::new(Self {
            name: feed.name.clone(),
            feed: RefCell::new(feed.clone()),
            pool: RefCell::new(pool.clone()),
            owner,
            fanout,
            interest: RefCell::default(),
            link: Cell::new(Link::Detached),
            source,
            unsent: RefCell::default(),
            keeper: Cell::new(None),
            is_started: Cell::new(false),
            is_gone: Cell::new(false),
        })
    }

    /// Goes on as `feed`, which has its name.
    pub(super) fn adopt(&self, driver: &Driver, feed: &Arc<config::Feed>, pool: &Rc<PoolState>) {
        self.pool.replace(pool.clone());
        let former = self.feed.replace(feed.clone());
        if former.settings != feed.settings {
            self.fanout.adopt(&feed.settings);
        }
        if let Some(source) = &self.source {
            source.adopt(&former, feed, pool, driver.now());
            self.wake(driver);
        }
    }

    /// It is in the configuration no more.
    pub(super) fn handle_gone(&self, driver: &Driver) {
        self.is_gone.set(true);
        driver.wake_all();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.feed.borrow().settings.clone()
    }

    /// Starts its tasks, once.
    pub(super) fn start(self: &Rc<Self>, shard: &Rc<Shard>) {
        if !self.is_started.replace(true) {
            shard.driver.spawn(self.fanout.clone().run());
            if self.source.is_some() {
                shard.sources.set(shard.sources.get() + 1);
            }
            shard.driver.spawn(keep(shard.clone(), self.clone()));
        }
    }

    /// What is to be reported.
    pub(super) fn counters(&self) -> FeedCounters {
        let source = self.source.as_ref().map(|source| Box::new(source.counters()));
        FeedCounters { source, ..self.fanout.counters() }
    }

    /// What another shard says.
    pub(super) fn handle_word(&self, shard: &Shard, word: FeedWord) {
        match (word, &self.source) {
            (FeedWord::State(state), _) if self.link.get() != Link::Detached => {
                self.link.set(Link::Attached);
                self.fanout.handle_state(state);
            }
            (FeedWord::Publish(batch), _) if self.link.get() == Link::Attached => {
                self.fanout.handle_batch(batch);
            }
            // The owner has not heard that nobody is here any more.
            (FeedWord::State(_) | FeedWord::Publish(_), _) if self.link.get() == Link::Detached => {
                self.tell(shard, self.owner, FeedWord::Detach(shard.id));
            }
            (FeedWord::Attach(client), Some(source)) => {
                source.attach(client);
                self.tell(shard, client, FeedWord::State(self.fanout.state()));
            }
            (FeedWord::Detach(client), Some(source)) => {
                source.detach(client);
                self.wake(&shard.driver);
            }
            (FeedWord::Topics { shard: client, wanted, unwanted }, Some(source)) => {
                source.handle_topics(&shard.driver, client, (&wanted, &unwanted));
            }
            (FeedWord::Forward(kind, payload), Some(source)) => {
                source.forward(&shard.driver, kind, &payload);
            }
            // Of an attachment that is over, or not heard of yet; or from before a reload.
            (
                FeedWord::State(_)
                | FeedWord::Publish(_)
                | FeedWord::Attach(_)
                | FeedWord::Detach(_)
                | FeedWord::Topics { .. }
                | FeedWord::Forward(..),
                _,
            ) => {}
        }
    }

    fn join(&self, shard: &Shard, seat: SeatId, wish: Wish) -> SubscriberId {
        let id = self.fanout.join(seat, wish);
        if self.source.is_none() && self.link.get() == Link::Detached {
            self.ask(shard);
        }
        id
    }

    /// A client goes, which may have joined.
    fn leave(&self, shard: &Shard, seat: SeatId, subscriber: Option<SubscriberId>) {
        self.fanout.vacate(seat, subscriber);
        if subscriber.is_none() || self.fanout.clients() > 0 {
            return;
        }
        if self.source.is_some() {
            return self.wake(&shard.driver);
        }
        self.link.set(Link::Detached);
        self.fanout.handle_detached();
        self.tell(shard, self.owner, FeedWord::Detach(shard.id));
    }

    /// A client of this shard wants these keys.
    fn want(&self, shard: &Shard, keys: &[Key]) {
        let wanted = self.interest.borrow_mut().add(keys);
        self.tell_topics(shard, wanted, Vec::new());
    }

    /// It does no more.
    fn unwant(&self, shard: &Shard, keys: &[Key]) {
        let unwanted = self.interest.borrow_mut().remove(keys);
        self.tell_topics(shard, Vec::new(), unwanted);
    }

    fn tell_topics(&self, shard: &Shard, wanted: Vec<Key>, unwanted: Vec<Key>) {
        if !wanted.is_empty() || !unwanted.is_empty() {
            self.tell(shard, self.owner, FeedWord::Topics { shard: shard.id, wanted, unwanted });
        }
    }

    /// A client says this to the source.
    fn forward(&self, shard: &Shard, kind: Kind, payload: Box<[u8]>) {
        self.tell(shard, self.owner, FeedWord::Forward(kind, payload));
    }

    /// The source has said this: it is published here and to every shard that has clients.
    fn publish(&self, shard: &Shard, batch: Batch) {
        let Some(source) = &self.source else { return };
        let batch = Arc::new(batch);
        for client in source.attached() {
            self.tell(shard, client, FeedWord::Publish(batch.clone()));
        }
        self.fanout.handle_batch(batch);
    }

    fn ask(&self, shard: &Shard) {
        self.link.set(Link::Asked { again_at: shard.now() + ASK_EVERY });
        self.tell(shard, self.owner, FeedWord::Attach(shard.id));
        self.wake(&shard.driver);
    }

    fn tell(&self, shard: &Shard, to: ShardId, word: FeedWord) {
        if to == shard.id {
            return self.handle_word(shard, word);
        }
        let mut unsent = self.unsent.borrow_mut();
        if unsent.len() >= NOTES_MAX {
            let oldest = unsent.iter().position(|(_, note)| matches!(note.word, FeedWord::Publish(_)));
            // Of messages alone there can be too many; what else there is says each thing once.
            drop(oldest.and_then(|oldest| unsent.remove(oldest)));
        }
        unsent.push_back((to, FeedNote { feed: self.name.clone(), word }));
        drop(unsent);
        if !self.send_unsent(shard) {
            // It tries again in a while.
            self.wake(&shard.driver);
        }
    }

    /// Sends what could not be sent before; whether all of it has left.
    fn send_unsent(&self, shard: &Shard) -> bool {
        let mut unsent = self.unsent.borrow_mut();
        let mut full = Vec::new();
        for (to, note) in std::mem::take(&mut *unsent) {
            // What is behind something that waits waits too.
            if full.contains(&to) {
                unsent.push_back((to, note));
                continue;
            }
            let Some(sender) = shard.mailboxes.get(to.index()) else { continue };
            match sender.give(ToShard::Feed(note)) {
                Err(TrySendError::Full(ToShard::Feed(note))) => {
                    full.push(to);
                    unsent.push_back((to, note));
                }
                // A shard that has ended, and its clients with it, is told nothing more.
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        unsent.is_empty()
    }

    /// Has told what happened to a source.
    fn tell_news(&self, shard: &Shard, source: usize, event: SourceEvent) {
        let pool = self.pool.borrow();
        let url = pool.pool.borrow().backends.get(source).map(|backend| backend.url.to_string());
        let news = SourceNews { feed: self.name.clone(), source: url.unwrap_or_default(), event };
        // What is lost has been counted.
        let _ = shard.control.send(ToControl::Source(Box::new(news)));
    }

    fn wake(&self, driver: &Driver) {
        if let Some(keeper) = self.keeper.get() {
            driver.wake(keeper);
        }
    }
}

/// Does what a feed has to do by the clock: asks again, sends again, and has its source dialled. Until the shard ends,
/// or the feed is gone and its source closed.
///
/// # Cancel safety
/// Dropped only when the shard ends.
async fn keep(shard: Rc<Shard>, feed: Rc<FeedState>) {
    feed.keeper.set(Some(shard.driver.current()));
    poll_fn(|_| {
        let now = shard.now();
        let retry_at = (!feed.send_unsent(&shard)).then(|| now + RETRY_EVERY);
        if matches!(feed.link.get(), Link::Asked { again_at } if again_at <= now) {
            feed.ask(&shard);
        }
        let ask_at = match feed.link.get() {
            Link::Asked { again_at } => Some(again_at),
            Link::Detached | Link::Attached => None,
        };
        let source_at = match &feed.source {
            None => None,
            Some(source) => match source.keep_time(&shard, &feed) {
                Poll::Ready(()) => return Poll::Ready(()),
                Poll::Pending => source.deadline(),
            },
        };
        shard.driver.set_deadline([retry_at, ask_at, source_at].into_iter().flatten().min());
        if feed.is_gone() && feed.source.is_none() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    feed.keeper.set(None);
    if feed.source.is_some() {
        shard.sources.set(shard.sources.get().saturating_sub(1));
        shard.stop_if_drained();
    }
}

/// The shard that owns a feed: the same at every start and reload, and another for another feed (FNV-1a).
fn owner(name: &str, shards: NonZeroU32) -> ShardId {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ShardId(u16::try_from(hash % shards.get()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::config::{Config, FeedId, ListenAddress, Pool, PoolId, Route, Target};
    use crate::runtime::mailbox::{Mailbox, mailbox};
    use crate::shard::pump::tests::shard_beside;

    /// The first of two shards, a feed that the other one owns, and the other's mailbox, which has room for one note.
    fn beside_the_owner(driver: &Driver) -> (Rc<Shard>, Rc<FeedState>, Mailbox<ToShard>) {
        let two = NonZeroU32::new(2).unwrap();
        let name = ["a", "b", "c", "d"].into_iter().find(|name| owner(name, two) == ShardId(1)).unwrap();
        let address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let sources = Pool::new(&config::Feed::pool_name(name), Vec::new());
        let mut config =
            Config::new(address, vec![Route::new("all", Target::Feed(FeedId(0)))], vec![sources]);
        let (name, settings) = (name.into(), Arc::default());
        config.feeds =
            vec![Arc::new(config::Feed { name, sources: PoolId(0), headers: Vec::new(), settings })];
        let ((own, _), (others, inbox)) = (mailbox(1).unwrap(), mailbox(1).unwrap());
        let shard = shard_beside(driver, config, vec![own, others]);
        let feed = shard.plan().feeds()[0].clone();
        (shard, feed, inbox)
    }

    #[test]
    fn what_a_shard_cannot_take_yet_waits_and_the_shard_goes_on_meanwhile() {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let driver = Driver::new().unwrap();
            let (shard, feed, inbox) = beside_the_owner(&driver);
            driver.spawn(keep(shard.clone(), feed.clone()));
            driver.spawn(async move {
                let pause = async || {
                    let at = shard.now() + RETRY_EVERY * 5;
                    let _ = shard.driver.until(at, std::future::pending::<()>()).await;
                };
                pause().await;
                for _ in 0..3 {
                    feed.tell(&shard, ShardId(1), FeedWord::Detach(ShardId(0)));
                }
                for waiting in [2, 1, 0] {
                    pause().await;
                    assert_eq!(feed.unsent.borrow().len(), waiting);
                    assert!(inbox.take().is_some());
                }
                shard.driver.stop();
            });
            driver.run();
            done.send(driver.panics()).unwrap();
        });
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(0), "the shard does nothing else");
    }

    #[test]
    fn nothing_waits_for_a_shard_that_has_ended() {
        let driver = Driver::new().unwrap();
        let (shard, feed, inbox) = beside_the_owner(&driver);
        drop(inbox);
        feed.tell(&shard, ShardId(1), FeedWord::Detach(ShardId(0)));
        assert!(feed.unsent.borrow().is_empty());
    }
}
