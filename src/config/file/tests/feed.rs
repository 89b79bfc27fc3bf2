//! What a file may say about feeds, what is told about one that says otherwise, and what never appears.

use std::time::Duration;

use super::{FULL, KEY, lines, parsed, told};
use crate::balance::Policy;
use crate::config::{Config, Feed, FeedId, Pool, PoolId, Target};
use crate::feed::{
    Backoff, ClientMessages, Conflict, Pattern, Quiet, Rotate, Settings, SlowPolicy, Template,
};
use crate::guard::Auth;
use crate::health::Percent;
use crate::json::Pointer;

/// A feed with these lines, in front of what else a file needs.
fn feed(lines: &str) -> String {
    format!(
        "[feed.fx]\nsources = [\"ws://10.0.0.1:9001/feed\"]\n{lines}\n[listen.public]\naddr = \":8765\"\n\
         [route.fx]\nfeed = \"fx\"\n"
    )
}

/// A route to a feed with these lines, in front of what else a file needs.
fn route(lines: &str) -> String {
    format!(
        "[route.fx]\nfeed = \"fx\"\n{lines}\n[listen.public]\naddr = \":8765\"\n[feed.fx]\nsources = [\"ws://10.0.0.1/feed\"]\n"
    )
}

fn tells(rows: &[(String, &str)]) {
    for (text, part) in rows {
        let told = told(text);
        assert!(told.contains(part), "{text}\n{told}\n{part}");
    }
}

