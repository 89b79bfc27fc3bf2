//! A connection to a source is replaced before the vendor cuts it: 24 hours in two seconds.
#![cfg(feature = "runtime")]

mod support;

use serde_json::json;
use support::fed::{Fed, hear, hear_all, tick};
use support::vendor::{Excess, TOO_MANY};

/// A feed that is rotated so often, with attempts that follow each other at once.
fn rotating(every: &str, overlap: &str) -> String {
    format!(
        "key = \"/symbol\"\nrotate = {{ every = \"{every}\", overlap = \"{overlap}\" }}\n\
         backoff = {{ min = \"10ms\", max = \"50ms\" }}\non_open = [\"hello\"]\n"
    )
}

#[test]
fn every_message_of_two_connections_is_published_once() {
    let mut fed = Fed::start("rotation-once", &rotating("1s", "300ms"));
    let [mut client] = fed.join();
    let mut said = Vec::new();
    let mut number = 0;
    while fed.count("rotations_total") < 2 {
        // A price that has not changed is said again, and that is news as well.
        let texts = [tick("EURUSD", number), tick("GBPUSD", number), tick("EURUSD", number)];
        fed.vendor.says(&texts);
        said.extend(texts);
        number += 1;
    }
    assert_eq!(fed.hear_to_the_end(&mut client), said);
    assert!(fed.count("duplicates_total") > 0);
    assert_eq!(fed.count("gaps_total"), 0);
    assert_eq!((fed.vendor.received(), fed.vendor.received(), fed.vendor.received()), three_hellos());
}

fn three_hellos() -> (String, String, String) {
    let hello = || "hello".to_owned();
    (hello(), hello(), hello())
}

#[test]
fn whichever_connection_is_ahead_each_message_comes_once_and_in_order() {
    let mut fed = Fed::start("rotation-ahead", &rotating("2s", "1900ms"));
    let [mut client] = fed.join();
    let (old, new) = (fed.opened.clone(), fed.vendor.opened());
    let texts = |from: usize, to: usize| (from..to).map(|n| tick("EURUSD", n)).collect::<Vec<_>>();
    fed.vendor.says_on(&old, texts(0, 3));
    fed.vendor.says_on(&new, texts(0, 5));
    fed.vendor.says_on(&old, texts(3, 8));
    fed.vendor.says_on(&new, texts(5, 10));
    // Cut before its time, and before it has said what the new one has.
    fed.vendor.does("cut", json!({ "to": old.number() }));
    assert_eq!(hear_all(&mut client, 10), texts(0, 10));
    fed.vendor.says(texts(10, 12));
    assert_eq!(hear_all(&mut client, 2), texts(10, 12));
    assert_eq!(fed.count("gaps_total"), 0);
}

#[test]
fn the_new_connection_is_there_before_the_old_one_is_closed() {
    let mut fed = Fed::start("rotation-first", &rotating("400ms", "200ms"));
    for n in 1..3 {
        assert_eq!(fed.vendor.opened().number(), n + 1);
        assert_eq!(fed.vendor.count("closed"), 0);
        // In order: with a Close.
        assert_eq!(fed.vendor.closed(), (n, 1000));
    }
}

#[test]
fn a_vendor_that_forbids_a_second_connection_keeps_the_first() {
    for (name, excess) in [("rotation-refuse", Excess::Refuse), ("rotation-tell", Excess::Tell)] {
        let feed = format!("{}fatal = [\"{TOO_MANY}\"]\n", rotating("300ms", "100ms"));
        let mut fed = Fed::start(name, &feed);
        fed.vendor.allows_one(excess);
        let [mut client] = fed.join();
        fed.vendor.event(if excess == Excess::Tell { "exceeded" } else { "refused" });
        fed.vendor.says(["still here"]);
        assert_eq!(hear(&mut client), "still here", "{name}");
        assert_eq!((fed.status()["state"].as_str(), fed.count("gaps_total")), (Some("up"), 0), "{name}");
        assert_eq!((fed.vendor.count("opened"), fed.vendor.count("closed")), (0, 0), "{name}");
    }
}

#[test]
fn a_vendor_that_cuts_the_first_for_the_second_is_read_on_the_second() {
    let mut fed = Fed::start("rotation-replace", &rotating("300ms", "100ms"));
    fed.vendor.allows_one(Excess::Replace);
    let [mut client] = fed.join();
    for text in ["once", "twice"] {
        fed.vendor.opened();
        fed.vendor.says([text]);
        assert_eq!(hear(&mut client), text);
    }
}
