//! A hub gives every client exactly what a plain model of it says: a list of all messages ever, searched each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use selat::feed::{
    Batch, Hub, Key, Kind, Message, Offer, Seq, Settings, Slow, SlowPolicy, State, SubscriberId, Wish,
};
use selat::json::Pointer;
use selat::telemetry::Traffic;

/// What messages are about.
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What happens to a hub.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// The source speaks: messages with these keys and sizes, and whether this shard is told.
    Publish {
        messages: Vec<(Option<usize>, usize)>,
        is_lost: bool,
    },
    /// The last messages come again, with one more behind them.
    Repeat {
        messages: usize,
    },
    Join(Wish),
    Leave(Index),
    Choose(Index, Vec<Key>),
    /// A client takes so many 255ths of what it is offered.
    Take(Index, u8),
    /// A client takes everything.
    Drain(Index),
    Detach,
    Attach,
    Reload(Box<Settings>),
}

pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let policy = [SlowPolicy::Conflate, SlowPolicy::DropOldest, SlowPolicy::Disconnect];
    let bytes = prop_oneof![6 => 0usize..400, 1 => 0usize..300_000];
    let slow = (prop::sample::select(policy.to_vec()), bytes).prop_map(|(policy, buffer_bytes_max)| Slow {
        policy,
        buffer_bytes_max,
        ..Slow::default()
    });
    let key = prop::sample::select(vec![None, Some("/a"), Some("/a"), Some("/a"), Some("/b")]);
    (slow, key, 0usize..7, 0usize..5).prop_map(|(slow, key, keys_max, history)| Settings {
        slow,
        key: key.map(|key| Pointer::new(key).unwrap()),
        keys_max,
        history,
        ..Settings::default()
    })
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    subsequence(KEYS.to_vec(), 0..=4).prop_map(|keys| keys.into_iter().map(Key::from).collect())
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![12 => 4usize..60, 2 => 120usize..140, 1 => 60_000usize..70_000];
    let messages = vec((option::weighted(0.8, 0..KEYS.len()), size), 1..5);
    let wish = (option::weighted(0.4, keys()), any::<bool>(), 0usize..5)
        .prop_map(|(keys, snapshot, history)| Wish { keys, snapshot, history });
    prop_oneof![
        30 => (messages, prop::bool::weighted(0.04))
            .prop_map(|(messages, is_lost)| Op::Publish { messages, is_lost }),
        1 => (0usize..5).prop_map(|messages| Op::Repeat { messages }),
        8 => wish.prop_map(Op::Join),
        2 => any::<Index>().prop_map(Op::Leave),
        3 => (any::<Index>(), keys()).prop_map(|(index, keys)| Op::Choose(index, keys)),
        12 => (any::<Index>(), any::<u8>()).prop_map(|(index, part)| Op::Take(index, part)),
        12 => any::<Index>().prop_map(Op::Drain),
        1 => Just(Op::Detach),
        2 => Just(Op::Attach),
        1 => settings().prop_map(|settings| Op::Reload(Box::new(settings))),
    ]
}

fn place(index: usize) -> Seq {
    Seq::default().plus(index)
}

fn index(place: Seq) -> usize {
    usize::try_from(place.0).unwrap()
}

/// What a client is owed of what is older than its place.
#[derive(Debug, Clone, PartialEq)]
enum Owed {
    Nothing,
    All { from: usize },
    Keys(Vec<Key>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    Waiting,
    Live,
    Catching,
    TooSlow,
}

#[derive(Debug)]
struct Client {
    id: SubscriberId,
    wish: Wish,
    cursor: usize,
    owed: Owed,
    pace: Pace,
}

impl Client {
    fn wants(&self, message: &Message) -> bool {
        self.wish.keys.as_ref().is_none_or(|keys| message.key.as_ref().is_some_and(|key| keys.contains(key)))
    }

