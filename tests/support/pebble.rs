//! Pebble, the ACME server that Let's Encrypt tests clients with, and a DNS that leads every name to one address.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustls::ClientConfig;

use super::path::Directory;
use super::tls::{Authority, Certificate, Validity, dial};
use super::{Deadline, loopback};

/// Where it looks at names.
pub(crate) const HTTP_PORT: u16 = 5080;
pub(crate) const TLS_PORT: u16 = 5443;

/// Its own ports, at an address that is nobody else's.
const ACME_PORT: u16 = 14000;
const MANAGEMENT_PORT: u16 = 15000;
const DNS_PORT: u16 = 8053;

/// A running Pebble; killed when dropped.
pub(crate) struct Pebble {
    children: Vec<Child>,
    address: Ipv4Addr,
    authority: Authority,
    _certificate: Certificate,
    _directory: Directory,
}

impl Pebble {
    /// One that finds every name at `names`.
    pub(crate) fn start(names: Ipv4Addr) -> Self {
        let (address, authority) = (loopback(), Authority::new());
        let certificate = authority.certificate(&[&address.to_string()], Validity::Now);
        let directory = Directory::new(&format!("pebble-{address}"));
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("{address}:{ACME_PORT}"),
            "managementListenAddress": format!("{address}:{MANAGEMENT_PORT}"),
            "certificate": certificate.chain_file(),
            "privateKey": certificate.key_file(),
            "httpPort": HTTP_PORT,
            "tlsPort": TLS_PORT,
        }});
        let file = directory.argument("pebble.json");
        std::fs::write(&file, config.to_string()).expect("it is ours");
        let dns = format!("{address}:{DNS_PORT}");
        let mut resolver = Command::new("pebble-challtestsrv");
        resolver.args(["-defaultIPv4", &names.to_string(), "-defaultIPv6", "", "-dns01", &dns]);
        resolver.args([
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-management",
            &format!("{address}:8055"),
        ]);
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", &file, "-dnsserver", &dns]).env("PEBBLE_VA_NOSLEEP", "1");
        // Every order has to prove its names.
        pebble.env("PEBBLE_AUTHZREUSE", "0");
        let children = vec![run(resolver, "Starting"), run(pebble, "ACME directory available at")];
        Self { children, address, authority, _certificate: certificate, _directory: directory }
    }

    /// The directory's URL.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}:{ACME_PORT}/dir", self.address)
    }

    /// The file with whoever signed its own certificate.
    pub(crate) fn ca(&self) -> String {
        self.authority.file()
    }

    /// A client that believes what it issues.
    pub(crate) fn client(&self) -> ClientConfig {
        let address = format!("{}:{MANAGEMENT_PORT}", self.address);
        let mut stream =
            dial(&address, &self.address.to_string(), self.authority.client()).expect("it serves");
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\nHost: pebble\r\n\r\n").expect("it listens");
        let mut answer = String::new();
        // Go ends the stream as it likes.
        let _ = stream.read_to_string(&mut answer);
        let (_, root) = answer.split_once("\r\n\r\n").expect("a response");
        super::tls::client_that_believes(root)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a program and waits until it says that it is ready.
fn run(mut command: Command, ready: &'static str) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        unreachable!("{command:?}: {error}; scripts/check installs it (apt-get install pebble)")
    });
    let (sender, lines) = mpsc::channel();
    let outputs: [Box<dyn std::io::Read + Send>; 2] = [
        Box::new(child.stdout.take().expect("it is piped")),
        Box::new(child.stderr.take().expect("it is piped")),
    ];
    for output in outputs {
        let sender = sender.clone();
        // To its end: a program that nobody reads from would stop.
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
    }
    let deadline = Deadline::new();
    while !lines.recv_timeout(deadline.left()).expect("it gets ready in time").contains(ready) {}
    child
}
