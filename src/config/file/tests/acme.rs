//! What a file may say of certificates that come by themselves, and what is told about one that says otherwise.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FULL, Parsed, lines, parse, parsed, told, world};
use crate::config::{Acme, ChallengeKind, Sources};
use crate::tls::CertificateDer;

/// A listener with these lines in its table `acme`, from the third on, in front of what else a file needs.
fn listen(lines: &str) -> String {
    format!(
        "[listen.public]\naddr = \":443\"\n[listen.public.tls.acme]\n{lines}\n[route.a]\nrespond = \"echo\"\n"
    )
}

const A: &str = "domains = [\"a.example\"]\nstate = \"/acme\"\naccept_terms = true\n";

fn acme(text: &str) -> Acme {
    parsed(text).config.listeners[0].acme.clone().unwrap()
}

#[test]
fn names_a_place_and_the_terms_are_enough() {
    let Acme { settings, certificate } = acme(&listen(A));
    assert_eq!(settings.domains, ["a.example"]);
    assert_eq!(settings.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((settings.challenge, settings.contact.as_deref()), (ChallengeKind::TlsAlpn01, None));
    assert_eq!(settings.renew_before, Duration::from_secs(30 * 24 * 60 * 60));
    assert_eq!(certificate, None);
    assert!(parsed(&listen(A)).config.listeners[0].tls.is_some(), "it speaks TLS, if without a certificate");
}

#[test]
fn every_key_does_what_it_says() {
    let Acme { settings, .. } = acme(FULL);
    assert_eq!(settings.domains, ["chat.example.com", "www.example.com"], "each once, in lower case");
    assert_eq!(settings.certificate_file(), Path::new("/var/lib/selat/acme/chat.example.com.pem"));
    assert_eq!(settings.contact.as_deref(), Some("mailto:ops@example.com"));
    assert_eq!(settings.challenge, ChallengeKind::Http01);
    assert_eq!(settings.directory, "https://ca.example.com/directory");
    assert_eq!(settings.renew_before, Duration::from_secs(20 * 24 * 60 * 60));
}

/// A machine with this in the file of the certificate.
struct With<'c>(&'c str);

impl Sources for With<'_> {
    fn env(&self, name: &str) -> Option<String> {
        world().env(name)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        if path == Path::new("/acme/a.example.pem") { Ok(self.0.to_owned()) } else { world().file(path) }
    }

    fn unix_now(&self) -> u64 {
        world().unix_now()
    }

    fn system_roots(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        world().system_roots()
    }
}

#[test]
fn the_file_of_a_certificate_is_looked_out_for_before_and_after_it_is_there() {
    let file = PathBuf::from("/acme/a.example.pem");
    assert!(parsed(&listen(A)).files.contains(&file));
    let both = format!("{}{}", world().files["/tls/a.key"], world().files["/tls/a.pem"]);
    let Parsed { config, files, warnings } = parse(&listen(A), "selat.toml", &With(&both)).unwrap();
    assert!(files.contains(&file));
    let listen = &config.listeners[0];
    let certificate = listen.acme.as_ref().unwrap().certificate.clone().unwrap();
    assert_eq!(listen.tls.as_ref().unwrap().settings().certificates, [certificate]);
    assert_eq!(lines(&warnings), "");
}

#[test]
fn a_certificate_that_is_spoilt_is_replaced_and_no_reason_not_to_start() {
    let Parsed { config, warnings, .. } = parse(&listen(A), "selat.toml", &With("spoilt")).unwrap();
    assert_eq!(config.listeners[0].acme.as_ref().unwrap().certificate, None);
    let told = lines(&warnings);
    assert!(
        told.contains("/acme/a.example.pem: ") && told.contains("another certificate is ordered"),
        "{told}"
    );
}

#[test]
fn what_no_authority_would_take_is_told() {
    let rows = [
        ("", "selat.toml:3: [listen.public.tls.acme]: domains is missing"),
        (&A.replace("true", "false"), "accept_terms = true"),
        (&A.replace("accept_terms = true", ""), "accept_terms is missing"),
        (
            &A.replace("a.example", "*.example"),
            "4: domains[0] in [listen.public.tls.acme]: \"*.example\" is a wildcard",
        ),
        (&A.replace("a.example", "192.0.2.1"), "is not a domain name"),
        (&A.replace("\"a.example\"", ""), "there is no name"),
        (&format!("{A}directory = \"http://ca.example\""), "does not begin with https://"),
        (&format!("{A}contact = \"ops@example.com\""), "does not begin with mailto:"),
        (&format!("{A}directory_ca = \"/tls/nowhere\""), "/tls/nowhere: cannot be read"),
        (&format!("{A}[listen.public.tls]\nclient_ca = \"/tls/ca.pem\""), "and so the authority"),
    ];
    for (lines, part) in rows {
        let told = told(&listen(lines));
        assert!(told.contains(part), "{lines}\n{told}\n{part}");
    }
}

#[test]
fn a_file_is_for_one_order_which_listeners_may_share() {
    let other = |lines: &str| {
        format!("{}[listen.other]\naddr = \":444\"\n[listen.other.tls.acme]\n{lines}", listen(A))
    };
    assert_eq!(parsed(&other(A)).config.listeners.len(), 2);
    assert_eq!(parsed(&other(&A.replace("/acme", "/else"))).config.listeners.len(), 2);
    let told = told(&other(&format!("{A}challenge = \"http-01\"")));
    assert!(told.contains("[listen.public.tls.acme] orders another certificate called a.example"), "{told}");
}
