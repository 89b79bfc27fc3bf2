//! Clients that do not keep up: they delay nobody, cost no more than they may, and get what the feed's policy says.
#![cfg(feature = "runtime")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::fed::{BEGIN, Fed, hear, number};
use support::frames::{CLOSE, Frame, TEXT};
use support::raw::Raw;

/// More than the kernel holds for a client that reads nothing.
const MESSAGES: u64 = 12_000;
const PADDING: usize = 1000;

/// Keys of the flood, which take turns.
const KEYS: u64 = 7;

/// A receive buffer that is full at once.
const NARROW: usize = 4096;

/// Buffers for a feed: of a few messages, and of the whole flood.
const SMALL: &str = "64KiB";
const LARGE: &str = "64MiB";

fn slow(policy: &str, buffer: &str, more: &str) -> String {
    format!("key = \"/symbol\"\nslow = {{ policy = \"{policy}\", buffer = \"{buffer}\"{more} }}\n")
}

/// Has the vendor flood its feed, and waits until all of it is read.
fn flood(fed: &mut Fed) {
    let before = fed.count("messages_total");
    fed.vendor.does("flood", json!({ "count": MESSAGES, "keys": KEYS, "padding": PADDING }));
    fed.wait_until("the flood is read", |fed| fed.count("messages_total") == before + MESSAGES);
}

/// What a client that was stuck gets, now that it reads: numbers, by key the last of them, and what comes behind.
struct Read {
    numbers: Vec<u64>,
    last: BTreeMap<String, u64>,
}

impl Read {
    /// Up to this number.
    fn up_to(client: &mut Raw, last: u64) -> Self {
        let mut read = Self { numbers: Vec::new(), last: BTreeMap::new() };
        while read.numbers.last() != Some(&last) {
            read.take(&client.frame());
        }
        read
    }

    /// Up to the Close, which comes with it; `None` if the connection was cut first.
    fn to_the_close(client: &mut Raw) -> (Self, Option<u16>) {
        let mut read = Self { numbers: Vec::new(), last: BTreeMap::new() };
        let (mut bytes, _) = client.rest();
        while let Some((frame, len)) = Frame::parse(&bytes) {
            bytes.drain(..len);
            if frame.opcode == CLOSE {
                assert!(bytes.is_empty(), "nothing behind a Close");
                return (read, Some(frame.close().0));
            }
            read.take(&frame);
        }
        (read, None)
    }

    fn take(&mut self, frame: &Frame) {
        assert_eq!((frame.opcode, frame.fin), (TEXT, true));
        let message: Value = serde_json::from_slice(&frame.payload).expect("a whole message");
        let number = message.get("n").and_then(Value::as_u64).expect("a number");
        let symbol = message.get("symbol").and_then(Value::as_str).expect("text");
        assert!(self.numbers.last() < Some(&number), "{number} behind {:?}", self.numbers.last());
        self.numbers.push(number);
        self.last.insert(symbol.to_owned(), number);
    }

    fn count(&self) -> u64 {
        u64::try_from(self.numbers.len()).expect("few")
    }

    /// That nothing is missing between the first and the last.
    fn expect_no_gap(&self) {
        assert!(self.numbers.is_sorted_by(|one, next| one + 1 == *next), "{:?}", self.numbers);
    }
}

#[test]
fn a_stuck_client_delays_nobody_and_gets_it_all_once_it_reads() {
    let mut fed = Fed::start("slow-nobody", &slow("disconnect", LARGE, ""));
    let mut stuck = fed.join_raw(Some(NARROW));
    let [mut quick] = fed.join();
    flood(&mut fed);
    for n in 0..MESSAGES {
        assert_eq!(number(&hear(&mut quick)), n);
    }
    // There it is still, with most of it before it.
    assert!(fed.status()["lag"]["slowest"].as_u64().unwrap() > MESSAGES / 4, "{}", fed.status());
    assert_eq!(fed.count("clients"), 2);
    skip_greeting(&mut stuck);
    let read = Read::up_to(&mut stuck, MESSAGES - 1);
    assert_eq!(read.count(), MESSAGES);
    assert_eq!((fed.count("dropped_total"), fed.count("conflated_total")), (0, 0));
    fed.wait_until("nobody is behind", |fed| fed.status()["lag"]["slowest"] == 0);
}

/// Reads what the vendor says to the client that comes after this one.
fn skip_greeting(client: &mut Raw) {
    while !client.frame().payload.starts_with(BEGIN.as_bytes()) {}
}

