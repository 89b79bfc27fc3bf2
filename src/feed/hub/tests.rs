//! What a hub does, case by case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::feed::{Kind, Message, Slow, SlowPolicy, State};
use crate::json::Pointer;

/// A hub under test, with the messages that were published to it.
struct Bench {
    hub: Hub,
    settings: Settings,
    now: Instant,
    published: Vec<Arc<Message>>,
}

impl Bench {
    /// With keys and a buffer of `buffer_bytes_max`; the hub is attached.
    fn new(policy: SlowPolicy, buffer_bytes_max: usize) -> Self {
        let slow = Slow { policy, buffer_bytes_max, evict_after: Duration::from_secs(10) };
        let key = Some(Pointer::new("/key").unwrap());
        let settings = Settings { key, slow, keys_max: 100, ..Settings::default() };
        let mut hub = Hub::new(&settings);
        hub.handle_state(State::default());
        #[expect(clippy::disallowed_methods, reason = "a test begins somewhere")]
        Self { hub, settings, now: Instant::now(), published: Vec::new() }
    }

    /// Publishes texts, each with the key before `=`, if there is one.
    fn publish(&mut self, texts: &[&str]) {
        let first = Seq::default().plus(self.published.len());
        let messages: Vec<_> = texts
            .iter()
            .map(|text| {
                let key = text.split_once('=').map(|(key, _)| Key::from(key));
                Arc::new(Message::new(Kind::Text, text.as_bytes(), key, self.now))
            })
            .collect();
        self.published.extend(messages.iter().cloned());
        self.hub.handle_batch(&Batch { first, messages });
    }

    fn join(&mut self, wish: Wish) -> SubscriberId {
        self.hub.subscribe(wish)
    }

    /// All that a subscriber gets until it is up to date.
    fn drain(&mut self, id: SubscriberId) -> Vec<String> {
        let mut bytes = Vec::new();
        loop {
            let len = match self.hub.offer(id) {
                Offer::UpToDate => return texts(&bytes),
                Offer::TooSlow => panic!("too slow"),
                Offer::Bytes(offered) => {
                    bytes.extend_from_slice(offered);
                    offered.len()
                }
            };
            assert_eq!(self.hub.handle_taken(id, len, self.now), b"");
        }
    }

    /// Takes `bytes` of an offer; returns what was left of the message that was cut.
    fn take(&mut self, id: SubscriberId, bytes: usize) -> Vec<u8> {
        assert!(matches!(self.hub.offer(id), Offer::Bytes(offered) if offered.len() >= bytes));
        self.hub.handle_taken(id, bytes, self.now).to_vec()
    }
}

/// The payloads of short frames.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let [0x81, len, rest @ ..] = bytes {
        let (text, behind) = rest.split_at(usize::from(*len));
        texts.push(String::from_utf8(text.to_vec()).unwrap());
        bytes = behind;
    }
    assert_eq!(bytes, b"", "whole frames");
    texts
}

fn everything() -> Wish {
    Wish::default()
}

fn with_snapshot() -> Wish {
    Wish { snapshot: true, ..Wish::default() }
}

fn with_keys(keys: &[&str]) -> Wish {
    Wish { keys: Some(keys.iter().map(|key| Key::from(*key)).collect()), ..Wish::default() }
}

#[test]
fn a_subscriber_gets_what_is_published_from_then_on() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    bench.publish(&["a=1"]);
    let id = bench.join(everything());
    assert_eq!(bench.drain(id), Vec::<String>::new());
    bench.publish(&["a=2", "plain"]);
    bench.publish(&["b=1"]);
    assert_eq!(bench.drain(id), ["a=2", "plain", "b=1"]);
    assert_eq!(bench.hub.offer(id), Offer::UpToDate);
}

#[test]
fn one_message_is_not_copied_and_several_are_joined_once() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    let ids = [bench.join(everything()), bench.join(everything())];
    bench.publish(&["a=1"]);
    let image = bench.published[0].image.as_ptr();
    for id in ids {
        assert!(matches!(bench.hub.offer(id), Offer::Bytes(bytes) if bytes.as_ptr() == image));
        assert_eq!(bench.hub.handle_taken(id, 5, bench.now), b"");
    }
    bench.publish(&["a=2", "a=3", "a=4"]);
    let slices = ids.map(|id| match bench.hub.offer(id) {
        Offer::Bytes(bytes) => (bytes.as_ptr(), bytes.len()),
        Offer::UpToDate | Offer::TooSlow => panic!("nothing offered"),
    });
    assert_eq!(slices[0], slices[1]);
    assert_eq!(slices[0].1, 15);
}

