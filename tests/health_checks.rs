//! Backends that fall ill: found by probes and by sessions, left out, let back in, and what happens when all do.
#![cfg(feature = "runtime")]

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use selat::telemetry::BackendState;
use support::admin::{self, Admin};
use support::backend::{Backend, Stage, echo};
use support::crowd::Crowd;
use support::greeting::{greeter, greeter_on};
use support::http::upgrade_request;
use support::probed::{Fault, Probed};
use support::proxy::Proxy;
use support::python::Script;
use support::toml::{list, one_pool};
use support::ws::{connect, expect_echo, text};
use support::{bind, eventually, has_waited, now};

/// Quick probes. A machine that is busy with something else may miss one or two of them, not three.
const QUICK: &str = "every = \"150ms\", timeout = \"140ms\", rise = 2, fall = 3";

const DOWN: &str = "backend is down; new sessions go elsewhere";
const UP: &str = "backend is up again";

/// A proxy in front of these backends, of which `more` is said.
fn start(urls: &[&str], more: &str) -> (Proxy, Admin) {
    let urls = list(urls.iter().copied());
    admin::start(&one_pool(&format!("backends = {urls}\n{more}")))
}

fn health(probe: &str) -> String {
    format!("health = {{ {probe}, {QUICK} }}")
}

/// The status that a client gets.
fn ask(proxy: &Proxy) -> u16 {
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    client.head().status()
}

/// Dials that failed, by the proxy's own count.
fn dials_failed(proxy: &mut Proxy) -> u64 {
    proxy.counter("dials_failed")
}

#[test]
fn each_probe_takes_an_ill_backend_down_and_back_up_without_any_client_noticing() {
    let http = "probe = \"http\", path = \"/health\"";
    let websocket = "probe = \"websocket\", path = \"/health\"";
    let exchange = "probe = \"websocket\", path = \"/health\", send = \"ping\", expect = \"pong\"";
    let rows = [
        (http, Fault::Status, "status 503"),
        (http, Fault::Silence, "connected, but no answer"),
        (http, Fault::HangUp, "ended before the answer"),
        (websocket, Fault::Status, "status 503"),
        (websocket, Fault::Silence, "connected, but no answer"),
        (exchange, Fault::WrongAnswer, "answered \"pang\""),
        (exchange, Fault::NoAnswer, "connected, but no answer"),
    ];
    for (probe, fault, why) in rows {
        let (mut ill, mut well) = (Probed::new(fault), Probed::new(fault));
        let (mut proxy, admin) = start(&[&ill.url(), &well.url()], &health(probe));
        let crowd = Crowd::start(&proxy.address, 50);
        admin.wait_for(&ill.url(), BackendState::Up);
        ill.fall_ill();
        let asked = ill.asked();
        let line = proxy.line(DOWN);
        assert!(ill.asked() - asked >= 3, "{probe}, {fault:?}: it fell before it had failed often enough");
        assert_eq!(line.get("backend"), ill.url(), "{probe}, {fault:?}");
        let state = admin.backend(&ill.url());
        assert!(state.why.contains(why), "{probe}, {fault:?}: {}", state.why);
        eventually("the last session there is over", || admin.backend(&ill.url()).sessions_now == 0);
        let (served_ill, served_well) = (ill.backend.served(), well.backend.served());
        crowd.wait_for_sessions(20);
        assert_eq!(ill.backend.served(), served_ill, "{probe}, {fault:?}: none is placed there");
        assert!(well.backend.served() > served_well);
        ill.recover();
        let asked = ill.asked();
        assert_eq!(proxy.line(UP).get("backend"), ill.url());
        assert!(ill.asked() - asked >= 2, "{probe}, {fault:?}: it rose before it had passed often enough");
        eventually("it gets sessions again", || ill.backend.served() > served_ill);
        let tally = crowd.stop();
        assert!(tally.lost() == 0 && tally.served > 0, "{probe}, {fault:?}: {tally:?}");
        assert_eq!(dials_failed(&mut proxy), 0, "{probe}, {fault:?}");
    }
}

