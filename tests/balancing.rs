//! Which backend a session gets: each policy on every core, across reloads and drains.
#![cfg(feature = "runtime")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use selat::telemetry::BackendState;
use support::admin::{Admin, start};
use support::backend::{Backend, Stage};
use support::frames::{BINARY, CONTINUATION, client_frame, server_frame};
use support::greeting::{count, greet, greeted, greeter, open};
use support::http::upgrade_request;
use support::proxy::Proxy;
use support::raw::Raw;
use support::toml::{list, one_pool, with_pool};
use support::ws::{expect_close, expect_echo, over, text};
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

/// A session that is asked for like this, and where it is.
fn ask(proxy: &Proxy, target: &str, lines: &[&str]) -> String {
    let mut client = proxy.dial();
    client.send(&upgrade_request(target, lines));
    assert_eq!(client.head().status(), 101, "{target} {lines:?}");
    String::from_utf8(client.frame().payload).expect("a name")
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
    for before in ["balance = \"round-robin\"", balance] {
        let toml = one_pool(&format!("backends = [\"{}\"]\n{before}", pool.url("a")));
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