#[test]
fn a_cut_message_is_finished_and_the_next_offer_begins_behind_it() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    let id = bench.join(everything());
    bench.publish(&["a=1", "a=2", "a=3"]);
    assert_eq!(bench.take(id, 7), b"a=2");
    assert_eq!(bench.take(id, 0), b"");
    assert_eq!(bench.take(id, 5), b"");
    assert_eq!(bench.drain(id), Vec::<String>::new());
    let counters = bench.hub.take_counters();
    assert_eq!(counters.deliveries, Traffic { bytes: 15, messages: 3 });
}

#[test]
fn a_snapshot_has_each_key_once_and_nothing_twice() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    bench.publish(&["a=1", "b=1", "plain", "a=2", "c=1"]);
    let id = bench.join(with_snapshot());
    bench.publish(&["b=2", "d=1"]);
    assert_eq!(bench.drain(id), ["a=2", "c=1", "b=2", "d=1"]);
}

#[test]
fn history_follows_the_snapshot_of_what_is_older() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    bench.publish(&["a=1", "b=1", "b=2", "plain", "b=3"]);
    let id = bench.join(Wish { history: 2, ..with_snapshot() });
    assert_eq!(bench.drain(id), ["a=1", "plain", "b=3"]);
    let id = bench.join(Wish { history: 3, ..everything() });
    assert_eq!(bench.drain(id), ["b=2", "plain", "b=3"]);
}

#[test]
fn a_subscriber_with_keys_gets_these_alone() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    bench.publish(&["a=1", "b=1"]);
    let id = bench.join(Wish { snapshot: true, ..with_keys(&["a", "c"]) });
    bench.publish(&["b=2", "plain", "c=1"]);
    assert_eq!(bench.drain(id), ["a=1", "c=1"]);
}

#[test]
fn a_new_key_begins_with_its_last_message() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    bench.publish(&["a=1", "b=1", "c=1"]);
    let id = bench.join(Wish { snapshot: true, ..with_keys(&["a"]) });
    assert_eq!(bench.drain(id), ["a=1"]);
    bench.hub.set_keys(id, vec!["b".into(), "a".into()]);
    bench.publish(&["c=2", "a=2"]);
    assert_eq!(bench.drain(id), ["b=1", "a=2"]);
    bench.hub.set_keys(id, vec!["c".into()]);
    bench.publish(&["c=3"]);
    assert_eq!(bench.drain(id), ["c=3"], "never an older value behind a newer one");
}

#[test]
fn a_slow_subscriber_is_sent_away_once_the_buffer_is_full() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 10);
    let id = bench.join(everything());
    bench.publish(&["a=1", "a=2", "a=3", "a=4"]);
    assert!(matches!(bench.hub.offer(id), Offer::Bytes(_)), "the batch alone is no reason");
    bench.publish(&["a=5"]);
    assert_eq!(bench.hub.offer(id), Offer::TooSlow);
    assert_eq!(bench.hub.take_counters().evicted_by_buffer, 1);
}

#[test]
fn a_slow_subscriber_loses_the_oldest() {
    let mut bench = Bench::new(SlowPolicy::DropOldest, 10);
    let id = bench.join(everything());
    for text in ["a=1", "b=2", "a=3", "b=4", "a=5"] {
        bench.publish(&[text]);
    }
    assert_eq!(bench.drain(id), ["a=3", "b=4", "a=5"]);
    let counters = bench.hub.take_counters();
    assert_eq!((counters.dropped, counters.conflated), (2, 0));
}

#[test]
fn a_slow_subscriber_gets_the_latest_of_each_key_until_it_has_caught_up() {
    let mut bench = Bench::new(SlowPolicy::Conflate, 10);
    let id = bench.join(everything());
    for text in ["a=1", "b=1", "one", "c=1", "a=2", "two", "a=3"] {
        bench.publish(&[text]);
    }
    assert_eq!(bench.drain(id), ["b=1", "c=1", "two", "a=3"]);
    let counters = bench.hub.take_counters();
    assert_eq!((counters.dropped, counters.conflated), (1, 2));
    bench.publish(&["a=4", "a=5"]);
    assert_eq!(bench.drain(id), ["a=4", "a=5"], "it is live again");
}

#[test]
fn whoever_is_too_slow_is_named_once_even_if_nothing_is_offered_to_it() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 10);
    let (quick, slow) = (bench.join(everything()), bench.join(everything()));
    for _ in 0..5 {
        bench.publish(&["a=1"]);
        bench.drain(quick);
    }
    assert_eq!(bench.hub.poll_too_slow(), Some(slow));
    assert_eq!(bench.hub.poll_too_slow(), None);
    let slow = bench.join(everything());
    (0..5).for_each(|_| bench.publish(&["a=1"]));
    bench.hub.unsubscribe(slow);
    assert_eq!(bench.join(everything()), slow, "ids are given again");
    assert_eq!(bench.hub.poll_too_slow(), Some(quick));
    assert_eq!(bench.hub.poll_too_slow(), None);
}

