//! One connection with a source: dials it, performs the handshake, and reads it until either side hangs up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use super::FeedState;
use super::source::Source;
use crate::balance::BackendView;
use crate::config::BackendUrl;
use crate::feed::{Inlet, Kind, LineId};
use crate::health::Outcome;
use crate::protocol::frame::CloseCode;
use crate::protocol::handshake::{Ask, Deflate};
use crate::runtime::{Driver, Stream, TaskId};
use crate::session::Disposition;
use crate::shard::Shard;
use crate::shard::dial::{self, NotAsked, NotDialled};
use crate::shard::lane::Lane;
use crate::shard::permit::Permit;
use crate::shard::place;
use crate::shard::placement::Placement;
use crate::wires::SourceEvent;

/// Reads before other tasks get their turn.
const TURN_READS: usize = 4;

/// Bytes that may wait for the source to take them; beyond, what clients say to it is dropped.
const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// One connection with a source, as others see it.
pub(super) struct Line {
    id: LineId,
    /// Which source, by its place in the configuration.
    source: usize,
    /// `None` before it has run.
    task: Cell<Option<TaskId>>,
    /// What is to be said.
    outbox: RefCell<VecDeque<(Kind, Box<[u8]>)>>,
    outbox_bytes: Cell<usize>,
    hang_up: Cell<Option<(CloseCode, &'static str)>>,
}

impl Line {
    pub(super) fn new(id: LineId, source: usize) -> Self {
        Self {
            id,
            source,
            task: Cell::new(None),
            outbox: RefCell::default(),
            outbox_bytes: Cell::new(0),
            hang_up: Cell::new(None),
        }
    }

    /// Says this to the source, if that takes what it is told; whether it does.
    pub(super) fn say(&self, driver: &Driver, kind: Kind, payload: Box<[u8]>) -> bool {
        let bytes = self.outbox_bytes.get() + payload.len();
        if bytes > OUTBOX_BYTES_MAX {
            return false;
        }
        self.outbox_bytes.set(bytes);
        self.outbox.borrow_mut().push_back((kind, payload));
        self.wake(driver);
        true
    }

    /// Closes the connection in order.
    pub(super) fn hang_up(&self, driver: &Driver, code: CloseCode, reason: &'static str) {
        if self.hang_up.replace(Some((code, reason))).is_none() {
            self.wake(driver);
        }
    }

    fn wake(&self, driver: &Driver) {
        if let Some(task) = self.task.get() {
            driver.wake(task);
        }
    }
}

/// Takes a line off the feed's books in the end, whatever that is.
struct Registration {
    shard: Rc<Shard>,
    feed: Rc<FeedState>,
    line: Rc<Line>,
    why: &'static str,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let (shard, feed) = (&self.shard, &self.feed);
        let Some(source) = &feed.source else { return };
        source.forget(self.line.id);
        source.upstream().borrow_mut().handle_failed(self.line.id, self.why, shard.now());
        if self.line.hang_up.get().is_none() {
            let retry_at = source.deadline().unwrap_or_else(|| shard.now());
            let retry_in = retry_at.saturating_duration_since(shard.now());
            feed.tell_news(shard, self.line.source, SourceEvent::Lost { why: self.why.to_owned(), retry_in });
        }
        feed.wake(&shard.driver);
    }
}

/// Runs one connection, from the dial to its end.
///
/// # Cancel safety
/// Dropping it hangs up.
pub(super) async fn run(shard: Rc<Shard>, feed: Rc<FeedState>, line: Rc<Line>) {
    line.task.set(Some(shard.driver.current()));
    let (shard_, feed_, line_) = (shard.clone(), feed.clone(), line.clone());
    let mut registration = Registration { shard: shard_, feed: feed_, line: line_, why: "fault" };
    registration.why = match Box::pin(open(&shard, &feed, &line)).await {
        // It was given up meanwhile.
        Ok(_) if line.hang_up.get().is_some() => "unwanted",
        Ok(opened) => match Talk::begin(&shard, &feed, &line, opened) {
            Some(mut talk) => poll_fn(|_| talk.step()).await,
            None => "fault",
        },
        Err(why) => why,
    };
    shard.driver.set_deadline(None);
}

