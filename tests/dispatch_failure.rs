//! Workers that are killed, stalled, closed and restarted under load, with every message accounted for.
#![cfg(feature = "runtime")]

mod support;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use support::caller::Caller;
use support::site::Site;
use support::worker::{
    Worker, answer, ask, dispatch, ids, meet_all, number, run, text, who_answers, workers,
};
use support::ws::expect_close;
use support::{DEADLINE, eventually, has_waited, now};
use tungstenite::Message;

/// Messages that wait at once.
const WINDOW: usize = 50;

/// A worker's time for a message: enough for some to be outstanding whenever it dies.
const WORK: f64 = 0.002;

const SORRY: &str = r#"on_timeout = '{"id":{id},"error":"no reply"}'"#;

/// A dispatch over three workers at work, whose replies are known by their ids.
fn at_work(settings: &str) -> (Vec<Worker>, Site) {
    let mut workers = Vec::from(workers(["a", "b", "c"]));
    for worker in &mut workers {
        worker.works(WORK);
        worker.does("hush", &json!({ "is_quiet": true }));
    }
    let settings = format!("replies = \"one\"\ncorrelate = \"/id\"\n{settings}");
    let site = run(&dispatch(&workers, &settings));
    (workers, site)
}

/// A caller that all the workers serve.
fn caller(site: &Site, workers: &mut [Worker], patience: Duration) -> Caller {
    let mut caller = Caller::start(&site.proxy.address, WINDOW, patience);
    workers.iter_mut().for_each(|worker| drop(worker.event("opened")));
    caller.goes_on_for(1);
    caller
}

/// Kills one worker after the other, each coming back before the next dies.
fn kill_in_turn(workers: &mut [Worker], caller: &mut Caller) {
    for worker in workers {
        caller.goes_on_for(1);
        worker.dies();
        caller.goes_on_for(2);
        worker.comes_back();
        worker.works(WORK);
        worker.does("hush", &json!({ "is_quiet": true }));
        worker.event("opened");
    }
    caller.goes_on_for(1);
}

fn total(site: &Site, name: &str) -> u64 {
    site.scrape().sum(&format!("selat_dispatch_{name}"), &[("dispatch", "workers")])
}

#[test]
fn messages_of_killed_workers_are_sent_anew_and_each_is_answered_once() {
    let (mut workers, site) = at_work("retry = 5");
    let mut caller = caller(&site, &mut workers, DEADLINE);
    kill_in_turn(&mut workers, &mut caller);
    let account = caller.ends();
    account.expect_balance();
    assert_eq!((account.errors.len(), account.missing.len(), account.by.len()), (0, 0, 3), "{account:?}");
    assert!(total(&site, "retries_total") > 0);
    assert_eq!((total(&site, "lost_total"), total(&site, "outstanding")), (0, 0));
    assert_eq!(total(&site, "replies_total"), account.sent);
}

#[test]
fn messages_of_killed_workers_are_dropped_and_counted() {
    let (mut workers, site) = at_work("on_timeout = \"drop\"");
    let mut caller = caller(&site, &mut workers, Duration::from_secs(4));
    kill_in_turn(&mut workers, &mut caller);
    let account = caller.ends();
    account.expect_balance();
    let lost = u64::try_from(account.missing.len()).expect("a small number");
    assert!(lost > 0, "{account:?}");
    assert_eq!(total(&site, "lost_total") + total(&site, "timeouts_total"), lost);
    assert_eq!(total(&site, "replies_total"), account.sent - lost);
    assert_eq!((total(&site, "outstanding"), total(&site, "retries_total")), (0, 0));
}