#[test]
fn conflated_it_gets_the_latest_of_each_key_in_order() {
    let mut fed = Fed::start("slow-conflate", &slow("conflate", SMALL, ""));
    let mut stuck = fed.join_raw(Some(NARROW));
    flood(&mut fed);
    let mut read = Read::up_to(&mut stuck, MESSAGES - 1);
    // The last of each key are the last that were said.
    let expected = (MESSAGES - KEYS..MESSAGES).map(|n| (format!("KEY{}", n % KEYS), n));
    assert_eq!(read.last, expected.collect());
    assert!(read.count() < MESSAGES, "it was stuck");
    assert_eq!(read.count() + fed.count("conflated_total"), MESSAGES);
    assert_eq!((fed.count("dropped_total"), fed.count("evicted_total")), (0, 0));
    // Caught up, it misses nothing.
    fed.vendor.does("flood", json!({ "count": 5, "keys": 1 }));
    (0..5).for_each(|_| read.take(&stuck.frame()));
    assert_eq!(read.numbers.last(), Some(&(MESSAGES + 4)));
}

#[test]
fn of_the_oldest_it_gets_nothing_where_they_are_dropped() {
    let mut fed = Fed::start("slow-drop", &slow("drop-oldest", SMALL, ""));
    let mut stuck = fed.join_raw(Some(NARROW));
    flood(&mut fed);
    let read = Read::up_to(&mut stuck, MESSAGES - 1);
    assert!(read.count() < MESSAGES, "it was stuck");
    assert_eq!(read.count() + fed.count("dropped_total"), MESSAGES);
    assert_eq!((fed.count("conflated_total"), fed.count("evicted_total")), (0, 0));
    let tail: Vec<_> = read.numbers.iter().rev().take(20).rev().copied().collect();
    assert_eq!(tail, (MESSAGES - 20..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn behind_by_more_than_the_buffer_it_is_sent_away() {
    let mut fed = Fed::start("slow-disconnect", &slow("disconnect", SMALL, ""));
    let mut stuck = fed.join_raw(Some(NARROW));
    flood(&mut fed);
    fed.wait_until("it is sent away", |fed| fed.count_of("evicted_total", &[("why", "buffer")]) == 1);
    let (read, close) = Read::to_the_close(&mut stuck);
    assert_eq!(close, Some(1013));
    read.expect_no_gap();
    assert!(read.count() < MESSAGES);
    fed.wait_until("it is gone", |fed| fed.count("clients") == 0);
}

#[test]
fn stuck_for_too_long_it_is_sent_away() {
    let mut fed = Fed::start("slow-time", &slow("disconnect", LARGE, ", evict_after = \"300ms\""));
    let mut stuck = fed.join_raw(Some(NARROW));
    let [quick] = fed.join();
    flood(&mut fed);
    fed.wait_until("it is sent away", |fed| fed.count_of("evicted_total", &[("why", "time")]) >= 1);
    skip_greeting(&mut stuck);
    let (read, close) = Read::to_the_close(&mut stuck);
    // Cut, where there is no room for a Close.
    assert!(close.is_none_or(|code| code == 1013), "{close:?}");
    read.expect_no_gap();
    assert!(read.count() < MESSAGES);
    drop(quick);
}

#[test]
fn a_client_for_whom_nothing_waits_is_never_too_slow() {
    let mut fed = Fed::start("slow-idle", &slow("disconnect", SMALL, ", evict_after = \"50ms\""));
    let [mut idle, mut other] = fed.join();
    let begun = support::now();
    while begun.elapsed().as_millis() < 200 {
        fed.vendor.says(["tick"]);
        assert_eq!(hear(&mut other), "tick");
    }
    assert_eq!(fed.count("evicted_total"), 0);
    assert_eq!(hear(&mut idle), "tick");
}

#[test]
fn a_client_that_vanishes_is_forgotten() {
    let mut fed = Fed::start("slow-vanished", &slow("disconnect", LARGE, ""));
    let [mut quick] = fed.join();
    let stuck = fed.join_raw(Some(NARROW));
    flood(&mut fed);
    stuck.reset();
    fed.wait_until("it is gone", |fed| fed.count("clients") == 1);
    while !hear(&mut quick).starts_with(BEGIN) {}
    for n in 0..MESSAGES {
        assert_eq!(number(&hear(&mut quick)), n);
    }
}

#[test]
fn a_message_larger_than_the_buffer_still_comes_to_those_who_read() {
    for policy in ["disconnect", "drop-oldest", "conflate"] {
        let mut fed = Fed::start(&format!("slow-large-{policy}"), &slow(policy, "1KiB", ""));
        let [mut client] = fed.join();
        let large = "x".repeat(500_000);
        fed.vendor.says([&large]);
        assert!(hear(&mut client) == large, "{policy}");
    }
}
