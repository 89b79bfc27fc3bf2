//! The shards of a feed, its source, and the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use selat::feed::{Batch, Key, Kind, Message, Seq, Settings, Slow, SlowPolicy, State, Wish};
use selat::json::Pointer;

use super::client::{Client, Reader};
use super::shard::{Shard, Why, Word};
use crate::seeds::Simulation;

const STEP: Duration = Duration::from_millis(10);

/// Of trouble; then everybody has time to catch up.
const STEPS: u32 = 400;

const EVICT_AFTER: Duration = Duration::from_secs(1);

/// Between shards, at most.
const DELAY_MAX: Duration = Duration::from_millis(80);

/// Bytes of one batch at most.
const BATCH_BYTES_MAX: u64 = 20 * 200;

/// The shard that owns the source.
const OWNER: usize = 0;

/// A feed, and all that is said about it.
pub(crate) struct World {
    rng: Rng,
    settings: Settings,
    start: Instant,
    elapsed: Duration,
    published: Vec<Arc<Message>>,
    shards: Vec<Shard>,
    /// Those that the owner publishes to.
    attached: Vec<bool>,
    /// The source says nothing until then.
    silent_until: Duration,
    clients: u32,
    /// What happened.
    trace: Vec<String>,
}

impl Simulation for World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let policies = [SlowPolicy::Conflate, SlowPolicy::DropOldest, SlowPolicy::Disconnect];
        let slow = Slow {
            policy: policies[rng.usize(..3)],
            buffer_bytes_max: rng.usize(200..8_000),
            evict_after: EVICT_AFTER,
        };
        let key = Some(Pointer::new("/key").unwrap());
        let settings = Settings { key, slow, history: rng.usize(..6), ..Settings::default() };
        let inbox_max = if rng.bool() { usize::MAX } else { 4 };
        let shards: Vec<_> = (0..rng.usize(1..5)).map(|_| Shard::new(&settings, inbox_max)).collect();
        #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
        let start = Instant::now();
        Self {
            trace: vec![format!("{slow:?}, history {}, {} shards", settings.history, shards.len())],
            rng,
            settings,
            start,
            elapsed: Duration::ZERO,
            published: Vec::new(),
            attached: vec![false; shards.len()],
            shards,
            silent_until: Duration::ZERO,
            clients: 0,
        }
    }

    fn run(&mut self) {
        self.shards[OWNER].handle_state(State::default());
        for _ in 0..STEPS {
            self.trouble();
            self.pass();
        }
        let last = self.elapsed + DELAY_MAX * 2;
        while self.elapsed < last {
            self.pass();
        }
        // A queue that has overflown shows with the next batch.
        self.publish();
        let end = self.elapsed + EVICT_AFTER + DELAY_MAX * 2 + STEP;
        while self.elapsed < end || !self.shards.iter().all(Shard::is_quiet) {
            assert!(self.elapsed < end + Duration::from_secs(20), "nobody comes to an end");
            self.pass();
            if self.elapsed >= end {
                self.unstick();
            }
        }
        self.judge();
    }

    fn trace(&self) -> &[String] {
        &self.trace
    }
}

impl World {
    /// From now on everybody reads. Whoever has not for long is gone, or there was nothing to read.
    fn unstick(&mut self) {
        for Shard { hub, clients, .. } in &mut self.shards {
            for client in clients {
                let has_read = !matches!(client.reader, Reader::Stuck { until } if until >= self.elapsed);
                assert!(
                    has_read || hub.evict_at(client.id).is_none(),
                    "client {} is still here",
                    client.name
                );
                client.reader = Reader::Quick;
            }
        }
    }

    fn note(&mut self, what: &str) {
        self.trace.push(format!("{:?} {what}", self.elapsed));
    }

