//! What a file may say about dispatches, and what is told about one that says otherwise.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{FULL, lines, parsed, told};
use crate::balance::Policy;
use crate::config::{Config, Dispatch, DispatchId, Pool, PoolId, Target};
use crate::dispatch::{Balance, Exchange, Gather, Order, Replies, Send, Settings, Template, Unanswered};
use crate::health::{Percent, Probe};
use crate::json::Pointer;

/// A dispatch over two servers with these lines, in front of what else a file needs.
fn dispatch(lines: &str) -> String {
    format!(
        "[dispatch.work]\nbackends = [\"ws://10.0.0.1:9001\", \"ws://10.0.0.2:9001\"]\n{lines}\n[listen.public]\n\
         addr = \":8765\"\n[route.work]\ndispatch = \"work\"\n"
    )
}

/// A route to a dispatch with these lines, in front of what else a file needs.
fn route(lines: &str) -> String {
    format!(
        "[route.work]\ndispatch = \"work\"\n{lines}\n[listen.public]\naddr = \":8765\"\n[dispatch.work]\n\
         backends = [\"ws://10.0.0.1\"]\n[dispatch.play]\nbackends = [\"ws://10.0.0.1\"]\n[pool.chat]\nbackends = [\"ws://a\"]\n"
    )
}

fn tells(rows: &[(&str, &str)]) {
    for (added, part) in rows {
        let told = told(&dispatch(added));
        assert!(told.contains(part), "{added}\n{told}\n{part}");
        assert_eq!(told.lines().count(), 1, "{added}\n{told}");
    }
}

fn settings(lines: &str) -> Settings {
    (*parsed(&dispatch(lines)).config.dispatches[0].settings).clone()
}

fn named<'c>(config: &'c Config, name: &str) -> (&'c Dispatch, &'c Pool) {
    let dispatch = config.dispatches.iter().find(|dispatch| &*dispatch.name == name).unwrap();
    (dispatch, &config.pools[dispatch.backends.index()])
}

#[test]
fn a_dispatch_that_says_nothing_but_its_backends_is_as_the_room_has_it_by_default() {
    let config = parsed(&dispatch("")).config;
    let (dispatch, pool) = named(&config, "work");
    assert_eq!(*dispatch.settings, Settings::default());
    assert_eq!(config.routes[0].target, Target::Dispatch(DispatchId(0)));
    let plain = Pool::new("dispatch.work", pool.backends.clone());
    assert_eq!((pool, pool.table().as_str()), (&plain, "dispatch.work"));
}

#[test]
fn every_key_of_a_dispatch_does_what_it_says() {
    let config = parsed(FULL).config;
    let (workers, pool) = named(&config, "workers");
    let template = Template::new("{\"id\":{id},\"error\":\"no reply\"}").unwrap();
    let exchange = Exchange {
        correlate: Some(Pointer::new("/id").unwrap()),
        order: Order::AsAsked,
        retries: 2,
        timeout: Duration::from_secs(3),
        unanswered: Unanswered::Reply(template),
    };
    let send = Send::One(Balance::Hash(Pointer::new("/params/user").unwrap()));
    let settings = Settings { send, replies: Replies::One(exchange), outstanding_max: 50 };
    assert_eq!(*workers.settings, settings);
    let backends = pool.backends.iter().map(|backend| (backend.weight, backend.connections_max));
    assert!(backends.eq([(2, Some(100)), (1, None)]));
    assert_eq!((pool.health.probe.as_ref(), pool.health.outlier.failures), (Some(&Probe::Tcp), 4));
    assert_eq!(pool.health.slow_start, Some(Duration::from_secs(20)));
    assert_eq!((pool.health.panic_below, pool.queue.sessions_max), (Percent::new(10).unwrap(), 5));
    assert_eq!((pool.connect, pool.resolve_every), (Duration::from_secs(3), Duration::from_secs(180)));
    assert!(pool.tls.is_some() && pool.send_proxy.is_some());
    assert_eq!(pool.policy, Policy::default());
    let quorum = NonZeroUsize::new(2);
    assert_eq!(named(&config, "quotes").0.settings.send, Send::All(Gather::Array { quorum }));
    let (events, _) = named(&config, "events");
    assert_eq!(events.settings.replies, Replies::Any);
    assert_eq!(events.settings.send, Send::One(Balance::RoundRobin));
}

