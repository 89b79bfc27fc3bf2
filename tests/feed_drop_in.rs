//! In the place of the published Python proxy for forex feeds: its clients, unchanged, see the same.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::fed::toml;
use support::path::Directory;
use support::python::Script;
use support::site::Site;
use support::vendor::Vendor;

const USER_KEY: &str = "s3cr3t-0123456789";
const ON_OPEN: &str = "{\"userKey\":\"s3cr3t-0123456789\",\"symbol\":\"EURUSD,GBPUSD\"}";

/// How long a client may take to hear of a feed, before it is tried again.
const PATIENCE: Duration = Duration::from_millis(50);

/// Both proxies, side by side before the same vendor.
struct Pair {
    vendor: Vendor,
    _python: Script,
    _site: Site,
    _keys: Directory,
    /// Where they are.
    urls: [String; 2],
}

impl Pair {
    /// Those that pass on the vendor's `Connected`, or skip it.
    fn start(name: &str, skips_connected: bool) -> Self {
        let mut vendor = Vendor::start();
        vendor.greets_with(&["Connected"]);
        let flags: &[&str] = if skips_connected { &["--skip-connected"] } else { &[] };
        let python =
            Script::start("forex_proxy.py", &[&[&*vendor.url(), USER_KEY, "EURUSD,GBPUSD"], flags].concat());
        let in_python = format!("ws://127.0.0.1:{}", python.line());
        assert_eq!(vendor.received(), ON_OPEN);
        let keys = Directory::new(&format!("{name}-keys"));
        fs::write(keys.file("keys"), format!("everybody:{USER_KEY}\n")).expect("the directory is ours");
        let auth = format!(
            "auth = {{ first_message = \"userKey\", keys_file = \"{}\", timeout = \"10s\" }}",
            keys.argument("keys")
        );
        let skip = if skips_connected { "skip = [\"Connected\"]" } else { "" };
        let feed = format!("on_open = ['{ON_OPEN}']\n{skip}");
        let site = Site::start(name, &toml(&auth, &[&vendor.url()], &feed));
        assert_eq!(vendor.received(), ON_OPEN);
        let urls = [in_python, format!("ws://{}", site.proxy.address)];
        Self { vendor, _python: python, _site: site, _keys: keys, urls }
    }

    /// A client of each, with these words behind the key, which has heard of the feed.
    fn clients(&mut self, words: &[&str]) -> [Script; 2] {
        let clients = self
            .urls
            .each_ref()
            .map(|url| Script::start("forex_client.py", &[&[url.as_str(), USER_KEY], words].concat()));
        for client in &clients {
            while client.line_within(PATIENCE).is_none() {
                self.vendor.says(["is anybody there?"]);
            }
        }
        self.vendor.says(["let us begin"]);
        for client in &clients {
            until(client, "let us begin");
        }
        clients
    }
}

/// What a client sees up to this text.
fn until(client: &Script, last: &str) -> Vec<Value> {
    let seen = || serde_json::from_str::<Value>(&client.line()).expect("JSON");
    let is_last = |seen: &Value| *seen == json!({ "text": last });
    std::iter::repeat_with(seen).take_while(|seen| !is_last(seen)).collect()
}

/// How a client's connection ends, and that it saw nothing before.
fn close(client: &Script) -> Value {
    let seen: Value = serde_json::from_str(&client.line()).expect("JSON");
    seen.get("closed").cloned().unwrap_or_else(|| unreachable!("a Close, not {seen}"))
}

#[test]
fn clients_of_the_published_proxy_see_the_same() {
    for (name, skips_connected) in [("drop-in-skip", true), ("drop-in-pass", false)] {
        let mut pair = Pair::start(name, skips_connected);
        let clients = pair.clients(&[]);
        let long = "x".repeat(100_000);
        pair.vendor.sends(&json!([
            "{\"symbol\":\"EURUSD\", \"ts\":\"1700000000\", \"bid\":1.0921, \"ask\":1.0922}",
            "{\"symbol\":\"EURUSD\", \"ts\":\"1700000000\", \"bid\":1.0921, \"ask\":1.0922}",
            "Connected",
            "",
            "text, not JSON: é€😀",
            { "binary": "00ff80" },
            { "binary": "" },
            ["in ", "three ", "fragments"],
            { "binary": ["00", "", "ff"] },
            long,
            "end",
        ]));
        let [in_python, in_selat] = clients.each_ref().map(|client| until(client, "end"));
        let connected = json!({ "text": "Connected" });
        assert_eq!(in_python.contains(&connected), !skips_connected);
        assert_eq!(in_python.len(), if skips_connected { 9 } else { 10 });
        assert_eq!(in_selat, in_python);
    }
}

#[test]
fn what_clients_say_behind_their_key_is_read_by_neither() {
    let mut pair = Pair::start("drop-in-words", true);
    let clients = pair.clients(&["hello?", "{\"userKey\":\"another\"}", "{\"symbol\":\"JPYUSD\"}"]);
    pair.vendor.says(["a", "b", "end"]);
    let [in_python, in_selat] = clients.each_ref().map(|client| until(client, "end"));
    assert_eq!(in_python, [json!({ "text": "a" }), json!({ "text": "b" })]);
    assert_eq!(in_selat, in_python);
    assert_eq!(pair.vendor.count("received"), 0);
}

#[test]
fn a_wrong_key_is_closed_by_both_and_told_nothing() {
    let mut pair = Pair::start("drop-in-wrong", true);
    for url in &pair.urls {
        let client = Script::start("forex_client.py", &[url, "wrong"]);
        assert!(close(&client).is_array(), "{url}");
    }
    // Nor does anybody else notice.
    let clients = pair.clients(&[]);
    pair.vendor.says(["a", "end"]);
    let [in_python, in_selat] = clients.each_ref().map(|client| until(client, "end"));
    assert_eq!((in_python.len(), &in_selat), (1, &in_python));
}