#[test]
fn messages_of_killed_workers_are_answered_from_the_template() {
    for order in ["as-they-come", "as-asked"] {
        let (mut workers, site) = at_work(&format!("order = \"{order}\"\n{SORRY}"));
        let mut caller = caller(&site, &mut workers, DEADLINE);
        kill_in_turn(&mut workers, &mut caller);
        let account = caller.ends();
        account.expect_balance();
        let lost = u64::try_from(account.errors.len()).expect("a small number");
        assert!(lost > 0 && account.missing.is_empty(), "{account:?}");
        assert_eq!(total(&site, "lost_total") + total(&site, "timeouts_total"), lost);
        assert_eq!((total(&site, "outstanding"), total(&site, "reorder_depth")), (0, 0));
    }
}

#[test]
fn a_message_of_a_killed_worker_closes_the_client() {
    let (mut workers, site) = at_work("on_timeout = \"close\"");
    let caller = caller(&site, &mut workers, DEADLINE);
    workers[0].dies();
    let account = caller.waits_for_close();
    account.expect_balance();
    assert_eq!(account.code, 1011);
    assert!(!account.missing.is_empty());
}

#[test]
fn messages_of_a_stalled_worker_time_out_and_its_late_replies_are_dropped() {
    for order in ["as-they-come", "as-asked"] {
        let (mut workers, site) = at_work(&format!("timeout = \"700ms\"\norder = \"{order}\"\n{SORRY}"));
        let mut caller = caller(&site, &mut workers, DEADLINE);
        workers[0].stalls();
        eventually("messages time out", || total(&site, "timeouts_total") > 0);
        workers[0].goes_on();
        caller.goes_on_for(2);
        let account = caller.ends();
        account.expect_balance();
        let lost = u64::try_from(account.errors.len()).expect("a small number");
        assert!(lost > 0 && account.missing.is_empty(), "{order}: {account:?}");
        assert_eq!(total(&site, "timeouts_total") + total(&site, "lost_total"), lost, "{order}");
        eventually("nothing is owed any more", || total(&site, "outstanding") == 0);
    }
}

#[test]
fn a_reply_that_comes_late_is_dropped() {
    for correlate in ["correlate = \"/id\"", ""] {
        let mut workers = workers(["a"]);
        let settings = format!("replies = \"one\"\ntimeout = \"400ms\"\non_timeout = \"drop\"\n{correlate}");
        let site = run(&dispatch(&workers, &settings));
        let mut client = site.proxy.connect();
        workers[0].holds();
        ask(&mut client, 1);
        eventually("it times out", || total(&site, "timeouts_total") == 1);
        ask(&mut client, 2);
        assert_eq!((workers[0].received_id(), workers[0].received_id()), (1, 2));
        workers[0].releases();
        assert_eq!(answer(&mut client).0, 2, "not the first, which is late");
        assert_eq!(who_answers(&mut client, 3..6).len(), 3);
        assert_eq!((total(&site, "late_total"), total(&site, "replies_total")), (1, 4));
    }
}

