//! What is counted, shown and logged of a feed, against what its vendor and its clients did.
#![cfg(feature = "runtime")]

mod support;

use support::eventually;
use support::fed::{Fed, hear_all};
use support::python::Script;
use support::vendor::TOO_MANY;

const MESSAGES: u64 = 10;
const CLIENTS: u64 = 3;

#[test]
fn one_message_for_three_clients_is_three_deliveries_in_all_that_is_shown() {
    let mut fed = Fed::start("telemetry-counts", "");
    let mut clients: [_; 3] = fed.join();
    let counted = |fed: &Fed| {
        ["messages_total", "deliveries_total", "delivered_bytes_total"].map(|name| fed.count(name))
    };
    let before = counted(&fed);
    fed.vendor.says(["hello"; 10]);
    clients.iter_mut().for_each(|client| drop(hear_all(client, 10)));
    let now = counted(&fed);
    let deliveries = MESSAGES * CLIENTS;
    // A header of two bytes, and no mask.
    let expected = [MESSAGES, deliveries, deliveries * (2 + 5)];
    assert_eq!(std::array::from_fn(|at| now[at] - before[at]), expected);
    assert_eq!((fed.count("clients"), fed.count("lag_messages")), (CLIENTS, 0));
    assert_eq!((fed.count("source_connects_total"), fed.count("source_failures_total")), (1, 0));
    assert!(fed.count("delivery_seconds_count") > 0);
    assert!(fed.count("last_message_age_seconds") < 30);
    Script::start("admin.py", &["lint", &fed.site.admin]).expect_success();

    let status = fed.status();
    assert_eq!(status["state"], "up");
    assert_eq!(
        (&status["source"], &status["sources"][0]),
        (&fed.vendor.url().into(), &fed.vendor.url().into())
    );
    assert_eq!(
        (status["clients"].as_u64(), status["messages"]["messages"].as_u64()),
        (Some(3), Some(now[0]))
    );
    let (code, page) = fed.site.operate(&["status"]);
    assert_eq!(code, Some(0), "{page}");
    let shows_it = |line: &str| line.starts_with("fx ") && line.contains(&fed.vendor.url());
    assert!(page.lines().any(shows_it), "{page}");
    drop(clients);
    eventually("nobody is left", || fed.count("clients") == 0);
}

#[test]
fn a_source_is_no_backend_of_a_pool() {
    let mut fed = Fed::start("telemetry-source", "");
    fed.vendor.dies();
    fed.wait_until("it is dialled again", |fed| fed.status()["state"] == "connecting");
    // Clients are taken whether it is there or not.
    assert_eq!(fed.site.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(fed.site.get("/backends"), (200, "[]".to_owned()));
    assert_eq!(fed.site.scrape().all("selat_backend_state", &[]), [0.0; 0]);
}

#[test]
fn what_happens_to_a_source_is_in_the_log() {
    let feed = format!("backoff = {{ min = \"10ms\", max = \"50ms\" }}\nfatal = [\"{TOO_MANY}\"]\n");
    let mut fed = Fed::start("telemetry-log", &feed);
    let url = fed.vendor.url();
    let line = fed.site.proxy.line("the source of a feed is connected");
    assert_eq!(
        (line.get("feed"), line.get("source"), line.get("level")),
        ("fx".into(), url.clone(), "INFO".into())
    );
    fed.vendor.cuts();
    let line = fed.site.proxy.line("the source of a feed is lost");
    assert_eq!((line.get("source"), line.get("level")), (url.clone(), "WARN".into()));
    assert!(line.has("why") && line.has("retry_in"), "{line:?}");
    fed.vendor.opened();
    fed.vendor.says(["again"]);
    let line = fed.site.proxy.line("a feed may have missed messages");
    assert_eq!((line.get("feed"), line.get("level")), ("fx".into(), "WARN".into()));
    fed.vendor.says([TOO_MANY]);
    let line = fed.site.proxy.line_beginning("the source of a feed has stopped it");
    assert_eq!((line.get("words"), line.get("level")), (TOO_MANY.into(), "ERROR".into()));
}
