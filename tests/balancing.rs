//! Which backend a session gets: each policy on every core, limits and their queue, drains and reloads.
#![cfg(feature = "runtime")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use selat::telemetry::BackendState;
use support::admin::Admin;
use support::backend::{Backend, Stage};
use support::frames::{BINARY, CONTINUATION, client_frame, server_frame};
use support::http::upgrade_request;
use support::probed::{greet, greeter};
use support::proxy::Proxy;
use support::raw::Raw;
use support::toml::{list, one_pool, with_pool};
use support::ws::{Client, connect, expect_close, expect_echo, over, text};
use support::{bind, eventually, now};

/// Backends that say who they are.
struct Pool(Vec<(String, Backend)>);

impl Pool {
    fn new(names: &[&str]) -> Self {
        Self(names.iter().map(|name| ((*name).to_owned(), greeter(name))).collect())
    }

    fn urls(&self) -> Vec<String> {
        self.0.iter().map(|(_, backend)| backend.url()).collect()
    }

    fn list(&self) -> String {
        list(self.urls().iter().map(String::as_str))
    }

    /// A configuration with them all, of which `more` is said.
    fn toml(&self, more: &str) -> String {
        one_pool(&self.table(more))
    }

    fn table(&self, more: &str) -> String {
        format!("backends = {}\n{more}", self.list())
    }

    fn url(&self, name: &str) -> String {
        self.backend(name).url()
    }

    fn backend(&self, name: &str) -> &Backend {
        let named = self.0.iter().find(|(own, _)| own == name);
        &named.expect("it is there").1
    }

    fn kill(&mut self, name: &str) {
        let at = self.0.iter().position(|(own, _)| own == name).expect("it is there");
        self.0.remove(at).1.kill();
    }
}

/// A proxy, and its admin interface.
fn start(toml: &str) -> (Proxy, Admin) {
    let mut proxy = Proxy::from_toml(toml);
    let admin = Admin::of(&mut proxy);
    (proxy, admin)
}

/// A session, and where it is.
struct Session {
    backend: String,
    client: Client,
}

fn open(proxy: &Proxy) -> Session {
    greeted(connect(&proxy.address))
}

fn greeted(mut client: Client) -> Session {
    let backend = client.read().expect("a greeting").to_string();
    Session { backend, client }
}

/// A session that is asked for like this, and where it is.
fn ask(proxy: &Proxy, target: &str, lines: &[&str]) -> String {
    let mut client = proxy.dial();
    client.send(&upgrade_request(target, lines));
    assert_eq!(client.head().status(), 101, "{target} {lines:?}");
    String::from_utf8(client.frame().payload).expect("a name")
}

/// How many of them each backend has.
fn count<'s>(sessions: impl IntoIterator<Item = &'s Session>) -> BTreeMap<&'s str, usize> {
    let mut counts = BTreeMap::new();
    for session in sessions {
        *counts.entry(session.backend.as_str()).or_default() += 1;
    }
    counts
}

/// Waits until the shards have told each other of all their sessions.
fn wait_for_counts(admin: &Admin, sessions: u64) {
    let count = || admin.pool().backends.iter().map(|backend| backend.sessions_now).sum::<u64>();
    eventually("the sessions are counted", || count() == sessions);
    // Counts travel with the snapshots that they cause.
    let mut epoch = 0;
    eventually("nothing changes any more", || {
        thread::park_timeout(Duration::from_millis(150));
        std::mem::replace(&mut epoch, admin.status().snapshot_epoch) == epoch
    });
}

#[test]
fn round_robin_is_even_to_within_a_turn_of_each_shard() {
    let pool = Pool::new(&["a", "b", "c"]);
    let (proxy, admin) = start(&pool.toml("balance = \"round-robin\""));
    let sessions: Vec<_> = (0..90).map(|_| open(&proxy)).collect();
    let shards = admin.status().shards.len();
    for (name, sessions) in count(&sessions) {
        assert!(sessions.abs_diff(30) <= shards, "{name}: {sessions}");
    }
}

#[test]
fn turns_are_by_weight() {
    let pool = Pool::new(&["light", "heavy"]);
    for policy in ["weighted", "round-robin"] {
        let backends = format!(
            "balance = \"{policy}\"\nbackends = [\"{}\", {{ url = \"{}\", weight = 2 }}]",
            pool.url("light"),
            pool.url("heavy")
        );
        let (proxy, admin) = start(&one_pool(&backends));
        let sessions: Vec<_> = (0..90).map(|_| open(&proxy)).collect();
        let shards = admin.status().shards.len();
        assert!(count(&sessions)["light"].abs_diff(30) <= shards, "{policy}: {:?}", count(&sessions));
    }
}

