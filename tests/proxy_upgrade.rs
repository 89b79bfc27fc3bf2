//! One selat takes over from another, and no client notices.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketType, recvmsg, send, socket,
};
use rustix::process::{Pid, Signal, kill_process};
use support::backend::Backend;
use support::crowd::{Crowd, echo_backend};
use support::path::Directory;
use support::proxy::{Proxy, run_to_end};
use support::ws::{expect_close, expect_echo, over, text};
use support::{DEADLINE, allowed_cores, eventually};

/// Sessions a second that clients open while one selat takes over from another.
const RATE: u32 = 1000;

/// How a newcomer greets.
const HELLO: &[u8] = b"selat-handover/1";

/// A proxy that hands over at `directory`'s socket.
fn proxy(directory: &Directory, listen: &str, flags: &[&str], backend: &str) -> Proxy {
    let handover = directory.argument("handover");
    Proxy::listen(listen, &[&["--handover", &handover, "--drain-window", "1s"], flags].concat(), &[backend])
}

/// As many cores as there are, up to two.
fn two_cores() -> String {
    allowed_cores().iter().take(2).map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn a_successor_takes_over_while_sessions_are_opened_and_none_is_lost() {
    let directory = Directory::new("crowd");
    let backend = echo_backend();
    // More shards than before get new sockets beside the old ones; fewer have to serve all that there are.
    let one_core = || allowed_cores()[0].to_string();
    let generations = [one_core(), two_cores(), one_core(), two_cores()];
    let flags = |cores| ["--cores", cores, "--log-level", "info"];
    let mut old = proxy(&directory, &format!("{}:0", support::loopback()), &flags(&generations[0]), &backend);
    let address = old.address.clone();
    let crowd = Crowd::start(&address, RATE);
    let mut drained = 0;
    for cores in &generations[1..] {
        crowd.wait_for_sessions(RATE / 2);
        // It waits for nothing but its end.
        let mut long = old.connect();
        expect_echo(&mut long, &text("hello"));
        let mut new = proxy(&directory, &address, &flags(cores), &backend);
        assert_eq!(new.line("taking over from a selat that runs").number("pid"), u64::from(old.pid()));
        new.line("the predecessor drains");
        assert_eq!(
            old.line("handed over; draining: each session gets a Close 1001; a signal cuts at once")
                .number("successor"),
            u64::from(new.pid())
        );
        assert_eq!(expect_close(&mut long).0, 1001);
        let ended = old.ended();
        assert_eq!(ended.code, Some(0));
        assert!(ended.last().number("drained") > 0 && ended.last().number("cut") == 0, "{ended:?}");
        drained += ended.last().number("drained") - 1;
        old = new;
    }
    crowd.wait_for_sessions(RATE / 2);
    let tally = crowd.stop();
    assert_eq!(tally.lost(), 0, "{tally:?}");
    assert!(u64::from(tally.drained) <= drained, "{tally:?} of {drained}");
    assert!(tally.served > RATE, "{tally:?}");
}

#[test]
fn a_client_that_is_in_its_handshake_gets_its_session_from_the_predecessor() {
    let directory = Directory::new("handshake");
    let stage = support::backend::Stage::new();
    let mut old = proxy(&directory, &format!("{}:0", support::loopback()), &[], &stage.url());
    let (mut silent, mut asking) = (old.dial(), old.dial());
    let request = support::http::upgrade_request("/", &[]);
    let (first, rest) = request.split_at(20);
    silent.send(first);
    asking.send(&request);
    let (mut backend, _) = stage.request();
    let new = proxy(&directory, &old.address, &[], &stage.url());
    old.line("a successor accepts connections; it is ours to drain");
    backend.send(&support::http::switching(&[]));
    assert_eq!(asking.head().status(), 101);
    silent.send(rest);
    let (mut backend, _) = stage.request();
    backend.send(&support::http::switching(&[]));
    assert_eq!(silent.head().status(), 101);
    drop(new);
}

#[test]
fn the_file_of_a_unix_socket_passes_to_the_successor() {
    let directory = Directory::new("unix");
    let backend = Backend::echo();
    let listen = format!("unix:{}", directory.argument("public"));
    let mut old = proxy(&directory, &listen, &["--cores", "all"], &backend.url());
    let mut long = over(old.dial());
    let mut new = proxy(&directory, &listen, &["--cores", "all"], &backend.url());
    assert_eq!(expect_close(&mut long).0, 1001);
    drop(long);
    assert_eq!(old.ended().code, Some(0));
    let mut clients: Vec<_> = (0..20).map(|_| over(new.dial())).collect();
    for client in &mut clients {
        expect_echo(client, &text("hello"));
    }
    drop(clients);
    new.signal(Signal::TERM);
    assert_eq!(new.ended().code, Some(0));
    assert_eq!(directory.files(), Vec::<String>::new(), "the last one puts out the light");
}

#[test]
fn an_address_that_the_successor_does_not_want_is_given_up() {
    let directory = Directory::new("moved");
    let backend = Backend::echo();
    let mut old = proxy(&directory, &format!("unix:{}", directory.argument("former")), &[], &backend.url());
    let new = proxy(&directory, &format!("{}:0", support::loopback()), &[], &backend.url());
    assert_eq!(old.ended().code, Some(0));
    assert!(!directory.file("former").exists());
    expect_echo(&mut new.connect(), &text("hello"));
}

#[test]
fn a_predecessor_that_hangs_does_not_keep_its_successor_from_starting() {
    let directory = Directory::new("hangs");
    let backend = Backend::echo();
    let old = proxy(&directory, &format!("{}:0", support::loopback()), &[], &backend.url());
    old.signal(Signal::STOP);
    let mut new = proxy(&directory, &format!("{}:0", support::loopback()), &[], &backend.url());
    let warning = new.line("what waits there hands nothing over: starting without its sockets");
    assert_eq!(warning.get("error"), "it does not answer");
    expect_echo(&mut new.connect(), &text("hello"));
    // The next one asks the right one.
    let next = proxy(&directory, &new.address, &[], &backend.url());
    assert_eq!(new.ended().code, Some(0));
    expect_echo(&mut next.connect(), &text("hello"));
}

#[test]
fn a_successor_that_dies_before_it_is_ready_changes_nothing() {
    let directory = Directory::new("dies");
    let backend = Backend::echo();
    let mut old =
        proxy(&directory, &format!("{}:0", support::loopback()), &["--cores", "all"], &backend.url());
    let failed = "a process asked for the listening sockets, and did not take over";
    let mut client = old.connect();

    let newcomer = newcomer(&directory.file("handover"));
    send(&newcomer, HELLO, SendFlags::empty()).unwrap();
    let (packet, sockets) = receive(&newcomer);
    assert_eq!(packet, format!("socket selat {}", old.address));
    assert_eq!(sockets.len(), allowed_cores().len());
    assert_eq!(receive(&newcomer).0, "end");
    drop((newcomer, sockets));
    assert_eq!(old.line(failed).get("error"), "it ended the conversation");

    expect_echo(&mut client, &text("still here"));
    expect_echo(&mut old.connect(), &text("hello"));
    let new = proxy(&directory, &old.address, &["--cores", "all"], &backend.url());
    assert_eq!(expect_close(&mut client).0, 1001);
    expect_echo(&mut new.connect(), &text("hello"));
}

#[test]
fn nonsense_at_the_handover_socket_changes_nothing() {
    let directory = Directory::new("nonsense");
    let backend = Backend::echo();
    let mut proxy = proxy(&directory, &format!("{}:0", support::loopback()), &[], &backend.url());
    let failed = "a process asked for the listening sockets, and did not take over";
    for nonsense in [&b"selat-handover/2"[..], b"ready", b"\xff\xfe", &[b'x'; 4096]] {
        let newcomer = newcomer(&directory.file("handover"));
        send(&newcomer, nonsense, SendFlags::empty()).unwrap();
        let error = proxy.line(failed).get("error");
        assert!(error.starts_with("it does not answer in our terms"), "{error}");
        assert_eq!(receive(&newcomer).0, "");
    }
    expect_echo(&mut proxy.connect(), &text("hello"));
}

#[test]
fn a_file_that_is_not_a_socket_is_left_alone() {
    let directory = Directory::new("file");
    fs::write(directory.file("handover"), "precious").unwrap();
    let backend = Backend::echo();
    let mut proxy = proxy(&directory, &format!("{}:0", support::loopback()), &[], &backend.url());
    let warning = proxy.line("no successor will be able to take over from here");
    assert!(warning.get("error").contains("not a socket"));
    expect_echo(&mut proxy.connect(), &text("hello"));
    assert_eq!(fs::read_to_string(directory.file("handover")).unwrap(), "precious");
}

#[test]
fn a_server_that_hands_over_to_nobody_still_closes_its_sockets_when_it_drains() {
    let directory = Directory::new("drains");
    let backend = Backend::echo();
    let mut proxy = proxy(&directory, &format!("{}:0", support::loopback()), &[], &backend.url());
    let mut client = proxy.connect();
    proxy.signal(Signal::TERM);
    eventually("nobody listens", || std::net::TcpStream::connect(&proxy.address).is_err());
    assert_eq!(expect_close(&mut client).0, 1001);
    assert_eq!(proxy.ended().code, Some(0));
    assert_eq!(directory.files(), Vec::<String>::new());
}

/// A process that asks at the handover socket, played by the test.
fn newcomer(path: &Path) -> OwnedFd {
    let newcomer = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a descriptor");
    socket2::SockRef::from(&newcomer).set_read_timeout(Some(DEADLINE)).expect("not zero");
    let address = SocketAddrUnix::new(path).expect("it is short");
    rustix::net::connect(&newcomer, &address).expect("somebody waits there");
    newcomer
}

/// The next packet, and what came with it; nothing at the end.
fn receive(newcomer: &OwnedFd) -> (String, Vec<OwnedFd>) {
    let mut bytes = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let packet = recvmsg(newcomer, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty());
    let len = packet.expect("a packet in time").bytes;
    let mut sockets = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    (String::from_utf8(bytes.into_iter().take(len).collect()).expect("it is text"), sockets)
}

/// A process that is not our child; killed when dropped.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.try_into().expect("a process id")).expect("not 0");
        // It may have ended already.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Runs `scripts/upgrade`, with what the new selat logs in a file: it would keep a pipe open.
fn upgrade_script(directory: &Directory, arguments: &[&str]) -> (Option<i32>, String) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "log=$1; shift; exec \"$@\" 2>\"$log\"", "sh", &directory.argument("log")]);
    shell.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/upgrade")).args(arguments);
    run_to_end(shell)
}

