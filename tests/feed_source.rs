//! The source of a feed, and how it is kept: whatever a vendor does, the clients stay, and it is not hammered.
#![cfg(feature = "runtime")]

mod support;

use serde_json::json;
use support::fed::{Fed, hear, number, toml};
use support::site::Site;
use support::tls::{Authority, Validity};
use support::vendor::{Excess, TOO_MANY, Vendor};
use support::ws::Client;

/// Attempts that follow each other at once.
const AT_ONCE: &str = "backoff = { min = \"10ms\", max = \"50ms\" }\n";

/// That the vendor is heard again after what happened, by a client that was there before.
fn expect_heard_again(fed: &mut Fed, client: &mut Client) {
    fed.vendor.says(["after"]);
    assert_eq!(hear(client), "after");
}

/// A proxy before two vendors, of which it reads the first.
fn spared(name: &str, feed: &str) -> (Fed, Vendor) {
    let (mut vendor, spare) = (Vendor::start(), Vendor::start());
    let site = Site::start(name, &toml("", &[&vendor.url(), &spare.url()], feed));
    let opened = vendor.opened();
    (Fed::with(site, vendor, opened), spare)
}

#[test]
fn it_is_asked_with_what_the_configuration_says_and_told_on_open_in_order() {
    let vendor = Vendor::start();
    let feed = "headers = { X-Key = \"abc\", Authorization = \"Bearer t0ken\" }\non_open = ['{\"login\":1}', 'two']\n";
    let mut fed = Fed::by(vendor, "source-asked", feed);
    assert_eq!((fed.opened.path(), fed.opened.header("x-key")), ("/feed", "abc"));
    assert_eq!(fed.opened.header("authorization"), "Bearer t0ken");
    assert_eq!([fed.vendor.received(), fed.vendor.received()], ["{\"login\":1}", "two"]);
}

#[test]
fn it_may_want_a_first_message_before_it_talks() {
    let mut vendor = Vendor::start();
    vendor.does("demand", json!({ "member": "userKey" }));
    let mut fed = Fed::by(vendor, "source-demand", "on_open = ['{\"userKey\":\"k\"}']\n");
    let [mut client] = fed.join();
    expect_heard_again(&mut fed, &mut client);
}

#[test]
fn its_pings_are_answered_in_the_middle_of_a_message_too() {
    let mut fed = Fed::start("source-pings", "");
    let [mut client] = fed.join();
    fed.vendor.does("ping", json!({}));
    fed.vendor.does("ping_within", json!({ "fragments": ["in ", "the ", "middle"] }));
    assert_eq!(hear(&mut client), "in the middle");
}

#[test]
fn however_it_goes_it_is_dialled_again_and_clients_stay() {
    let feed = format!("{AT_ONCE}on_open = [\"hello\"]\n");
    let mut fed = Fed::start("source-again", &feed);
    let [mut client] = fed.join();
    let ends: [fn(&mut Vendor); 4] = [
        Vendor::cuts,
        |vendor| vendor.closes(1012, "maintenance"),
        |vendor| vendor.closes(1000, ""),
        |vendor| {
            vendor.dies();
            vendor.comes_back();
        },
    ];
    assert_eq!(fed.vendor.received(), "hello");
    for (gaps, end) in (1..).zip(ends) {
        fed.vendor.says(["before"]);
        assert_eq!(hear(&mut client), "before");
        end(&mut fed.vendor);
        assert_eq!(fed.vendor.opened().number(), gaps + 1);
        assert_eq!(fed.vendor.received(), "hello");
        expect_heard_again(&mut fed, &mut client);
        assert_eq!((fed.count("gaps_total"), fed.count("source_connects_total")), (gaps, gaps + 1));
        assert_eq!(fed.count_of("source_state", &[("state", "up")]), 1);
    }
    assert_eq!(fed.count("clients"), 1);
}

#[test]
fn cut_at_random_it_leaves_no_half_message_and_nothing_twice() {
    let mut fed = Fed::start("source-flicker", AT_ONCE);
    let [mut client] = fed.join();
    fed.vendor.does("flicker", json!({ "count": 100, "seed": 7 }));
    let texts = fed.hear_to_the_end(&mut client);
    let numbers: Vec<_> = texts.iter().map(|text| number(text)).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    let (gaps, connects) = (fed.count("gaps_total"), fed.count("source_connects_total"));
    assert!(gaps > 5 && gaps < connects, "{gaps} {connects}");
}

#[test]
fn clients_are_told_of_a_gap_where_the_configuration_has_words_for_it() {
    let mut fed = Fed::start("source-gap", &format!("{AT_ONCE}gap_message = '{{\"gap\":true}}'\n"));
    let [mut client] = fed.join();
    for n in 1..=2 {
        fed.vendor.cuts();
        fed.vendor.opened();
        fed.vendor.says([format!("after {n}")]);
        assert_eq!(
            [hear(&mut client), hear(&mut client)],
            ["{\"gap\":true}".to_owned(), format!("after {n}")]
        );
    }
    // Who comes later has missed nothing.
    let [mut late] = fed.join();
    expect_heard_again(&mut fed, &mut late);
}

