//! JSON-RPC clients of PyPI and npm, unmodified, on a dispatch.
#![cfg(feature = "runtime")]

mod support;

use support::node;
use support::proxy::Proxy;
use support::python::Script;
use support::worker::{dispatch, run, workers};

const NAMES: [&str; 3] = ["a", "b", "c"];

const SETTINGS: &str = "replies = \"one\"\ncorrelate = \"/id\"";

/// Starts a scenario of a client.
type Start = fn(arguments: &[&str]) -> Script;

fn python(arguments: &[&str]) -> Script {
    Script::start("rpc.py", arguments)
}

fn node(arguments: &[&str]) -> Script {
    node::start("rpc.mjs", arguments)
}

fn url(proxy: &Proxy) -> String {
    format!("ws://{}/", proxy.address)
}

/// Many calls at once are spread over all workers, and each gets its own answer.
fn spreads_calls(start: Start) {
    let workers = workers(NAMES);
    let site = run(&dispatch(&workers, SETTINGS));
    start(&[&["calls", &url(&site.proxy)], &NAMES[..]].concat()).expect_success();
}

fn lets_calls_overtake(start: Start) {
    let workers = workers(NAMES);
    let site = run(&dispatch(&workers, &format!("{SETTINGS}\nbalance = \"least-outstanding\"")));
    start(&["overtaken", &url(&site.proxy)]).expect_success();
}

/// Every call is answered while one worker after the other is killed and comes back.
fn survives_workers(start: Start) {
    let mut workers = workers(NAMES);
    let site = run(&dispatch(&workers, &format!("{SETTINGS}\nretry = 3")));
    workers.iter_mut().for_each(|worker| worker.works(0.002));
    let mut client = start(&["steady", &url(&site.proxy)]);
    for worker in &mut workers {
        worker.event("opened");
        worker.dies();
        // Some more calls, without it.
        (0..10).for_each(|_| drop(client.line()));
        worker.comes_back();
        worker.works(0.002);
        worker.event("opened");
    }
    client.type_in("stop");
    client.expect_success();
}

#[test]
fn a_client_of_pypi_has_its_calls_spread_and_answered() {
    spreads_calls(python);
}

#[test]
fn a_client_of_npm_has_its_calls_spread_and_answered() {
    spreads_calls(node);
}

#[test]
fn quick_calls_of_a_client_of_pypi_overtake_slow_ones() {
    lets_calls_overtake(python);
}

#[test]
fn quick_calls_of_a_client_of_npm_overtake_slow_ones() {
    lets_calls_overtake(node);
}

#[test]
fn a_client_of_pypi_notices_no_worker_that_is_killed() {
    survives_workers(python);
}

#[test]
fn a_client_of_npm_notices_no_worker_that_is_killed() {
    survives_workers(node);
}

#[test]
fn a_batch_is_answered_as_a_whole() {
    let [mut worker] = workers(["a"]);
    let site = run(&dispatch(std::slice::from_ref(&worker), SETTINGS));
    let mut client = site.proxy.connect();
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"sum","params":[1]}]"#;
    support::ws::expect_echo(&mut client, &support::ws::text(batch));
    assert_eq!(worker.received(), batch);
}