#[test]
fn least_connections_counts_the_sessions_of_every_shard() {
    let pool = Pool::new(&["a", "b", "c"]);
    let (proxy, admin) = start(&pool.toml("balance = \"least-connections\""));
    let mut sessions: Vec<_> = (0..60).map(|_| open(&proxy)).collect();
    // Within what two shards place before they hear of each other.
    assert!(count(&sessions).values().all(|sessions| (15..=25).contains(sessions)), "{:?}", count(&sessions));
    sessions.retain(|session| session.backend != "a");
    let left = sessions.len();
    wait_for_counts(&admin, left.try_into().unwrap());
    // One by one, so that every shard knows of the last when it places the next.
    let missing = left / 2;
    for opened in 0..missing {
        let session = open(&proxy);
        if opened + 3 < missing {
            assert_eq!(session.backend, "a", "after {opened}");
        }
        sessions.push(session);
        wait_for_counts(&admin, sessions.len().try_into().unwrap());
    }
}

#[test]
fn two_choices_keep_sessions_close_to_even() {
    let pool = Pool::new(&["a", "b", "c", "d"]);
    let (proxy, _admin) = start(&pool.toml("balance = \"p2c\""));
    let sessions: Vec<_> = (0..120).map(|_| open(&proxy)).collect();
    // One choice at random would be further off than this in one of two runs, two choices hardly ever are.
    assert!(count(&sessions).values().all(|sessions| (24..=36).contains(sessions)), "{:?}", count(&sessions));
}

#[test]
fn ewma_prefers_the_faster_handshake() {
    let fast = greeter("fast");
    let slow = Backend::on(bind(), |stream, served| {
        thread::park_timeout(Duration::from_millis(150));
        greet("slow")(stream, served);
    });
    let urls = [fast.url(), slow.url()];
    let backends = list(urls.iter().map(String::as_str));
    let (proxy, _admin) = start(&one_pool(&format!("backends = {backends}\nbalance = \"ewma\"")));
    let mut places = Vec::new();
    for _ in 0..80 {
        // Short ones: many sessions would outweigh it.
        places.push(open(&proxy).backend);
    }
    let slow = places.iter().filter(|place| *place == "slow").count();
    // Each shard has to find out, and does now and then.
    assert!((1..=16).contains(&slow), "{slow} of 80");
}

/// Sessions whose requests differ by their number.
type Request = fn(usize) -> (String, Vec<String>);

fn owners(proxy: &Proxy, request: Request) -> Vec<String> {
    let owner = |number| {
        let (target, lines) = request(number);
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        ask(proxy, &target, &lines)
    };
    (0..60).map(owner).collect()
}

#[test]
fn a_hash_is_sticky_on_every_shard_and_moves_no_more_than_it_must() {
    let rows: [(&str, Request); 4] = [
        ("hash:header:X-Room", |n| ("/".to_owned(), vec![format!("X-Room: {n}")])),
        ("hash:cookie:session", |n| ("/".to_owned(), vec![format!("Cookie: theme=dark; session=s{n}")])),
        ("hash:query:room", |n| (format!("/?a=b&room=r{n}"), Vec::new())),
        ("hash:path", |n| (format!("/rooms/{n}"), Vec::new())),
    ];
    for (policy, request) in rows {
        let mut pool = Pool::new(&["a", "b", "c"]);
        let health = "health = { probe = \"tcp\", every = \"100ms\", timeout = \"90ms\" }";
        let (proxy, admin) = start(&pool.toml(&format!("balance = \"{policy}\"\n{health}")));
        let before = owners(&proxy, request);
        for name in ["a", "b", "c"] {
            let owned = before.iter().filter(|owner| *owner == name).count();
            // Sixty keys that leave one of three with fewer: less likely than 10^-4.
            assert!(owned >= 6, "{policy}: {before:?}");
        }
        // Other connections, so other shards.
        for _ in 0..2 {
            assert_eq!(owners(&proxy, request), before, "{policy}");
        }
        let url = pool.url("b");
        pool.kill("b");
        admin.wait_for(&url, BackendState::Down);
        let after = owners(&proxy, request);
        for (before, after) in before.iter().zip(&after) {
            assert!(after != "b" && (before == "b" || before == after), "{policy}: {before} to {after}");
        }
    }
}