#[test]
fn fewer_failures_than_it_takes_change_nothing() {
    let backend = Probed::new(Fault::Status);
    let (mut proxy, admin) = start(&[&backend.url()], &health("probe = \"http\", path = \"/health\""));
    admin.wait_for(&backend.url(), BackendState::Up);
    let begun = now();
    for _ in 0..3 {
        let asked = backend.asked();
        backend.fail(2);
        eventually("it is probed", || backend.asked() >= asked + 4);
    }
    let now = admin.backend(&backend.url());
    assert!(now.state == BackendState::Up && now.since_seconds > begun.elapsed().as_secs_f64(), "{now:?}");
    backend.fall_ill();
    admin.wait_for(&backend.url(), BackendState::Down);
    // And successes that are not in a row do not raise it.
    for _ in 0..3 {
        let asked = backend.asked();
        backend.fail(0);
        eventually("it passes once", || backend.asked() > asked);
        backend.fall_ill();
        eventually("and fails", || backend.asked() >= asked + 4);
    }
    drop(proxy.line(DOWN));
}

#[test]
fn a_dead_backend_is_found_by_tcp_before_any_client_is_sent_there() {
    let (doomed, well) = (Backend::echo(), Backend::echo());
    let (mut proxy, admin) = start(&[&doomed.url(), &well.url()], &health("probe = \"tcp\""));
    let url = doomed.url();
    admin.wait_for(&url, BackendState::Up);
    let address = doomed.kill();
    admin.wait_for(&url, BackendState::Down);
    assert!(admin.backend(&url).why.contains("connection refused"));
    for _ in 0..10 {
        expect_echo(&mut proxy.connect(), &text("hello"));
    }
    assert_eq!(dials_failed(&mut proxy), 0);
    let mut restarted = Backend::echo_at(address);
    admin.wait_for(&url, BackendState::Up);
    eventually("it gets sessions again", || {
        expect_echo(&mut proxy.connect(), &text("hello"));
        restarted.served() > 0
    });
}

#[test]
fn a_stopped_process_is_found_by_websocket_and_not_by_tcp() {
    let hung = Script::start("server.py", &[]);
    let url = format!("ws://127.0.0.1:{}/echo", hung.line());
    let well = Backend::echo();
    let by_tcp = start(&[&url, &well.url()], &health("probe = \"tcp\""));
    let by_websocket =
        start(&[&url, &well.url()], &health("probe = \"websocket\", send = \"ping\", expect = \"ping\""));
    for (_, admin) in [&by_tcp, &by_websocket] {
        admin.wait_for(&url, BackendState::Up);
    }
    hung.signal(Signal::STOP);
    let (mut proxy, admin) = by_websocket;
    admin.wait_for(&url, BackendState::Down);
    assert!(admin.backend(&url).why.contains("no answer within"), "{}", admin.backend(&url).why);
    for _ in 0..10 {
        expect_echo(&mut proxy.connect(), &text("hello"));
    }
    assert_eq!(dials_failed(&mut proxy), 0);
    // The kernel goes on accepting for it.
    assert_eq!(by_tcp.1.backend(&url).state, BackendState::Up);
    hung.signal(Signal::CONT);
    admin.wait_for(&url, BackendState::Up);
}

#[test]
fn a_backend_that_accepts_and_says_nothing_is_found_by_websocket() {
    let (silent, well) = (Stage::new(), Backend::echo());
    let (mut proxy, admin) =
        start(&[&silent.url(), &well.url()], &health("probe = \"websocket\", path = \"/health\""));
    admin.wait_for(&silent.url(), BackendState::Down);
    for _ in 0..10 {
        expect_echo(&mut proxy.connect(), &text("hello"));
    }
    assert_eq!(dials_failed(&mut proxy), 0);
}

