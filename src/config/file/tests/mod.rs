//! What a file may say, what is told about one that says otherwise, and what never appears.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::balance::{HashBy, Policy};
use crate::config::{Access, Cores, ListenAddress, Placement, PoolId, ProxyProtocol, Target};
use crate::guard::Auth;
use crate::health::{Exchange, Percent, Probe};
use crate::routing::{HostPattern, ListenId, PathPattern};
use crate::session::{Excess, Ping};
use crate::tls::CertificateDer;

mod acme;
mod dispatch;
mod feed;
mod pem;
mod tls;
mod wrong;

/// A machine that is all in memory.
struct World {
    env: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, &'static str>,
    roots: Vec<CertificateDer<'static>>,
    /// How often somebody wanted the roots.
    asked_for_roots: Cell<u32>,
}

impl Sources for World {
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).map(|value| (*value).to_owned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn unix_now(&self) -> u64 {
        pem::NOW
    }

    fn system_roots(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        self.asked_for_roots.set(self.asked_for_roots.get() + 1);
        if self.roots.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(self.roots.clone()) }
    }
}

const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";

fn world() -> World {
    let files =
        [("/run/token", "fr0mfile\n"), ("/run/keys", "alice:kkkkkkkkkkkkkkkkkkkkkkkk\n"), ("/run/none", "")];
    World {
        env: HashMap::from([
            ("TOKEN", "t0ps3cret{x"),
            ("HOST", "10.0.0.1"),
            ("KEY", KEY),
            ("EMPTY", ""),
            ("TLS", "/tls"),
        ]),
        files: files.into_iter().chain(pem::files()).collect(),
        roots: vec![pem::root()],
        asked_for_roots: Cell::new(0),
    }
}

fn parsed(text: &str) -> Parsed {
    parse(text, "selat.toml", &world()).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)))
}