#[test]
fn a_gap_is_in_the_log() {
    let mut fed = Fed::start("source-log", AT_ONCE);
    fed.vendor.cuts();
    fed.vendor.opened();
    let line = fed.site.proxy.line_beginning("the source of a feed");
    assert_eq!(line.get("feed"), "fx");
}

#[test]
fn a_spare_takes_over() {
    let (mut fed, mut spare) = spared("source-spare", AT_ONCE);
    let [mut client] = fed.join();
    fed.vendor.dies();
    spare.opened();
    spare.says(["from the spare"]);
    assert_eq!(hear(&mut client), "from the spare");
    fed.wait_until("the spare is shown", |fed| fed.status()["source"] == spare.url());
}

#[test]
fn a_vendor_that_refuses_or_does_not_answer_is_passed_over() {
    for (name, command, arguments) in [
        ("source-refuses", "refuse", json!({ "status": 503 })),
        ("source-hangs", "hang", json!({ "is_hanging": true })),
    ] {
        let (mut vendor, mut spare) = (Vendor::start(), Vendor::start());
        vendor.does(command, arguments);
        let feed = format!("{AT_ONCE}connect_timeout = \"300ms\"\n");
        let site = Site::start(name, &toml("", &[&vendor.url(), &spare.url()], &feed));
        let opened = spare.opened();
        let mut fed = Fed::with(site, spare, opened);
        let [mut client] = fed.join();
        expect_heard_again(&mut fed, &mut client);
        assert!(fed.count("source_failures_total") > 0, "{name}");
    }
}

#[test]
fn mute_for_too_long_it_is_replaced_though_it_answers_pings() {
    let other_days = support::fed::days_from_now(2, 3);
    let stall = format!(
        "stall = {{ after = \"300ms\", quiet = \"{other_days}\", ping = {{ every = \"50ms\", timeout = \"10s\" }} }}\n"
    );
    let mut fed = Fed::start("source-mute", &format!("{AT_ONCE}{stall}"));
    let [mut client] = fed.join();
    let begun = support::now();
    fed.vendor.event("pinged");
    let (closed, opened) = (fed.vendor.closed().0, fed.vendor.opened());
    assert!(support::has_waited(begun, std::time::Duration::from_millis(300)));
    assert_eq!((closed, opened.number()), (1, 2));
    expect_heard_again(&mut fed, &mut client);
}

#[test]
fn in_quiet_hours_pongs_are_life_enough() {
    let now = support::fed::days_from_now(-1, 1);
    let stall = format!(
        "stall = {{ after = \"100ms\", quiet = [\"{now}\"], ping = {{ every = \"50ms\", timeout = \"300ms\" }} }}\n"
    );
    let mut fed = Fed::start("source-quiet", &format!("{AT_ONCE}{stall}"));
    let [mut client] = fed.join();
    (0..10).for_each(|_| drop(fed.vendor.event("pinged")));
    assert_eq!((fed.vendor.count("opened"), fed.vendor.count("closed")), (0, 0));
    expect_heard_again(&mut fed, &mut client);
    // But a vendor that answers none is dead at any hour.
    fed.vendor.does("deafen", json!({ "is_deaf": true }));
    assert_eq!(fed.vendor.opened().number(), 2);
    fed.vendor.does("deafen", json!({ "is_deaf": false }));
    expect_heard_again(&mut fed, &mut client);
}

#[test]
fn what_it_says_is_a_sign_of_life_though_it_answers_no_ping() {
    let stall = "stall = { ping = { every = \"50ms\", timeout = \"300ms\" } }\n";
    let mut fed = Fed::start("source-deaf", &format!("{AT_ONCE}{stall}"));
    let [mut client] = fed.join();
    fed.vendor.does("deafen", json!({ "is_deaf": true }));
    let begun = support::now();
    while begun.elapsed().as_millis() < 700 {
        expect_heard_again(&mut fed, &mut client);
    }
    assert_eq!(fed.vendor.count("opened"), 0);
}

#[test]
fn a_fatal_word_stops_it_until_a_reload() {
    let feed = format!("{AT_ONCE}fatal = [\"{TOO_MANY}\"]\n");
    let mut fed = Fed::start("source-fatal", &feed);
    let [mut client] = fed.join();
    fed.vendor.says(["before", TOO_MANY]);
    assert_eq!(hear(&mut client), "before");
    assert_eq!(fed.vendor.closed().0, 1);
    fed.wait_until("it has stopped", |fed| fed.status()["state"] == "stopped");
    assert_eq!(fed.status()["words"], TOO_MANY);
    for (state, is_in) in [("stopped", 1), ("up", 0), ("connecting", 0)] {
        assert_eq!(fed.count_of("source_state", &[("state", state)]), is_in);
    }
    // Clients stay, and more may come.
    fed.site.proxy.connect();
    let other = format!("{feed}on_open = [\"another key\"]\n");
    fed.site.rewrite(&toml("", &[&fed.vendor.url()], &other));
    fed.site.reload();
    // The second: nobody has tried in the meantime.
    assert_eq!(fed.vendor.opened().number(), 2);
    assert_eq!(fed.vendor.received(), "another key");
    fed.wait_until("it is read again", |fed| fed.status()["state"] == "up");
    let [mut late] = fed.join();
    expect_heard_again(&mut fed, &mut late);
    assert_eq!(hear(&mut client), "is anybody there?");
}