    /// Something happens, perhaps.
    fn trouble(&mut self) {
        if self.elapsed >= self.silent_until && self.rng.u8(..3) == 0 {
            self.publish();
        }
        let index = self.rng.usize(..self.shards.len());
        match self.rng.u16(..200) {
            0 => self.silent_until = self.elapsed + Duration::from_millis(self.rng.u64(..500)),
            1 => self.reload(),
            2..12 => self.leave(index),
            12..32 => self.join(index),
            // A crowd leaves a shard, and a client is back at once.
            32 => {
                while !self.shards[index].clients.is_empty() {
                    self.leave(index);
                }
                self.join(index);
            }
            _ => {}
        }
    }

    /// The source says some messages at once.
    fn publish(&mut self) {
        let first = Seq::default().plus(self.published.len());
        let burst = if self.rng.u8(..8) == 0 { 20 } else { 3 };
        for _ in 0..self.rng.usize(1..=burst) {
            let key = char::from(self.rng.u8(b'a'..b'h'));
            let text = format!("{} {key} {}", self.published.len(), "x".repeat(self.rng.usize(..180)));
            let key = (key != 'a').then(|| Key::from(&*key.to_string()));
            self.published.push(Arc::new(Message::new(Kind::Text, text.as_bytes(), key, self.now())));
        }
        let from = usize::try_from(first.0).unwrap();
        let batch = Arc::new(Batch { first, messages: self.published[from..].to_vec() });
        self.note(&format!("publish {from}..{}", self.published.len()));
        for index in 1..self.shards.len() {
            if self.attached[index] {
                let due = self.due();
                self.shards[index].post(due, Word::Publish(Arc::clone(&batch)));
            }
        }
        self.hear(OWNER, Word::Publish(batch));
    }

    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    /// When a word arrives that is said now.
    fn due(&mut self) -> Duration {
        self.elapsed + DELAY_MAX.mul_f64(self.rng.f64())
    }

    fn reload(&mut self) {
        self.settings.slow.buffer_bytes_max = self.rng.usize(200..8_000);
        self.settings.history = self.rng.usize(..6);
        self.note(&format!("{:?}, history {}", self.settings.slow, self.settings.history));
        self.shards.iter_mut().for_each(|shard| shard.hub.adopt(&self.settings));
    }

    fn join(&mut self, index: usize) {
        let chosen = |rng: &mut Rng| {
            ["b", "c", "d", "e"][rng.usize(..4)..].iter().map(|key| Key::from(*key)).collect()
        };
        let keys = if self.rng.u8(..3) == 0 { Some(chosen(&mut self.rng)) } else { None };
        let wish = Wish { keys, snapshot: self.rng.bool(), history: self.settings.history };
        let reader = match self.rng.u8(..5) {
            0 => Reader::Slow(self.rng.usize(50..400)),
            1 => Reader::Stuck { until: self.elapsed + Duration::from_millis(self.rng.u64(..3_000)) },
            _ => Reader::Quick,
        };
        self.clients += 1;
        let name = self.clients;
        let id = self.shards[index].hub.subscribe(wish.clone());
        let mut client = Client::new(id, name, wish.clone(), reader);
        self.note(&format!("client {name} at shard {index}: {reader:?} {wish:?}"));
        let shard = &mut self.shards[index];
        if shard.is_following {
            client.begins_at = Some(shard.hub.next());
        }
        shard.clients.push(client);
        if index != OWNER && shard.clients.len() == 1 {
            let due = self.due();
            self.shards[OWNER].post(due, Word::Attach(index));
        }
    }

    fn leave(&mut self, index: usize) {
        if let Some(client) = self.shards[index].leave(&mut self.rng) {
            self.note(&format!("client {} leaves", client.name));
            self.has_left(index);
        }
    }

    /// One client fewer: without any, a shard follows no longer.
    fn has_left(&mut self, index: usize) {
        if index != OWNER && self.shards[index].clients.is_empty() {
            self.shards[index].hub.handle_detached();
            self.shards[index].is_following = false;
            let due = self.due();
            self.shards[OWNER].post(due, Word::Detach(index));
        }
    }