/// What is told about a file, a line each.
fn told(text: &str) -> String {
    lines(&parse(text, "selat.toml", &world()).expect_err("a mistake"))
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

/// What a file needs beside what a test is about.
const REST: &str = "\
[listen.public]
addr = \":8765\"
[pool.chat]
backends = [\"ws://10.0.0.1:9001\"]
[route.chat]
pool = \"chat\"
";

/// One route with these lines, in front of what else a file needs.
fn route(lines: &str) -> String {
    format!(
        "[route.chat]\n{lines}\n[listen.public]\naddr = \":8765\"\n[pool.chat]\nbackends = [\"ws://10.0.0.1:9001\"]\n"
    )
}

/// One pool with these lines, in front of what else a file needs.
fn pool(lines: &str) -> String {
    format!("[pool.chat]\n{lines}\n[listen.public]\naddr = \":8765\"\n[route.chat]\npool = \"chat\"\n")
}

#[test]
fn a_whole_file_says_what_it_says() {
    let Parsed { config, warnings, files } = parsed(
        r#"
[listen.public]
addr = "0.0.0.0:8765"

[route.chat]                 # first match wins, in file order
host = "chat.example.com"
path = "/ws/*"
pool = "chat"
origins = ["https://example.com"]
ping = { every = "20s", timeout = "20s" }
limits = { message = "1MiB", rate = "50/s", connections_per_ip = 200 }

[pool.chat]
balance = "least-connections"   # round-robin, weighted, p2c, ewma, hash:ip|header:X|cookie:X|query:X|path
backends = ["ws://10.0.0.1:9001", { url = "ws://10.0.0.2:9001", weight = 2, max_connections = 5000 }]
health = { probe = "websocket", path = "/health", send = "ping", expect = "pong", every = "5s", timeout = "2s", rise = 2, fall = 3 }

[admin]
addr = "127.0.0.1:9765"
"#,
    );
    assert_eq!((warnings, files), (vec![], vec![]));
    assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:8765");
    let route = &config.routes[0];
    assert_eq!(&*route.name, "chat");
    assert_eq!(route.matcher.host, HostPattern::Exact("chat.example.com".to_owned()));
    assert_eq!(route.matcher.path, PathPattern::Prefix("/ws/".to_owned()));
    assert_eq!(route.target, Target::Pool(PoolId(0)));
    assert_eq!(route.guard.origins, Some(vec!["https://example.com".parse().unwrap()]));
    assert_eq!(route.guard.connections_per_ip, Some(200));
    let ping = Some(Ping { every: Duration::from_secs(20), timeout: Duration::from_secs(20) });
    assert_eq!((route.session.ping.client, route.session.ping.backend), (ping, ping));
    assert_eq!(route.session.message_bytes_max, 1 << 20);
    let rate = route.session.rate.unwrap();
    assert_eq!(rate.messages.map(|rate| (rate.per_second.get(), rate.burst.get())), Some((50, 50)));
    assert_eq!(rate.excess, Excess::Slow);
    let pool = &config.pools[0];
    assert_eq!(pool.policy, Policy::LeastConnections);
    let limits = pool
        .backends
        .iter()
        .map(|backend| (backend.url.to_string(), backend.weight, backend.connections_max));
    let wanted = [("ws://10.0.0.1:9001", 1, None), ("ws://10.0.0.2:9001", 2, Some(5000))];
    assert!(limits.eq(wanted.map(|(url, weight, max)| (url.to_owned(), weight, max))));
    let exchange = Some(Exchange { send: "ping".to_owned(), expect: "pong".to_owned() });
    assert_eq!(pool.health.probe, Some(Probe::WebSocket { path: Some("/health".to_owned()), exchange }));
    assert_eq!((pool.health.rise, pool.health.fall), (2, 3));
    assert_eq!(config.admin.unwrap().address, ListenAddress::Tcp(([127, 0, 0, 1], 9765).into()));
}

#[test]
fn what_is_left_out_is_as_the_rooms_have_it_by_default() {
    let config = parsed(REST).config;
    let expected = crate::config::Config::new(
        ":8765".parse().unwrap(),
        vec![crate::config::Route::new("chat", Target::Pool(PoolId(0)))],
        vec![crate::config::Pool::new(
            "chat",
            vec!["ws://10.0.0.1:9001".parse::<crate::config::BackendUrl>().unwrap().into()],
        )],
    );
    let without_text = |config: &Config| format!("{:#?}", Config { effective: "".into(), ..config.clone() });
    assert_eq!(without_text(&config), without_text(&expected));
}

#[test]
fn each_port_that_the_kernel_chooses_is_another() {
    let text = "[listen.a]\naddr='127.0.0.1:0'\n[listen.b]\naddr='127.0.0.1:0'\n[admin]\naddr='127.0.0.1:0'\n\
                [route.a]\nrespond='echo'\n";
    assert_eq!(parsed(text).config.listeners.len(), 2);
}

#[test]
fn routes_and_listeners_and_pools_stay_in_the_order_of_the_file() {
    let config = parsed(
        "[route.zoo]\npool='b'\nhost='z.example'\n[listen.z]\naddr=':1'\n[pool.b]\nbackends=['ws://b']\n\
         [route.ant]\npool='a'\nhost='a.example'\nlisten=['a', 'z']\n[listen.a]\naddr=':2'\n[pool.a]\nbackends=['ws://a']\n\
         [route.mid]\nrespond='echo'\n",
    )
    .config;
    assert!(config.routes.iter().map(|route| &*route.name).eq(["zoo", "ant", "mid"]));
    assert!(config.pools.iter().map(|pool| &*pool.name).eq(["b", "a"]));
    assert_eq!(config.routes[1].target, Target::Pool(PoolId(1)));
    assert_eq!(config.routes[1].matcher.listeners, [ListenId(1), ListenId(0)]);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file_and_none_twice() {
    let told = told(
        "[listen.public]\nadr = \":8765\"\n[route.a]\npool = \"b\"\nlimits = { rate = 5, burst = 3 }\n\
         [pool.a]\nbackends = [\"http://x\", \"ws://y\", 3]\nqueue = { size = \"x\" }\n[log]\nlevel = \"all\"\n",
    );
    let numbers: Vec<_> = told.lines().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(numbers, ["1", "2", "4", "5", "5", "7", "7", "8", "10"], "{told}");
}

#[test]
fn what_came_from_outside_is_used_and_never_shown() {
    let text = "[listen.public]\naddr = \"${HOST}:8765\"\n[route.a]\npool = \"chat\"\n\
                request_headers.set = { Authorization = \"Bearer ${TOKEN}\", Plain = \"$${{TOKEN}}\" }\n\
                auth = { kind = \"jwt\", algorithm = \"HS256\", secret = \"${KEY}\" }\n\
                [route.b]\npool = \"chat\"\npath = \"/b\"\nauth = { kind = \"key\", keys_file = \"/run/keys\" }\n\
                [pool.chat]\nbackends = [\"ws://${HOST}:9001\"]\n[admin]\naddr = \"0.0.0.0:9765\"\ntoken = \"file:/run/token\"\n";
    let Parsed { config, files, .. } = parsed(text);
    assert_eq!(config.listeners[0].address.to_string(), "10.0.0.1:8765");
    assert_eq!(config.pools[0].backends[0].url.to_string(), "ws://10.0.0.1:9001");
    assert_eq!(config.admin.as_ref().unwrap().token.as_ref().unwrap().expose(), "fr0mfile");
    assert!(matches!(config.routes[0].guard.auth, Some(Auth::Jwt(_))));
    assert!(matches!(config.routes[1].guard.auth, Some(Auth::ApiKey(_))));
    assert_eq!(files, [Path::new("/run/keys"), Path::new("/run/token")]);
    for part in [
        "${HOST}:8765",
        "ws://${HOST}:9001",
        "Bearer ${TOKEN}",
        "\"$${{TOKEN}}\"",
        "file:/run/token",
        "${KEY}",
    ] {
        assert!(config.render().contains(part), "{part} in {}", config.render());
    }
    for secret in ["t0ps3cret", "fr0mfile", "kkkkkkkk"] {
        assert!(!config.render().contains(secret), "{}", config.render());
    }
    let told = told(
        &text
            .replace("9765\"\ntoken", "${TOKEN}\"\ntoken")
            .replace("algorithm = \"HS256\"", "algorithm = \"${KEY}\""),
    );
    for secret in ["t0ps3cret", "fr0mfile", "kkkkkkkk"] {
        assert!(!told.contains(secret), "{told}");
    }
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn a_route_that_no_request_reaches_is_warned_of() {
    let rows = [
        ("path = \"/ws/*\"", "path = \"/ws/chat\"", true),
        ("path = \"/ws/*\"", "path = \"/ws/chat/*\"", true),
        ("path = \"/ws/*\"", "path = \"/ws\"", false),
        ("host = \"*.example.com\"", "host = \"a.b.example.com\"\npath = \"/x\"", true),
        ("host = \"*.example.com\"", "host = \"example.com\"", false),
        ("", "host = \"a.example\"", true),
        ("listen = [\"public\"]", "host = \"a.example\"", false),
        ("", "listen = [\"public\"]", true),
        ("host = \"a.example\"", "", false),
    ];
    for (first, second, is_shadowed) in rows {
        let text = format!(
            "[listen.public]\naddr=':1'\n[listen.other]\naddr=':2'\n[route.a]\nrespond='echo'\n{first}\n[route.b]\nrespond='echo'\n{second}\n"
        );
        let warnings = lines(&parsed(&text).warnings);
        assert_eq!(
            warnings.contains("no request gets here: [route.a] before it takes them all"),
            is_shadowed,
            "{text}{warnings}"
        );
    }
}

#[test]
fn many_routes_are_held_against_each_other_in_no_time() {
    let routes = (0..10_000).map(|i| {
        format!("[route.r{i}]\nhost = \"h{i}.example.com\"\npath = \"/p{i}/*\"\nrespond = \"echo\"\n")
    });
    let text = format!(
        "[listen.public]\naddr = \":1\"\n{}[route.last]\nhost = \"h9.example.com\"\npath = \"/p9/x\"\nrespond = \"echo\"\n",
        routes.collect::<String>()
    );
    let warnings = parsed(&text).warnings;
    assert_eq!(warnings.len(), 1, "{}", lines(&warnings));
}

#[test]
fn a_pool_that_no_route_uses_is_warned_of() {
    let warnings = lines(&parsed(&format!("{REST}[pool.spare]\nbackends = [\"ws://x\"]\n")).warnings);
    assert_eq!(warnings, "selat.toml:7: [pool.spare]: no route uses this pool\n");
}

/// A file with every key there is.
const FULL: &str = include_str!("../../../../tests/config/full.toml");

#[test]
fn the_effective_configuration_reads_back_as_what_it_was_made_of() {
    for text in [REST, FULL] {
        let config = parsed(text).config;
        let again = parsed(config.render()).config;
        assert_eq!(format!("{config:#?}"), format!("{again:#?}"), "{}", config.render());
    }
}

#[test]
fn every_key_does_what_it_says() {
    let config = parsed(FULL).config;
    assert_eq!(config.cores, Cores::List([0, 2].into()));
    assert_eq!(config.placement, Placement::Balanced);
    assert_eq!(config.limits.connections_max, Some(9_000));
    assert_eq!(
        (config.timeouts.head, config.timeouts.close),
        (Duration::from_secs(3), Duration::from_secs(4))
    );
    assert_eq!(config.timeouts.drain_window, Duration::from_secs(2));
    assert_eq!(config.handover.as_deref(), Some(Path::new("/run/selat/handover.sock")));
    assert_eq!(config.listeners[1].proxy_protocol, ProxyProtocol::Required);
    assert_eq!((config.forwarding.trusted.len(), config.forwarding.headers.len()), (2, 5));
    assert_eq!(config.log.access, Access::File("/var/log/selat/access.log".into()));
    let pool = &config.pools[0];
    assert_eq!(pool.policy, Policy::Hash(HashBy::Cookie("session".to_owned())));
    assert_eq!((pool.queue.sessions_max, pool.queue.timeout), (100, Duration::from_secs(1)));
    assert_eq!(pool.health.panic_below, Percent::new(30).unwrap());
    assert_eq!(pool.health.slow_start, Some(Duration::from_secs(30)));
    assert_eq!((pool.connect, pool.resolve_every), (Duration::from_secs(1), Duration::from_secs(60)));
    assert!(pool.send_proxy.is_some());
    let session = &config.routes[0].session;
    assert_eq!((session.idle, session.close), (Duration::from_secs(600), Duration::from_secs(5)));
    assert_eq!(session.lifetime, Some(Duration::from_secs(86_400)));
    assert_eq!((session.message_bytes_max, session.frame_bytes_max), (1 << 20, 1 << 16));
    let rate = session.rate.unwrap();
    let bursts = [rate.messages, rate.bytes].map(|rate| rate.map(|rate| rate.burst.get()));
    assert_eq!((bursts, rate.excess), ([Some(100), Some(2 << 20)], Excess::Close));
    let ping = |seconds, timeout| {
        Some(Ping { every: Duration::from_secs(seconds), timeout: Duration::from_secs(timeout) })
    };
    assert_eq!((session.ping.client, session.ping.backend), (ping(15, 10), ping(60, 5)));
    let guard = &config.routes[0].guard;
    assert_eq!((guard.allow.len(), guard.deny.len(), guard.origin_required), (1, 1, true));
    assert_eq!((guard.connections_max, guard.connections_per_ip), (Some(1_000), Some(10)));
    assert_eq!(guard.connections_per_identity, Some(4));
    assert_eq!(guard.handshakes.map(|rate| (rate.per_second.get(), rate.burst.get())), Some((20, 40)));
    assert!(!config.routes[0].request_headers.is_empty() && !config.routes[0].response_headers.is_empty());
    assert!(matches!(config.routes[1].target, Target::Fixed(_)));
    assert_eq!(config.routes[2].target, Target::Ticker { every: Duration::from_millis(100) });
}

#[test]
fn the_list_of_keys_has_what_the_readers_ask_for_and_nothing_else() {
    let readers = [
        include_str!("../read/acme.rs"),
        include_str!("../read/dispatch.rs"),
        include_str!("../read/feed.rs"),
        include_str!("../read/guard.rs"),
        include_str!("../read/mod.rs"),
        include_str!("../read/pool.rs"),
        include_str!("../read/process.rs"),
        include_str!("../read/responder.rs"),
        include_str!("../read/route.rs"),
        include_str!("../read/session.rs"),
        include_str!("../read/tls.rs"),
    ]
    .concat();
    let mut sections = vec![&keys::FILE];
    let mut full = 0;
    while let Some(section) = sections.pop() {
        for key in section.keys {
            // That each key asked for is listed, the readers assert themselves.
            assert!(
                readers.contains(&format!("\"{}\"", key.name)),
                "{} of [{}] is read by nobody",
                key.name,
                section.heading
            );
            full += usize::from(FULL.contains(key.name));
            assert!(FULL.contains(key.name), "{} of [{}] is not in full.toml", key.name, section.heading);
            sections.extend(key.kind.section());
        }
    }
    assert!(full > 80, "the walk found {full} keys");
}
