//! A feed lives through reloads: what has not changed goes on, what has is done at once.
#![cfg(feature = "runtime")]

mod support;

use support::fed::{Fed, hear, toml};
use support::site::Site;
use support::vendor::Vendor;
use support::ws::expect_close;

/// The same feed of other sources, or with other lines.
fn reload(fed: &Fed, sources: &[&str], feed: &str) {
    fed.site.rewrite(&toml("", sources, feed));
    fed.site.reload();
}

#[test]
fn what_does_not_concern_a_feed_leaves_it_alone() {
    let mut fed = Fed::start("reload-other", "on_open = [\"hello\"]\n");
    let [mut client] = fed.join();
    assert_eq!(fed.vendor.received(), "hello");
    let url = fed.vendor.url();
    let other = "on_open = [\"hello\"]\n[route.other]\npath = \"/other\"\nrespond = \"echo\"\n";
    reload(&fed, &[&url], other);
    fed.vendor.says(["after"]);
    assert_eq!(hear(&mut client), "after");
    let events = ["opened", "closed", "received"].map(|event| fed.vendor.count(event));
    assert_eq!((events, fed.count("gaps_total")), ([0; 3], 0));
}

#[test]
fn what_concerns_clients_alone_leaves_the_source_alone() {
    let mut fed = Fed::start("reload-slow", "");
    let [mut client] = fed.join();
    let url = fed.vendor.url();
    reload(&fed, &[&url], "slow = { policy = \"drop-oldest\", buffer = \"2MiB\" }\nhistory = 3\n");
    fed.vendor.says(["one", "two"]);
    assert_eq!([hear(&mut client), hear(&mut client)], ["one", "two"]);
    assert_eq!((fed.vendor.count("opened"), fed.vendor.count("closed")), (0, 0));
    let mut late = fed.site.proxy.connect();
    let last = [hear(&mut late), hear(&mut late)];
    assert!(last.contains(&"one".to_owned()) || last.contains(&"two".to_owned()), "{last:?}");
}

#[test]
fn other_words_on_open_are_said_on_a_new_connection_and_clients_stay() {
    let mut fed = Fed::start("reload-words", "on_open = [\"hello\"]\n");
    let [mut client] = fed.join();
    assert_eq!(fed.vendor.received(), "hello");
    let url = fed.vendor.url();
    reload(&fed, &[&url], "on_open = [\"good morning\"]\n");
    assert_eq!(fed.vendor.opened().number(), 2);
    assert_eq!(fed.vendor.received(), "good morning");
    assert_eq!(fed.vendor.closed().0, 1);
    fed.vendor.says(["after"]);
    assert_eq!(hear(&mut client), "after");
}

#[test]
fn another_source_is_read_in_the_place_of_the_first_and_clients_stay() {
    let mut fed = Fed::start("reload-source", "");
    let [mut client] = fed.join();
    let mut other = Vendor::start();
    reload(&fed, &[&other.url()], "");
    other.opened();
    assert_eq!(fed.vendor.closed().0, 1);
    other.says(["from another"]);
    assert_eq!(hear(&mut client), "from another");
}

#[test]
fn the_clients_of_a_feed_that_is_gone_are_sent_away() {
    let mut fed = Fed::start("reload-gone", "");
    let [mut client] = fed.join();
    fed.site.rewrite("[route.echo]\nrespond = \"echo\"\n");
    fed.site.reload();
    // Not for good: another server may have it.
    assert_eq!(expect_close(&mut client).0, 1012);
    assert_eq!(fed.vendor.closed().0, 1);
}

#[test]
fn a_feed_may_come_with_a_reload() {
    let site = Site::start("reload-new", "[route.echo]\nrespond = \"echo\"\n");
    let mut vendor = Vendor::start();
    site.rewrite(&toml("", &[&vendor.url()], ""));
    site.reload();
    let opened = vendor.opened();
    let mut fed = Fed::with(site, vendor, opened);
    let [mut client] = fed.join();
    fed.vendor.says(["here I am"]);
    assert_eq!(hear(&mut client), "here I am");
}