#[test]
fn a_hash_of_the_address_keeps_a_client_where_it_is() {
    let pool = Pool::new(&["a", "b", "c", "d", "e"]);
    let (proxy, _admin) = start(&pool.toml("balance = \"hash:ip\""));
    let from = |client: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 77, 0, client], 0)).into()).unwrap();
        let address: SocketAddr = proxy.address.parse().unwrap();
        socket.connect(&address.into()).unwrap();
        greeted(over(Raw::new(socket.into()))).backend
    };
    let owners: Vec<_> = (1..=30).map(from).collect();
    for _ in 0..3 {
        assert_eq!((1..=30).map(from).collect::<Vec<_>>(), owners);
    }
    let different: BTreeSet<_> = owners.iter().collect();
    assert!(different.len() >= 4, "{owners:?}");
}

#[test]
fn counts_of_sessions_survive_a_reload() {
    let pool = Pool::new(&["a", "b"]);
    let balance = "balance = \"least-connections\"";
    let toml = one_pool(&format!("backends = [\"{}\"]\n{balance}", pool.url("a")));
    let (proxy, admin) = start(&toml);
    let mut sessions: Vec<_> = (0..20).map(|_| open(&proxy)).collect();
    proxy.rewrite(&with_pool(&toml, &pool.table(balance)));
    admin.order("/reload");
    wait_for_counts(&admin, 20);
    // The new one is twenty behind, whichever shard places them.
    let filling: Vec<_> = (0..16).map(|_| open(&proxy)).collect();
    assert_eq!(count(&filling), BTreeMap::from([("b", 16)]));
    for session in &mut sessions {
        expect_echo(&mut session.client, &text("still there"));
    }
}

#[test]
fn a_drained_backend_is_left_at_message_boundaries_and_comes_back() {
    let stage = Stage::new();
    let other = greeter("other");
    let urls = [stage.url(), other.url()];
    let backends = list(urls.iter().map(String::as_str));
    let toml = one_pool(&format!("backends = {backends}"));
    let (mut proxy, admin) = start(&format!("{toml}[process]\ndrain_window = \"1ms\"\n"));
    admin.order(&format!("/drain/{}", other.url()));
    let (mut client, mut backend) = stage.open(&proxy);
    admin.order(&format!("/undrain/{}", other.url()));
    client.send(&client_frame(BINARY, false, b"hal"));
    assert_eq!(backend.frame().payload, b"hal");
    backend.send(&server_frame(BINARY, false, b"hel"));
    assert_eq!(client.frame().payload, b"hel");
    admin.order(&format!("/drain/{}", stage.url()));
    assert_eq!(admin.backend(&stage.url()).state, BackendState::Draining);
    // None is sent there, and nobody is interrupted.
    for _ in 0..20 {
        assert_eq!(open(&proxy).backend, "other");
    }
    assert!(client.is_quiet() && backend.is_quiet());
    client.send(&client_frame(CONTINUATION, true, b"f"));
    assert_eq!(backend.frame().payload, b"f");
    backend.send(&server_frame(CONTINUATION, true, b"lo"));
    assert_eq!(client.frame().payload, b"lo");
    assert_eq!(client.leave(client_frame).0, 1012);
    assert_eq!(backend.leave(server_frame).0, 1012);
    eventually("the session's line", || proxy.session().end().1 == "retired");
    admin.order(&format!("/undrain/{}", stage.url()));
    admin.order(&format!("/drain/{}", other.url()));
    drop(stage.open(&proxy));
}

#[test]
fn closes_of_a_drained_backend_are_spread_over_the_window() {
    let backend = Backend::echo();
    let toml = one_pool(&format!("backends = [\"{}\"]", backend.url()));
    let (proxy, admin) = start(&format!("{toml}[process]\ndrain_window = \"2s\"\n"));
    let clients: Vec<_> = (0..40).map(|_| proxy.connect()).collect();
    let wait = |mut client| {
        thread::spawn(move || {
            assert_eq!(expect_close(&mut client).0, 1012);
            now()
        })
    };
    let closes: Vec<_> = clients.into_iter().map(wait).collect();
    admin.order(&format!("/drain/{}", backend.url()));
    let mut at: Vec<_> = closes.into_iter().map(|close| close.join().unwrap()).collect();
    at.sort_unstable();
    // Forty even draws from two seconds that all fall into half of one: less likely than 10^-20.
    assert!(at[39] - at[0] > Duration::from_millis(500), "{:?}", at[39] - at[0]);
    assert_eq!(admin.status().phase, selat::telemetry::Phase::Serving);
}

