//! `selat top` in a real terminal: a pseudo-terminal, whose screen a foreign emulator draws.
#![cfg(feature = "runtime")]

mod played;
mod support;

use rustix::process::Signal;
use selat::telemetry::{BackendState, Overview};
use serde_json::json;

use played::{Played, overview, traffic};
use support::proxy::{command, run_to_end};
use support::terminal::Terminal;

/// What [`busy`] looks like.
const BUSY: &str = "in 1.2k messages/s 117 KiB/s   out 1.2k messages/s 117 KiB/s";

/// A terminal with `selat top` in it, on the smallest that people have.
fn watch(admin: &Played) -> Terminal {
    Terminal::start(80, 24, &["top", "--every", "50ms", "--admin", &admin.address])
}

/// A second passes between two looks, and 1200 messages each way; 99 of 100 take under 10 ms.
fn busy(overview: &mut Overview, looks: u64) {
    let seconds = u32::try_from(looks).expect("a short test");
    overview.uptime_seconds += f64::from(seconds);
    for route in &mut overview.routes {
        route.traffic = traffic(1200 * looks);
        route.sessions_total += 3 * looks;
    }
    for feed in &mut overview.feeds {
        feed.messages.messages += 50 * looks;
        feed.deliveries.messages += 50_000 * looks;
        (feed.conflated, feed.dropped) = (600 * looks, 400 * looks);
    }
    for dispatch in &mut overview.dispatches {
        (dispatch.sent, dispatch.replies) = (700 * looks, 600 * looks);
        (dispatch.retries, dispatch.timeouts, dispatch.lost) = (40 * looks, 30 * looks, 20 * looks);
    }
    let relay = &mut overview.histograms.relay_seconds;
    relay.counts = vec![90 * looks, 9 * looks, looks, 0];
}

fn start() -> Played {
    let admin = Played::start("127.0.0.1:0", None, overview());
    admin.set(|scene| scene.step = Some(busy));
    admin
}

#[test]
fn a_small_terminal_shows_routes_feeds_dispatches_backends_rates_latencies_and_closes() {
    let admin = start();
    let mut terminal = watch(&admin);
    terminal.shows(BUSY);
    let lines = terminal.lines();
    let has = |texts: &[&str]| {
        let found = lines.iter().any(|line| texts.iter().all(|text| line.contains(text)));
        assert!(found, "{texts:?} in a line of\n{}", lines.join("\n"));
    };
    has(&["selat 0.1.0  serving  up 1h 0m", &admin.address]);
    has(&["sessions 10", "opened 3.0/s", "refused 0/s"]);
    has(&["relay latency", "p50 556 µs", "p99 10.00 ms"]);
    has(&["closes", "1000: 80"]);
    has(&["ROUTE", "SESSIONS", "MSGS/s", "BYTES/s"]);
    has(&["chat ", "10", "3.0", "2.4k", "234 KiB"]);
    has(&["FEED", "SOURCE", "CLIENTS", "IN/s", "OUT/s", "MISSED/s", "LAG p99", "LAST"]);
    has(&["fx ", "up", "1,000", "50", "50k", "1.0k", "4", "2s"]);
    has(&["DISPATCH", "WAITING", "SENT/s", "REPLIES/s", "RETRIED/s", "LOST/s", "REPLY p50", "p99"]);
    has(&["work ", "12", "700", "600", "40", "50"]);
    has(&["chat/ws://10.0.0.1:9001", "up", "10"]);
    has(&["chat/ws://10.0.0.2:9001", "down", "0"]);
    has(&["q quit", "by sessions"]);
    admin.set(|scene| {
        let backends = scene.overview.pools.iter_mut().flat_map(|pool| &mut pool.backends);
        backends.for_each(|backend| backend.state = BackendState::Ejected);
    });
    terminal.shows("[not ready]");
    terminal.hides(":9001  up");
    terminal.press("q");
    terminal.expect_end();
}

