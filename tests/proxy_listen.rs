//! Where clients connect: both IP versions, every core, and Unix sockets with the files they leave.
#![cfg(feature = "runtime")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use support::backend::{Backend, Stage};
use support::http::upgrade_request;
use support::proxy::{Proxy, command, run_to_end};
use support::raw::Raw;
use support::ws::{connect, expect_close, expect_echo, over, text};
use support::{allowed_cores, eventually, has_ipv6, nobody};

/// A path in a directory of its own, whose name is short enough for a socket.
struct Path(PathBuf);

impl Path {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("selat-{}-{test}", std::process::id()));
        fs::create_dir(&directory).expect("nobody else has it");
        Self(directory.join("socket"))
    }

    fn url(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        // At the worst it stays behind.
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

fn two_cores() -> String {
    allowed_cores().iter().take(2).map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn every_core_takes_its_share_of_connections() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&["--cores", &two_cores()], &[&backend.url()]);
    let mut clients: Vec<_> = (0..64).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        expect_echo(client, &text("hello"));
    }
    let counters = proxy.counters();
    let (all, shards) = counters.split_last().unwrap();
    assert_eq!(shards.len(), allowed_cores().len().min(2));
    assert_eq!(all.number("sessions_now"), 64);
    // That chance leaves a shard out: 2^-63.
    for shard in shards {
        assert!(shard.number("sessions_now") > 0, "{counters:?}");
    }
}

#[test]
fn each_shard_is_pinned_to_its_core() {
    let proxy = Proxy::start(&["--cores", "all"], &[&format!("ws://{}", nobody())]);
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
    let mut pinned = BTreeSet::new();
    for task in tasks {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let name = field("Name:").split('-').collect::<Vec<_>>();
        // "selat-0-1": the executor appends a number of its own. "selat-control" may run anywhere.
        if let ["selat", shard, _] = name[..] {
            pinned.insert((shard.parse::<usize>().unwrap(), field("Cpus_allowed_list:").to_owned()));
        }
    }
    let expected = allowed_cores().iter().map(usize::to_string).enumerate().collect();
    assert_eq!(pinned, expected);
}

#[test]
fn a_port_alone_means_every_ip_version_that_there_is() {
    let stage = Stage::new();
    let proxy = Proxy::listen(":0", &[], &[&stage.url()]);
    let port = proxy.address.rsplit(':').next().unwrap();
    for (host, forwarded_for) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        if host == "127.0.0.1" || has_ipv6() {
            let mut client = Raw::connect(format!("{host}:{port}"));
            client.send(&upgrade_request("/", &[]));
            // An IPv4 client by its own address, not as ::ffff:127.0.0.1.
            assert_eq!(stage.request().1.one("x-forwarded-for"), forwarded_for);
        }
    }
}

#[test]
fn listens_on_an_ipv6_address_or_says_that_there_is_none() {
    let backend = Backend::echo();
    if has_ipv6() {
        let proxy = Proxy::listen("[::1]:0", &[], &[&backend.url()]);
        assert!(proxy.address.starts_with("[::1]:"));
        expect_echo(&mut connect(&proxy.address), &text("hello"));
    } else {
        let (code, output) = run_to_end(command(&["[::1]:0", &backend.url()]));
        assert_eq!(code, Some(2));
        assert!(output.contains("cannot listen on [::1]:0"), "{output}");
    }
}

#[test]
fn a_unix_socket_works_end_to_end_on_every_core() {
    let path = Path::new("works");
    let backend = Backend::echo();
    let mut proxy =
        Proxy::listen(&path.url(), &["--cores", "all", "--drain-window", "1ms"], &[&backend.url()]);
    assert_eq!(proxy.address, path.url());
    let mut clients: Vec<_> = (0..20).map(|_| over(proxy.dial())).collect();
    for client in &mut clients {
        expect_echo(client, &text("hello"));
    }
    drop(clients.pop());
    assert_eq!(proxy.session().get("client"), "unix");
    proxy.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(expect_close(client).0, 1001);
    }
    let ended = proxy.ended();
    assert_eq!((ended.code, ended.last().number("drained")), (Some(0), 19));
    assert!(!path.0.exists(), "the file is removed");
}

#[test]
fn a_client_of_a_unix_socket_has_no_address_to_forward() {
    let path = Path::new("address");
    let stage = Stage::new();
    let proxy = Proxy::listen(&path.url(), &[], &[&stage.url()]);
    let mut clients = [proxy.dial(), proxy.dial()];
    clients[0].send(&upgrade_request("/", &[]));
    assert_eq!(stage.request().1.all("x-forwarded-for").len(), 0);
    clients[1].send(&upgrade_request("/", &["X-Forwarded-For: 198.51.100.7"]));
    assert_eq!(stage.request().1.one("x-forwarded-for"), "198.51.100.7");
}

#[test]
fn a_unix_socket_that_nobody_answers_is_replaced() {
    let path = Path::new("stale");
    // A listener's file stays when it is dropped.
    drop(UnixListener::bind(&path.0).unwrap());
    assert!(path.0.exists());
    let backend = Backend::echo();
    let proxy = Proxy::listen(&path.url(), &[], &[&backend.url()]);
    expect_echo(&mut over(proxy.dial()), &text("hello"));
}

#[test]
fn a_unix_socket_in_use_is_refused_and_left_alone() {
    let path = Path::new("in-use");
    let backend = Backend::echo();
    let first = Proxy::listen(&path.url(), &[], &[&backend.url()]);
    let (code, output) = run_to_end(command(&[&path.url(), &backend.url()]));
    assert_eq!(code, Some(2));
    assert!(output.contains("another program does"), "{output}");
    expect_echo(&mut over(first.dial()), &text("still here"));
}

#[test]
fn a_file_that_is_not_a_socket_is_refused_and_left_alone() {
    let path = Path::new("file");
    fs::write(&path.0, "precious").unwrap();
    // Should it start, it has to be ended.
    let selat = command(&[&path.url(), &format!("ws://{}", nobody())]);
    let mut timeout = Command::new("timeout");
    timeout.arg("3").arg(selat.get_program()).args(selat.get_args());
    let (code, output) = run_to_end(timeout);
    assert_eq!(fs::read_to_string(&path.0).ok().as_deref(), Some("precious"), "{output}");
    assert_eq!(code, Some(2), "{output}");
}

#[test]
fn a_proxy_that_goes_down_leaves_its_successors_socket_alone() {
    let path = Path::new("successor");
    let backend = Backend::echo();
    let mut old = Proxy::listen(&path.url(), &["--drain-window", "1ms"], &[&backend.url()]);
    // Whose answer to the Close the old one will wait for.
    let mut client = over(old.dial());
    old.signal(Signal::TERM);
    eventually("it has stopped to accept", || std::os::unix::net::UnixStream::connect(&path.0).is_err());
    let successor = Proxy::listen(&path.url(), &[], &[&backend.url()]);
    assert_eq!(expect_close(&mut client).0, 1001);
    drop(client);
    assert_eq!(old.ended().code, Some(0));
    assert!(fs::metadata(&path.0).is_ok_and(|file| file.file_type().is_socket()));
    expect_echo(&mut over(successor.dial()), &text("hello"));
}
