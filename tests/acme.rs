//! Certificates that come by themselves, from Pebble: by either challenge, kept, renewed by whoever asks for more, and
//! never asked for in a rush.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Signal;

use support::path::Directory;
use support::pebble::{HTTP_PORT, Pebble, TLS_PORT};
use support::proxy::{command, run_to_end};
use support::raw::Raw;
use support::site::{Frame, Site};
use support::tls::{Authority, dial, over};
use support::toml::File;
use support::ws::{expect_echo, text};
use support::{bind, eventually, loopback};

/// What an order is about.
struct Wanted<'w> {
    address: Ipv4Addr,
    pebble: &'w Pebble,
    state: &'w str,
    domains: &'w str,
    challenge: &'w str,
}

/// A listener with TLS and one without, at the ports where Pebble looks.
fn listeners(wanted: &Wanted<'_>) -> String {
    let Wanted { address, pebble, state, domains, challenge } = wanted;
    let (directory, ca) = (pebble.directory(), pebble.ca());
    format!(
        "[route.all]\nrespond = \"echo\"\n\
         [listen.http]\naddr = \"{address}:{HTTP_PORT}\"\n\
         [listen.secure]\naddr = \"{address}:{TLS_PORT}\"\n\
         [listen.secure.tls.acme]\ndomains = {domains}\nchallenge = \"{challenge}\"\nstate = \"{state}\"\n\
         directory = \"{directory}\"\ndirectory_ca = \"{ca}\"\naccept_terms = true\ncontact = \"mailto:ops@example.com\"\n"
    )
}

fn secure(address: Ipv4Addr) -> String {
    format!("{address}:{TLS_PORT}")
}

/// Waits until a certificate is in force that Pebble has issued for `name`, and speaks WebSocket over it.
fn expect_served(address: Ipv4Addr, name: &str, pebble: &Pebble) {
    let client = std::sync::Arc::new(pebble.client());
    eventually("the certificate is in force", || dial(&secure(address), name, client.clone()).is_ok());
    let stream = dial(&secure(address), name, client).expect("a handshake");
    expect_echo(&mut over(stream), &text("safely"));
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("it is there").mode() & 0o777
}

/// The whole way, by this challenge.
fn order(challenge: &str) {
    let (address, directory) = (loopback(), Directory::new(&format!("acme-{challenge}")));
    let pebble = Pebble::start(address);
    let state = directory.argument("state");
    let domains = "[\"chat.example.com\", \"www.example.com\"]";
    let wanted = Wanted { address, pebble: &pebble, state: &state, domains, challenge };
    // More shards than one: whichever the authority meets has to have the answer.
    let frame = Frame { process: "cores = \"all\"", ..Frame::default() };
    let mut site = Site::framed(challenge, frame, &listeners(&wanted));
    site.proxy.line("a certificate has been issued");
    for name in ["chat.example.com", "www.example.com"] {
        expect_served(address, name, &pebble);
    }
    let file = directory.file("state/chat.example.com.pem");
    for private in [&file, &directory.file("state/account.json")] {
        assert_eq!(mode(private), 0o600, "{private:?}");
    }
    assert_eq!(mode(Path::new(&state)), 0o700);
    let status = site.status();
    let told = |place| status.pointer(place).unwrap_or_else(|| unreachable!("{place}: {status}"));
    assert_eq!(told("/acme/issued"), 1);
    assert!(told("/acme/last_order/error").is_null());
    let scrape = site.scrape();
    assert_eq!(scrape.sum("selat_acme_orders_total", &[("result", "issued")]), 1);
    let labels = [("listener", "secure"), ("name", "chat.example.com")];
    let expiry = scrape.all("selat_certificate_expiry_timestamp_seconds", &labels);
    assert_eq!(expiry.first().copied(), told("/certificates/0/expires_at").as_f64());
    // Nothing is left that an authority could ask for.
    let mut client = Raw::connect(format!("{address}:{HTTP_PORT}"));
    client.send(b"GET /.well-known/acme-challenge/guessed HTTP/1.1\r\nHost: chat.example.com\r\n\r\n");
    assert_eq!(client.head().status(), 426, "as any request for this route");
}

#[test]
fn a_certificate_is_proved_by_tls_alpn_01_and_served() {
    order("tls-alpn-01");
}

#[test]
fn a_certificate_is_proved_by_http_01_and_served() {
    order("http-01");
}