#[test]
fn a_snapshot_lacks_no_key_though_its_subscriber_loses_the_oldest() {
    let mut bench = Bench::new(SlowPolicy::DropOldest, 10);
    bench.publish(&["a=1", "b=1"]);
    let id = bench.join(with_snapshot());
    for text in ["b=2", "c=1", "c=2", "c=3"] {
        bench.publish(&[text]);
    }
    assert_eq!(bench.drain(id), ["a=1", "b=2", "c=1", "c=2", "c=3"]);
}

#[test]
fn one_that_takes_nothing_is_to_be_sent_away_in_time() {
    let mut bench = Bench::new(SlowPolicy::Conflate, 10);
    let id = bench.join(everything());
    let evict_after = bench.settings.slow.evict_after;
    assert_eq!(bench.hub.evict_at(id), None);
    bench.publish(&["a=1", "a=2"]);
    let since = bench.now;
    assert_eq!(bench.take(id, 0), b"");
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.take(id, 0), b"");
    assert_eq!(bench.hub.evict_at(id), Some(since + evict_after), "since it took something");
    assert_eq!(bench.take(id, 3), b"=1");
    assert_eq!(bench.hub.evict_at(id), Some(bench.now + evict_after));
    bench.now += Duration::from_secs(1);
    bench.hub.handle_progress(id, bench.now);
    assert_eq!(bench.hub.evict_at(id), Some(bench.now + evict_after));
    bench.hub.handle_detached();
    assert_eq!(bench.hub.evict_at(id), Some(bench.now + evict_after), "it still has to take the rest");
    bench.hub.handle_flushed(id);
    assert_eq!(bench.hub.evict_at(id), None);
}

#[test]
fn one_that_waits_for_a_state_is_not_stuck() {
    let mut bench = Bench::new(SlowPolicy::Conflate, 10);
    let id = bench.join(everything());
    bench.publish(&["a=1"]);
    bench.take(id, 0);
    bench.hub.handle_detached();
    assert_eq!(bench.hub.evict_at(id), None);
}

#[test]
fn subscribers_wait_for_the_state_and_then_begin_as_they_wish() {
    let mut owner = Bench::new(SlowPolicy::Disconnect, 1000);
    owner.settings.history = 2;
    owner.hub.adopt(&owner.settings);
    owner.publish(&["a=1", "b=1", "c=1"]);
    let mut hub = Hub::new(&owner.settings);
    let id = hub.subscribe(Wish { history: 1, ..with_snapshot() });
    let early = Batch { first: Seq(3), messages: vec![Arc::clone(&owner.published[0])] };
    hub.handle_batch(&early);
    assert_eq!(hub.offer(id), Offer::UpToDate);
    hub.handle_state(owner.hub.state());
    let mut follower = Bench { hub, ..Bench::new(SlowPolicy::Disconnect, 1000) };
    assert_eq!(follower.drain(id), ["a=1", "b=1", "c=1"]);
    follower.published.extend(owner.published.drain(..2));
    follower.publish(&["c=1", "d=1"]);
    assert_eq!(follower.drain(id), ["d=1"], "what is known is skipped");
    follower.hub.handle_detached();
    assert_eq!(follower.hub.held(), Held::default());
    assert_eq!(follower.hub.offer(id), Offer::UpToDate);
    follower.hub.handle_state(owner.hub.state());
    assert_eq!(follower.drain(id), ["a=1", "b=1", "c=1"], "a snapshot, as what was missed is not known");
}

#[test]
fn missing_messages_are_counted_and_nobody_waits_for_them() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    let (all, chosen) = (bench.join(everything()), bench.join(with_keys(&["a"])));
    bench.publish(&["a=1"]);
    let lost = Arc::clone(&bench.published[0]);
    bench.published.extend([Arc::clone(&lost), lost]);
    bench.publish(&["a=4", "b=4"]);
    assert_eq!(bench.drain(all), ["a=1", "a=4", "b=4"]);
    assert_eq!(bench.drain(chosen), ["a=1", "a=4"]);
    assert_eq!(bench.hub.take_counters().dropped, 2);
    assert_eq!(bench.hub.state().recent.len(), 0);
    bench.settings.history = 9;
    bench.hub.adopt(&bench.settings);
    assert_eq!(bench.hub.state().recent.len(), 2, "only as far back as none is missing");
}

#[test]
fn the_key_longest_without_a_message_is_forgotten() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    bench.settings.keys_max = 2;
    bench.hub.adopt(&bench.settings);
    bench.publish(&["a=1", "b=1", "a=2", "c=1"]);
    let id = bench.join(with_snapshot());
    assert_eq!(bench.drain(id), ["a=2", "c=1"]);
    bench.settings.keys_max = 1;
    bench.hub.adopt(&bench.settings);
    assert_eq!(bench.hub.held().keys, 1);
}

