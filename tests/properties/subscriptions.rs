//! Subscriptions from what clients say to what the source is told: it sends what they want together.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use selat::feed::{
    Choice, Conflict, Interest, Key, Settings, Subscriber, Subscriptions, Template, Terms, Topics, Utterance,
    Words,
};
use selat::protocol::Role;
use selat::session;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::foreign;

/// Shards, each with the same number of clients.
const SHARDS: u16 = 2;
/// Clients in all.
const CLIENTS: usize = 4;
/// Topics that one client may have.
const TOPICS_MAX: usize = 4;

/// What one client does.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// It asks for these.
    Subscribe(BTreeSet<String>),
    /// It asks for these no more.
    Unsubscribe(BTreeSet<String>),
    /// It goes, and another comes.
    Leave,
    /// The source loses its connection and gets a new one.
    Reconnect,
}

struct World {
    rules: Subscriptions,
    feed: Arc<Settings>,
    now: Instant,
    clients: Vec<Subscriber>,
    /// What each client wants, as it would count itself.
    wanted: Vec<BTreeSet<Key>>,
    interests: Vec<Interest>,
    topics: Topics,
    /// What the source sends.
    sent: BTreeSet<Key>,
}

/// After each of these, the source sends what clients want together, and is told no more than that takes.
pub(crate) fn check(conflict: Conflict, ops: &[(usize, Op)]) {
    let mut world = World::new(conflict);
    for (client, op) in ops {
        world.step(client % CLIENTS, op);
        let union: BTreeSet<_> = world.wanted.iter().flatten().cloned().collect();
        assert_eq!(world.sent, union);
        assert_eq!((world.topics.asked(), world.topics.waiting()), (union.len(), 0));
        for (subscriber, wanted) in world.clients.iter().zip(&world.wanted) {
            assert!(subscriber.topics().eq(wanted));
        }
    }
}

impl World {
    fn new(conflict: Conflict) -> Self {
        let template = |text| Template::new(text, text).unwrap();
        let rules = Subscriptions {
            subscribe: template(r#"{"op":"subscribe","args":["{keys}"]}"#),
            unsubscribe: Some(template(r#"{"op":"unsubscribe","args":["{keys}"]}"#)),
            separator: ",".into(),
            conflict,
            topics_max: TOPICS_MAX,
        };
        assert!(rules.tells_apart());
        let feed = Arc::new(Settings { subscriptions: Some(rules.clone()), ..Settings::default() });
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let now = Instant::now();
        Self {
            clients: (0..CLIENTS).map(|_| subscriber(&feed, now)).collect(),
            wanted: vec![BTreeSet::new(); CLIENTS],
            interests: (0..SHARDS).map(|_| Interest::default()).collect(),
            topics: Topics::new(rules.clone(), usize::MAX),
            sent: BTreeSet::new(),
            rules,
            feed,
            now,
        }
    }

    fn step(&mut self, client: usize, op: &Op) {
        match op {
            Op::Subscribe(names) => {
                let keys = keys(names);
                let wanted = match self.rules.conflict {
                    Conflict::Adds => &self.wanted[client] | &keys,
                    Conflict::Replaces => keys,
                };
                self.say(client, "subscribe", names);
                if wanted.len() > TOPICS_MAX {
                    assert!(self.clients[client].is_over());
                    self.leave(client);
                } else {
                    self.wanted[client] = wanted;
                }
            }
            Op::Unsubscribe(names) => {
                self.say(client, "unsubscribe", names);
                self.wanted[client] = &self.wanted[client] - &keys(names);
            }
            Op::Leave => self.leave(client),
            Op::Reconnect => {
                self.sent.clear();
                let words = self.topics.restore();
                self.tell(words);
            }
        }
    }

    /// The client says it, and its shell does what follows.
    fn say(&mut self, client: usize, op: &str, names: &BTreeSet<String>) {
        let names: Vec<_> = names.iter().collect();
        let text = format!("{{\"args\":{names:?},\"op\":\"{op}\"}}");
        let mut frame = Vec::new();
        foreign::push(&mut frame, Role::Client, OpCode::Data(Data::Text), true, text.into_bytes());
        self.clients[client].handle_bytes(&frame, self.now, &mut Vec::new());
        while let Some(said) = self.clients[client].poll_said() {
            match said {
                Utterance::Subscribe(keys) => self.pass_on(client, &keys, &[]),
                Utterance::Unsubscribe(keys) => self.pass_on(client, &[], &keys),
                Utterance::First(_) | Utterance::Forward(..) => panic!("not a subscription: {said:?}"),
            }
        }
    }

    fn pass_on(&mut self, client: usize, more: &[Key], less: &[Key]) {
        let shard = u16::try_from(client).unwrap() % SHARDS;
        let interest = &mut self.interests[usize::from(shard)];
        let (wanted, unwanted) = (interest.add(more), interest.remove(less));
        if !(wanted.is_empty() && unwanted.is_empty()) {
            let words = self.topics.handle(shard, &wanted, &unwanted);
            self.tell(words);
        }
    }

    fn leave(&mut self, client: usize) {
        let keys: Vec<_> = self.clients[client].topics().cloned().collect();
        self.pass_on(client, &[], &keys);
        self.clients[client] = subscriber(&self.feed, self.now);
        self.wanted[client].clear();
    }

    /// What the source makes of it.
    fn tell(&mut self, words: Vec<Words>) {
        assert!(words.len() <= 1, "one thing at a time changes");
        for Words(text) in words {
            let before = self.sent.clone();
            match self.rules.read(&text).expect("the source understands it") {
                Choice::Subscribe(keys) => {
                    if self.rules.conflict == Conflict::Replaces {
                        self.sent.clear();
                    }
                    self.sent.extend(keys);
                }
                Choice::Unsubscribe(keys) => self.sent.retain(|key| !keys.contains(key)),
            }
            assert_ne!(self.sent, before, "told for nothing");
        }
    }
}

fn subscriber(feed: &Arc<Settings>, now: Instant) -> Subscriber {
    let session = Rc::new(session::Settings::default());
    Subscriber::new(Terms { session: &session, feed, first_message_within: None }, now)
}

fn keys(names: &BTreeSet<String>) -> BTreeSet<Key> {
    names.iter().map(|name| Key::from(&**name)).collect()
}
