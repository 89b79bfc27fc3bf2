//! Clients choose keys at the source: they say what they would say to it, and it hears what changes for all of them.
#![cfg(feature = "runtime")]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::fed::{Fed, hear, tick};
use support::vendor::Vendor;
use support::ws::{Client, expect_close, text};

/// A source that is told what changes.
const ADDS: &str = "key = \"/symbol\"\nbackoff = { min = \"10ms\", max = \"50ms\" }\non_open = [\"hello\"]\n\
    [feed.fx.subscriptions]\nsubscribe = '{\"op\":\"subscribe\",\"args\":[\"{keys}\"]}'\n\
    unsubscribe = '{\"op\":\"unsubscribe\",\"args\":[\"{keys}\"]}'\ntopics_max = 3\n";

/// A source for which the last word counts.
const REPLACES: &str = "key = \"/symbol\"\nbackoff = { min = \"10ms\", max = \"50ms\" }\n\
    [feed.fx.subscriptions]\nsubscribe = '{\"userKey\":\"vendor-key\",\"symbol\":\"{keys}\"}'\n\
    conflict = \"replaces\"\n";

/// A feed whose vendor has said hello.
fn adding(name: &str) -> Fed {
    let mut fed = Fed::start(name, ADDS);
    assert_eq!(fed.vendor.received(), "hello");
    fed
}

fn says(client: &mut Client, op: &str, keys: &[&str]) {
    client.send(text(&json!({ "op": op, "args": keys }).to_string())).expect("it can be sent");
}

/// What the vendor is told next: what to do, with which keys, in any order.
fn told(vendor: &mut Vendor) -> (String, BTreeSet<String>) {
    let message: Value = serde_json::from_str(&vendor.received()).expect("JSON");
    let keys = message.get("args").and_then(Value::as_array).expect("a list").iter();
    let keys = keys.map(|key| key.as_str().expect("text").to_owned()).collect();
    (message.get("op").and_then(Value::as_str).expect("text").to_owned(), keys)
}

/// The same as a test writes it.
fn words(op: &str, keys: &[&str]) -> (String, BTreeSet<String>) {
    (op.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect())
}

#[test]
fn the_source_hears_what_changes_and_each_client_gets_its_keys() {
    let mut fed = adding("subscriptions-union");
    let (mut one, mut other) = (fed.site.proxy.connect(), fed.site.proxy.connect());
    says(&mut one, "subscribe", &["EURUSD", "USDJPY"]);
    assert_eq!(told(&mut fed.vendor), words("subscribe", &["EURUSD", "USDJPY"]));
    says(&mut other, "subscribe", &["EURUSD", "GBPUSD"]);
    assert_eq!(told(&mut fed.vendor), words("subscribe", &["GBPUSD"]));
    assert_eq!(fed.count("topics"), 3);
    fed.vendor.says([tick("USDJPY", 1), tick("GBPUSD", 2), tick("EURUSD", 3), tick("NZDUSD", 4)]);
    assert_eq!([hear(&mut one), hear(&mut one)], [tick("USDJPY", 1), tick("EURUSD", 3)]);
    assert_eq!([hear(&mut other), hear(&mut other)], [tick("GBPUSD", 2), tick("EURUSD", 3)]);
    // Somebody else still wants the first of these.
    says(&mut one, "unsubscribe", &["EURUSD", "USDJPY"]);
    assert_eq!(told(&mut fed.vendor), words("unsubscribe", &["USDJPY"]));
    fed.vendor.says([tick("EURUSD", 5)]);
    assert_eq!(hear(&mut other), tick("EURUSD", 5));
    says(&mut one, "subscribe", &["GBPUSD", "NZDUSD"]);
    assert_eq!(told(&mut fed.vendor), words("subscribe", &["NZDUSD"]));
    fed.vendor.says([tick("EURUSD", 6), tick("NZDUSD", 7)]);
    assert_eq!(hear(&mut one), tick("NZDUSD", 7));
    // Who leaves wants nothing.
    drop(other);
    assert_eq!(told(&mut fed.vendor), words("unsubscribe", &["EURUSD"]));
    one.close(None).unwrap();
    assert_eq!(told(&mut fed.vendor), words("unsubscribe", &["GBPUSD", "NZDUSD"]));
}

#[test]
fn who_has_subscribed_to_nothing_gets_nothing() {
    let mut fed = adding("subscriptions-nothing");
    let (mut silent, mut other) = (fed.site.proxy.connect(), fed.site.proxy.connect());
    says(&mut other, "subscribe", &["EURUSD"]);
    told(&mut fed.vendor);
    fed.vendor.says([tick("EURUSD", 1), tick("GBPUSD", 2)]);
    assert_eq!(hear(&mut other), tick("EURUSD", 1));
    says(&mut silent, "subscribe", &["GBPUSD"]);
    told(&mut fed.vendor);
    fed.vendor.says([tick("GBPUSD", 3)]);
    assert_eq!(hear(&mut silent), tick("GBPUSD", 3));
}