/// A connection that has its 101.
struct Opened {
    stream: Stream,
    deflate: Option<Deflate>,
    /// Bytes that came behind the 101.
    early: Vec<u8>,
    placement: Placement,
}

/// Connects to the source and performs the handshake, within the connect timeout; else why not, in a word.
///
/// # Cancel safety
/// Safe: dropping it hangs up.
async fn open(shard: &Rc<Shard>, feed: &Rc<FeedState>, line: &Line) -> Result<Opened, &'static str> {
    let pool = feed.pool.borrow().clone();
    let settings = pool.pool.borrow().clone();
    let Some(url) = settings.backends.get(line.source).map(|backend| &backend.url) else {
        return Err("gone");
    };
    // Of several addresses another one each time.
    let views = pool.views(line.source);
    let turn = usize::try_from(shard.random().nonce).unwrap_or_default().checked_rem(views.len());
    let Some(view) = turn.and_then(|turn| views.get(turn)) else { return Err("unresolved") };
    let mut placement = Placement::take(shard, &pool, view.id, Permit::NONE);
    let began = shard.now();
    let dialled = shard.driver.until(began + settings.connect, dial(shard, feed, (view, url))).await;
    let (outcome, result) = match dialled {
        Ok(Ok(asked)) => (Some(Outcome::Answered), Ok(asked)),
        Ok(Err(NotAsked::Refused)) => (Some(Outcome::Answered), Err("refused")),
        Ok(Err(NotAsked::Invalid)) => (Some(Outcome::Failed), Err("invalid answer")),
        Ok(Err(NotAsked::NotDialled(NotDialled::NoResource))) => (None, Err("no resource")),
        Ok(Err(NotAsked::NotDialled(NotDialled::Failed(outcome)))) => (Some(outcome), Err(outcome.name())),
        Err(_) => (Some(Outcome::TimedOut), Err(Outcome::TimedOut.name())),
    };
    if let Some(outcome) = outcome {
        place::note(shard, &pool, &placement, outcome);
    }
    let dial::Asked { stream, deflate, early, .. } = result?;
    let after = shard.now().saturating_duration_since(began);
    shard.count(|counters| counters.dial_latency.record(after));
    feed.tell_news(shard, line.source, SourceEvent::Opened { after });
    placement.open();
    Ok(Opened { stream, deflate, early, placement })
}

/// # Cancel safety
/// Safe: dropping it hangs up.
async fn dial(
    shard: &Shard,
    feed: &FeedState,
    (view, url): (&BackendView, &BackendUrl),
) -> Result<dial::Asked, NotAsked> {
    let config = feed.feed.borrow().clone();
    let pool = feed.pool.borrow().clone();
    let (nonces, headers) = ([shard.random().nonce, shard.random().nonce], &config.headers);
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.expose()));
    let ask = Ask::new(&url.host_header(), &url.base_path, headers, key(nonces), config.settings.compression);
    let stream = dial::connect(shard, &pool, (view, url), &[]).await.map_err(NotAsked::NotDialled)?;
    dial::ask(shard, view.id, stream, (ask.head(), &ask)).await
}

/// Sixteen bytes of chance (RFC 6455 §4.1 item 7).
fn key([first, second]: [u64; 2]) -> [u8; 16] {
    ((u128::from(first) << 64) | u128::from(second)).to_ne_bytes()
}

/// A source that is read.
struct Talk<'l> {
    shard: &'l Rc<Shard>,
    feed: &'l Rc<FeedState>,
    source: &'l Source,
    line: &'l Line,
    lane: Lane,
    inlet: Inlet,
    /// When what is left gets cut; set with the first Close.
    cut_at: Option<Instant>,
    /// Whether our Close has been sent, or need not be.
    has_hung_up: bool,
    _placement: Placement,
}

impl<'l> Talk<'l> {
    /// Says what a source is told first, and takes what has come already.
    fn begin(shard: &'l Rc<Shard>, feed: &'l Rc<FeedState>, line: &'l Line, opened: Opened) -> Option<Self> {
        let source = feed.source.as_ref()?;
        let (now, settings) = (shard.now(), feed.settings());
        let Opened { stream, deflate, early, placement } = opened;
        let mut talk = Self {
            inlet: Inlet::new(&settings, deflate, now),
            lane: Lane::new(stream),
            cut_at: None,
            has_hung_up: false,
            _placement: placement,
            shard,
            feed,
            source,
            line,
        };
        source.upstream().borrow_mut().handle_opened(line.id, now);
        feed.wake(&shard.driver);
        for words in settings.on_open.iter().chain(&source.restore()) {
            talk.say(Kind::Text, words.0.as_bytes());
        }
        talk.take(&early);
        Some(talk)
    }

