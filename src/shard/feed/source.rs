//! The source of a feed, on the shard that owns it: which connections it has, and who hears of what they bring.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::FeedState;
use super::line::{self, Line};
use crate::balance::ShardId;
use crate::config::{self, BackendUrl};
use crate::feed::{Batch, Clock, Command, Key, Kind, LineId, Settings, Topics, Upstream, Words};
use crate::protocol::frame::CloseCode;
use crate::runtime::{Driver, unix_now};
use crate::shard::Shard;
use crate::shard::plan::PoolState;
use crate::telemetry::{SourceCounters, SourceState};
use crate::wires::SourceEvent;

/// The source of a feed.
pub(super) struct Source {
    upstream: RefCell<Upstream>,
    /// Where it is dialled.
    urls: RefCell<Vec<BackendUrl>>,
    lines: RefCell<BTreeMap<LineId, Rc<Line>>>,
    topics: RefCell<Option<Topics>>,
    /// Other shards that have clients.
    attached: RefCell<Vec<ShardId>>,
    /// Gaps that have been told.
    gaps_told: Cell<u64>,
    /// Whether it has been told that the source is not dialled any more.
    is_stop_told: Cell<bool>,
}

impl Source {
    pub(super) fn new(feed: &Arc<config::Feed>, pool: &PoolState, now: Instant) -> Self {
        let urls = urls(pool);
        Self {
            upstream: RefCell::new(Upstream::new(feed.settings.clone(), urls.len(), now)),
            urls: RefCell::new(urls),
            lines: RefCell::default(),
            topics: RefCell::new(new_topics(&feed.settings)),
            attached: RefCell::default(),
            gaps_told: Cell::new(0),
            is_stop_told: Cell::new(false),
        }
    }
}

/// Where a feed's sources are.
fn urls(pool: &PoolState) -> Vec<BackendUrl> {
    pool.pool.borrow().backends.iter().map(|backend| backend.url.clone()).collect()
}

fn new_topics(settings: &Settings) -> Option<Topics> {
    let subscriptions = settings.subscriptions.clone()?;
    Some(Topics::new(subscriptions, settings.keys_max))
}

impl Source {
    /// Goes on with a new configuration. Where it is dialled, or what it is told, has changed: it is dialled anew.
    pub(super) fn adopt(&self, former: &config::Feed, feed: &config::Feed, pool: &PoolState, now: Instant) {
        let urls = urls(pool);
        let sources = urls.len();
        let has_moved = self.urls.borrow().as_slice() != urls;
        self.urls.replace(urls);
        if !has_moved && former.settings.is_like_for_sources(&feed.settings) && former.headers == feed.headers
        {
            return;
        }
        self.adopt_topics(&feed.settings);
        self.upstream.borrow_mut().adopt(feed.settings.clone(), sources, now);
    }

    /// Goes on with what clients want, said in other words.
    fn adopt_topics(&self, settings: &Settings) {
        let mut topics = self.topics.borrow_mut();
        match (&mut *topics, &settings.subscriptions) {
            (Some(topics), Some(subscriptions)) => topics.adopt(subscriptions.clone(), settings.keys_max),
            (slot, _) => *slot = new_topics(settings),
        }
    }

    pub(super) fn counters(&self) -> SourceCounters {
        let topics_now = self.topics.borrow().as_ref().map_or(0, Topics::asked);
        let topics_now = u64::try_from(topics_now).unwrap_or(u64::MAX);
        SourceCounters { topics_now, ..self.upstream.borrow().counters().clone() }
    }

    pub(super) fn attached(&self) -> Vec<ShardId> {
        self.attached.borrow().clone()
    }

    pub(super) fn attach(&self, shard: ShardId) {
        self.detach(shard);
        self.attached.borrow_mut().push(shard);
    }

    pub(super) fn detach(&self, shard: ShardId) {
        self.attached.borrow_mut().retain(|attached| *attached != shard);
    }