#[test]
fn the_union_is_that_of_all_cores() {
    let mut fed = Fed::on_all_cores("subscriptions-cores", ADDS);
    assert_eq!(fed.vendor.received(), "hello");
    let mut clients = Vec::new();
    while clients.is_empty() || fed.shards_without_clients() > 0 {
        clients.push(fed.site.proxy.connect());
        assert!(clients.len() < 100, "clients come to every shard");
    }
    for (at, client) in clients.iter_mut().enumerate() {
        says(client, "subscribe", &["EURUSD"]);
        if at == 0 {
            assert_eq!(told(&mut fed.vendor), words("subscribe", &["EURUSD"]));
        }
    }
    says(&mut clients[0], "subscribe", &["GBPUSD"]);
    assert_eq!(told(&mut fed.vendor), words("subscribe", &["GBPUSD"]));
    fed.wait_until("all want it", |fed| fed.count("topics") == 2);
    // Some may have come behind the first message.
    for client in &mut clients {
        support::eventually("a client hears of its key", || {
            fed.vendor.says([tick("EURUSD", 1)]);
            !support::fed::is_quiet(client)
        });
        assert_eq!(hear(client), tick("EURUSD", 1));
    }
    drop(clients);
    let mut left = BTreeSet::new();
    while left.len() < 2 {
        let (op, keys) = told(&mut fed.vendor);
        assert_eq!(op, "unsubscribe");
        left.extend(keys);
    }
}

#[test]
fn all_of_them_are_restored_when_the_source_is_dialled_again() {
    let mut fed = adding("subscriptions-again");
    let mut client = fed.site.proxy.connect();
    says(&mut client, "subscribe", &["EURUSD"]);
    told(&mut fed.vendor);
    says(&mut client, "subscribe", &["GBPUSD"]);
    told(&mut fed.vendor);
    fed.vendor.cuts();
    fed.vendor.opened();
    assert_eq!(fed.vendor.received(), "hello");
    assert_eq!(told(&mut fed.vendor), words("subscribe", &["EURUSD", "GBPUSD"]));
    fed.vendor.says([tick("GBPUSD", 1)]);
    assert_eq!(hear(&mut client), tick("GBPUSD", 1));
}

#[test]
fn where_the_last_word_counts_all_keys_are_said_each_time() {
    let mut fed = Fed::start("subscriptions-replaces", REPLACES);
    let said = |fed: &mut Fed| {
        let message: Value = serde_json::from_str(&fed.vendor.received()).expect("JSON");
        assert_eq!(message["userKey"], "vendor-key");
        let symbols = message["symbol"].as_str().expect("text");
        symbols.split(',').map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    let ask = |client: &mut Client, symbols: &str| {
        // The vendor's key is none of the client's business.
        let words = json!({ "symbol": symbols });
        client.send(text(&words.to_string())).expect("it can be sent");
    };
    let (mut one, mut other) = (fed.site.proxy.connect(), fed.site.proxy.connect());
    ask(&mut one, "EURUSD,USDJPY");
    assert_eq!(said(&mut fed), set(&["EURUSD", "USDJPY"]));
    ask(&mut other, "GBPUSD");
    assert_eq!(said(&mut fed), set(&["EURUSD", "GBPUSD", "USDJPY"]));
    fed.vendor.says([tick("GBPUSD", 1), tick("EURUSD", 2)]);
    assert_eq!(hear(&mut one), tick("EURUSD", 2));
    assert_eq!(hear(&mut other), tick("GBPUSD", 1));
    drop(one);
    assert_eq!(said(&mut fed), set(&["GBPUSD"]));
    fed.vendor.cuts();
    fed.vendor.opened();
    assert_eq!(said(&mut fed), set(&["GBPUSD"]));
}

#[test]
fn a_client_that_wants_too_many_keys_is_sent_away() {
    let mut fed = adding("subscriptions-many");
    let (mut modest, mut greedy) = (fed.site.proxy.connect(), fed.site.proxy.connect());
    says(&mut modest, "subscribe", &["A", "B"]);
    says(&mut modest, "subscribe", &["B", "C"]);
    assert_eq!(told(&mut fed.vendor), words("subscribe", &["A", "B"]));
    assert_eq!(told(&mut fed.vendor), words("subscribe", &["C"]));
    says(&mut greedy, "subscribe", &["A", "B", "C", "D"]);
    assert_eq!(expect_close(&mut greedy).0, 1008);
    fed.vendor.says([tick("C", 1)]);
    assert_eq!(hear(&mut modest), tick("C", 1));
}

#[test]
fn a_key_cannot_say_more_to_the_source_than_a_key() {
    let mut fed = adding("subscriptions-escape");
    let mut client = fed.site.proxy.connect();
    let evil = "A\"],\"op\":\"cancel\",\"x\":[\"";
    says(&mut client, "subscribe", &[evil]);
    says(&mut client, "subscribe", &["B"]);
    let first = told(&mut fed.vendor);
    // Whether such a key is asked for or not: it is one key, or none.
    if first != words("subscribe", &[evil]) {
        assert_eq!(first, words("subscribe", &["B"]));
    }
}