/// The status that a client gets.
fn status(proxy: &Proxy) -> u16 {
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    client.head().status()
}

/// A proxy with this pool.
fn start_pool(pool: &str) -> (Proxy, Admin) {
    start(&one_pool(pool))
}

/// One backend that takes three sessions, and a queue like this.
fn three_places(backend: &Backend, queue: &str) -> String {
    let url = backend.url();
    format!("backends = [{{ url = \"{url}\", max_connections = 3 }}]\nqueue = {{ {queue} }}")
}

#[test]
fn a_limit_is_exact_over_all_shards_in_a_burst() {
    let pool = Pool::new(&["a", "b"]);
    let limited = |name, max: u32| format!("{{ url = \"{}\", max_connections = {max} }}", pool.url(name));
    for policy in ["round-robin", "least-connections", "p2c", "ewma", "hash:ip"] {
        let backends = format!("backends = [{}, {}]", limited("a", 7), limited("b", 5));
        let toml = one_pool(&format!("{backends}\nbalance = \"{policy}\"\nqueue = {{ size = 0 }}"));
        let (proxy, admin) = start(&toml);
        // Sixty at once, and each of them stays.
        let clients: Vec<_> = (0..60)
            .map(|_| {
                let mut client = proxy.dial();
                thread::spawn(move || {
                    client.send(&upgrade_request("/", &[]));
                    let head = client.head();
                    let greeting = (head.status() == 101).then(|| client.frame().payload);
                    (head.status(), greeting, client)
                })
            })
            .collect();
        let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let greeted = |name: &[u8]| answers.iter().filter(|answer| answer.1.as_deref() == Some(name)).count();
        assert_eq!((greeted(b"a"), greeted(b"b")), (7, 5), "{policy}");
        assert_eq!(answers.iter().filter(|answer| answer.0 == 503).count(), 48, "{policy}");
        drop(answers);
        eventually("they are gone", || admin.pool().backends.iter().all(|backend| backend.sessions_now == 0));
    }
}

#[test]
fn who_waits_is_served_in_turn_as_places_become_free() {
    let backend = greeter("a");
    let (proxy, admin) = start_pool(&three_places(&backend, "size = 10, timeout = \"1h\""));
    let mut sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    let mut waiting = Vec::new();
    for number in 1..=6 {
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        waiting.push(client);
        eventually("it waits", || admin.pool().waiting == number);
    }
    for mut next in waiting {
        assert!(next.is_quiet());
        sessions.remove(0);
        assert_eq!(next.head().status(), 101);
        // Those behind it have not been passed any place.
        let client = tungstenite::WebSocket::from_raw_socket(
            next.stream.try_clone().unwrap(),
            tungstenite::protocol::Role::Client,
            None,
        );
        sessions.push(Session { backend: "a".to_owned(), client });
        assert_eq!(admin.backend(&backend.url()).sessions_now, 3);
    }
    assert_eq!(admin.pool().waiting, 0);
}

#[test]
fn a_full_queue_and_a_long_wait_are_answered_503() {
    let backend = greeter("a");
    let (proxy, admin) = start_pool(&three_places(&backend, "size = 2, timeout = \"1500ms\""));
    let _sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    let begun = now();
    let mut waiting: Vec<_> = (0..2)
        .map(|_| {
            let mut client = proxy.dial();
            client.send(&upgrade_request("/", &[]));
            client
        })
        .collect();
    eventually("they wait", || admin.pool().waiting == 2);
    let mut late = proxy.dial();
    late.send(&upgrade_request("/", &[]));
    let (head, _) = late.response();
    assert_eq!((head.status(), head.one("retry-after")), (503, "1"));
    assert!(waiting.iter().all(Raw::is_quiet), "the last to come is turned away, not the first");
    for client in &mut waiting {
        assert_eq!(client.response().0.status(), 503);
        assert!(begun.elapsed() >= Duration::from_millis(1500));
    }
    assert_eq!(admin.pool().waiting, 0);
}

