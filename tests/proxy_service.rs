//! selat as a service of systemd's kind: sockets that are there before it, news of how it is, and a watchdog.
#![cfg(feature = "runtime")]

mod support;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use support::backend::Backend;
use support::http::upgrade_request;
use support::notify::Manager;
use support::path::Directory;
use support::proxy::{Proxy, command};
use support::raw::Raw;
use support::ws::{connect, expect_close, expect_echo, over, text};
use support::{bind, loopback, nobody, now};

/// Starts selat with a socket as the service manager passes it: as descriptor 3, to this process and no other.
fn activated(socket: impl Into<OwnedFd>, listen: &str, flags: &[&str], backend: &str) -> Proxy {
    let script = "exec 3<&1 >/dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=unknown LISTEN_PID=$$ exec \"$@\"";
    let selat = command(&[&[listen, backend, "--drain-window", "1ms"], flags].concat());
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(selat.get_program()).args(selat.get_args());
    shell.stdout(Stdio::from(socket.into()));
    Proxy::spawn(shell)
}

#[test]
fn a_restart_behind_a_passed_tcp_socket_loses_no_connection() {
    let backend = Backend::echo();
    let listener = bind();
    let listen = listener.local_addr().unwrap().to_string();
    let start = || activated(listener.try_clone().unwrap(), &listen, &["--cores", "all"], &backend.url());
    let mut first = start();
    assert_eq!(first.address, listen);
    let mut clients: Vec<_> = (0..20).map(|_| connect(&listen)).collect();
    for client in &mut clients {
        expect_echo(client, &text("hello"));
    }
    first.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(expect_close(client).0, 1001);
    }
    assert_eq!(first.ended().code, Some(0));
    // Nobody serves now, but the kernel takes connections and what they say.
    let mut between = Raw::connect(&listen);
    between.send(&upgrade_request("/", &[]));
    let _second = start();
    assert_eq!(between.head().status(), 101);
    expect_echo(&mut connect(&listen), &text("hello"));
}

#[test]
fn a_passed_unix_socket_is_used_and_its_file_left_to_the_manager() {
    let directory = Directory::new("activated");
    let backend = Backend::echo();
    let listener = UnixListener::bind(directory.file("public")).unwrap();
    let listen = format!("unix:{}", directory.argument("public"));
    let mut proxy = activated(listener, &listen, &["--cores", "all"], &backend.url());
    expect_echo(&mut over(proxy.dial()), &text("hello"));
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().code, Some(0));
    assert_eq!(directory.files(), ["public"]);
}

#[test]
fn a_passed_socket_that_nobody_asked_for_is_said_to_be_so() {
    let listener = TcpListener::bind((loopback(), 0)).unwrap();
    let passed = listener.local_addr().unwrap().to_string();
    let backend = Backend::echo();
    let mut proxy = activated(listener, &format!("{}:0", loopback()), &[], &backend.url());
    let warning = proxy.line("the service manager passes a socket that no listener is configured for");
    assert_eq!(warning.get("address"), passed);
    expect_echo(&mut proxy.connect(), &text("hello"));
}

#[test]
fn the_manager_hears_of_the_start_and_the_stop() {
    let directory = Directory::new("notify");
    let mut manager = Manager::new(&directory.file("notify"));
    let backend = Backend::echo();
    let mut command = command(&[&format!("{}:0", loopback()), &backend.url(), "--drain-window", "1ms"]);
    manager.hears(&mut command);
    let mut proxy = Proxy::spawn(command);
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.next(), format!("STATUS=listening at {}", proxy.address));
    expect_echo(&mut proxy.connect(), &text("hello"));
    proxy.signal(Signal::TERM);
    assert_eq!(manager.next(), "STOPPING=1");
    assert!(manager.next().starts_with("STATUS=draining"));
    assert_eq!(proxy.ended().code, Some(0));
    assert!(manager.is_silent());
}

#[test]
fn the_manager_hears_that_a_successor_is_the_service_now_and_not_of_a_stop() {
    let directory = Directory::new("main-pid");
    let mut manager = Manager::new(&directory.file("notify"));
    let backend = Backend::echo();
    let start = |listen: &str, manager: &Manager| {
        let handover = directory.argument("handover");
        let flags = [listen, &backend.url(), "--handover", &handover, "--drain-window", "1ms"];
        let mut command = command(&flags);
        manager.hears(&mut command);
        Proxy::spawn(command)
    };
    let mut old = start(&format!("{}:0", loopback()), &manager);
    assert_eq!([manager.next(), manager.next()][0], "READY=1");
    let new = start(&old.address, &manager);
    assert_eq!(old.ended().code, Some(0));
    let mut news = [manager.next(), manager.next(), manager.next()];
    news.sort();
    let status = format!("STATUS=listening at {}", new.address);
    assert_eq!(news, [format!("MAINPID={}", new.pid()), "READY=1".to_owned(), status]);
    assert!(manager.is_silent());
}

#[test]
fn the_watchdog_is_fed_thrice_in_its_time() {
    let directory = Directory::new("watchdog");
    let mut manager = Manager::new(&directory.file("notify"));
    let mut command =
        command(&[&format!("{}:0", loopback()), &format!("ws://{}", nobody()), "--cores", "all"]);
    manager.hears(&mut command);
    command.env("WATCHDOG_USEC", "600000");
    let begun = now();
    let _proxy = Proxy::spawn(command);
    let news = std::iter::repeat_with(|| manager.next());
    assert_eq!(news.filter(|news| news == "WATCHDOG=1").take(5).count(), 5);
    // The first at once, then one every 200 ms and not before.
    assert!(begun.elapsed().as_millis() >= 800, "{:?}", begun.elapsed());
}

#[test]
fn the_watchdog_bites_when_one_shard_hangs() {
    let directory = Directory::new("hang");
    let mut manager = Manager::new(&directory.file("notify"));
    let selat = command(&[&format!("{}:0", loopback()), &format!("ws://{}", nobody()), "--cores", "all"]);
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/hang.py")).arg("selat-0");
    python.arg(selat.get_program()).args(selat.get_args());
    manager.hears(&mut python);
    python.env("WATCHDOG_USEC", "600000");
    let mut proxy = Proxy::spawn(python);
    while manager.next() != "WATCHDOG=1" {}
    proxy.signal(Signal::USR1);
    proxy.line("stopped");
    // What was on its way may still come, but soon a whole watchdog time passes without a word.
    let mut words = 0;
    while manager.speaks_within(Duration::from_millis(600)) {
        words += 1;
        assert!(words < 50, "it goes on feeding the watchdog");
    }
}