#[test]
fn a_hung_backend_is_ejected_by_its_first_session_and_costs_that_one_the_connect_timeout_only() {
    let (silent, well) = (Stage::new(), Backend::echo());
    let (mut proxy, admin) = start(
        &[&silent.url(), &well.url()],
        "connect_timeout = \"300ms\"\noutlier = { ejection_base = \"1h\", ejection_max = \"1h\" }",
    );
    let begun = now();
    // Two shards, each of which may try it before it has heard.
    while admin.backend(&silent.url()).state != BackendState::Ejected {
        expect_echo(&mut proxy.connect(), &text("hello"));
    }
    assert!(has_waited(begun, Duration::from_millis(300)));
    assert!(admin.backend(&silent.url()).why.contains("timed out"));
    let failed = dials_failed(&mut proxy);
    for _ in 0..20 {
        expect_echo(&mut proxy.connect(), &text("hello"));
    }
    assert_eq!(dials_failed(&mut proxy), failed);
}

/// A backend that is `ill` for as long as the flag says so: it answers its sessions 503.
fn ailing() -> (Backend, Arc<AtomicBool>) {
    let is_ill = Arc::new(AtomicBool::new(true));
    let flag = is_ill.clone();
    let backend = Backend::on(bind(), move |stream, served| {
        if flag.load(Ordering::SeqCst) {
            let mut connection = support::raw::Raw::new(stream);
            // A probe asks nothing.
            if connection.stream.peek(&mut [0]).is_ok_and(|len| len > 0) {
                connection.head();
                connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            }
        } else {
            echo(stream, served);
        }
    });
    (backend, is_ill)
}

#[test]
fn an_outlier_is_ejected_for_longer_each_time_and_comes_back() {
    let (outlier, is_ill) = ailing();
    let well = Backend::echo();
    let (proxy, admin) = start(
        &[&outlier.url(), &well.url()],
        "outlier = { failures = 2, ejection_base = \"1500ms\", ejection_max = \"1h\" }",
    );
    let mut lasted = Vec::new();
    for _ in 0..2 {
        eventually("it is ejected", || {
            expect_echo(&mut proxy.connect(), &text("hello"));
            admin.backend(&outlier.url()).state == BackendState::Ejected
        });
        assert_eq!(admin.backend(&outlier.url()).why, "sessions' handshakes failed");
        let begun = now();
        admin.wait_for(&outlier.url(), BackendState::Up);
        lasted.push(begun.elapsed());
    }
    // What was measured began a little later than what is meant.
    for (measured, at_least) in lasted.iter().zip([1200, 2700]) {
        assert!(*measured > Duration::from_millis(at_least), "{lasted:?}");
    }
    is_ill.store(false, Ordering::SeqCst);
    let before = admin.backend(&outlier.url()).sessions_total;
    eventually("it gets its share", || {
        expect_echo(&mut proxy.connect(), &text("hello"));
        admin.backend(&outlier.url()).sessions_total >= before + 5
    });
}

#[test]
fn no_more_of_a_pool_is_ejected_than_its_share() {
    for (share, backends, expected) in [("50%", 4, 2), ("50%", 3, 1), ("0%", 3, 0), ("100%", 3, 3)] {
        let ailing: Vec<_> = (0..backends).map(|_| ailing().0).collect();
        let urls: Vec<_> = ailing.iter().map(Backend::url).collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        let outlier = format!(
            "outlier = {{ failures = 1, ejection_base = \"1h\", ejection_max = \"1h\", max_ejected = \"{share}\" }}"
        );
        let (proxy, admin) = start(&urls, &outlier);
        let ejected = || {
            let pool = admin.pool();
            pool.backends.iter().filter(|backend| backend.state == BackendState::Ejected).count()
        };
        // Each shard avoids a backend that failed it for a second, so they are tried one after the other.
        eventually("every backend has failed", || {
            assert!([502, 503].contains(&ask(&proxy)));
            assert!(ejected() <= expected, "{share} of {backends}");
            admin.pool().backends.iter().all(|backend| backend.dials.iter().any(|dials| dials.count >= 1))
        });
        eventually("as many as may be are ejected", || {
            ask(&proxy);
            ejected() == expected
        });
    }
}

