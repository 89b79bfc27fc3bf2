//! More connections than local ports: to loopback, they come from several addresses.

mod support;

use std::process::{Command, Stdio};

use support::{PROGRAM, Served, run_by};

/// Ports that the kernel may give to connections, in a network of the test's own.
const PORTS: u64 = 50;

/// Sets such a network up, and runs in it what follows.
const SETUP: &str =
    "ip link set lo up && echo 50000 50049 >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";

/// A command that runs in a network of its own; `None` where the kernel does not let us.
fn network(command: &[&str]) -> Option<(&'static [&'static str], Command)> {
    // Root may make a network without being root of a namespace of users, which it may be refused.
    let namespaces: [&[&str]; 2] = [&["--net"], &["--net", "--user", "--map-root-user"]];
    let within = |namespaces: &[&str], command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(namespaces).args(["sh", "-c", SETUP, "sh"]).args(command);
        unshare
    };
    let is_allowed = |namespaces: &&&[&str]| {
        let status = within(namespaces, &["true"]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let allowed = namespaces.iter().find(is_allowed)?;
    Some((allowed, within(allowed, command)))
}

/// The program in the network that a server of ours is in.
fn beside(server: &Served, namespaces: &[&str], args: &[&str]) -> Command {
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &server.pid().to_string(), "--preserve-credentials"]);
    enter.args(namespaces.iter().filter(|flag| **flag != "--map-root-user")).arg(PROGRAM).args(args);
    enter
}

#[test]
fn connections_come_from_several_addresses_where_ports_run_out() {
    let Some((namespaces, serve)) = network(&[PROGRAM, "serve", "echo", "127.0.0.1:0"]) else {
        return eprintln!("no namespaces here: not tested");
    };
    let server = Served::spawn(serve);
    let url = format!("ws://{}/", server.address);
    let connections = (PORTS * 10).to_string();
    let held = ["idle", &url, "--connections", &connections, "--for", "300ms"];
    let ended = run_by(beside(&server, namespaces, &held));
    assert_eq!(ended.code, 0, "{} {}", ended.report, ended.errors);
    assert_eq!(ended.count("held"), PORTS * 10, "{}", ended.report);
    // Sessions that come and go leave their ports behind for a while.
    let storm = ["storm", &url, "--for", "1s", "--warmup", "0s"];
    let ended = run_by(beside(&server, namespaces, &storm));
    assert_eq!((ended.code, ended.failed()), (0, 0), "{} {}", ended.report, ended.errors);
    assert!(ended.count("answered") > PORTS * 10, "{}", ended.report);
}