#[test]
fn other_keys_after_a_reload_begin_with_none() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    bench.publish(&["a=1"]);
    bench.settings.key = Some(Pointer::new("/other").unwrap());
    bench.hub.adopt(&bench.settings);
    bench.publish(&["b=1"]);
    let id = bench.join(with_snapshot());
    assert_eq!(bench.drain(id), ["b=1"]);
    bench.settings.key = None;
    bench.hub.adopt(&bench.settings);
    bench.publish(&["c=1"]);
    assert_eq!(bench.hub.held().keys, 0);
}

#[test]
fn the_log_has_the_history_whatever_it_weighs() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 0);
    bench.settings.history = 3;
    bench.hub.adopt(&bench.settings);
    for text in ["a=1", "a=2", "a=3", "a=4", "a=5", "a=6"] {
        bench.publish(&[text]);
    }
    let id = bench.join(Wish { history: 3, ..everything() });
    assert_eq!(bench.drain(id), ["a=4", "a=5", "a=6"]);
    assert_eq!(bench.hub.held(), Held { messages: 4, bytes: 20, keys: 1 });
}

#[test]
fn lags_are_those_of_the_slowest_and_of_nearly_all() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    assert_eq!(bench.hub.lags(), Lags::default());
    let ids: Vec<_> = (0..200).map(|_| bench.join(everything())).collect();
    bench.publish(&["a=1", "a=2", "a=3"]);
    for id in &ids[3..] {
        bench.drain(*id);
    }
    bench.take(ids[1], 5);
    bench.take(ids[2], 6);
    assert_eq!(bench.hub.lags(), Lags { slowest: 3, p99: 1 });
}

#[test]
fn a_laggard_does_not_have_messages_joined_anew() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1000);
    let (laggard, quick) = (bench.join(everything()), bench.join(everything()));
    bench.publish(&["a=1", "a=2"]);
    bench.drain(quick);
    bench.publish(&["a=3", "a=4"]);
    let place = |offer: Offer<'_>| match offer {
        Offer::Bytes(bytes) => (bytes.as_ptr(), bytes.len()),
        Offer::UpToDate | Offer::TooSlow => panic!("nothing offered"),
    };
    let before = place(bench.hub.offer(quick));
    assert_eq!(place(bench.hub.offer(laggard)).1, 20);
    assert_eq!(place(bench.hub.offer(quick)), before);
    assert_eq!(bench.drain(laggard), ["a=1", "a=2", "a=3", "a=4"]);
    assert_eq!(bench.drain(quick), ["a=3", "a=4"]);
}

#[test]
fn a_long_wait_is_offered_in_pieces_and_a_large_message_alone() {
    let mut bench = Bench::new(SlowPolicy::Disconnect, 1 << 22);
    let ids = [bench.join(everything()), bench.join(with_keys(&["a"]))];
    let long = format!("a={}", "x".repeat(300_000));
    let short = format!("a={}", "y".repeat(50_000));
    let texts = [&*long, &short, &short, &short, &short, &short, &short, &long, &short];
    bench.publish(&texts);
    for id in ids {
        let mut bytes = Vec::new();
        while let Offer::Bytes(offered) = bench.hub.offer(id) {
            assert!(offered.len() <= 256 * 1024 || offered.len() == bench.published[0].image.len());
            bytes.extend_from_slice(offered);
            let len = offered.len();
            bench.hub.handle_taken(id, len, bench.now);
        }
        assert_eq!(
            bytes,
            bench.published.iter().flat_map(|message| message.image.to_vec()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_newer_state_is_what_was_said_meanwhile() {
    let mut owner = Bench::new(SlowPolicy::Disconnect, 1000);
    owner.settings.history = 2;
    owner.hub.adopt(&owner.settings);
    let mut follower = Bench::new(SlowPolicy::Disconnect, 1000);
    let id = follower.join(everything());
    owner.publish(&["a=1"]);
    follower.publish(&["a=1"]);
    owner.publish(&["b=1", "c=1", "d=1"]);
    follower.hub.handle_state(owner.hub.state());
    assert_eq!(follower.drain(id), ["a=1", "c=1", "d=1"]);
    assert_eq!(follower.hub.take_counters().dropped, 1);
    let id = follower.join(with_snapshot());
    assert_eq!(follower.drain(id), ["a=1", "b=1", "c=1", "d=1"], "the last message of every key is known");
    follower.hub.handle_state(State::default());
    assert_eq!(follower.hub.next(), Seq(0), "another life of the source");
}