    fn follows(&self) -> bool {
        matches!(self.pace, Pace::Live | Pace::Catching)
    }
}

/// The hub, one that owns the source and is never without a state, and the model.
struct Model {
    settings: Settings,
    hub: Hub,
    owner: Hub,
    now: Instant,
    published: Vec<Arc<Message>>,
    is_attached: bool,
    next: usize,
    /// Places of the log, and of the last message of every key.
    log: Vec<usize>,
    latest: BTreeMap<Key, usize>,
    /// Places that this shard was told of.
    told: BTreeSet<usize>,
    clients: Vec<Client>,
    /// Messages that clients did not get; `None` if that cannot be said, as one has chosen other keys meanwhile.
    missed: Option<usize>,
    /// What clients took, in whole messages.
    delivered: Traffic,
}

/// Whether a hub does as the model says, whatever happens.
pub(crate) fn check(settings: Settings, ops: &[Op], now: Instant) {
    let (hub, mut owner) = (Hub::new(&settings), Hub::new(&settings));
    owner.handle_state(State::default());
    let (log, latest, clients, published) = (Vec::new(), BTreeMap::new(), Vec::new(), Vec::new());
    let mut model = Model {
        settings,
        hub,
        owner,
        now,
        published,
        is_attached: false,
        next: 0,
        log,
        latest,
        told: BTreeSet::new(),
        clients,
        missed: Some(0),
        delivered: Traffic::default(),
    };
    model.attach();
    for op in ops {
        model.apply(op);
        model.check();
    }
    (0..model.clients.len()).for_each(|index| model.drain(index));
    let counters = model.hub.take_counters();
    assert_eq!(counters.deliveries, model.delivered);
    if let Some(missed) = model.missed {
        assert_eq!(place(missed).0, counters.conflated + counters.dropped, "what was missed is counted");
    }
}

impl Model {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Publish { messages, is_lost } => self.publish(messages, *is_lost),
            Op::Repeat { messages } => {
                let first = self.published.len().saturating_sub(*messages);
                self.published.push(self.message(Some(0), 10));
                self.tell(first, false);
            }
            Op::Join(wish) => {
                let id = self.hub.subscribe(wish.clone());
                let mut client =
                    Client { id, wish: wish.clone(), cursor: 0, owed: Owed::Nothing, pace: Pace::Waiting };
                if self.is_attached {
                    self.start(&mut client);
                }
                self.clients.push(client);
            }
            Op::Leave(index) if !self.clients.is_empty() => {
                let index = index.index(self.clients.len());
                self.miss_overdue(index);
                self.hub.unsubscribe(self.clients.swap_remove(index).id);
            }
            Op::Choose(index, keys) if !self.clients.is_empty() => {
                self.choose(index.index(self.clients.len()), keys);
            }
            Op::Take(index, part) if !self.clients.is_empty() => {
                self.take(index.index(self.clients.len()), Some(*part));
            }
            Op::Drain(index) if !self.clients.is_empty() => self.drain(index.index(self.clients.len())),
            Op::Leave(_) | Op::Choose(..) | Op::Take(..) | Op::Drain(_) => {}
            Op::Detach => self.detach(),
            Op::Attach => self.attach(),
            Op::Reload(settings) => self.reload(settings),
        }
    }

    fn message(&self, key: Option<usize>, size: usize) -> Arc<Message> {
        let mut payload = format!("{:08}", self.published.len()).into_bytes();
        payload.resize(size.max(8), b'.');
        let key = key.filter(|_| self.settings.key.is_some()).map(|key| Key::from(KEYS[key]));
        Arc::new(Message::new(Kind::Binary, &payload, key, self.now))
    }

    fn publish(&mut self, messages: &[(Option<usize>, usize)], is_lost: bool) {
        let first = self.published.len();
        for (key, size) in messages {
            self.published.push(self.message(*key, *size));
        }
        self.tell(first, is_lost);
    }

    /// Publishes what there is from `first` on.
    fn tell(&mut self, first: usize, is_lost: bool) {
        let batch = Batch { first: place(first), messages: self.published[first..].to_vec() };
        self.owner.handle_batch(&batch);
        if is_lost {
            return;
        }
        self.hub.handle_batch(&batch);
        if !self.is_attached {
            return;
        }
        self.retire();
        if first > self.next {
            let follow = self.clients.iter().filter(|client| client.follows() && client.wish.keys.is_none());
            self.miss(follow.count() * (first - self.next));
        }
        for seq in self.next.max(first)..self.published.len() {
            self.log.push(seq);
            self.told.insert(seq);
            self.remember(seq);
        }
        self.next = self.published.len();
    }

    fn bytes(&self, seqs: &[usize]) -> usize {
        seqs.iter().map(|seq| self.published[*seq].image.len()).sum()
    }

    /// Messages leave the log while there are too many, and clients that wait for them fall behind.
    fn retire(&mut self) {
        let Slow { policy, buffer_bytes_max, .. } = self.settings.slow;
        let first = self.first();
        let left_from = (0..self.log.len()).find(|from| {
            let rest = &self.log[*from..];
            self.bytes(rest) <= buffer_bytes_max || rest.len() <= self.settings.history
        });
        let log = self.log.split_off(left_from.unwrap_or(self.log.len()));
        let Some(last) = std::mem::replace(&mut self.log, log).pop() else { return };
        let mut too_slow = Vec::new();
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            if !client.follows() || client.cursor > last {
                continue;
            }
            let lost = self.wanted(client, last + 1);
            let lost_before = self.wanted(client, first);
            let client = &mut self.clients[index];
            match (policy, client.pace) {
                (SlowPolicy::Conflate, _) => client.pace = Pace::Catching,
                (SlowPolicy::DropOldest, _) => {
                    (client.cursor, client.pace) = (last + 1, Pace::Live);
                    self.miss(lost);
                }
                (SlowPolicy::Disconnect, pace) => {
                    client.pace = Pace::TooSlow;
                    too_slow.push(client.id);
                    if pace == Pace::Catching {
                        self.miss(lost_before);
                    }
                }
            }
        }
        let mut named: Vec<_> = std::iter::from_fn(|| self.hub.poll_too_slow()).collect();
        named.sort_unstable();
        too_slow.sort_unstable();
        assert_eq!(named, too_slow);
    }

    fn remember(&mut self, seq: usize) {
        if let Some(key) = &self.published[seq].key {
            self.latest.insert(key.clone(), seq);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let keys_max = if self.settings.key.is_some() { self.settings.keys_max } else { 0 };
        while self.latest.len() > keys_max {
            let oldest = self.latest.iter().min_by_key(|(_, seq)| **seq).unwrap().0.clone();
            self.latest.remove(&oldest);
        }
    }

    fn start(&self, client: &mut Client) {
        if client.pace == Pace::TooSlow {
            return;
        }
        let history = self.log.len().saturating_sub(client.wish.history);
        client.cursor = self.log.get(history).copied().unwrap_or(self.next);
        client.pace = Pace::Live;
        client.owed = match (&client.wish.keys, client.wish.snapshot) {
            (_, false) => Owed::Nothing,
            (None, true) => Owed::All { from: 0 },
            (Some(keys), true) => Owed::Keys(keys.clone()),
        };
    }

    fn choose(&mut self, index: usize, keys: &[Key]) {
        let client = &mut self.clients[index];
        self.hub.set_keys(client.id, keys.to_vec());
        let known = client.wish.keys.replace(keys.to_vec());
        let mut owed = keys.to_vec();
        match (&client.owed, known) {
            (Owed::All { from }, _) => owed.retain(|key| self.latest.get(key).is_some_and(|seq| seq >= from)),
            (Owed::Keys(before), Some(known)) => {
                owed.retain(|key| before.contains(key) || !known.contains(key))
            }
            (Owed::Nothing, Some(known)) => owed.retain(|key| !known.contains(key)),
            (Owed::Nothing | Owed::Keys(_), None) => owed.clear(),
        }
        let is_owed = client.follows() && client.wish.snapshot;
        client.owed = if is_owed { Owed::Keys(owed) } else { Owed::Nothing };
        self.missed = None;
    }

    /// What a client gets if it takes everything: owed messages, and those from its place on.
    fn expected(&self, client: &Client) -> (Vec<usize>, Vec<usize>) {
        if !client.follows() {
            return (Vec::new(), Vec::new());
        }
        let is_owed = |key: &Key, seq: usize| match &client.owed {
            Owed::Nothing => false,
            Owed::All { from } => seq >= *from,
            Owed::Keys(keys) => keys.contains(key),
        };
        let latest = || self.latest.iter().map(|(key, seq)| (key, *seq));
        let owed = latest().filter(|(key, seq)| *seq < client.cursor && is_owed(key, *seq));
        let mut owed: Vec<_> = owed.map(|(_, seq)| seq).collect();
        owed.sort_unstable();
        let first = self.first();
        let mut new: Vec<usize> = self.log.clone();
        if client.pace == Pace::Catching {
            new.retain(|seq| {
                let key = self.published[*seq].key.as_ref();
                key.and_then(|key| self.latest.get(key)).is_none_or(|latest| latest <= seq)
            });
            new.extend(latest().map(|(_, seq)| seq).filter(|seq| *seq < first));
        }
        new.retain(|seq| *seq >= client.cursor && client.wants(&self.published[*seq]));
        new.sort_unstable();
        (owed, new)
    }

    /// A client takes a part of what it is offered, or all; whether there was anything.
    fn take(&mut self, index: usize, part: Option<u8>) -> bool {
        let client = &self.clients[index];
        let (owed, new) = self.expected(client);
        let expected: Vec<_> = owed.iter().chain(&new).copied().collect();
        let offered = match self.hub.offer(client.id) {
            Offer::TooSlow => {
                assert_eq!(client.pace, Pace::TooSlow);
                return false;
            }
            Offer::UpToDate => {
                assert!(expected.is_empty() && client.pace != Pace::TooSlow, "{expected:?} are withheld");
                if client.follows() {
                    self.catch_up(index);
                }
                return false;
            }
            Offer::Bytes(offered) => offered.to_vec(),
        };
        let bytes = part.map_or(offered.len(), |part| offered.len() * usize::from(part) / 255);
        let rest = self.hub.handle_taken(client.id, bytes, self.now).to_vec();
        let (mut start, mut taken, mut cut) = (0, 0, &[][..]);
        for seq in &expected {
            let image = &self.published[*seq].image;
            let end = start + image.len();
            if start < offered.len() {
                assert!(offered.get(start..end) == Some(image), "{seq} is not next, or not whole");
            }
            if start < bytes {
                taken += 1;
                self.delivered.add(image.len(), 1);
                cut = &image[(bytes - start).min(image.len())..];
            }
            start = end;
        }
        assert!(start >= offered.len(), "more than there is");
        assert_eq!(rest, cut, "the rest of the message that was cut");
        for seq in &expected[..taken] {
            if owed.contains(seq) {
                self.got_owed(index, *seq);
            } else {
                self.clients[index].owed = Owed::Nothing;
                self.pass(index, Some(*seq), seq + 1);
            }
        }
        if taken == expected.len() {
            self.catch_up(index);
        }
        true
    }

    /// A client has all there is for it.
    fn catch_up(&mut self, index: usize) {
        self.pass(index, None, self.next);
        self.clients[index].owed = Owed::Nothing;
        self.clients[index].pace = Pace::Live;
    }

    fn got_owed(&mut self, index: usize, seq: usize) {
        let key = self.published[seq].key.clone();
        match &mut self.clients[index].owed {
            Owed::All { from } => *from = seq + 1,
            Owed::Keys(keys) => keys.retain(|owed| Some(owed) != key.as_ref()),
            Owed::Nothing => unreachable!("owed"),
        }
    }

    /// A client got `seq`, or what there was, so that it stands at `upto`.
    fn pass(&mut self, index: usize, got: Option<usize>, upto: usize) {
        if self.clients[index].pace == Pace::Catching {
            let missed = self.wanted(&self.clients[index], upto) - usize::from(got.is_some());
            self.miss(missed);
        }
        self.clients[index].cursor = upto.max(self.clients[index].cursor);
    }

    /// Messages that a client would have got from its place on, up to `upto`.
    fn wanted(&self, client: &Client, upto: usize) -> usize {
        let wanted = (client.cursor..upto).filter(|seq| client.wants(&self.published[*seq]));
        wanted.filter(|seq| self.told.contains(seq)).count()
    }

    fn miss(&mut self, messages: usize) {
        self.missed = self.missed.map(|missed| missed + messages);
    }

    /// What a client that is being left will not get any more of what has left the log.
    fn miss_overdue(&mut self, index: usize) {
        if self.clients[index].pace == Pace::Catching {
            self.miss(self.wanted(&self.clients[index], self.first()));
        }
    }

    fn drain(&mut self, index: usize) {
        while self.take(index, None) {}
        assert!(self.take_is_over(index));
    }

    /// Whether a client has what there is for it.
    fn take_is_over(&self, index: usize) -> bool {
        let client = &self.clients[index];
        !client.follows() || client.pace == Pace::Live && client.cursor == self.next
    }

    fn first(&self) -> usize {
        self.log.first().copied().unwrap_or(self.next)
    }

    fn detach(&mut self) {
        self.hub.handle_detached();
        (0..self.clients.len()).for_each(|index| self.miss_overdue(index));
        (self.is_attached, self.next) = (false, 0);
        self.log.clear();
        self.latest.clear();
        for client in self.clients.iter_mut().filter(|client| client.follows()) {
            client.pace = Pace::Waiting;
            client.wish.history = 0;
        }
    }

    fn attach(&mut self) {
        self.detach();
        let state = self.owner.state();
        self.next = self.published.len();
        assert_eq!(state.next, place(self.next));
        self.log = (self.next - state.recent.len()..self.next).collect();
        self.told.extend(&self.log);
        state.latest.iter().for_each(|(seq, _)| self.remember(index(*seq)));
        self.hub.handle_state(state);
        self.is_attached = true;
        let mut clients = std::mem::take(&mut self.clients);
        clients.iter_mut().for_each(|client| self.start(client));
        self.clients = clients;
    }

    fn reload(&mut self, settings: &Settings) {
        self.hub.adopt(settings);
        self.owner.adopt(settings);
        if self.settings.key != settings.key {
            self.latest.clear();
        }
        self.settings = settings.clone();
        self.forget();
    }

    /// Whether the hub holds what the model does, and no more than it may.
    fn check(&self) {
        let (held, state) = (self.hub.held(), self.hub.state());
        assert_eq!((held.messages, held.bytes), (self.log.len(), place(self.bytes(&self.log)).0));
        let mut latest: Vec<_> = self.latest.values().copied().collect();
        latest.sort_unstable();
        assert_eq!(state.latest.iter().map(|(seq, _)| index(*seq)).collect::<Vec<_>>(), latest);
        assert!(held.keys == latest.len() && held.keys <= self.settings.keys_max);
        let published =
            state.latest.iter().all(|(seq, message)| Arc::ptr_eq(message, &self.published[index(*seq)]));
        assert!(published && state.next == place(self.next) && self.hub.subscribers() == self.clients.len());
        let recent = self.log.iter().rev().zip((0..self.next).rev()).take(self.settings.history);
        let recent: Vec<_> = recent.take_while(|(seq, place)| *seq == place).collect();
        assert_eq!(state.recent.len(), recent.len());
        let mut pairs = recent.iter().zip(state.recent.iter().rev());
        assert!(pairs.all(|((seq, _), message)| Arc::ptr_eq(message, &self.published[**seq])));
        let lag = |client: &Client| self.next - client.cursor;
        let slowest = self.clients.iter().filter(|client| client.follows()).map(lag).max();
        assert_eq!(self.hub.lags().slowest, place(slowest.unwrap_or(0)).0);
    }
}