#[test]
fn what_was_issued_is_there_after_a_restart_and_other_names_are_another_order() {
    let (address, directory) = (loopback(), Directory::new("acme-again"));
    let pebble = Pebble::start(address);
    let state = directory.argument("state");
    let wanted = |domains| {
        listeners(&Wanted { address, pebble: &pebble, state: &state, domains, challenge: "tls-alpn-01" })
    };
    let mut first = Site::start("acme-first", &wanted("[\"chat.example.com\"]"));
    first.proxy.line("a certificate has been issued");
    drop(first);
    let account = fs::read_to_string(directory.file("state/account.json")).unwrap();
    let mut site = Site::start("acme-second", &wanted("[\"chat.example.com\"]"));
    let client = pebble.client();
    dial(&secure(address), "chat.example.com", client).expect("from the first connection on");
    assert_eq!(site.status()["acme"]["issued"], 0);
    site.rewrite(&wanted("[\"chat.example.com\", \"more.example.com\"]"));
    site.reload();
    site.proxy.line("a certificate has been issued");
    expect_served(address, "more.example.com", &pebble);
    assert_eq!(fs::read_to_string(directory.file("state/account.json")).unwrap(), account, "it is the same");
}

#[test]
fn a_name_that_leads_elsewhere_is_told_and_tried_again_but_not_soon() {
    let (address, directory) = (loopback(), Directory::new("acme-elsewhere"));
    // Nobody listens there.
    let pebble = Pebble::start(loopback());
    let state = directory.argument("state");
    let domains = "[\"chat.example.com\"]";
    let wanted = Wanted { address, pebble: &pebble, state: &state, domains, challenge: "tls-alpn-01" };
    let mut site = Site::start("acme-elsewhere-site", &listeners(&wanted));
    let line = site.proxy.line("no certificate has been issued");
    let error = line.get("error");
    assert!(
        error.contains("chat.example.com is not proved to be ours")
            && error.contains("tls-alpn-01 challenge"),
        "{error}"
    );
    let retry_in: u64 = line.get("retry_in").trim_end_matches('s').parse().expect("whole seconds");
    assert!((60..=75).contains(&retry_in), "{retry_in}");
    let status = site.status();
    assert_eq!(status["acme"]["failed"], 1);
    assert_eq!(status["acme"]["last_order"]["error"].as_str(), Some(error.as_str()));
    assert!(dial(&secure(address), "chat.example.com", pebble.client()).is_err(), "there is no certificate");
    // The next start has no grudge; an authority that cannot be reached is no reason not to serve.
    drop(site);
    let pebble = Pebble::start(address);
    let wanted = Wanted { pebble: &pebble, ..wanted };
    let mut site = Site::start("acme-elsewhere-again", &listeners(&wanted));
    site.proxy.line("a certificate has been issued");
    expect_served(address, "chat.example.com", &pebble);
}

#[test]
fn a_drain_does_not_wait_for_an_authority_and_says_what_it_gives_up() {
    // It takes connections, and says nothing.
    let (silent, authority) = (bind(), Authority::new());
    let (directory, address) = (Directory::new("acme-silent"), loopback());
    let mut site = Site::start(
        "acme-silent-site",
        &format!(
            "[route.all]\nrespond = \"echo\"\n[listen.secure]\naddr = \"{}\"\n[listen.secure.tls.acme]\n\
             domains = [\"chat.example.com\"]\naccept_terms = true\nstate = \"{}\"\n\
             directory = \"https://{}/dir\"\ndirectory_ca = \"{}\"\n",
            secure(address),
            directory.argument("state"),
            silent.local_addr().unwrap(),
            authority.file()
        ),
    );
    let (_held, _) = silent.accept().unwrap();
    site.proxy.signal(Signal::TERM);
    let line = site.proxy.line("the order of a certificate is given up");
    assert!(line.get("why").contains("selat is ending"), "{line:?}");
    assert_eq!(site.proxy.ended().code, Some(0));
}

#[test]
fn a_state_directory_that_cannot_be_is_an_error_at_the_start() {
    let directory = Directory::new("acme-state");
    let file = directory.file("file");
    fs::write(&file, "").unwrap();
    // Nobody makes directories in the one, nor in the other.
    for state in [Path::new("/proc/selat"), &file.join("state")] {
        let config = File::new(&format!(
            "[route.all]\nrespond = \"echo\"\n[listen.public]\naddr = \"{}:0\"\n[listen.public.tls.acme]\n\
             domains = [\"chat.example.com\"]\naccept_terms = true\nstate = {state:?}\n",
            loopback()
        ));
        let (code, said) = run_to_end(command(&["run", "-c", config.path()]));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(state.to_str().unwrap()), "{said}");
    }
}
