//! Which keys the clients of one shard have subscribed to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroUsize;

use super::Key;

/// How many clients of a shard want each key. As large as what its clients want together, each of them at most its
/// `topics_max`.
#[derive(Debug, Clone, Default)]
pub struct Interest(BTreeMap<Key, NonZeroUsize>);

impl Interest {
    /// One more client wants these keys, each named once, none of which it has had. Says which nobody wanted so far.
    pub fn add(&mut self, keys: &[Key]) -> Vec<Key> {
        let mut wanted = Vec::new();
        for key in keys {
            match self.0.entry(key.clone()) {
                Entry::Vacant(place) => {
                    place.insert(NonZeroUsize::MIN);
                    wanted.push(key.clone());
                }
                Entry::Occupied(mut clients) => *clients.get_mut() = clients.get().saturating_add(1),
            }
        }
        wanted
    }

    /// One client of those that wanted these keys does not any more. Says which nobody wants now.
    pub fn remove(&mut self, keys: &[Key]) -> Vec<Key> {
        let mut unwanted = Vec::new();
        for key in keys {
            let Entry::Occupied(mut clients) = self.0.entry(key.clone()) else { continue };
            match NonZeroUsize::new(clients.get().get() - 1) {
                Some(left) => *clients.get_mut() = left,
                None => {
                    clients.remove();
                    unwanted.push(key.clone());
                }
            }
        }
        unwanted
    }

    /// All that is wanted, in order: for an owner that does not know yet.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys(text: &str) -> Vec<Key> {
        text.split_whitespace().map(Key::from).collect()
    }

    #[test]
    fn tells_of_the_first_client_of_a_key_and_of_the_last() {
        let mut interest = Interest::default();
        assert_eq!(interest.add(&keys("B A")), keys("B A"));
        assert_eq!(interest.add(&keys("A C")), keys("C"));
        assert_eq!(interest.remove(&keys("A B")), keys("B"));
        assert_eq!(interest.keys().cloned().collect::<Vec<_>>(), keys("A C"));
        assert_eq!(interest.remove(&keys("B A C")), keys("A C"));
        assert_eq!(interest.keys().count(), 0);
    }

    proptest! {
        #[test]
        fn is_the_union_of_what_clients_want(
            steps in proptest::collection::vec((0..4_usize, proptest::collection::btree_set("[a-e]", 0..4)), 0..40),
        ) {
            let mut interest = Interest::default();
            let mut clients = vec![BTreeSet::new(); 4];
            let union = |clients: &[BTreeSet<Key>]| clients.iter().flatten().cloned().collect::<BTreeSet<_>>();
            for (client, keys) in steps {
                let keys: BTreeSet<_> = keys.iter().map(|key| Key::from(&**key)).collect();
                let before = union(&clients);
                let more: Vec<_> = keys.difference(&clients[client]).cloned().collect();
                let less: Vec<_> = clients[client].difference(&keys).cloned().collect();
                let wanted = interest.add(&more);
                let unwanted = interest.remove(&less);
                clients[client] = keys;
                let now = union(&clients);
                // A key that comes before another goes is never reported unless the union really changes.
                prop_assert_eq!(wanted, now.difference(&before).cloned().collect::<Vec<_>>());
                prop_assert_eq!(unwanted, before.difference(&now).cloned().collect::<Vec<_>>());
                prop_assert_eq!(interest.keys().cloned().collect::<BTreeSet<_>>(), now);
            }
        }
    }
}
