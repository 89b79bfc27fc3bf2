//! Certificates that are renewed while the proxy is busy: nobody is disturbed, whoever comes later sees the new one.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use rustls::ClientConfig;
use support::backend::Backend;
use support::http::upgrade_request;
use support::path::Directory;
use support::proxy::Proxy;
use support::raw::Raw;
use support::secured::Secured;
use support::tls::{Authority, Certificate, Client, Validity, connect, dial, over, serve_echo};
use support::ws::{expect_echo, text};
use support::{eventually, loopback};

/// Sessions that exchange messages all the time.
const TALKING: usize = 50;

/// Clients that come, exchange a message and leave, again and again.
const COMING: usize = 4;

/// How often the certificate is renewed.
const RENEWALS: usize = 5;

/// Threads at work until they are told to stop.
struct Crowd {
    threads: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    /// How often each of them has done its work.
    rounds: Vec<Arc<AtomicU64>>,
}

impl Crowd {
    /// Everybody does what `works` makes, again and again. Who cannot panics.
    fn start<W: FnMut() + Send + 'static>(works: impl Iterator<Item = W>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let begin = |mut work: W| {
            let (is_over, rounds) = (is_over.clone(), Arc::new(AtomicU64::new(0)));
            let counted = rounds.clone();
            let thread = thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    work();
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
            (thread, rounds)
        };
        let (threads, rounds) = works.map(begin).unzip();
        Self { threads, is_over, rounds }
    }

    /// Waits until everybody has done it once more from beginning to end, in which nobody may fail.
    fn expect_progress(&self) {
        let before: Vec<_> = self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect();
        eventually("everybody goes on", || {
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "nobody is lost");
            // The round under way may have begun before.
            let mut rounds = self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).zip(&before);
            rounds.all(|(now, before)| now >= before + 2)
        });
    }

    /// How often all have done it.
    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("nobody is lost");
        }
        self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).sum()
    }
}

/// Sessions of before, each with its own words.
fn talking(secured: &Secured) -> Crowd {
    let sessions: Vec<Client> =
        (0..TALKING).map(|_| connect(secured.address(), &secured.authority)).collect();
    Crowd::start(sessions.into_iter().enumerate().map(|(number, mut session)| {
        let mut said = 0;
        move || {
            said += 1;
            expect_echo(&mut session, &text(&format!("session {number} says {said}")));
        }
    }))
}

/// Clients that make a full handshake each time, or resume the session of before.
fn coming(secured: &Secured) -> Crowd {
    let works: Vec<_> = (0..COMING)
        .map(|number| {
            let (address, config) = (secured.address().to_owned(), secured.authority.client());
            let config = Arc::new(if number % 2 == 0 { config } else { without_tickets(config) });
            move || {
                let stream = dial(&address, "localhost", config.clone()).expect("a handshake");
                let mut client = over(stream);
                expect_echo(&mut client, &text("hello"));
                client.close(None).expect("it is open");
                while client.read().is_ok() {}
            }
        })
        .collect();
    Crowd::start(works.into_iter())
}

fn without_tickets(mut config: ClientConfig) -> ClientConfig {
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Whether a new client is shown this certificate.
fn is_shown(secured: &Secured, certificate: &Certificate) -> bool {
    let stream = dial(secured.address(), "localhost", secured.authority.client()).expect("a handshake");
    let shown = stream.conn.peer_certificates().expect("a server shows one").to_vec();
    shown == certificate.der().0
}

#[test]
fn renewals_under_load_cost_no_session_and_no_handshake() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    let (talking, coming) = (talking(&secured), coming(&secured));
    for renewal in 0..RENEWALS {
        let renewed = secured.authority.certificate(&["localhost"], Validity::Now);
        secured.certificate.write(&renewed);
        // The first is noticed by itself; the others are asked for, that it takes less time.
        if renewal > 0 {
            secured.proxy.signal(Signal::HUP);
        }
        eventually("new clients are shown the new certificate", || is_shown(&secured, &renewed));
        talking.expect_progress();
        coming.expect_progress();
        assert!(is_shown(&secured, &renewed), "the old one does not come back");
    }
    assert!(coming.stop() >= 10);
    assert!(talking.stop() >= 500);
    secured.proxy.expect_never_logged("no TLS session");
    // Nor did it cut anybody off.
    secured.proxy.expect_never_logged("\"cut\":true");
}

#[test]
fn a_broken_file_changes_nothing_and_is_told() {
    let backend = Backend::echo();
    let mut secured = Secured::start(&backend.url(), "");
    let (talking, coming) = (talking(&secured), coming(&secured));
    let [stranger, renewed] = [(); 2].map(|()| secured.authority.certificate(&["localhost"], Validity::Now));
    let half = stranger.chain.get(..stranger.chain.len() / 2).expect("it is ASCII").to_owned();
    let rows = [
        ("", "there is no certificate in it"),
        (half.as_str(), "it was cut short"),
        (stranger.chain.as_str(), "the key does not belong"),
    ];
    for (broken, words) in rows {
        fs::write(secured.certificate.chain_file(), broken).expect("it is ours");
        secured.proxy.signal(Signal::HUP);
        // Also by who looks at the file unasked, maybe.
        while !secured.proxy.line_beginning("not reloaded").get("message").contains(words) {}
        talking.expect_progress();
        coming.expect_progress();
        assert!(is_shown(&secured, &secured.certificate));
    }
    secured.certificate.write(&renewed);
    secured.proxy.signal(Signal::HUP);
    eventually("new clients are shown the new certificate", || is_shown(&secured, &renewed));
    coming.stop();
    talking.stop();
    secured.proxy.expect_never_logged("no TLS session");
}

#[test]
fn who_is_believed_among_backends_can_change_under_open_sessions() {
    let [before, after] = [(); 2].map(|()| Authority::new());
    let (backend, directory) = (serve_echo(&before), Directory::new("tls-rotation"));
    let believe = |authority: &Authority| {
        let draft = directory.file("ca.draft");
        fs::write(&draft, authority.pem()).expect("it is ours");
        fs::rename(draft, directory.file("ca.pem")).expect("it is ours");
    };
    believe(&before);
    let mut proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n[route.all]\npool = \"app\"\n[pool.app]\nbackends = [\"{}\"]\n\
         tls.ca = \"{}\"\n",
        loopback(),
        backend.tls_url(),
        directory.argument("ca.pem")
    ));
    let address = proxy.address.clone();
    let status = || {
        let mut client = Raw::connect(&address);
        client.send(&upgrade_request("/", &[]));
        client.head().status()
    };
    let mut session = proxy.connect();
    assert_eq!(status(), 101, "also with a session to resume");
    // Nobody whom only the old authority has vouched for is taken back for old times' sake.
    believe(&after);
    proxy.signal(Signal::HUP);
    eventually("the backend is a stranger", || status() == 502);
    assert!(proxy.line("no TLS session").get("error").contains("unknown issuer"));
    expect_echo(&mut session, &text("still here"));
    believe(&before);
    proxy.signal(Signal::HUP);
    eventually("the backend is believed again", || status() == 101);
    expect_echo(&mut session, &text("still here"));
}