#[test]
fn the_upgrade_script_replaces_a_running_selat_by_another_with_the_same_arguments() {
    let directory = Directory::new("script");
    let backend = echo_backend();
    // A port of its own that stays the same: the arguments are taken over as they stand.
    let address = support::nobody().to_string();
    let mut old = proxy(&directory, &address, &[], &backend);
    let crowd = Crowd::start(&address, RATE);
    crowd.wait_for_sessions(RATE / 4);
    let (code, said) = upgrade_script(&directory, &[&old.pid().to_string(), env!("CARGO_BIN_EXE_selat")]);
    let new: Vec<_> =
        said.split_whitespace().take(1).map(|pid| Orphan(pid.parse().expect("its id"))).collect();
    assert_eq!(code, Some(0), "{said}{}", fs::read_to_string(directory.file("log")).unwrap());
    assert_eq!(said, format!("{} has taken over from {pid}\n{pid} has ended\n", new[0].0, pid = old.pid()));
    assert_eq!(old.ended().code, Some(0));
    crowd.wait_for_sessions(RATE / 4);
    let tally = crowd.stop();
    assert_eq!(tally.lost(), 0, "{tally:?}");
    expect_echo(&mut support::ws::connect(&address), &text("hello"));
}

#[test]
fn the_upgrade_script_leaves_the_old_selat_alone_when_the_new_one_does_not_start() {
    let directory = Directory::new("script-fails");
    let backend = Backend::echo();
    let proxy = proxy(&directory, &format!("{}:0", support::loopback()), &[], &backend.url());
    let mut client = proxy.connect();
    let (code, said) = upgrade_script(
        &directory,
        &[&proxy.pid().to_string(), "/bin/false", "--handover", &directory.argument("handover")],
    );
    let log = fs::read_to_string(directory.file("log")).unwrap();
    assert_eq!((code, said.as_str()), (Some(1), ""), "{log}");
    assert!(log.contains(&format!("did not start; {} serves on", proxy.pid())), "{log}");
    expect_echo(&mut client, &text("still here"));
    expect_echo(&mut proxy.connect(), &text("hello"));
}