#[test]
fn a_check_that_fails_everywhere_costs_no_client_its_session() {
    let backends = [Probed::new(Fault::Status), Probed::new(Fault::Status)];
    let urls = backends.each_ref().map(Probed::url);
    let urls = urls.each_ref().map(String::as_str);
    let (proxy, admin) = start(&urls, &health("probe = \"http\", path = \"/health\""));
    let crowd = Crowd::start(&proxy.address, 100);
    backends.iter().for_each(Probed::fall_ill);
    eventually("all are down", || admin.pool().is_panicking);
    // More than desperation would try.
    crowd.wait_for_sessions(100);
    backends.iter().for_each(Probed::recover);
    eventually("it is over", || !admin.pool().is_panicking);
    for url in urls {
        admin.wait_for(url, BackendState::Up);
    }
    let tally = crowd.stop();
    assert!(tally.lost() == 0 && tally.served > 0, "{tally:?}");
}

#[test]
fn a_pool_in_which_everything_has_died_recovers_by_itself() {
    let [one, other] = [Backend::echo(), Backend::echo()];
    let urls = [one.url(), other.url()];
    let (proxy, admin) = start(&[&urls[0], &urls[1]], &health("probe = \"tcp\""));
    let addresses = [one.kill(), other.kill()];
    eventually("all are down", || admin.pool().is_panicking);
    assert!([502, 503].contains(&ask(&proxy)));
    let _restarted = addresses.map(Backend::echo_at);
    eventually("it is over", || !admin.pool().is_panicking);
    eventually("it serves", || ask(&proxy) == 101);
}

#[test]
fn few_that_are_up_are_not_overrun_where_the_owner_says_so() {
    let backends = [(); 4].map(|()| Probed::new(Fault::Status));
    let urls = backends.each_ref().map(Probed::url);
    let more = format!("{}\npanic_below = \"50%\"", health("probe = \"http\", path = \"/health\""));
    let (proxy, admin) = start(&urls.each_ref().map(String::as_str), &more);
    let down = |count: usize| {
        let backends = admin.pool().backends;
        backends.iter().filter(|backend| backend.state == BackendState::Down).count() == count
    };
    for ill in &backends[..2] {
        ill.fall_ill();
    }
    eventually("half of it is down", || down(2));
    assert!(!admin.pool().is_panicking);
    backends[2].fall_ill();
    eventually("more is", || down(3));
    let [mut first, ..] = backends;
    let served = first.backend.served();
    assert!(admin.pool().is_panicking);
    eventually("those that are down get sessions all the same", || {
        expect_echo(&mut proxy.connect(), &text("hello"));
        first.backend.served() > served
    });
}

#[test]
fn a_slow_start_gives_a_backend_little_at_first_and_all_in_the_end() {
    let (mut old, doomed) = (greeter("old"), greeter("new"));
    let url = doomed.url();
    let more = format!("{}\nslow_start = \"6s\"", health("probe = \"tcp\""));
    let (proxy, admin) = start(&[&old.url(), &url], &more);
    // At the start all are new, so that none is favoured.
    eventually("both have risen", || {
        admin.pool().backends.iter().all(|backend| backend.weight_effective == backend.weight)
    });
    let address = doomed.kill();
    admin.wait_for(&url, BackendState::Down);
    assert_eq!(admin.backend(&url).weight_effective, 0.0);
    let mut new = greeter_on(TcpListener::bind(address).expect("only we know this address"), "new");
    admin.wait_for(&url, BackendState::Up);
    let mut seen = vec![0.0];
    while seen.last() != Some(&1.0) {
        let (old_before, new_before) = (old.served(), new.served());
        let clients: Vec<_> = (0..22).map(|_| proxy.connect()).collect();
        drop(clients);
        let got = f64::from(u32::try_from(new.served() - new_before).unwrap());
        let all = got + f64::from(u32::try_from(old.served() - old_before).unwrap());
        let weight = admin.backend(&url).weight_effective;
        assert!(weight >= *seen.last().unwrap(), "{seen:?}, then {weight}");
        seen.push(weight);
        // By the weight that it has reached by the end of the batch, and a turn of each shard's.
        assert!(got <= all * weight / (1.0 + weight) + 2.0, "{got} of {all} at {weight}");
    }
    seen.dedup();
    assert!(seen.len() > 3 && seen[1] < 0.5, "{seen:?}");
    let before = new.served();
    let clients: Vec<_> = (0..40).map(|_| proxy.connect()).collect();
    assert!((18..=22).contains(&(new.served() - before)));
    drop(clients);
}