#[test]
fn every_word_means_what_it_says() {
    let one = |lines| match settings(lines).send {
        Send::One(balance) => balance,
        Send::All(gather) => panic!("{gather:?}"),
    };
    assert_eq!(one("balance = \"least-outstanding\""), Balance::LeastOutstanding);
    assert_eq!(one("balance = \"round-robin\""), Balance::RoundRobin);
    assert_eq!(one("balance = \"p2c\""), Balance::PowerOfTwo);
    assert_eq!(one("balance = \"ewma\""), Balance::Ewma);
    assert_eq!(one("replies = \"any\"\nbalance = \"hash:/a\""), Balance::Hash(Pointer::new("/a").unwrap()));
    let all = |lines| settings(&format!("send = \"all\"\n{lines}")).send;
    assert_eq!(all(""), Send::All(Gather::First));
    assert_eq!(all("gather = \"first\""), Send::All(Gather::First));
    assert_eq!(all("gather = \"all\""), Send::All(Gather::All { quorum: None }));
    assert_eq!(all("gather = \"array\""), Send::All(Gather::Array { quorum: None }));
    assert_eq!(all("gather = \"all\"\nquorum = 2"), Send::All(Gather::All { quorum: NonZeroUsize::new(2) }));
    assert_eq!(all("replies = \"any\""), Send::All(Gather::All { quorum: None }));
    for (word, unanswered) in [("drop", Unanswered::Drop), ("close", Unanswered::Close)] {
        let replies = settings(&format!("on_timeout = \"{word}\"")).replies;
        assert_eq!(replies, Replies::One(Exchange { unanswered, ..Exchange::default() }));
    }
}

#[test]
fn the_backends_of_dispatches_come_behind_all_pools_and_sources() {
    let config = parsed(
        "[dispatch.b]\nbackends=['ws://b']\n[pool.a]\nbackends=['ws://a']\n[feed.c]\nsources=['ws://c']\n\
         [dispatch.d]\nbackends=['ws://d']\n[listen.x]\naddr=':1'\n[route.1]\ndispatch='d'\npath='/c'\n",
    )
    .config;
    assert!(config.pools.iter().map(|pool| &*pool.name).eq(["a", "feed.c", "dispatch.b", "dispatch.d"]));
    let backends = config.dispatches.iter().map(|dispatch| (&*dispatch.name, dispatch.backends));
    assert!(backends.eq([("b", PoolId(2)), ("d", PoolId(3))]));
    assert_eq!(config.routes[0].target, Target::Dispatch(DispatchId(1)));
}

#[test]
fn a_dispatch_that_could_not_work_is_told() {
    let any = "3: balance in [dispatch.work]: it goes by what has no reply yet, which replies = \"any\" does not tell";
    tells(&[
        ("balance = \"p2c\"\nreplies = \"any\"", any),
        ("balance = \"ewma\"\nreplies = \"any\"", any),
        ("balance = \"least-outstanding\"\nreplies = \"any\"", any),
        (
            "retry = 1",
            "3: retry in [dispatch.work]: without correlate nobody could tell a late reply from that of another backend; \
             write where messages say which they are, such as correlate = \"/id\"",
        ),
        (
            "on_timeout = '{\"id\":{id}}'",
            "3: on_timeout in [dispatch.work]: without correlate a message has no {id}; write where it has one",
        ),
        (
            "balance = \"p2c\"\nsend = \"all\"",
            "3: balance in [dispatch.work]: each message goes to all backends, and none is chosen; write send = \"one\"",
        ),
        (
            "balance = \"hash:/user\"\nsend = \"all\"",
            "3: balance in [dispatch.work]: each message goes to all backends",
        ),
        (
            "retry = 1\ncorrelate = \"/id\"\nsend = \"all\"",
            "3: retry in [dispatch.work]: each message goes to all backends",
        ),
        (
            "slow_start = \"9s\"\nsend = \"all\"",
            "3: slow_start in [dispatch.work]: each message goes to all backends",
        ),
        (
            "gather = \"array\"",
            "3: gather in [dispatch.work]: each message goes to one backend, which replies alone; write send = \"all\"",
        ),
        ("quorum = 1", "3: quorum in [dispatch.work]: each message goes to one backend"),
        (
            "quorum = 1\nsend = \"all\"",
            "3: quorum in [dispatch.work]: the first reply is enough for gather = \"first\"; write gather = \"all\"",
        ),
        (
            "quorum = 3\ngather = \"all\"\nsend = \"all\"",
            "3: quorum in [dispatch.work]: there are 2 backends, so that it would never be reached; write 2 at most",
        ),
    ]);
    let weighted =
        dispatch("send = \"all\"").replace("\"ws://10.0.0.1:9001\"", "{ url = \"ws://a\", weight = 2 }");
    let expected =
        "2: backends in [dispatch.work]: each message goes to all of them, whatever their weight; remove it";
    assert!(told(&weighted).contains(expected), "{}", told(&weighted));
}