#[test]
fn a_message_that_times_out_is_told_of_in_time() {
    let mut workers = workers(["a", "b"]);
    let settings =
        format!("replies = \"one\"\ncorrelate = \"/id\"\ntimeout = \"500ms\"\norder = \"as-asked\"\n{SORRY}");
    let site = run(&dispatch(&workers, &settings));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers[0].holds();
    let begun = now();
    (0..4).for_each(|id| ask(&mut client, id));
    // In order, whoever answers.
    let answers: Vec<serde_json::Value> = (0..4)
        .map(|_| {
            serde_json::from_str(&client.read().expect("an answer").into_text().expect("text")).expect("JSON")
        })
        .collect();
    assert!(has_waited(begun, Duration::from_millis(500)));
    assert_eq!(answers.iter().map(|answer| number(answer, "id")).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(answers.iter().filter(|answer| answer["error"] == "no reply").count(), 2, "{answers:?}");
}

#[test]
fn a_close_of_a_worker_retires_it_alone() {
    let mut workers = workers(["a", "b"]);
    let site = run(&dispatch(&workers, "replies = \"one\"\nbalance = \"round-robin\""));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers[0].does("close", &json!({ "code": 4000, "reason": "for a while" }));
    // It is answered.
    assert_eq!(workers[0].closed(), 4000);
    assert_eq!(who_answers(&mut client, [1]), ["b"]);
    // And connected to again, in time.
    meet_all(&mut client, &workers);
}

#[test]
fn the_last_worker_that_closes_closes_the_client_with_its_code() {
    let mut workers = workers(["a", "b"]);
    let site = run(&dispatch(&workers, "replies = \"one\""));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers[0].does("stop_listening", &json!({}));
    workers[0].does("close", &json!({ "code": 4000, "reason": "the first" }));
    workers[1].does("close", &json!({ "code": 4001, "reason": "the last" }));
    assert_eq!(expect_close(&mut client).0, 4001);
}

#[test]
fn a_client_whose_workers_are_all_gone_is_closed() {
    let mut workers = workers(["a", "b"]);
    let site = run(&dispatch(&workers, "replies = \"one\"\non_timeout = \"drop\""));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers.iter_mut().for_each(|worker| worker.dies());
    // It may have been told before this is sent.
    let _ = client.send(Message::text("is anybody there"));
    assert_eq!(expect_close(&mut client).0, 1011);
}

#[test]
fn a_drain_lets_what_is_owed_come_in_and_closes_all() {
    let mut workers = workers(["a", "b"]);
    let mut site = run(&dispatch(&workers, "replies = \"one\""));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers.iter_mut().for_each(Worker::holds);
    (0..4).for_each(|id| ask(&mut client, id));
    (0..2).for_each(|_| workers.iter_mut().for_each(|worker| drop(worker.received())));
    site.proxy.signal(Signal::TERM);
    site.proxy.line_beginning("draining");
    workers.iter_mut().for_each(Worker::releases);
    let mut answered = ids(&mut client, 4);
    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 2, 3]);
    assert_eq!(expect_close(&mut client), (1001, "going away".to_owned()));
    for worker in &mut workers {
        let closed = worker.event("closed");
        assert_eq!((number(&closed, "code"), text(&closed, "reason").as_str()), (1001, "going away"));
    }
    let ended = site.proxy.ended();
    assert_eq!((ended.code, ended.last().number("cut")), (Some(0), 0));
}

#[test]
fn a_reload_brings_workers_and_takes_others_away() {
    let mut all = workers(["a", "b", "c"]);
    let settings = "replies = \"one\"\nbalance = \"round-robin\"";
    let site = run(&dispatch(&all[..2], settings));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &all[..2]);
    site.rewrite(&dispatch(&all[1..], settings));
    site.reload();
    assert_eq!(all[0].closed(), 1012, "its connection is closed in order");
    meet_all(&mut client, &all[1..]);
    let names = who_answers(&mut client, 0..20);
    assert!(!names.contains(&"a".to_owned()), "{names:?}");
    // Without the dispatch there is nothing left for the client.
    site.rewrite("[route.work]\nrespond = \"echo\"\n");
    site.reload();
    assert_eq!(expect_close(&mut client), (1012, "service restart".to_owned()));
}

#[test]
fn a_worker_that_is_drained_gets_no_more_messages() {
    let mut workers = workers(["a", "b"]);
    let site = run(&dispatch(&workers, "replies = \"one\"\nbalance = \"round-robin\""));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers[0].holds();
    ask(&mut client, 0);
    ask(&mut client, 1);
    assert_eq!(answer(&mut client).1, "b");
    let (code, said) = site.operate(&["drain", &workers[0].url()]);
    assert_eq!(code, Some(0), "{said}");
    site.settle();
    assert_eq!(who_answers(&mut client, 10..16), vec!["b"; 6]);
    // It still gets to say what it owes, and is left then.
    workers[0].releases();
    assert_eq!(answer(&mut client).1, "a");
    assert_eq!(workers[0].closed(), 1012);
    site.operate(&["undrain", &workers[0].url()]);
    meet_all(&mut client, &workers);
}