    /// Goes on; ready with why it ended, in a word.
    fn step(&mut self) -> Poll<&'static str> {
        let now = self.shard.now();
        for _ in 0..TURN_READS {
            if self.lane.flush().is_err() {
                return Poll::Ready("vanished");
            }
            self.take_orders();
            self.keep_time(now);
            if let Some(why) = self.inlet.ended() {
                self.lane.settle(Disposition::Drop);
                let is_over = self.lane.is_closed() || self.cut_at.is_some_and(|at| at <= now);
                self.cut_at.get_or_insert(now + self.close_timeout());
                return if is_over { Poll::Ready(why.name()) } else { self.wait() };
            }
            if self.cut_at.is_some_and(|at| at <= now) {
                return Poll::Ready("closed");
            }
            // A source is read as fast as its messages can be handed out.
            if !self.feed.fanout.has_room() {
                return self.wait();
            }
            let shard = self.shard.clone();
            let mut scratch = shard.scratch.borrow_mut();
            match self.lane.read(&mut scratch) {
                Ok(None) => return self.wait(),
                Ok(Some(0)) | Err(_) => return Poll::Ready("vanished"),
                Ok(Some(len)) => self.take(scratch.get(..len).unwrap_or_default()),
            }
            // What it says waits in the feed's log, not for another connection.
            self.lane.adapt(true);
        }
        self.shard.driver.poll_again();
        Poll::Pending
    }

    /// What the feed wants of this connection.
    fn take_orders(&mut self) {
        while let Some((kind, payload)) = self.line.outbox.borrow_mut().pop_front() {
            self.line.outbox_bytes.set(self.line.outbox_bytes.get().saturating_sub(payload.len()));
            self.say(kind, &payload);
        }
        if let Some((code, reason)) = self.line.hang_up.get().filter(|_| !self.has_hung_up) {
            self.has_hung_up = true;
            self.cut_at = Some(self.shard.now() + self.close_timeout());
            let mut out = Vec::new();
            self.inlet.close((code, reason), self.shard.now(), self.shard.random(), &mut out);
            self.send(&out);
        }
    }

    fn keep_time(&mut self, now: Instant) {
        if self.inlet.deadline().is_some_and(|at| at <= now) {
            let mut out = Vec::new();
            self.inlet.handle_time(now, self.shard.random(), &mut out);
            self.send(&out);
        }
    }

    /// Publishes what these bytes say, and answers them.
    fn take(&mut self, bytes: &[u8]) {
        // Not the pass's: with it the time is measured that a message takes.
        let now = self.shard.driver.clock();
        let (mut said, mut out) = (Vec::new(), Vec::new());
        self.inlet.handle_bytes(bytes, now, &mut || self.shard.random(), (&mut said, &mut out));
        self.send(&out);
        let mut upstream = self.source.upstream().borrow_mut();
        said.into_iter().for_each(|said| upstream.handle_said(self.line.id, said, now));
        drop(upstream);
        // Publishes it, and sees to what it changes about which connections there are to be.
        self.feed.wake(&self.shard.driver);
    }

    fn say(&mut self, kind: Kind, payload: &[u8]) {
        let mut out = Vec::new();
        self.inlet.send(kind, payload, self.shard.random(), &mut out);
        self.send(&out);
    }

    fn send(&mut self, bytes: &[u8]) {
        // A connection that is gone is found to be so when it is read.
        let _ = self.lane.write(bytes);
    }

    fn wait(&self) -> Poll<&'static str> {
        let times = [self.cut_at, self.inlet.deadline()];
        self.shard.driver.set_deadline(times.into_iter().flatten().min());
        Poll::Pending
    }

    fn close_timeout(&self) -> std::time::Duration {
        self.shard.plan().config.timeouts.close
    }
}
