//! What the owner of a source says to it, so that it sends what the clients of all shards want.

use std::collections::{BTreeMap, BTreeSet};

use super::{Conflict, Key, Subscriptions, Words};

/// Who wants which keys of one source, and which of them it has been asked for.
///
/// The source is asked for a bounded number of keys. Those beyond wait until others are not wanted any more. What is
/// remembered is as much as clients may want together, each of them at most its `topics_max`.
#[derive(Debug)]
pub struct Topics {
    subscriptions: Subscriptions,
    keys_max: usize,
    /// The shards that want each key; never none.
    wanted: BTreeMap<Key, BTreeSet<u16>>,
    /// Of those, what the source is asked for.
    asked: BTreeSet<Key>,
    /// The others; none unless as many are asked for as may be.
    waiting: BTreeSet<Key>,
}

/// What is asked for now and was not before, and the other way round: no key is in both.
#[derive(Default)]
struct Change {
    added: BTreeSet<Key>,
    removed: BTreeSet<Key>,
}

impl Topics {
    /// Nothing is wanted yet. The source is never asked for more than `keys_max` keys at a time.
    #[must_use]
    pub fn new(subscriptions: Subscriptions, keys_max: usize) -> Self {
        Self {
            subscriptions,
            keys_max,
            wanted: BTreeMap::new(),
            asked: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Goes on with the same wants in other words, toward a source that has been told nothing of them yet.
    pub fn adopt(&mut self, subscriptions: Subscriptions, keys_max: usize) {
        (self.subscriptions, self.keys_max) = (subscriptions, keys_max);
        self.asked = self.wanted.keys().take(keys_max).cloned().collect();
        self.waiting = self.wanted.keys().skip(keys_max).cloned().collect();
    }

    /// Clients of `shard` want these keys, and those no more. A key that is among both is wanted. Says what the source
    /// has to be told, in this order.
    pub fn handle(&mut self, shard: u16, wanted: &[Key], unwanted: &[Key]) -> Vec<Words> {
        let mut change = Change::default();
        for key in unwanted {
            self.release(shard, key, &mut change);
        }
        for key in wanted {
            let shards = self.wanted.entry(key.clone()).or_default();
            if shards.is_empty() {
                self.waiting.insert(key.clone());
            }
            shards.insert(shard);
        }
        while self.asked.len() < self.keys_max {
            let Some(key) = self.waiting.pop_first() else { break };
            self.asked.insert(key.clone());
            if !change.removed.remove(&key) {
                change.added.insert(key);
            }
        }
        self.words(&change)
    }

    /// A shard has no clients any more.
    pub fn handle_shard_gone(&mut self, shard: u16) -> Vec<Words> {
        let its_own = self.wanted.iter().filter(|(_, shards)| shards.contains(&shard));
        let keys: Vec<_> = its_own.map(|(key, _)| key.clone()).collect();
        self.handle(shard, &[], &keys)
    }

    /// What a source has to be told that has just answered, and knows of nothing.
    #[must_use]
    pub fn restore(&self) -> Vec<Words> {
        if self.asked.is_empty() { Vec::new() } else { vec![self.subscribe(&self.asked)] }
    }

    /// Keys that the source is asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// Keys that wait until it is asked for fewer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn release(&mut self, shard: u16, key: &Key, change: &mut Change) {
        let Some(shards) = self.wanted.get_mut(key) else { return };
        shards.remove(&shard);
        if shards.is_empty() {
            self.wanted.remove(key);
            self.waiting.remove(key);
            if self.asked.remove(key) {
                change.removed.insert(key.clone());
            }
        }
    }

    fn words(&self, change: &Change) -> Vec<Words> {
        let Change { added, removed } = change;
        let is_same = added.is_empty() && removed.is_empty();
        match self.subscriptions.conflict {
            Conflict::Replaces if is_same => Vec::new(),
            Conflict::Replaces if self.asked.is_empty() => self.unsubscribe(removed).into_iter().collect(),
            Conflict::Replaces => vec![self.subscribe(&self.asked)],
            Conflict::Adds => {
                // Room is made first, at a source that counts.
                let less = self.unsubscribe(removed);
                let more = (!added.is_empty()).then(|| self.subscribe(added));
                less.into_iter().chain(more).collect()
            }
        }
    }

    fn subscribe(&self, keys: &BTreeSet<Key>) -> Words {
        let keys: Vec<_> = keys.iter().cloned().collect();
        self.subscriptions.subscribe.write(&keys, &self.subscriptions.separator)
    }

    /// `None` if there is nothing to say, or no way to say it.
    fn unsubscribe(&self, keys: &BTreeSet<Key>) -> Option<Words> {
        let template = self.subscriptions.unsubscribe.as_ref().filter(|_| !keys.is_empty())?;
        let keys: Vec<_> = keys.iter().cloned().collect();
        Some(template.write(&keys, &self.subscriptions.separator))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::subscriptions::tests::subscriptions;
    use super::*;
    use crate::feed::Choice;

    fn keys(text: &str) -> Vec<Key> {
        text.split_whitespace().map(Key::from).collect()
    }

    fn topics(conflict: Conflict, unsubscribe: Option<&str>, keys_max: usize) -> Topics {
        Topics::new(subscriptions("+{keys}", unsubscribe, conflict), keys_max)
    }

    fn said(words: Vec<Words>) -> Vec<String> {
        words.into_iter().map(|Words(text)| text.into()).collect()
    }

    #[test]
    fn a_source_that_adds_is_told_what_changes() {
        let mut topics = topics(Conflict::Adds, Some("-{keys}"), 100);
        let rows = [
            (0, "B A", "", vec!["+A,B"]),
            (1, "B C", "", vec!["+C"]),
            (0, "", "B", vec![]),
            (1, "D", "B X", vec!["-B", "+D"]),
            (1, "C", "C", vec![]),
        ];
        for (shard, wanted, unwanted, expected) in rows {
            assert_eq!(said(topics.handle(shard, &keys(wanted), &keys(unwanted))), expected);
        }
        assert_eq!(said(topics.restore()), ["+A,C,D"]);
        assert_eq!(said(topics.handle_shard_gone(1)), ["-C,D"]);
        assert_eq!(said(topics.handle_shard_gone(0)), ["-A"]);
        assert_eq!((said(topics.restore()), topics.asked()), (vec![], 0));
    }

    #[test]
    fn a_source_that_replaces_is_told_all_of_it() {
        for (unsubscribe, last) in [(Some("-{keys}"), vec!["-B"]), (None, vec![])] {
            let mut topics = topics(Conflict::Replaces, unsubscribe, 100);
            assert_eq!(said(topics.handle(0, &keys("A"), &[])), ["+A"]);
            assert_eq!(said(topics.handle(1, &keys("A B"), &[])), ["+A,B"]);
            assert_eq!(said(topics.handle(0, &[], &keys("A"))), Vec::<String>::new());
            assert_eq!(said(topics.handle(1, &[], &keys("A"))), ["+B"]);
            assert_eq!(said(topics.handle_shard_gone(1)), last);
        }
    }

    #[test]
    fn other_words_say_the_same() {
        let mut topics = topics(Conflict::Adds, Some("-{keys}"), 2);
        topics.handle(0, &keys("C B A"), &[]);
        assert_eq!(said(topics.restore()), ["+A,B"]);
        topics.adopt(subscriptions("more {keys}", None, Conflict::Replaces), 3);
        assert_eq!((said(topics.restore()), topics.waiting()), (vec!["more A,B,C".to_owned()], 0));
        topics.adopt(subscriptions("+{keys}", None, Conflict::Replaces), 1);
        assert_eq!(said(topics.handle(0, &[], &keys("A"))), ["+B"]);
        assert_eq!((said(topics.restore()), topics.waiting()), (vec!["+B".to_owned()], 1));
    }

    #[test]
    fn a_source_that_cannot_be_told_to_stop_is_not() {
        let mut topics = topics(Conflict::Adds, None, 100);
        topics.handle(0, &keys("A B"), &[]);
        assert_eq!(said(topics.handle(0, &keys("C"), &keys("A"))), ["+C"]);
        assert_eq!(said(topics.restore()), ["+B,C"]);
    }

    #[test]
    fn keys_beyond_the_limit_wait_for_others_to_go() {
        let mut topics = topics(Conflict::Adds, Some("-{keys}"), 2);
        assert_eq!(said(topics.handle(0, &keys("D C B A"), &[])), ["+A,B"]);
        assert_eq!((topics.asked(), topics.waiting()), (2, 2));
        assert_eq!(said(topics.handle(0, &[], &keys("C"))), Vec::<String>::new());
        assert_eq!(said(topics.handle(0, &[], &keys("A"))), ["-A", "+D"]);
        assert_eq!(said(topics.restore()), ["+B,D"]);
        assert_eq!(topics.waiting(), 0);
    }

    /// What a source makes of what it is told.
    fn listen(source: &mut BTreeSet<Key>, subscriptions: &Subscriptions, words: Vec<Words>) {
        for Words(text) in words {
            match subscriptions.read(&text).unwrap() {
                Choice::Subscribe(keys) => {
                    if subscriptions.conflict == Conflict::Replaces {
                        source.clear();
                    }
                    source.extend(keys);
                }
                Choice::Unsubscribe(keys) => source.retain(|key| !keys.contains(key)),
            }
        }
    }

    proptest! {
        #[test]
        fn the_source_sends_what_clients_want_and_nothing_else(
            steps in proptest::collection::vec(
                (0..3_u16, proptest::collection::btree_set("[a-f]", 0..4), any::<bool>()), 0..40,
            ),
            conflict in prop::sample::select(vec![Conflict::Adds, Conflict::Replaces]),
            keys_max in 1..8_usize,
        ) {
            let mut topics = topics(conflict, Some("-{keys}"), keys_max);
            let subscriptions = topics.subscriptions.clone();
            let mut source = BTreeSet::new();
            let mut shards = vec![BTreeSet::new(); 3];
            for (shard, keys, is_gone) in steps {
                let its_own = &mut shards[usize::from(shard)];
                let now: BTreeSet<_> = keys.iter().map(|key| Key::from(&**key)).collect();
                let words = if is_gone {
                    its_own.clear();
                    topics.handle_shard_gone(shard)
                } else {
                    let wanted: Vec<_> = now.difference(its_own).cloned().collect();
                    let unwanted: Vec<_> = its_own.difference(&now).cloned().collect();
                    *its_own = now;
                    topics.handle(shard, &wanted, &unwanted)
                };
                prop_assert!(words.len() <= 2);
                listen(&mut source, &subscriptions, words);
                let union: BTreeSet<_> = shards.iter().flatten().cloned().collect();
                prop_assert!(source.is_subset(&union));
                prop_assert_eq!(source.len(), union.len().min(keys_max));
                prop_assert_eq!((topics.asked(), topics.waiting()), (source.len(), union.len() - source.len()));
                let mut anew = BTreeSet::new();
                listen(&mut anew, &subscriptions, topics.restore());
                prop_assert_eq!(&anew, &source);
            }
        }
    }
}