/// Since the epoch.
fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970")
}

/// When a log line was written, since the epoch.
fn logged_at(line: &support::log::Line) -> Duration {
    let text = line.get("timestamp");
    let (_, time) = text.trim_end_matches('Z').split_once('T').expect("date and time");
    let parts = time.split(':').map(|part| part.parse::<f64>().expect("a number"));
    let since_midnight = Duration::from_secs_f64(parts.fold(0.0, |sum, part| sum * 60.0 + part));
    // It is not long ago.
    let day = Duration::from_secs(24 * 60 * 60);
    let now = time_of_day();
    let midnight = Duration::from_secs(now.as_secs() / day.as_secs() * day.as_secs());
    let today = midnight + since_midnight;
    if today > now { today - day } else { today }
}

/// When a session was asked for and when its backend had greeted, and whether that was the one that fell ill.
struct Sighting {
    asked: Duration,
    greeted: Duration,
    is_ill: bool,
}

/// Clients that open sessions one after the other until they are told to stop.
fn watch(address: &str, is_over: &Arc<AtomicBool>) -> Vec<JoinHandle<Vec<Sighting>>> {
    let client = |_| {
        let (address, is_over) = (address.to_owned(), is_over.clone());
        thread::spawn(move || {
            let mut sightings = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                let asked = time_of_day();
                let is_ill = connect(&address).read().expect("a greeting") == text("ill");
                sightings.push(Sighting { asked, greeted: time_of_day(), is_ill });
            }
            sightings
        })
    };
    (0..4).map(client).collect()
}

/// The figures are printed, and only a gross delay is a failure: how soon depends on the machine.
#[test]
fn every_shard_hears_of_a_transition_at_once() {
    let [ill, well] = ["ill", "well"].map(|name| Probed::greeting(name, Fault::Status));
    let (mut proxy, admin) =
        start(&[&ill.url(), &well.url()], &health("probe = \"http\", path = \"/health\""));
    for _ in 0..5 {
        ill.recover();
        admin.wait_for(&ill.url(), BackendState::Up);
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = watch(&proxy.address, &is_over);
        let sessions = || admin.pool().backends.iter().map(|backend| backend.sessions_total).sum::<u64>();
        let before = sessions();
        eventually("sessions are opened", || sessions() > before + 100);
        ill.fall_ill();
        let at = logged_at(&proxy.line(DOWN));
        let before = sessions();
        eventually("more are", || sessions() > before + 100);
        is_over.store(true, Ordering::SeqCst);
        let sightings = clients.into_iter().flat_map(|client| client.join().expect("every session begins"));
        let there: Vec<_> = sightings.filter(|sighting| sighting.is_ill).collect();
        let last = |time: fn(&Sighting) -> Duration| there.iter().map(time).max().expect("it had sessions");
        let late = |time: Duration| time.saturating_sub(at);
        let (asked, greeted) = (late(last(|seen| seen.asked)), late(last(|seen| seen.greeted)));
        eprintln!(
            "last session there: asked for {asked:?} after the transition, greeted {greeted:?} after it"
        );
        assert!(greeted < Duration::from_secs(1), "{greeted:?}");
    }
}