    /// Clients of this shard want keys, or want them no more.
    pub(super) fn handle_topics(
        &self,
        driver: &Driver,
        shard: ShardId,
        (wanted, unwanted): (&[Key], &[Key]),
    ) {
        let mut topics = self.topics.borrow_mut();
        for words in topics.iter_mut().flat_map(|topics| topics.handle(shard.0, wanted, unwanted)) {
            for line in self.lines.borrow().values() {
                if !line.say(driver, Kind::Text, words.0.as_bytes().into()) {
                    // The next connection is told of everything that is wanted then.
                    line.hang_up(driver, CloseCode::GOING_AWAY, "takes nothing");
                }
            }
        }
    }

    /// A client says this to the source, on every connection with it.
    pub(super) fn forward(&self, driver: &Driver, kind: Kind, payload: &[u8]) {
        let lines = self.lines.borrow();
        let told: Vec<_> = lines.values().map(|line| line.say(driver, kind, payload.into())).collect();
        if !told.contains(&true) {
            self.upstream.borrow_mut().counters_mut().unsaid += 1;
        }
    }

    /// Publishes what there is to be, in pieces that no client's buffer is too small for.
    pub(super) fn publish(&self, shard: &Shard, feed: &FeedState) {
        let piece_bytes_max = feed.settings().slow.buffer_bytes_max / 4;
        let Some(Batch { mut first, messages }) = self.upstream.borrow_mut().poll_batch() else { return };
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for message in messages {
            if bytes + message.image.len() > piece_bytes_max && !piece.is_empty() {
                let messages = std::mem::take(&mut piece);
                let next = first.plus(messages.len());
                feed.publish(shard, Batch { first, messages });
                (first, bytes) = (next, 0);
            }
            bytes += message.image.len();
            piece.push(message);
        }
        if !piece.is_empty() {
            feed.publish(shard, Batch { first, messages: piece });
        }
    }

    /// Has told what came of what the source said.
    fn tell_news(&self, shard: &Shard, feed: &FeedState) {
        let upstream = self.upstream.borrow();
        let SourceCounters { state, gaps, current, .. } = upstream.counters();
        if self.gaps_told.replace(*gaps) != *gaps {
            feed.tell_news(shard, *current, SourceEvent::Gap);
        }
        let words = match state {
            SourceState::Connecting | SourceState::Up => None,
            SourceState::Stopped { words } => Some(words.clone()),
        };
        if self.is_stop_told.replace(words.is_some()) != words.is_some()
            && let Some(words) = words
        {
            feed.tell_news(shard, *current, SourceEvent::Stopped { words });
        }
    }

    pub(super) fn upstream(&self) -> &RefCell<Upstream> {
        &self.upstream
    }

    /// What a connection is told that has just opened, about the keys that clients want.
    pub(super) fn restore(&self) -> Vec<Words> {
        self.topics.borrow().as_ref().map(Topics::restore).unwrap_or_default()
    }

    pub(super) fn forget(&self, line: LineId) {
        self.lines.borrow_mut().remove(&line);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.upstream.borrow().deadline()
    }

    /// Dials and hangs up as is due; ready once it is closed for good, behind the last client.
    pub(super) fn keep_time(&self, shard: &Rc<Shard>, feed: &Rc<FeedState>) -> Poll<()> {
        let has_clients = feed.fanout.clients() > 0 || !self.attached.borrow().is_empty();
        if feed.is_gone() || (shard.is_draining() && !has_clients) {
            let lines = self.lines.borrow();
            lines.values().for_each(|line| line.hang_up(&shard.driver, CloseCode::GOING_AWAY, "going away"));
            return if lines.is_empty() { Poll::Ready(()) } else { Poll::Pending };
        }
        loop {
            let clock = Clock { now: shard.now(), unix_now: Duration::from_secs(unix_now()) };
            let command = self.upstream.borrow_mut().poll(clock, shard.random().nonce);
            match command {
                None => {
                    self.publish(shard, feed);
                    self.tell_news(shard, feed);
                    return Poll::Pending;
                }
                Some(Command::Dial { line: id, source }) => {
                    let line = Rc::new(Line::new(id, source));
                    self.lines.borrow_mut().insert(id, line.clone());
                    shard.driver.spawn(line::run(shard.clone(), feed.clone(), line));
                }
                Some(Command::HangUp { line }) => {
                    if let Some(line) = self.lines.borrow().get(&line) {
                        line.hang_up(&shard.driver, CloseCode::NORMAL, "");
                    }
                }
            }
        }
    }
}