#[test]
fn who_hangs_up_while_waiting_is_forgotten() {
    let backend = greeter("a");
    let (proxy, admin) = start_pool(&three_places(&backend, "size = 2, timeout = \"1h\""));
    let mut sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    for is_reset in [false, true] {
        let mut gone: Vec<_> = (0..2)
            .map(|_| {
                let mut client = proxy.dial();
                client.send(&upgrade_request("/", &[]));
                client
            })
            .collect();
        eventually("they wait", || admin.pool().waiting == 2);
        gone.drain(..).for_each(|client| if is_reset { client.reset() } else { drop(client) });
        eventually("they do not", || admin.pool().waiting == 0);
    }
    // Nor do they take the place that becomes free.
    let mut patient = proxy.dial();
    patient.send(&upgrade_request("/", &[]));
    eventually("it waits", || admin.pool().waiting == 1);
    sessions.pop();
    assert_eq!(patient.head().status(), 101);
}

#[test]
fn no_place_is_lost_however_sessions_end() {
    let backend = greeter("a");
    let (proxy, admin) = start_pool(&three_places(&backend, "size = 100, timeout = \"1h\""));
    let workers: Vec<_> = (0..10)
        .map(|worker| {
            let address = proxy.address.clone();
            thread::spawn(move || {
                for number in 0..24 {
                    let mut client = Raw::connect(&address);
                    client.send(&upgrade_request("/", &[]));
                    match (worker + number) % 4 {
                        // Before or behind the answer, by FIN or by RST.
                        0 => drop(client),
                        1 => client.reset(),
                        2 => assert_eq!(client.head().status(), 101),
                        _ => {
                            assert_eq!(client.head().status(), 101);
                            client.reset();
                        }
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    eventually("all is over", || {
        let pool = admin.pool();
        pool.waiting == 0 && pool.backends.iter().all(|backend| backend.sessions_now == 0)
    });
    let _sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    let mut fourth = proxy.dial();
    fourth.send(&upgrade_request("/", &[]));
    eventually("it waits", || admin.pool().waiting == 1);
}

#[test]
fn a_dead_backends_places_are_not_lost_either() {
    let backend = greeter("a");
    let (proxy, admin) = start_pool(&three_places(&backend, "size = 0"));
    let url = backend.url();
    let sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    let address = backend.kill();
    drop(sessions);
    for _ in 0..20 {
        assert!([502, 503].contains(&status(&proxy)));
    }
    let listener = std::net::TcpListener::bind(address).expect("only we know this address");
    let _restarted = support::probed::greeter_on(listener, "a");
    admin.wait_for(&url, BackendState::Up);
    let mut sessions = Vec::new();
    eventually("all of its places are taken", || {
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        sessions.push(client);
        admin.backend(&url).sessions_now == 3
    });
    assert_eq!(status(&proxy), 503);
}

#[test]
fn sessions_that_began_before_a_limit_count_against_it() {
    let backend = greeter("a");
    let unlimited = one_pool(&format!("backends = [\"{}\"]", backend.url()));
    let (proxy, admin) = start(&unlimited);
    let mut sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    proxy.rewrite(&with_pool(&unlimited, &three_places(&backend, "size = 0")));
    admin.order("/reload");
    eventually("it is full", || status(&proxy) == 503);
    sessions.pop();
    eventually("it has a place", || {
        let mut client = proxy.dial();
        client.send(&upgrade_request("/", &[]));
        client.head().status() == 101
    });
    sessions.clear();
    eventually("they are gone", || admin.backend(&backend.url()).sessions_now == 0);
    let _sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    assert_eq!(status(&proxy), 503);
}

#[test]
fn a_limit_that_is_raised_lets_those_in_who_wait() {
    let backend = greeter("a");
    let toml = one_pool(&three_places(&backend, "size = 10, timeout = \"1h\""));
    let (proxy, admin) = start(&toml);
    let _sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut client = proxy.dial();
            client.send(&upgrade_request("/", &[]));
            client
        })
        .collect();
    eventually("they wait", || admin.pool().waiting == 3);
    proxy.rewrite(&toml.replace("max_connections = 3", "max_connections = 5"));
    admin.order("/reload");
    eventually("two of them do not", || admin.pool().waiting == 1);
    // And without a limit, nobody has to.
    proxy.rewrite(&toml.replace(", max_connections = 3", ""));
    admin.order("/reload");
    for client in &mut waiting {
        assert_eq!(client.head().status(), 101);
    }
}
