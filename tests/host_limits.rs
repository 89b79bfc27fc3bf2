//! What keeps selat from starting: each told in one line with its remedy, exit code 2.
#![cfg(feature = "runtime")]

mod support;

use std::process::Command;

use support::backend::Backend;
use support::proxy::{Proxy, command, run_to_end};
use support::ws::{connect, expect_echo, text};
use support::{allowed_cores, bind, loopback, nobody};

const BACKEND: &str = "ws://127.0.0.1:9001";

/// selat on a free port with these flags, before a backend that it will not come to dial.
fn selat(flags: &[&str]) -> Command {
    command(&[&["127.0.0.1:0", BACKEND], flags].concat())
}

/// `command`, started by a shell after `setup`.
fn after(setup: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{setup} && exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

fn first_core() -> String {
    allowed_cores().first().expect("one core").to_string()
}

/// That it refuses to start and says all of this, in one line.
fn refuses(command: Command, parts: &[&str]) {
    let shown = format!("{command:?}");
    let (code, output) = run_to_end(command);
    assert_eq!(code, Some(2), "{shown}: {output}");
    assert_eq!(output.trim_end().lines().count(), 1, "{output}");
    for part in parts {
        assert!(output.contains(part), "{part:?} in {output:?}");
    }
}

#[test]
fn too_few_open_files_for_the_connections_asked_for() {
    let selat = selat(&["--max-connections", "1000", "--cores", &first_core()]);
    refuses(
        after("ulimit -n 100", &selat),
        &["open files are limited to 100", "ulimit -n 2", "--max-connections"],
    );
}

#[test]
fn too_few_open_files_for_any_connection() {
    let selat = selat(&["--cores", &first_core()]);
    refuses(after("ulimit -n 60", &selat), &["open files are limited to 60", "ulimit -n "]);
}

#[test]
fn a_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let backend = Backend::echo();
    let flags = ["--max-connections", "200", "--cores", &first_core()];
    let selat = command(&[&[&format!("{}:0", loopback()), backend.url().as_str()], &flags[..]].concat());
    let proxy = Proxy::spawn(after("ulimit -S -n 64 && ulimit -H -n 1000", &selat));
    let mut clients: Vec<_> = (0..100).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| expect_echo(client, &text("hello")));
}

#[test]
fn without_a_wish_there_are_as_many_connections_as_open_files_allow() {
    let backend = Backend::echo();
    let selat = command(&[&format!("{}:0", loopback()), &backend.url(), "--cores", &first_core()]);
    let mut proxy = Proxy::spawn(after("ulimit -n 120", &selat));
    let mut clients = Vec::new();
    // All of them at once, and more: whoever gets no session gets an answer.
    for _ in 0..100 {
        let mut client = proxy.dial();
        client.send(&support::http::upgrade_request("/", &[]));
        match client.head().status() {
            101 => clients.push(client),
            status => assert_eq!(status, 503),
        }
    }
    assert!(clients.len() >= 10, "{} sessions with 120 open files", clients.len());
    assert_eq!(proxy.counter("accept_failures"), 0);
    drop(clients);
    proxy.session();
    expect_echo(&mut connect(&proxy.address), &text("and it goes on"));
}

#[test]
fn too_little_locked_memory() {
    let selat = selat(&["--cores", &first_core()]);
    refuses(
        after("ulimit -l 64", &selat),
        &["locked memory is limited to 65536 bytes", "ulimit -l 512", "LimitMEMLOCK"],
    );
}

#[test]
fn cores_that_the_machine_does_not_have() {
    refuses(selat(&["--cores", "4095"]), &["cores [4095]", "allowed", "--cores"]);
}

#[test]
fn cores_that_this_process_may_not_use() {
    let core = first_core();
    let other = (0..).find(|other| *other.to_string() != core).unwrap_or_default();
    let selat = selat(&["--cores", &other.to_string()]);
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", &core]).arg(selat.get_program()).args(selat.get_args());
    refuses(taskset, &[&format!("cores [{other}]"), &format!("may use [{core}]"), "taskset"]);
}