#[test]
fn what_needs_to_know_what_a_reply_answers_is_not_to_be_had_where_nobody_does() {
    let exchange = [
        "correlate = \"/id\"",
        "order = \"as-asked\"",
        "retry = 1",
        "timeout = \"1s\"",
        "on_timeout = \"drop\"",
        "outstanding_max = 5",
    ];
    for send in ["one", "all"] {
        for line in exchange {
            if send == "all" && line.starts_with("retry") {
                continue;
            }
            let name = line.split(' ').next().unwrap();
            let expected = format!(
                "3: {name} in [dispatch.work]: with replies = \"any\" nobody knows which message a reply answers; \
                 write replies = \"one\", or remove it"
            );
            tells(&[(&format!("{line}\nreplies = \"any\"\nsend = \"{send}\""), &expected)]);
        }
    }
    tells(&[
        (
            "gather = \"array\"\nreplies = \"any\"\nsend = \"all\"",
            "3: gather in [dispatch.work]: with replies = \"any\" nobody knows",
        ),
        (
            "quorum = 2\nreplies = \"any\"\nsend = \"all\"",
            "3: quorum in [dispatch.work]: with replies = \"any\"",
        ),
    ]);
}

#[test]
fn values_that_are_none_are_told() {
    tells(&[
        (
            "send = \"some\"",
            "3: send in [dispatch.work]: \"some\" is not known here; did you mean \"one\"?; write \"one\" or",
        ),
        ("replies = \"many\"", "3: replies in [dispatch.work]: \"many\" is not known here"),
        ("order = \"asked\"", "3: order in [dispatch.work]: \"asked\" is not known here"),
        (
            "balance = \"least-outstandin\"",
            "3: balance in [dispatch.work]: \"least-outstandin\" is not a policy for messages; did you mean \
             \"least-outstanding\"?; write",
        ),
        (
            "balance = \"least-connections\"",
            "\"least-connections\" is not a policy for messages; write least-outstanding",
        ),
        (
            "balance = \"hash:ip\"",
            "3: balance in [dispatch.work]: it is not known by what to hash; a JSON pointer begins with /",
        ),
        ("correlate = \"id\"", "3: correlate in [dispatch.work]: a JSON pointer begins with /"),
        ("timeout = \"0s\"", "3: timeout in [dispatch.work]: \"0s\" is not a duration"),
        ("timeout = 5", "3: timeout in [dispatch.work]: 5 has no unit"),
        (
            "retry = 101\ncorrelate = \"/id\"",
            "3: retry in [dispatch.work]: 101 is not a whole number from 0 to 100",
        ),
        ("outstanding_max = 0", "3: outstanding_max in [dispatch.work]: 0 is not a whole number from 1"),
        (
            "quorum = 0\nsend = \"all\"\ngather = \"all\"",
            "3: quorum in [dispatch.work]: 0 is not a whole number from 1",
        ),
        (
            "on_timeout = \" \"",
            "3: on_timeout in [dispatch.work]: an empty text says nothing; write drop, close",
        ),
        (
            "on_timeout = \"dropp\"",
            "3: on_timeout in [dispatch.work]: \"dropp\" is a poor reply; did you mean \"drop\"?",
        ),
        ("connect_timeout = \"0s\"", "3: connect_timeout in [dispatch.work]: \"0s\" is not a duration"),
        ("retrys = 1", "3: unknown key \"retrys\" in [dispatch.work]; did you mean \"retry\"?"),
        ("probe = \"tcp\"", "3: unknown key \"probe\" in [dispatch.work]; did you mean \"health.probe\"?"),
        (
            "health = { send = \"ping\" }",
            "3: send in [dispatch.work.health]: only a probe of kind websocket has it",
        ),
    ]);
    let none = dispatch("").replace("\"ws://10.0.0.1:9001\", \"ws://10.0.0.2:9001\"", "");
    assert!(told(&none).contains("2: backends in [dispatch.work]: there is no backend"), "{}", told(&none));
    let missing = dispatch("").replace("backends", "backend");
    assert!(told(&missing).contains("1: [dispatch.work]: backends is missing; write"), "{}", told(&missing));
    let twice = dispatch("").replace("10.0.0.2", "10.0.0.1");
    assert!(told(&twice).contains("2: backends[1] in [dispatch.work]: this backend is there already"));
}

