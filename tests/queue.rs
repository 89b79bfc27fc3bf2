//! Backends that take only so many sessions, counted over the whole process, and the clients that wait for a place.
#![cfg(feature = "runtime")]

mod support;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use selat::telemetry::BackendState;
use support::admin::{Admin, start};
use support::backend::Backend;
use support::greeting::{greeter, greeter_on, open};
use support::http::upgrade_request;
use support::proxy::Proxy;
use support::raw::Raw;
use support::toml::{one_pool, with_pool};
use support::{eventually, has_waited, now};

/// A client that has asked for a session.
fn ask(proxy: &Proxy) -> Raw {
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    client
}

/// The status that a client gets.
fn status(proxy: &Proxy) -> u16 {
    ask(proxy).head().status()
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
    let [a, b] = ["a", "b"].map(greeter);
    let limited =
        |backend: &Backend, max: u32| format!("{{ url = \"{}\", max_connections = {max} }}", backend.url());
    for policy in ["round-robin", "least-connections", "p2c", "ewma", "hash:ip"] {
        let backends = format!("backends = [{}, {}]", limited(&a, 7), limited(&b, 5));
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
    let mut clients: VecDeque<_> = (0..3).map(|_| ask(&proxy)).collect();
    assert!(clients.iter_mut().all(|client| client.head().status() == 101));
    for number in 1..=6 {
        clients.push_back(ask(&proxy));
        eventually("it waits", || admin.pool().waiting == number);
    }
    for _ in 0..6 {
        assert!(clients.iter().skip(3).all(Raw::is_quiet));
        clients.pop_front();
        let next = clients.get_mut(2).unwrap();
        assert_eq!(next.head().status(), 101);
        assert_eq!(next.frame().payload, b"a");
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
    let mut waiting: Vec<_> = (0..2).map(|_| ask(&proxy)).collect();
    eventually("they wait", || admin.pool().waiting == 2);
    let mut late = ask(&proxy);
    let (head, _) = late.response();
    assert_eq!((head.status(), head.one("retry-after")), (503, "1"));
    assert!(waiting.iter().all(Raw::is_quiet), "the last to come is turned away, not the first");
    for client in &mut waiting {
        assert_eq!(client.response().0.status(), 503);
        assert!(has_waited(begun, Duration::from_millis(1500)));
    }
    assert_eq!(admin.pool().waiting, 0);
}

#[test]
fn who_hangs_up_while_waiting_is_forgotten() {
    let backend = greeter("a");
    let (proxy, admin) = start_pool(&three_places(&backend, "size = 2, timeout = \"1h\""));
    let mut sessions: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    for is_reset in [false, true] {
        let mut gone: Vec<_> = (0..2).map(|_| ask(&proxy)).collect();
        eventually("they wait", || admin.pool().waiting == 2);
        gone.drain(..).for_each(|client| if is_reset { client.reset() } else { drop(client) });
        eventually("they do not", || admin.pool().waiting == 0);
    }
    // Nor do they take the place that becomes free.
    let mut patient = ask(&proxy);
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
    let _fourth = ask(&proxy);
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
    let listener = TcpListener::bind(address).expect("only we know this address");
    let _restarted = greeter_on(listener, "a");
    admin.wait_for(&url, BackendState::Up);
    let mut sessions = Vec::new();
    eventually("all of its places are taken", || {
        sessions.push(ask(&proxy));
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
    eventually("it has a place", || status(&proxy) == 101);
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
    let mut waiting: Vec<_> = (0..3).map(|_| ask(&proxy)).collect();
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
