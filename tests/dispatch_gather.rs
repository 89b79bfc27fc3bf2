//! Messages that all workers get, and what becomes of their replies.
#![cfg(feature = "runtime")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use support::site::Site;
use support::worker::{Worker, answer, ask, dispatch, number, run, text, workers};
use support::ws::{Client, expect_close};
use support::{eventually, has_waited, now};

/// A client, and all workers connected to it, for what is sent to all connects to all first.
fn all(workers: &[Worker], settings: &str) -> Site {
    let settings = format!("send = \"all\"\nreplies = \"one\"\ncorrelate = \"/id\"\n{settings}");
    run(&dispatch(workers, &settings))
}

fn json(client: &mut Client) -> Value {
    let text = client.read().expect("a message").into_text().expect("text");
    serde_json::from_str(&text).unwrap_or_else(|_| unreachable!("JSON: {text}"))
}

fn who(replies: &Value) -> BTreeSet<String> {
    replies.as_array().expect("an array").iter().map(|reply| text(reply, "by")).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn total(site: &Site, name: &str) -> u64 {
    site.scrape().sum(&format!("selat_dispatch_{name}"), &[("dispatch", "workers")])
}

#[test]
fn the_first_of_all_replies_is_the_reply() {
    let mut workers = workers(["a", "b", "c"]);
    let site = all(&workers, "gather = \"first\"");
    let mut client = site.proxy.connect();
    workers[0].holds();
    workers[2].holds();
    for id in 0..10 {
        ask(&mut client, id);
        assert_eq!(answer(&mut client), (id, "b".to_owned()));
    }
    workers[0].releases();
    workers[2].releases();
    // Whoever else answers is not heard: the next that the client gets is of the next message.
    eventually("the others' replies are swallowed", || total(&site, "surplus_total") == 20);
    ask(&mut client, 10);
    assert_eq!(answer(&mut client).0, 10);
    for worker in &mut workers {
        (0..11).for_each(|id| assert_eq!(worker.received_id(), id));
    }
    assert_eq!((total(&site, "sent_total"), total(&site, "outstanding")), (33, 0));
}

#[test]
fn all_replies_come_as_they_come() {
    let mut workers = workers(["a", "b", "c"]);
    let site = all(&workers, "gather = \"all\"");
    let mut client = site.proxy.connect();
    workers.iter_mut().for_each(Worker::holds);
    ask(&mut client, 7);
    for at in [2, 0, 1] {
        assert_eq!(workers[at].received_id(), 7);
        workers[at].releases();
        assert_eq!(answer(&mut client), (7, workers[at].name().to_owned()));
    }
}

#[test]
fn a_quorum_suffices() {
    let mut workers = workers(["a", "b", "c"]);
    let site = all(&workers, "gather = \"all\"\nquorum = 2");
    let mut client = site.proxy.connect();
    workers[1].holds();
    for id in 0..5 {
        ask(&mut client, id);
        let answers = [answer(&mut client), answer(&mut client)];
        assert!(answers.iter().all(|(answered, by)| *answered == id && by != "b"), "{answers:?}");
    }
    workers[1].releases();
    eventually("the third is swallowed", || total(&site, "surplus_total") == 5);
    ask(&mut client, 5);
    assert_eq!(answer(&mut client).0, 5);
}

#[test]
fn replies_are_gathered_in_one_array() {
    let mut workers = workers(["a", "b", "c"]);
    let site = all(&workers, "gather = \"array\"");
    let mut client = site.proxy.connect();
    for id in 0..10 {
        ask(&mut client, id);
    }
    let mut expected: BTreeSet<_> = (0..10).collect();
    for _ in 0..10 {
        let replies = json(&mut client);
        assert_eq!(who(&replies), names(["a", "b", "c"]));
        let ids: BTreeSet<_> =
            replies.as_array().expect("an array").iter().map(|reply| number(reply, "id")).collect();
        assert_eq!(ids.len(), 1, "{replies}");
        assert!(ids.iter().all(|id| expected.remove(id)));
    }
    // In the order in which they came.
    workers.iter_mut().for_each(Worker::holds);
    ask(&mut client, 11);
    for at in [1, 2, 0] {
        // Released when it is known to be held.
        (0..10).for_each(|_| drop(workers[at].received()));
        assert_eq!(workers[at].received_id(), 11);
        workers[at].releases();
        if at != 0 {
            let arrived = if at == 1 { 1 } else { 2 };
            eventually("the reply is there", || total(&site, "replies_total") == 30 + arrived);
        }
    }
    let order: Vec<_> =
        json(&mut client).as_array().expect("an array").iter().map(|reply| text(reply, "by")).collect();
    assert_eq!(order, ["b", "c", "a"]);
}

#[test]
fn an_array_of_a_quorum_leaves_when_it_is_full() {
    let mut workers = workers(["a", "b", "c"]);
    let site = all(&workers, "gather = \"array\"\nquorum = 2");
    let mut client = site.proxy.connect();
    workers[0].holds();
    ask(&mut client, 1);
    assert_eq!(who(&json(&mut client)), names(["b", "c"]));
}

#[test]
fn what_is_missing_from_an_array_in_time_is_marked() {
    let mut workers = workers(["a", "b", "c"]);
    let site = all(&workers, "gather = \"array\"\ntimeout = \"600ms\"");
    let mut client = site.proxy.connect();
    workers[1].holds();
    let begun = now();
    ask(&mut client, 1);
    let partial = json(&mut client);
    assert!(has_waited(begun, Duration::from_millis(600)));
    assert_eq!((&partial["partial"], &partial["expected"]), (&json!(true), &json!(3)));
    assert_eq!(who(&partial["replies"]), names(["a", "c"]));
    assert_eq!(total(&site, "partial_total"), 1);
    // The one that comes after all is not heard.
    workers[1].releases();
    eventually("it is late", || total(&site, "late_total") == 1);
    ask(&mut client, 2);
    assert_eq!(who(&json(&mut client)), names(["a", "b", "c"]));
}

#[test]
fn a_worker_that_is_killed_is_missing_from_the_array_at_once() {
    let mut workers = workers(["a", "b", "c"]);
    let site = all(&workers, "gather = \"array\"\ntimeout = \"20s\"");
    let mut client = site.proxy.connect();
    workers[1].holds();
    ask(&mut client, 1);
    assert_eq!(workers[1].received_id(), 1);
    workers[1].dies();
    let partial = json(&mut client);
    assert_eq!((&partial["partial"], &partial["expected"]), (&json!(true), &json!(3)));
    assert_eq!(who(&partial["replies"]), names(["a", "c"]));
    // And no longer expected.
    ask(&mut client, 2);
    assert_eq!(who(&json(&mut client)), names(["a", "c"]));
    // It is again when it is back.
    workers[1].comes_back();
    let mut id = 3;
    eventually("it is connected to again", || {
        ask(&mut client, id);
        id += 1;
        who(&json(&mut client)) == names(["a", "b", "c"])
    });
}

#[test]
fn too_few_in_time_are_what_on_timeout_says() {
    for (on_timeout, closes) in [("'{\"id\":{id},\"error\":\"too few\"}'", false), ("\"close\"", true)] {
        let mut workers = workers(["a", "b", "c"]);
        let settings =
            format!("gather = \"all\"\nquorum = 2\ntimeout = \"400ms\"\non_timeout = {on_timeout}");
        let site = all(&workers, &settings);
        let mut client = site.proxy.connect();
        workers[1].holds();
        workers[2].holds();
        ask(&mut client, 1);
        assert_eq!(answer(&mut client), (1, "a".to_owned()));
        if closes {
            assert_eq!(expect_close(&mut client).0, 1011);
        } else {
            assert_eq!(json(&mut client), json!({ "id": 1, "error": "too few" }));
        }
    }
}

#[test]
fn without_correlation_replies_are_gathered_by_their_turn() {
    let mut workers = workers(["a", "b"]);
    let site = run(&dispatch(&workers, "send = \"all\"\nreplies = \"one\"\ngather = \"array\""));
    let mut client = site.proxy.connect();
    workers[0].holds();
    (0..3).for_each(|id| ask(&mut client, id));
    (0..3).for_each(|id| assert_eq!(workers[0].received_id(), id));
    workers[0].releases();
    for id in 0..3 {
        let replies = json(&mut client);
        assert_eq!(who(&replies), names(["a", "b"]));
        assert!(replies.as_array().expect("an array").iter().all(|reply| number(reply, "id") == id));
    }
    // What is not JSON becomes a text of it.
    client.send(tungstenite::Message::text("plain \"words\"")).expect("it can be sent");
    assert_eq!(json(&mut client), json!(["plain \"words\"", "plain \"words\""]));
}