#[test]
fn what_a_client_could_not_make_sense_of_is_warned_of() {
    let names = dispatch("send = \"all\"\ngather = \"all\"\nquorum = 3").replace("10.0.0.2", "workers");
    let rows = [
        (names, "1: [dispatch.work]: quorum is 3, which the 2 names in backends have to resolve to that many"),
        (
            dispatch("on_timeout = \"{}\"\ncorrelate = \"/id\""),
            "1: [dispatch.work]: the reply of on_timeout does not say what it answers; write {id} into it",
        ),
        (
            dispatch("on_timeout = \"drop\"\norder = \"as-asked\""),
            "1: [dispatch.work]: where a reply is dropped, a client that counts takes the next one for it",
        ),
        (
            "[listen.public]\naddr = \":1\"\n[route.a]\nrespond = \"echo\"\n[dispatch.work]\nbackends = [\"ws://x\"]\n"
                .to_owned(),
            "5: [dispatch.work]: no route uses this dispatch",
        ),
    ];
    for (text, part) in rows {
        let warnings = lines(&parsed(&text).warnings);
        assert!(warnings.contains(part) && warnings.lines().count() == 1, "{text}{warnings}");
    }
    for fine in [
        "",
        "retry = 0",
        "on_timeout = \"drop\"\norder = \"as-asked\"\ncorrelate = \"/id\"",
        "on_timeout = \"no reply\"\norder = \"as-asked\"",
        "on_timeout = '[{id}]'\ncorrelate = \"/id\"",
        "send = \"all\"\ngather = \"all\"\nquorum = 2",
    ] {
        assert_eq!(lines(&parsed(&dispatch(fine)).warnings), "", "{fine}");
    }
}

#[test]
fn a_route_to_a_dispatch_has_what_a_dispatch_can_do() {
    let rows = [
        (
            route("").replace("dispatch = \"work\"", "dispatch = \"wrok\""),
            "2: dispatch in [route.work]: there is no [dispatch.wrok]; did you mean \"work\"?",
        ),
        (
            route("pool = \"chat\""),
            "2: dispatch in [route.work]: there is a pool too; a route has one of the two",
        ),
        (route("respond = \"echo\""), "3: respond in [route.work]: there is a dispatch too"),
        (
            route("auth = { first_message = \"k\", keys_file = \"/run/keys\" }"),
            "3: first_message in [route.work.auth]: only on a route to a feed does selat take messages",
        ),
    ];
    for (text, part) in rows {
        assert!(told(&text).contains(part), "{text}\n{}", told(&text));
    }
    let allowed = "rewrite = { strip = \"/a\" }\nrequest_headers.set = { X = \"y\" }\nresponse_headers.remove = [\"Server\"]\n\
                   origins = [\"https://example.com\"]\nallow = [\"10.0.0.0/8\"]\n\
                   limits = { message = \"1KiB\", rate = \"5/s\", connections = 3, connections_per_ip = 1 }\n\
                   timeouts = { idle = \"1m\", close = \"1s\", lifetime = \"1h\" }\nping = { every = \"20s\" }\n\
                   auth = { kind = \"key\", keys_file = \"/run/keys\" }";
    assert_eq!(parsed(&route(allowed)).config.routes.len(), 1);
}
