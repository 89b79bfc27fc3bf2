//! The backends of a dispatch are operated as a pool's are: probed, drained, limited, shown, replaced by a reload.
#![cfg(feature = "runtime")]

mod support;

use selat::telemetry::Overview;
use serde_json::Value;
use support::eventually;
use support::site::Site;
use support::worker::{Worker, answer, ask, dispatch, dispatch_to, meet_all, who_answers, workers};

const IN_TURN: &str = "balance = \"round-robin\"";

/// How a backend stands, in the status of the pool that is the dispatch's.
fn state(site: &Site, worker: &Worker) -> String {
    let overview: Overview = serde_json::from_value(site.status()).expect("an overview");
    let pool = overview.pools.iter().find(|pool| pool.name == "dispatch.workers").expect("it is shown");
    let backend = pool.backends.iter().find(|backend| backend.name == worker.url()).expect("it is shown");
    backend.state.name().to_owned()
}

#[test]
fn a_worker_that_fails_its_probes_gets_no_messages_until_it_is_well_again() {
    let workers = workers(["a", "b"]);
    let health = "health = { probe = \"websocket\", send = '{\"id\":0}', expect = 'by', every = \"500ms\", \
                  timeout = \"500ms\", rise = 1, fall = 2 }";
    let site = Site::start("operate-health", &dispatch(&workers, &format!("{IN_TURN}\n{health}")));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    workers[0].stalls();
    eventually("it is down", || state(&site, &workers[0]) == "down");
    eventually("the other is up", || state(&site, &workers[1]) == "up");
    site.settle();
    assert_eq!(who_answers(&mut client, 0..6), vec!["b"; 6]);
    workers[0].goes_on();
    eventually("it is up again", || state(&site, &workers[0]) == "up");
    meet_all(&mut client, &workers);
}

#[test]
fn its_backends_are_a_pool_of_its_own_in_all_that_is_shown() {
    let workers = workers(["a", "b"]);
    let site = Site::start("operate-shown", &dispatch(&workers, "balance = \"p2c\"\ncorrelate = \"/id\""));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    who_answers(&mut client, 0..4);

    let status = site.status();
    assert_eq!(
        (&status["pools"][0]["name"], &status["pools"][0]["policy"]),
        (&"dispatch.workers".into(), &"p2c".into())
    );
    let shown = &status["dispatches"][0];
    assert_eq!((&shown["name"], &shown["outstanding"]), (&"workers".into(), &0.into()));
    assert!(shown["sent"].as_u64() >= Some(6) && shown["sent"] == shown["replies"], "{shown}");
    let names = shown["backends"].as_array().expect("a list").iter().map(|backend| backend["name"].clone());
    assert!(names.eq(workers.iter().map(|worker| Value::from(worker.url()))), "{shown}");

    let (_, config) = site.get("/config");
    assert!(config.contains("[dispatch.workers]") && config.contains("correlate = \"/id\""), "{config}");
    let (code, page) = site.operate(&["status"]);
    assert_eq!(code, Some(0), "{page}");
    assert!(page.lines().any(|line| line.starts_with("workers  ")), "{page}");
    assert!(page.contains(&format!("reply of workers/{}", workers[0].url())), "{page}");

    // By its pool's name too, and back again.
    let name = format!("dispatch.workers/{}", workers[0].url());
    let (code, said) = site.operate(&["drain", &name]);
    assert!(code == Some(0) && said.contains(&name), "{said}");
    site.settle();
    assert_eq!(
        (state(&site, &workers[0]), who_answers(&mut client, 10..14)),
        ("draining".into(), vec!["b".into(); 4])
    );
    assert_eq!(site.operate(&["drain", &workers[1].url()]).0, Some(0));
    assert_eq!(site.get("/readyz"), (503, "pool dispatch.workers: none of 2 backends is up\n".into()));
    assert_eq!(site.operate(&["undrain", &name]).0, Some(0));
    assert_eq!(site.get("/readyz").0, 200);
}

#[test]
fn other_settings_hold_for_new_clients_and_a_new_dispatch_serves() {
    let workers = workers(["a", "b"]);
    let site = Site::start("operate-reload", "[route.echo]\nrespond = \"echo\"\n");
    site.rewrite(&dispatch(&workers, IN_TURN));
    assert_eq!(site.reload(), ["dispatch workers: added", "route echo: removed", "route work: added"]);
    let mut early = site.proxy.connect();
    meet_all(&mut early, &workers);

    site.rewrite(&dispatch(&workers, "send = \"all\"\ngather = \"array\""));
    assert_eq!(site.reload(), ["dispatch workers: changed"]);
    let mut late = site.proxy.connect();
    ask(&mut late, 1);
    let array = late.read().expect("an answer").into_text().expect("text");
    let array: Vec<Value> = serde_json::from_str(&array).expect("an array");
    assert_eq!(array.len(), 2, "{array:?}");
    ask(&mut early, 2);
    assert_eq!(answer(&mut early).0, 2);
}

#[test]
fn a_worker_has_as_many_clients_as_it_may() {
    let workers = workers(["a", "b"]);
    let limited = |url: String| format!("{{ url = \"{url}\", max_connections = 1 }}");
    let backends = format!("[{}, \"{}\"]", limited(workers[0].url()), workers[1].url());
    let text = dispatch_to([], IN_TURN).replace("backends = []", &format!("backends = {backends}"));
    let site = Site::start("operate-limit", &text);
    let mut first = site.proxy.connect();
    meet_all(&mut first, &workers);
    let mut second = site.proxy.connect();
    assert_eq!(who_answers(&mut second, 0..10), vec!["b"; 10]);
    drop(first);
    meet_all(&mut second, &workers);
}
