//! Clients that come back when their connection is lost, and how long they heard nothing.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::{echo, foreign_server, run};

const ANSWERS: u64 = 50;
const STALL: Duration = Duration::from_millis(300);

#[test]
fn a_client_comes_back_and_knows_how_long_it_heard_nothing() {
    let connections = Arc::new(AtomicU64::new(0));
    let server = foreign_server(move |mut socket| {
        if connections.fetch_add(1, Ordering::SeqCst) > 0 {
            thread::park_timeout(STALL);
            return echo(socket);
        }
        for _ in 0..ANSWERS {
            let message = socket.read().unwrap();
            socket.send(message).unwrap();
        }
        // The next has come and is never answered.
        let _ = socket.read();
        let _ = socket.get_mut().shutdown(std::net::Shutdown::Both);
        (ANSWERS, None)
    });
    let args = ["echo", &server.url, "--connections", "1", "--for", "1s", "--warmup", "0s", "--reconnect"];
    let ended = run(&args);
    assert_eq!((ended.code, ended.failed(), ended.count("lost")), (1, 1, 1), "{}", ended.report);
    let silence = Duration::from_secs_f64(ended.report["silence"].as_f64().unwrap());
    assert!((STALL..STALL * 4).contains(&silence), "{silence:?}");
    assert!(ended.count("answered") > 2 * ANSWERS, "{}", ended.report);
}

#[test]
fn without_it_a_client_that_was_lost_stays_away() {
    let server = foreign_server(|mut socket| {
        let message = socket.read().unwrap();
        socket.send(message).unwrap();
    });
    let ended = run(&["echo", &server.url, "--connections", "1", "--for", "1s", "--warmup", "0s"]);
    assert_eq!((ended.code, ended.failed()), (1, 1), "{}", ended.report);
}