#[test]
fn all_cores_means_those_that_this_process_may_use() {
    let selat = selat(&["--cores", "all"]);
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", &first_core()]).arg(selat.get_program()).args(selat.get_args());
    let mut proxy = Proxy::spawn(taskset);
    // One shard, and the line for all of them.
    assert_eq!(proxy.counters().len(), 2);
}

#[test]
fn io_uring_blocked_by_a_seccomp_filter() {
    let selat = selat(&[]);
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/without_io_uring.py"));
    python.arg(selat.get_program()).args(selat.get_args());
    refuses(python, &["io_uring is blocked", "seccomp", "allow io_uring_setup"]);
}

#[test]
fn an_address_that_another_program_has() {
    let other = bind();
    let address = other.local_addr().expect("it is bound").to_string();
    let parts = [&*format!("cannot listen on {address}"), "another program does", "choose another address"];
    refuses(command(&[&address, BACKEND]), &parts);
}

#[test]
fn an_address_that_this_machine_does_not_have() {
    refuses(command(&["203.0.113.1:0", BACKEND]), &["cannot listen on 203.0.113.1:0", "assign"]);
}

#[test]
fn a_socket_in_a_directory_that_is_not_there() {
    refuses(
        command(&["unix:/no/such/directory/socket", BACKEND]),
        &["cannot listen on unix:/no/such/directory/socket"],
    );
}

#[test]
fn a_backend_whose_name_leads_nowhere() {
    let command = command(&["127.0.0.1:0", "ws://no.such.host.invalid:9001"]);
    refuses(command, &["ws://no.such.host.invalid:9001", "cannot resolve", "check the name"]);
}

#[test]
fn flags_that_make_no_sense() {
    let good = ["127.0.0.1:0", BACKEND];
    let with = |flags: &[&'static str]| [&good[..], flags].concat();
    let rows: [(Vec<&str>, &str); 16] = [
        (vec![], "<LISTEN>"),
        (vec!["127.0.0.1:0"], "<BACKEND>"),
        (vec!["localhost", BACKEND], "write :8765"),
        (vec!["127.0.0.1:0", "http://127.0.0.1:9001"], "does not begin with ws://"),
        (with(&["--cert", "/c.pem"]), "--key <FILE>"),
        (with(&["--ca", "/c.pem", "--insecure"]), "--insecure"),
        (with(&["--cores", "3-1"]), "write all, or numbers and ranges"),
        (with(&["--cores", ""]), "write all, or numbers and ranges"),
        (with(&["--balance", "random"]), "least-connections"),
        (with(&["--max-connections", "0"]), "1.."),
        (with(&["--head-timeout", "10"]), "write a number with a unit"),
        (with(&["--idle-timeout", "1 fortnight"]), "write a number with a unit"),
        (with(&["--close-timeout", "0s"]), "write a number with a unit"),
        (with(&["--message-bytes-max", "1000"]), "write a number with a unit"),
        (with(&["--log-format", "xml"]), "json"),
        (with(&["--frobnicate"]), "--frobnicate"),
    ];
    for (arguments, part) in rows {
        let (code, output) = run_to_end(command(&arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {output}");
        assert!(output.contains(part), "{part:?} in {output}");
        assert!(output.contains("--help"), "{output}");
    }
}

#[test]
fn help_and_version_are_for_people() {
    let (code, help) = run_to_end(command(&["--help"]));
    assert_eq!(code, Some(0));
    let flags = [
        "--cert",
        "--key",
        "--ca",
        "--insecure",
        "--cores",
        "--balance",
        "--max-connections",
        "--head-timeout",
        "--connect-timeout",
        "--close-timeout",
    ];
    let more =
        ["--idle-timeout", "--message-bytes-max", "--drain-window", "--log-format", "unix:/path", "SIGUSR1"];
    for part in flags.iter().chain(&more) {
        assert!(help.contains(part), "{part} in {help}");
    }
    let (code, version) = run_to_end(command(&["--version"]));
    assert_eq!((code, version), (Some(0), format!("selat {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_backend_that_is_down_does_not_keep_selat_from_starting() {
    Proxy::start(&[], &[&format!("ws://{}", nobody())]);
}