#[test]
fn a_fatal_greeting_stops_it_too() {
    let mut vendor = Vendor::start();
    vendor.allows_one(Excess::Tell);
    let first = Fed::by(vendor, "source-first", "");
    let feed = format!("{AT_ONCE}fatal = [\"*to many*\"]\n");
    let second = Site::start("source-second", &toml("", &[&first.vendor.url()], &feed));
    support::eventually("it has stopped", || second.status()["feeds"][0]["state"] == "stopped");
    let mut fed = first;
    assert_eq!(fed.vendor.count("exceeded"), 1);
    let [mut client] = fed.join();
    expect_heard_again(&mut fed, &mut client);
}

#[test]
fn what_is_no_data_is_skipped() {
    let mut vendor = Vendor::start();
    vendor.greets_with(&["Connected"]);
    let mut fed = Fed::by(vendor, "source-skip", "skip = [\"Connected\", \"pong *\"]\nhistory = 10\n");
    fed.vendor.says(["Connected", "one", "pong 17", " Connected\n", "Connected!", "two"]);
    fed.wait_until("the source is read", |fed| fed.count("messages_total") == 3);
    let mut client = fed.site.proxy.connect();
    assert_eq!([hear(&mut client), hear(&mut client), hear(&mut client)], ["one", "Connected!", "two"]);
    assert_eq!(fed.count("skipped_total"), 4);
}

#[test]
fn its_order_is_kept_whatever_its_numbers_say() {
    let mut fed = Fed::start("source-order", "key = \"/symbol\"\nsnapshot = true\n");
    let [mut client] = fed.join();
    let texts = [3, 1, 2, 2, 9, 0].map(|n| support::fed::tick("EURUSD", n));
    fed.vendor.says(&texts);
    for text in &texts {
        assert_eq!(hear(&mut client), *text);
    }
    let mut late = fed.site.proxy.connect();
    assert_eq!(hear(&mut late), texts[5]);
}

#[test]
fn ten_thousand_messages_at_once_all_come_through() {
    let mut fed = Fed::start("source-flood", "slow = { buffer = \"64MiB\" }\n");
    let mut clients = fed.join::<2>();
    fed.vendor.does("flood", json!({ "count": 10_000, "keys": 100 }));
    for client in &mut clients {
        for n in 0..10_000 {
            assert_eq!(number(&hear(client)), n);
        }
    }
}

#[test]
fn a_message_too_large_ends_the_connection_and_no_client_gets_a_part_of_it() {
    let mut fed = Fed::start("source-large", &format!("{AT_ONCE}message = \"64KiB\"\n"));
    let [mut client] = fed.join();
    let fits = "x".repeat(65_536);
    fed.vendor.sends(&json!([fits]));
    assert!(hear(&mut client) == fits);
    for too_large in [json!("y".repeat(65_537)), json!(["z".repeat(40_000), "z".repeat(40_000)])] {
        fed.vendor.sends(&json!([too_large]));
        // RFC 6455 §7.4.1.
        assert_eq!(fed.vendor.closed().1, 1009);
        fed.vendor.opened();
        expect_heard_again(&mut fed, &mut client);
    }
}

#[test]
fn one_that_speaks_tls_is_believed_by_its_authority() {
    let authority = Authority::new();
    let vendor =
        Vendor::secured(|host| authority.certificate(&["localhost", &host.to_string()], Validity::Now));
    let feed = format!("[feed.fx.tls]\nca = \"{}\"\n", authority.file());
    let mut fed = Fed::by(vendor, "source-tls", &feed);
    let [mut client] = fed.join();
    let large = "x".repeat(300_000);
    fed.vendor.says(["small", &large]);
    assert_eq!(hear(&mut client), "small");
    assert!(hear(&mut client) == large);
}

#[test]
fn one_of_another_authority_is_not_believed_and_its_spare_is_read() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let of = |authority: &Authority| {
        Vendor::secured(|host| authority.certificate(&[&host.to_string()], Validity::Now))
    };
    let (mut vendor, mut spare) = (of(&stranger), of(&authority));
    let feed = format!("{AT_ONCE}[feed.fx.tls]\nca = \"{}\"\n", authority.file());
    let _site = Site::start("source-stranger", &toml("", &[&vendor.url(), &spare.url()], &feed));
    spare.opened();
    assert_eq!(vendor.count("opened"), 0);
}
