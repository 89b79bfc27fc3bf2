//! Chromium as the client: what a browser makes of selat's TLS, and its page of the session in it.
#![cfg(feature = "runtime")]

mod support;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::browser::Browser;
use support::python::Script;
use support::site::Site;
use support::tls::{Authority, Certificate, Validity};
use support::{loopback, secured};

/// A proxy that speaks TLS on both sides, and a Python server behind it.
struct Scene {
    site: Site,
    address: String,
    authority: Authority,
    certificate: Certificate,
    _server: Script,
}

impl Scene {
    fn set(name: &str) -> Self {
        let authority = Authority::new();
        let certificate = authority.certificate(&["localhost", "127.0.0.1"], Validity::Now);
        let server = Script::start("server.py", &[&certificate.chain_file(), &certificate.key_file()]);
        let text = format!(
            "[log]\nlevel = \"debug\"\n[listen.secure]\naddr = \"{}:0\"\n[listen.secure.tls]\n{}\
             [route.all]\npool = \"app\"\n[pool.app]\nbackends = [\"wss://127.0.0.1:{}\"]\n\
             [pool.app.tls]\nca = \"{}\"\n",
            loopback(),
            secured::lines(&certificate),
            server.line(),
            authority.file()
        );
        let mut site = Site::start(name, &text);
        let address = site.proxy.next_address();
        Self { site, address, authority, certificate, _server: server }
    }

    /// A browser that believes the proxy.
    fn browser(&self, scenario: &str) -> Browser {
        Browser::open(scenario, &self.address, &self.certificate)
    }

    /// Clients' TLS handshakes that came to this.
    fn handshakes(&self, result: &str) -> u64 {
        let labels = [("side", "client"), ("result", result)];
        self.site.scrape().sum("selat_tls_handshakes_total", &labels)
    }
}

/// How the page saw a session end.
fn closed(code: u16, reason: &str) -> Value {
    json!({ "code": code, "reason": reason, "wasClean": true, "errors": 0 })
}

/// How it saw this message come back.
fn echo(kind: &str, message: &[u8]) -> Value {
    let sha256 = BASE64_STANDARD.encode(Sha256::digest(message));
    json!({ "kind": kind, "bytes": message.len(), "sha256": sha256, "buffered": message.len() })
}

/// The page's bytes that nothing can compress.
fn noise(len: usize) -> Vec<u8> {
    let states = std::iter::successors(Some(1_u32), |state| {
        Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    });
    states.skip(1).take(len).map(|state| state.to_be_bytes()[0]).collect()
}

#[test]
fn messages_come_back_compressed_and_the_close_is_the_pages_own() {
    let mut scene = Scene::set("browser-messages");
    let browser = scene.browser("messages");
    // As the server chooses, parameters and all.
    let extensions = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
    assert_eq!(browser.report(), json!({ "protocol": "chat.v2", "extensions": extensions }));
    let (noise, repeated) = (noise(300 << 10), "and again ".repeat(30 << 10));
    let messages = [
        ("text", "".as_bytes()),
        ("text", "héllo 🎈".as_bytes()),
        ("binary", b""),
        ("binary", &noise),
        ("text", repeated.as_bytes()),
    ];
    for (kind, message) in messages {
        assert_eq!(browser.report(), echo(kind, message));
    }
    assert_eq!(browser.report(), closed(3001, "that will do"));
    assert_eq!(browser.report(), json!([3001, "that will do"]), "so says the server");

    let session = scene.site.proxy.session();
    assert_eq!(session.end(), ("client".into(), "closed".into(), Some(3001)));
    assert_eq!(session.get("path"), "/echo");
    for from in ["client", "backend"] {
        assert_eq!(session.number(&format!("messages_from_{from}")), 5);
        let bytes = session.number(&format!("bytes_from_{from}"));
        // Of the two large ones only the one that must.
        assert!((300 << 10..310 << 10).contains(&bytes), "{from}: {bytes}");
    }
}

#[test]
fn a_certificate_that_the_browser_does_not_know_is_an_error_to_the_page_and_counted() {
    let mut scene = Scene::set("browser-distrust");
    // Of the same authority, for the same name: but not the proxy's key.
    let other = scene.authority.certificate(&["localhost"], Validity::Now);
    let browser = Browser::open("distrust", &scene.address, &other);
    let failed = json!({ "isOpened": false, "code": 1006, "reason": "", "wasClean": false, "errors": 1 });
    assert_eq!(browser.report(), failed);
    let failure = scene.site.proxy.line("no TLS session").get("error");
    assert!(failure.contains("the client refuses our certificate"), "{failure}");
    assert_ne!(scene.handshakes("alert"), 0);
    assert_eq!((scene.handshakes("full"), scene.handshakes("resumed")), (0, 0));
}

#[test]
fn the_browsers_second_connection_resumes_the_session_of_the_first() {
    let scene = Scene::set("browser-twice");
    let browser = scene.browser("twice");
    for _ in 0..2 {
        assert_eq!(browser.report(), closed(1000, ""));
    }
    assert_eq!((scene.handshakes("full"), scene.handshakes("resumed")), (1, 1));
}

#[test]
fn a_drain_is_a_clean_end_to_the_page() {
    let mut scene = Scene::set("browser-drained");
    let browser = scene.browser("drained");
    assert_eq!(browser.report(), echo("text", b"hello"));
    scene.site.proxy.signal(Signal::TERM);
    assert_eq!(browser.report(), closed(1001, "going away"));
    let ended = scene.site.proxy.ended();
    assert_eq!((ended.code, ended.last().number("drained"), ended.last().number("cut")), (Some(0), 1, 0));
}