    /// A moment passes.
    fn pass(&mut self) {
        self.elapsed += STEP;
        for index in 0..self.shards.len() {
            while let Some(word) = self.shards[index].hear(self.elapsed) {
                self.hear(index, word);
            }
            for client in &mut self.shards[index].clients {
                client.read(self.elapsed, &mut self.rng);
            }
            self.fan_out(index);
            self.judge_memory(index);
        }
    }

    fn hear(&mut self, index: usize, word: Word) {
        match word {
            Word::Attach(shard) => {
                self.attached[shard] = true;
                let (due, state) = (self.due(), self.shards[OWNER].hub.state());
                self.shards[shard].post(due, Word::State(state));
            }
            Word::Detach(shard) => self.attached[shard] = false,
            Word::State(_) | Word::Publish(_) if index != OWNER && self.shards[index].clients.is_empty() => {}
            Word::State(state) => {
                self.note(&format!("shard {index} has the state before {:?}", state.next));
                self.shards[index].handle_state(state);
                self.fan_out(index);
            }
            Word::Publish(batch) => {
                self.shards[index].handle_batch(&batch);
                self.fan_out(index);
            }
        }
    }

    fn fan_out(&mut self, index: usize) {
        for (client, why) in self.shards[index].fan_out(self.start + self.elapsed) {
            self.note(&format!("client {} is sent away: {why:?}", client.name));
            self.judge_eviction(&client, why);
            self.has_left(index);
        }
    }

    fn judge_eviction(&self, client: &Client, why: Why) {
        let is_deserved = match why {
            Why::Buffer => self.settings.slow.policy == SlowPolicy::Disconnect && client.was_full,
            Why::Time => matches!(client.reader, Reader::Stuck { .. }),
        };
        assert!(is_deserved, "client {} did not deserve {why:?}", client.name);
    }

    fn judge_memory(&self, index: usize) {
        let held = self.shards[index].hub.held();
        let longest = u64::try_from(self.settings.slow.buffer_bytes_max.max(8_000)).unwrap();
        assert!(held.bytes <= longest + BATCH_BYTES_MAX && held.keys <= 7, "{held:?}");
    }

    /// Whether everybody got what was due, now that nothing happens any more.
    fn judge(&self) {
        let mut latest = BTreeMap::new();
        for (seq, message) in (0..).zip(&self.published) {
            if let Some(key) = &message.key {
                latest.insert(key.clone(), seq);
            }
        }
        for shard in &self.shards {
            for client in &shard.clients {
                self.judge_client(shard, client, &latest);
            }
        }
    }

    fn judge_client(&self, shard: &Shard, client: &Client, latest: &BTreeMap<Key, u64>) {
        let begins_at = client.begins_at.expect("it has begun").0;
        let policy = self.settings.slow.policy;
        let who = format!("client {}", client.name);
        for (seq, message) in (0..).zip(&self.published) {
            let is_wanted = client.wants(message);
            assert!(is_wanted || !client.got.contains(&seq), "{who} did not want {seq}");
            if !is_wanted || client.got.contains(&seq) || shard.lost.contains(&seq) {
                continue;
            }
            let newest = message.key.as_ref().map(|key| latest[key]);
            let is_superseded = newest.is_some_and(|newest| newest > seq && client.got.contains(&newest));
            let may_miss = match (seq >= begins_at, policy) {
                (false, _) => !client.wish.snapshot || newest.is_none_or(|newest| newest > seq),
                (true, SlowPolicy::Disconnect) => false,
                (true, SlowPolicy::DropOldest) => client.was_full,
                (true, SlowPolicy::Conflate) => client.was_full && (message.key.is_none() || is_superseded),
            };
            let is_excused = newest.is_some_and(|newest| shard.lost.contains(&newest));
            assert!(may_miss || is_excused && client.was_full, "{who} has missed {seq}");
        }
    }
}