/// The only feed, and its sources.
fn only(config: &Config) -> (&Feed, &Pool) {
    let feed = &config.feeds[0];
    (feed, &config.pools[feed.sources.index()])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_feed_that_says_nothing_but_its_source_is_as_the_room_has_it_by_default() {
    let config = parsed(&feed("")).config;
    let (feed, pool) = only(&config);
    assert_eq!((&*feed.name, &*feed.settings, &feed.headers), ("fx", &Settings::default(), &vec![]));
    assert_eq!(config.routes[0].target, Target::Feed(FeedId(0)));
    assert_eq!((&*pool.name, &pool.policy), ("feed.fx", &Policy::default()));
    assert_eq!((pool.connect, pool.resolve_every), (Pool::CONNECT, Pool::RESOLVE_EVERY));
    assert!(pool.health.probe.is_none() && pool.health.outlier.ejected_share_max == Percent::ZERO);
}

#[test]
fn every_key_of_a_feed_does_what_it_says() {
    let config = parsed(FULL).config;
    let (feed, pool) = only(&config);
    let urls: Vec<_> = pool.backends.iter().map(|backend| backend.url.base_path.clone()).collect();
    assert_eq!(urls, [format!("/feed?token={KEY}"), "/spare".to_owned()]);
    assert_eq!((pool.connect, pool.resolve_every), (seconds(2), seconds(120)));
    assert!(pool.tls.is_some());
    let headers = feed.headers.iter().map(|(name, value)| (name.as_str(), value.expose()));
    assert!(headers.eq([
        ("Authorization", "Bearer t0ps3cret{x"),
        ("X-Plain", "a {b}"),
        ("Sec-WebSocket-Protocol", "v2.feed, v1.feed")
    ]));
    let settings = &*feed.settings;
    let on_open = [format!("{{\"userKey\":\"{KEY}\",\"symbol\":\"EURUSD\"}}"), "hello".to_owned()];
    assert!(settings.on_open.iter().map(|words| &*words.0).eq(&on_open));
    assert_eq!(settings.skip, [Pattern::new("Connected")]);
    assert_eq!(settings.fatal, [Pattern::new("User Key Used to many times"), Pattern::new("*limit*")]);
    assert_eq!(settings.key, Some(Pointer::new("/symbol").unwrap()));
    assert_eq!((settings.keys_max, settings.snapshot, settings.history), (500, true, 20));
    assert_eq!((settings.message_bytes_max, settings.compression), (64 << 10, true));
    let slow = settings.slow;
    assert_eq!((slow.policy, slow.buffer_bytes_max), (SlowPolicy::Conflate, 256 << 10));
    assert_eq!(slow.evict_after, seconds(10));
    let stall = &settings.stall;
    let quiet =
        ["Fri 22:00-Sun 22:00 UTC", "Wed 01:00-Wed 02:00 UTC"].map(|text| Quiet::parse(text).unwrap());
    assert_eq!((stall.after, &stall.quiet[..]), (Some(seconds(30)), &quiet[..]));
    assert_eq!((stall.ping_every, stall.ping_timeout), (seconds(15), seconds(10)));
    assert_eq!(settings.rotate, Some(Rotate { every: seconds(23 * 3600), overlap: seconds(7) }));
    assert_eq!(settings.backoff, Backoff { min: seconds(1), max: seconds(60) });
    assert_eq!(settings.client_messages, ClientMessages::Reject);
    assert_eq!(settings.gap_message.as_deref(), Some("{\"gap\":true}"));
    let subscriptions = settings.subscriptions.as_ref().unwrap();
    let template = |text: &str| Template::new(&text.replace("${KEY}", KEY), text).unwrap();
    assert_eq!(subscriptions.subscribe, template(r#"{"userKey":"${KEY}","symbol":"{keys}"}"#));
    assert_eq!(subscriptions.unsubscribe, Some(template(r#"{"op":"unsubscribe","args":["{keys}"]}"#)));
    assert_eq!((&*subscriptions.separator, subscriptions.conflict), (";", Conflict::Replaces));
    assert_eq!(subscriptions.topics_max, 50);
    let route = config.routes.iter().find(|route| &*route.name == "fx").unwrap();
    let Some(Auth::FirstMessage(auth)) = &route.guard.auth else { panic!("{route:?}") };
    assert_eq!((auth.member.as_str(), auth.timeout), ("userKey", seconds(3)));
}

#[test]
fn the_sources_of_feeds_come_behind_all_pools() {
    let config = parsed(
        "[feed.b]\nsources=['ws://b']\n[pool.a]\nbackends=['ws://a']\n[feed.c]\nsources=['ws://c']\n\
         [pool.d]\nbackends=['ws://d']\n[listen.x]\naddr=':1'\n[route.1]\nfeed='c'\npath='/c'\n[route.2]\npool='d'\n",
    )
    .config;
    assert!(config.pools.iter().map(|pool| &*pool.name).eq(["a", "d", "feed.b", "feed.c"]));
    assert!(
        config.feeds.iter().map(|feed| (&*feed.name, feed.sources)).eq([("b", PoolId(2)), ("c", PoolId(3))])
    );
    let targets: Vec<_> = config.routes.iter().map(|route| route.target.clone()).collect();
    assert_eq!(targets, [Target::Feed(FeedId(1)), Target::Pool(PoolId(1))]);
}

#[test]
fn quiet_hours_are_one_or_many() {
    for (quiet, count) in [
        ("\"Fri 22:00-Sun 22:00 UTC\"", 1),
        ("[\"Fri 22:00-Sun 22:00 UTC\"]", 1),
        ("[\"Fri 22:00-Sun 22:00 UTC\", \"Mon 00:00-Mon 01:00 UTC\"]", 2),
        ("[]", 0),
    ] {
        let config = parsed(&feed(&format!("stall = {{ after = \"1m\", quiet = {quiet} }}"))).config;
        assert_eq!(only(&config).0.settings.stall.quiet.len(), count, "{quiet}");
    }
}

#[test]
fn no_secret_of_a_feed_is_shown() {
    let text = feed(
        "headers = { Authorization = \"Bearer ${TOKEN}\" }\non_open = ['{\"key\":\"${KEY}\"}']\nkey = \"/symbol\"\n\
         subscriptions = { subscribe = '{\"key\":\"${KEY}\",\"symbol\":\"{keys}\"}' }",
    )
    .replace("9001/feed", "9001/feed?token=${TOKEN}");
    let config = parsed(&text).config;
    let (_, pool) = only(&config);
    assert_eq!(pool.backends[0].url.to_string(), "ws://10.0.0.1:9001/feed?token=${TOKEN}");
    let shown = format!("{}\n{config:?}", config.render());
    for reference in ["Bearer ${TOKEN}", "feed?token=${TOKEN}", "\"key\":\"${KEY}\""] {
        assert!(config.render().contains(reference), "{reference} in {}", config.render());
    }
    // None of them can say what is wrong with a value without saying the value.
    let wrong = told(
        &text
            .replace("/feed?", "/feed#?")
            .replace("\"Bearer ", "\"\\n")
            .replace("{keys}", "")
            .replace("\"/symbol\"", "\"${KEY}\""),
    );
    assert_eq!(wrong.lines().count(), 4, "{wrong}");
    for secret in ["t0ps3cret", KEY] {
        assert!(!shown.contains(secret) && !wrong.contains(secret), "{shown}\n{wrong}");
    }
}

#[test]
fn a_feed_that_could_not_work_is_told() {
    tells(&[
        (feed("slow = { policy = \"conflate\" }"), "3: policy in [feed.fx.slow]: there is no key, of which"),
        (
            feed("snapshot = true"),
            "3: snapshot in [feed.fx]: there is no key, whose last message is a snapshot",
        ),
        (feed("rotate = { every = \"5s\" }"), "3: [feed.fx.rotate]: overlap is not shorter than every"),
        (
            feed("rotate = { every = \"1h\", overlap = \"1h\" }"),
            "3: overlap in [feed.fx.rotate]: overlap is not shorter than every",
        ),
        (feed("rotate = {}"), "3: [feed.fx.rotate]: every is missing; write every = \"500ms\""),
        (
            feed("stall = { after = \"30s\", quiet = \"weekends\" }"),
            "3: quiet in [feed.fx.stall]: not a part of a week; write \"Fri 22:00-Sun 22:00 UTC\"",
        ),
        (
            feed("stall = { after = \"30s\", quiet = 3 }"),
            "3: quiet in [feed.fx.stall]: 3 is not a part of each week",
        ),
        (
            feed("stall = { after = \"30s\", quiet = [\"Fri 22:00-Fri 22:00 UTC\"] }"),
            "3: quiet[0] in [feed.fx.stall]: not a part of a week",
        ),
        (
            feed("stall = { quiet = \"Fri 22:00-Sun 22:00 UTC\" }"),
            "3: quiet in [feed.fx.stall]: there is no after, so silence is never too long",
        ),
        (feed("key = \"symbol\""), "3: key in [feed.fx]: a JSON pointer begins with /; write /symbol"),
        (feed("key = \"/a~b\""), "3: key in [feed.fx]: ~ is written ~0"),
        (feed("history = 0"), "3: history in [feed.fx]: 0 is not a whole number from 1 to 100000"),
        (feed("keys_max = 0"), "3: keys_max in [feed.fx]: 0 is not a whole number from 1"),
        (feed("message = \"0B\""), "3: message in [feed.fx]: \"0B\" is not a size"),
        (feed("slow = { buffer = \"0B\" }"), "3: buffer in [feed.fx.slow]: \"0B\" is not a size"),
        (feed("slow = { policy = \"block\" }"), "3: policy in [feed.fx.slow]: \"block\" is not known here"),
        (feed("skip = [\" \"]"), "3: skip[0] in [feed.fx]: an empty text is no message"),
        (feed("fatal = [\"\"]"), "3: fatal[0] in [feed.fx]: an empty text is no message"),
        (feed("fatal = [\"**\"]"), "3: fatal[0] in [feed.fx]: every message is that"),
        (feed("backoff = { min = \"1m\" }"), "3: [feed.fx.backoff]: min is longer than max"),
        (
            feed("evict_after = \"1s\""),
            "3: unknown key \"evict_after\" in [feed.fx]; did you mean \"slow.evict_after\"?",
        ),
    ]);
}

#[test]
fn headers_that_a_source_cannot_be_sent_are_told() {
    tells(&[
        (
            feed("headers = { \"a b\" = \"x\" }"),
            "3: headers.a b in [feed.fx]: \"a b\" is not the name of a header",
        ),
        (
            feed("headers = { Upgrade = \"x\" }"),
            "3: headers.Upgrade in [feed.fx]: Upgrade belongs to the handshake",
        ),
        (
            feed("headers = { X = \"a\\nb\" }"),
            "3: headers.X in [feed.fx]: the value of X holds a control character",
        ),
        (
            feed("headers = { host = \"x\" }"),
            "3: headers.host in [feed.fx]: it is the host of the source's URL; remove it",
        ),
        (
            feed("headers = { Sec-WebSocket-Protocol = \"a b\" }"),
            "3: headers.Sec-WebSocket-Protocol in [feed.fx]: these are no subprotocols",
        ),
    ]);
}

#[test]
fn subscriptions_that_could_not_work_are_told() {
    let subscribe = "subscriptions = { subscribe = '[\"{keys}\"]'";
    tells(&[
        (feed(&format!("{subscribe} }}")), "3: [feed.fx.subscriptions]: there is no key, by which"),
        (
            feed("key = \"/a\"\nsubscriptions = {}"),
            "4: [feed.fx.subscriptions]: subscribe is missing; write subscribe = '{\"op\":",
        ),
        (
            feed("key = \"/a\"\nsubscriptions = { subscribe = \"all\" }"),
            "4: subscribe in [feed.fx.subscriptions]: there is no {keys} in it, once",
        ),
        (
            feed("key = \"/a\"\nsubscriptions = { subscribe = '{\"keys\":{keys}}' }"),
            "4: subscribe in [feed.fx.subscriptions]: it looks like JSON and is none",
        ),
        (
            feed("key = \"/a\"\nsubscriptions = { subscribe = '${TOKEN} {keys}' }"),
            "4: subscribe in [feed.fx.subscriptions]: a reference has to be inside a JSON string",
        ),
        (
            feed(&format!("key = \"/a\"\n{subscribe}, unsubscribe = '[\"{{keys}}\"]' }}")),
            "4: unsubscribe in [feed.fx.subscriptions]: a client could mean subscribe by it",
        ),
        (
            feed(&format!("key = \"/a\"\n{subscribe}, separator = \"\" }}")),
            "4: separator in [feed.fx.subscriptions]: keys would run together",
        ),
    ]);
}

#[test]
fn sources_that_are_none_are_told() {
    let sources = |list: &str| feed("").replace("[\"ws://10.0.0.1:9001/feed\"]", list);
    tells(&[
        (
            feed("").replace("sources", "source"),
            "2: unknown key \"source\" in [feed.fx]; did you mean \"sources\"?",
        ),
        (feed("").replace("sources", "source"), "1: [feed.fx]: sources is missing; write sources = "),
        (sources("[]"), "2: sources in [feed.fx]: there is no source; write sources = "),
        (sources("[\"https://x\"]"), "2: sources[0] in [feed.fx]: \"https://x\" does not begin with ws://"),
        (sources("[\"ws://x#a\"]"), "2: sources[0] in [feed.fx]: \"ws://x#a\" has no valid host"),
        (
            sources("[\"ws://x/#a\"]"),
            "2: sources[0] in [feed.fx]: \"ws://x/#a\" has a path or query that is none",
        ),
        (
            sources("[\"ws://x\", \"ws://x:80/\"]"),
            "2: sources[1] in [feed.fx]: this source is in the feed already",
        ),
        (
            sources("[\"ws://x/${TOKEN} ${TOKEN}\"]"),
            "2: sources[0] in [feed.fx]: \"ws://x/${TOKEN} ${TOKEN}\" has a path or query that is none; leave out #",
        ),
    ]);
}

#[test]
fn a_route_to_a_feed_has_what_a_feed_can_do() {
    tells(&[
        (
            route("").replace("feed = \"fx\"", "feed = \"fy\""),
            "2: feed in [route.fx]: there is no [feed.fy]; did you mean \"fx\"?",
        ),
        (
            format!("{}[pool.a]\nbackends = [\"ws://a\"]\n", route("pool = \"a\"")),
            "2: feed in [route.fx]: there is a pool too",
        ),
        (route("respond = \"echo\""), "3: respond in [route.fx]: there is a feed too"),
        (
            route("rewrite = { strip = \"/a\" }"),
            "3: rewrite in [route.fx]: a feed has one source for all, and no client's request goes there; remove it",
        ),
        (
            route("request_headers.set = { X = \"y\" }"),
            "3: request_headers in [route.fx]: a feed has one source",
        ),
        (
            route("ping = { every = \"1m\", backend = { every = \"1m\" } }"),
            "3: backend in [route.fx.ping]: a feed pings its source by itself; write stall.ping in its table",
        ),
        (route("auth = { first_message = \"userKey\" }"), "3: [route.fx.auth]: keys_file is missing"),
        (
            route("auth = { first_message = \"userKey\", kind = \"key\", keys_file = \"/run/keys\" }"),
            "3: first_message in [route.fx.auth]: there is a kind too",
        ),
        (
            route("auth = { first_message = \"userKey\", keys_file = \"/run/keys\", from = [\"bearer\"] }"),
            "3: from in [route.fx.auth]: first_message has no such key; remove it",
        ),
        (
            route("auth = { kind = \"key\", keys_file = \"/run/keys\", timeout = \"1s\" }"),
            "3: timeout in [route.fx.auth]: kind = \"key\" has no such key; remove it",
        ),
        (
            route(
                "auth = { first_message = \"k\", keys_file = \"/run/keys\" }\nlimits.connections_per_identity = 3",
            ),
            "4: connections_per_identity in [route.fx.limits]: connections are counted before",
        ),
    ]);
    let allowed = "origins = [\"https://example.com\"]\nallow = [\"10.0.0.0/8\"]\nresponse_headers.remove = [\"Server\"]\n\
                   limits = { message = \"1KiB\", connections = 3, connections_per_ip = 1, handshakes = \"1/s\" }\n\
                   timeouts = { idle = \"1m\", close = \"1s\", lifetime = \"1h\" }\nping = { every = \"20s\" }\n\
                   auth = { kind = \"key\", keys_file = \"/run/keys\" }";
    assert_eq!(lines(&parsed(&route(allowed)).warnings), "");
}

#[test]
fn a_key_in_the_first_message_is_for_feeds_alone() {
    for target in ["respond = \"echo\"", "respond = \"ticker\"", "pool = \"chat\""] {
        let text = format!(
            "[route.a]\n{target}\nauth = {{ first_message = \"k\", keys_file = \"/run/keys\" }}\n\
             [listen.public]\naddr = \":1\"\n[pool.chat]\nbackends = [\"ws://x\"]\n"
        );
        let expected =
            "3: first_message in [route.a.auth]: only on a route to a feed does selat take messages";
        assert!(told(&text).contains(expected), "{}", told(&text));
    }
}

#[test]
fn a_feed_that_no_route_uses_is_warned_of() {
    let text =
        "[listen.public]\naddr = \":1\"\n[route.a]\nrespond = \"echo\"\n[feed.fx]\nsources = [\"ws://x\"]\n";
    assert!(lines(&parsed(text).warnings).starts_with("selat.toml:5: [feed.fx]: no route uses this feed"));
    assert_eq!(lines(&parsed(&feed("")).warnings), "");
}
