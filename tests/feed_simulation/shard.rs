//! A shard: its hub, its clients, and what the other shards say to it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use selat::feed::{Batch, Hub, Offer, Settings, State};

use super::client::Client;

/// What shards say to each other.
#[derive(Debug)]
pub(crate) enum Word {
    Attach(usize),
    Detach(usize),
    State(State),
    Publish(Arc<Batch>),
}

pub(crate) struct Shard {
    pub(crate) hub: Hub,
    pub(crate) clients: Vec<Client>,
    /// When each is read.
    inbox: VecDeque<(Duration, Word)>,
    /// Words it takes; beyond, batches are lost.
    inbox_max: usize,
    /// Whether it has a state.
    pub(crate) is_following: bool,
    /// Places that it was not told of while it followed.
    pub(crate) lost: BTreeSet<u64>,
}

/// Why a client was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Buffer,
    Time,
}

impl Shard {
    pub(crate) fn new(settings: &Settings, inbox_max: usize) -> Self {
        Self {
            hub: Hub::new(settings),
            clients: Vec::new(),
            inbox: VecDeque::new(),
            inbox_max,
            is_following: false,
            lost: BTreeSet::new(),
        }
    }

    /// Somebody says something that is read at `due`, or after what was said before.
    pub(crate) fn post(&mut self, due: Duration, word: Word) {
        let due = self.inbox.back().map_or(due, |(last, _)| due.max(*last));
        if self.inbox.len() < self.inbox_max || !matches!(word, Word::Publish(_)) {
            self.inbox.push_back((due, word));
        }
    }

    /// The next word, if it is due.
    pub(crate) fn hear(&mut self, elapsed: Duration) -> Option<Word> {
        if self.inbox.front()?.0 > elapsed { None } else { self.inbox.pop_front().map(|(_, word)| word) }
    }

    pub(crate) fn handle_state(&mut self, state: State) {
        if self.is_following {
            self.lost.extend(self.hub.next().0..state.next.0 - u64::try_from(state.recent.len()).unwrap());
        }
        self.hub.handle_state(state);
        self.is_following = true;
        for client in &mut self.clients {
            client.begins_at.get_or_insert(self.hub.next());
        }
    }

    pub(crate) fn handle_batch(&mut self, batch: &Batch) {
        if self.is_following {
            self.lost.extend(self.hub.next().0..batch.first.0);
        }
        self.hub.handle_batch(batch);
    }

    /// Whether nothing waits to be heard or read.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_empty() && self.clients.iter().all(Client::is_idle)
    }

    /// One round: every client gets what its socket takes. Returns those that are sent away.
    pub(crate) fn fan_out(&mut self, now: Instant) -> Vec<(Client, Why)> {
        let mut too_slow = Vec::new();
        while let Some(id) = self.hub.poll_too_slow() {
            too_slow.push((id, Why::Buffer));
        }
        for client in &mut self.clients {
            deliver(&mut self.hub, client, now);
            if self.hub.evict_at(client.id).is_some_and(|at| at <= now) {
                too_slow.push((client.id, Why::Time));
            }
        }
        too_slow.sort_by_key(|(id, _)| *id);
        too_slow.dedup_by_key(|(id, _)| *id);
        let leave = |(id, why)| {
            let index = self.clients.iter().position(|client| client.id == id).unwrap();
            self.hub.unsubscribe(id);
            (self.clients.swap_remove(index), why)
        };
        too_slow.into_iter().map(leave).collect()
    }

    /// A client goes.
    pub(crate) fn leave(&mut self, rng: &mut Rng) -> Option<Client> {
        let index = (!self.clients.is_empty()).then(|| rng.usize(..self.clients.len()))?;
        let client = self.clients.swap_remove(index);
        self.hub.unsubscribe(client.id);
        Some(client)
    }
}

/// Writes to a client until its socket is full or it has everything, as the fan-out of a shard does.
fn deliver(hub: &mut Hub, client: &mut Client, now: Instant) {
    if !client.rest.is_empty() {
        let rest = std::mem::take(&mut client.rest);
        let taken = client.write(&rest);
        client.rest = rest[taken..].to_vec();
        match (taken, client.rest.is_empty()) {
            (0, _) => {}
            (_, false) => hub.handle_progress(client.id, now),
            (_, true) => hub.handle_flushed(client.id),
        }
    }
    while client.rest.is_empty() {
        let (len, taken) = match hub.offer(client.id) {
            Offer::UpToDate | Offer::TooSlow => return,
            Offer::Bytes(offered) => (offered.len(), client.write(offered)),
        };
        client.rest = hub.handle_taken(client.id, taken, now).to_vec();
        if taken < len {
            return;
        }
    }
}
