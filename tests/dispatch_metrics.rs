//! What is counted of a dispatch, against what its client and its workers did.
#![cfg(feature = "runtime")]

mod support;

use support::python::Script;
use support::worker::{Worker, ask, dispatch, ids, meet_all, run, workers};

/// Every message here is `{"id":N}` in a frame with a mask; its header is six bytes, or two from a worker.
const MESSAGES: u64 = 30;

/// What a worker has received so far.
fn received(worker: &mut Worker) -> u64 {
    u64::try_from(worker.count("received")).expect("a small number")
}

#[test]
fn messages_bytes_and_replies_are_counted_as_client_and_workers_count_them() {
    let mut workers = workers(["a", "b", "c"]);
    let settings = "replies = \"one\"\nbalance = \"round-robin\"\ncorrelate = \"/id\"";
    let site = run(&dispatch(&workers, settings));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    (0..MESSAGES).for_each(|id| ask(&mut client, id));
    ids(&mut client, 30);

    let scrape = site.scrape();
    let told: Vec<_> = workers.iter_mut().map(received).collect();
    let all: u64 = told.iter().sum();
    for direction in ["from_client", "from_backend"] {
        let of = |name: &str| scrape.sum(name, &[("direction", direction)]);
        assert_eq!(of("selat_messages_total"), all, "{direction}");
        assert_eq!(of("selat_backend_messages_total"), all, "{direction}");
        // What a session forwards is all that its backends are sent and send.
        assert_eq!(of("selat_traffic_bytes_total"), of("selat_backend_traffic_bytes_total"), "{direction}");
        assert!(of("selat_traffic_bytes_total") > all * 8, "{direction}");
    }
    for (worker, told) in workers.iter().zip(&told) {
        let (url, pool) = (worker.url(), ("pool", "dispatch.workers"));
        let labels = [pool, ("backend", url.as_str())];
        for direction in ["from_client", "from_backend"] {
            let labels = [&labels[..], &[("direction", direction)]].concat();
            assert_eq!(scrape.sum("selat_backend_messages_total", &labels), *told, "{direction} {url}");
        }
        assert_eq!(scrape.sum("selat_backend_sessions_active", &labels), 1);
        assert_eq!(scrape.sum("selat_backend_dials_total", &labels), 1);
        let labels = [("dispatch", "workers"), ("backend", url.as_str())];
        assert_eq!(scrape.sum("selat_dispatch_reply_seconds_count", &labels), *told, "{url}");
    }
    let of = |name: &str| scrape.sum(&format!("selat_dispatch_{name}"), &[("dispatch", "workers")]);
    assert_eq!((of("sent_total"), of("replies_total"), of("outstanding")), (all, all, 0));
    let none =
        ["retries_total", "timeouts_total", "lost_total", "late_total", "surplus_total", "partial_total"];
    assert_eq!(none.map(of), [0; 6]);
    assert_eq!(scrape.sum("selat_backend_handshake_seconds_count", &[]), 3);
    Script::start("admin.py", &["lint", &site.admin]).expect_success();
}

#[test]
fn what_waits_is_shown_while_it_waits() {
    let mut workers = workers(["a", "b"]);
    let settings = "replies = \"one\"\nbalance = \"round-robin\"\norder = \"as-asked\"";
    let site = run(&dispatch(&workers, settings));
    let mut client = site.proxy.connect();
    meet_all(&mut client, &workers);
    let of = |name: &str| site.scrape().sum(&format!("selat_dispatch_{name}"), &[("dispatch", "workers")]);
    workers[0].holds();
    (0..4).for_each(|id| ask(&mut client, id));
    // Those of the one that holds nothing may be out; the others wait for it.
    support::eventually("half of them are answered", || of("outstanding") == 2);
    let waiting = of("reorder_depth");
    assert!((1..=2).contains(&waiting), "{waiting}");
    assert!(of("reorder_bytes") > waiting * 8);
    workers[0].releases();
    assert_eq!(ids(&mut client, 4), [0, 1, 2, 3]);
    assert_eq!((of("outstanding"), of("reorder_depth"), of("reorder_bytes")), (0, 0, 0));
}
