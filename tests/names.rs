//! Backends whose name has several addresses, which change.
#![cfg(feature = "runtime")]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use support::admin::Admin;
use support::backend::{Backend, echo};
use support::greeting::greeter_on;
use support::proxy::Proxy;
use support::toml::{File, one_pool};
use support::ws::{Client, expect_echo, text};
use support::{eventually, loopback};

/// Starts a proxy for which, and for nobody else, this is `/etc/hosts`; `None` where the kernel does not let us.
fn start_with_hosts(hosts: &File, toml: &File) -> Option<(Proxy, Admin)> {
    let mount = "mount --bind \"$1\" /etc/hosts";
    let shell = |namespaces: &[&str], script: &str| {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["sh", "-c", script, "sh", hosts.path(), toml.path()]);
        command
    };
    // Root may mount without being root of a namespace of users, which it may be refused.
    let namespaces: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
    let is_allowed = |namespaces: &&&[&str]| {
        let status = shell(namespaces, mount).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let allowed = namespaces.iter().find(is_allowed)?;
    // Behind the files come the flags that every proxy of a test gets.
    let run = format!("{mount} && exec {} run -c \"$2\" \"$3\" \"$4\"", env!("CARGO_BIN_EXE_selat"));
    let mut proxy = Proxy::spawn(shell(allowed, &run));
    let admin = Admin::of(&mut proxy);
    Some((proxy, admin))
}

fn hosts(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(|address| format!("{address} chat.example\n")).collect()
}

/// Opens twenty sessions: how many each backend greeted.
fn open_twenty(proxy: &Proxy) -> (BTreeMap<String, usize>, Vec<Client>) {
    let (mut counts, mut clients) = (BTreeMap::new(), Vec::new());
    for _ in 0..20 {
        let mut client = proxy.connect();
        let name = client.read().expect("a greeting").to_string();
        *counts.entry(name).or_default() += 1;
        clients.push(client);
    }
    (counts, clients)
}

#[test]
fn each_address_of_a_name_is_a_backend_for_as_long_as_the_name_has_it() {
    let addresses = [(); 3].map(|()| loopback());
    let first = TcpListener::bind((addresses[0], 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let [second, third] = [1, 2].map(|at| TcpListener::bind((addresses[at], port)).unwrap());
    let _backends = [(first, "a"), (second, "b"), (third, "c")].map(|(on, name)| greeter_on(on, name));
    let pool = format!("backends = [\"ws://chat.example:{port}\"]\nresolve_every = \"100ms\"");
    let (names, toml) = (File::new(&hosts(&addresses[..2])), File::new(&one_pool(&pool)));
    let Some((proxy, admin)) = start_with_hosts(&names, &toml) else {
        return eprintln!("no namespaces here: not tested");
    };
    let addresses_now = || {
        let backends = admin.pool().backends.into_iter();
        backends.map(|backend| backend.address).collect::<Vec<_>>()
    };
    let expected = |addresses: &[Ipv4Addr]| {
        addresses.iter().map(|address| format!("{address}:{port}")).collect::<Vec<_>>()
    };
    assert_eq!(addresses_now(), expected(&addresses[..2]));
    let (counts, mut clients) = open_twenty(&proxy);
    assert!(["a", "b"].iter().all(|name| counts[*name].abs_diff(10) <= 2), "{counts:?}");
    names.write(&hosts(&addresses[1..]));
    eventually("the name is resolved again", || addresses_now() == expected(&addresses[1..]));
    let (counts, _more) = open_twenty(&proxy);
    assert!(["b", "c"].iter().all(|name| counts[*name].abs_diff(10) <= 2), "{counts:?}");
    // Those on the address that is gone go on.
    for client in &mut clients {
        expect_echo(client, &text("still there"));
    }
}

#[test]
fn each_address_of_a_name_gets_messages_of_a_dispatch_for_as_long_as_the_name_has_it() {
    let addresses = [(); 2].map(|()| loopback());
    let first = TcpListener::bind((addresses[0], 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind((addresses[1], port)).unwrap();
    let _backends = [first, second].map(|on| Backend::on(on, echo));
    let names = File::new(&hosts(&addresses[..1]));
    let toml = File::new(&format!(
        "[listen.public]\naddr = \"{0}:0\"\n[admin]\naddr = \"{0}:0\"\n[route.all]\ndispatch = \"app\"\n\
         [dispatch.app]\nbackends = [\"ws://chat.example:{port}\"]\nresolve_every = \"100ms\"\nbalance = \"round-robin\"\n",
        loopback()
    ));
    let Some((proxy, admin)) = start_with_hosts(&names, &toml) else {
        return eprintln!("no namespaces here: not tested");
    };
    let mut client = proxy.connect();
    let sent = |at: usize| {
        let address = format!("{}:{port}", addresses[at]);
        let backends = admin.pool().backends.into_iter().filter(|backend| backend.address == address);
        backends.map(|backend| backend.traffic.from_clients.messages).sum::<u64>()
    };
    for (at, now) in [(0, &addresses[..1]), (1, &addresses[..]), (1, &addresses[1..])] {
        names.write(&hosts(now));
        eventually("the name is resolved again", || admin.pool().backends.len() == now.len());
        let before = sent(at);
        eventually("it gets messages", || {
            expect_echo(&mut client, &text("hello"));
            sent(at) > before
        });
    }
}