#[test]
fn keys_sort_pause_and_scroll() {
    let admin = start();
    admin.set(|scene| {
        let backends = &mut scene.overview.pools.first_mut().expect("a pool").backends;
        let template = backends.first().expect("a backend").clone();
        backends.extend((10..50).map(|n| {
            let name = format!("ws://10.0.0.{n}:9001");
            played::named(&template, name, n)
        }));
    });
    let mut terminal = watch(&admin);
    // By sessions, the most first.
    assert!(terminal.line("chat/ws://10.0.0.49:9001") < terminal.line("chat/ws://10.0.0.45:9001"));
    terminal.press("sss");
    terminal.shows("by name");
    assert!(terminal.line("chat/ws://10.0.0.10:9001") < terminal.line("chat/ws://10.0.0.11:9001"));
    // More than there is room for, and no further than there is anything.
    terminal.press("\x1b[F");
    terminal.shows("chat/ws://10.0.0.49:9001");
    terminal.hides("chat/ws://10.0.0.10:9001");
    terminal.press("\x1b[H");
    terminal.shows("chat/ws://10.0.0.10:9001");

    terminal.press("p");
    terminal.shows("[paused]");
    admin.set(|scene| "renamed".clone_into(&mut scene.overview.routes.first_mut().expect("a route").name));
    // A look that was under way when the key came has nothing new to say.
    terminal.press("s");
    terminal.shows("by sessions");
    assert!(!terminal.lines().iter().any(|line| line.starts_with("renamed")));
    terminal.press("p");
    terminal.shows("renamed");
    terminal.press("\x03");
    terminal.expect_end();
}

#[test]
fn any_size_of_terminal_is_drawn_in() {
    let admin = start();
    let mut terminal = watch(&admin);
    terminal.shows("chat/ws://10.0.0.1:9001");
    for (columns, lines) in [(120, 40), (40, 10), (10, 3), (1, 1), (200, 6), (80, 24)] {
        terminal.resize(columns, lines);
    }
    terminal.shows("chat/ws://10.0.0.1:9001");
    terminal.shows("q quit");
    terminal.resize(132, 43);
    terminal.tell(&json!(["begins", 42, "q quit"]));
    terminal.press("q");
    terminal.expect_end();
}

#[test]
fn it_outlives_the_server_it_watches() {
    let admin = start();
    let mut terminal = watch(&admin);
    terminal.shows("serving");
    let address = admin.address.clone();
    drop(admin);
    terminal.shows("no answer, retrying: Connection refused");
    // What was known last is still there.
    terminal.shows("chat/ws://10.0.0.1:9001");
    let _again = Played::start(&address, None, Overview { uptime_seconds: 1.0, ..overview() });
    terminal.hides("no answer");
    terminal.shows("up 1s");
    terminal.press("q");
    terminal.expect_end();
}

#[test]
fn it_waits_for_a_server_that_is_not_there_yet() {
    let gone = start();
    let address = gone.address.clone();
    drop(gone);
    let mut terminal = Terminal::start(80, 24, &["top", "--every", "50ms", "--admin", &address]);
    terminal.shows("no answer, retrying");
    let _admin = Played::start(&address, None, overview());
    terminal.shows("chat/ws://10.0.0.1:9001");
    terminal.press("q");
    terminal.expect_end();
}

#[test]
fn signals_end_it_and_give_the_terminal_back() {
    let admin = start();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut terminal = watch(&admin);
        terminal.shows("serving");
        terminal.tell(&json!(["signal", signal.as_raw()]));
        terminal.expect_end();
    }
}

#[test]
fn without_a_terminal_it_prints_one_frame() {
    let admin = start();
    admin.set(|scene| {
        let backends = scene.overview.pools.iter_mut().flat_map(|pool| &mut pool.backends);
        backends.for_each(|backend| backend.state = BackendState::Draining);
    });
    let (code, text) = run_to_end(command(&["top", "--every", "1ms", "--admin", &admin.address]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(BUSY), "{text}");
    assert!(text.lines().any(|line| line.starts_with("fx ") && line.contains("50k")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("work ") && line.contains("700")), "{text}");
    assert_eq!(text.matches("draining").count(), 2, "{text}");
    assert!(!text.contains('\x1b') && !text.contains("q quit"), "{text}");
}
