//! Automatic certificates of a listener: what is ordered, and what has been got so far.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::item::Item;
use super::super::table::{Named, Table};
use crate::config::{Acme, AcmeSettings, ChallengeKind, Listen, parse_domain};
use crate::tls::{Authorities, Certificate, ClientAuth};

/// Names in one certificate: what Let's Encrypt takes.
const DOMAINS_MAX: usize = 100;

const CHALLENGES: [(&str, ChallengeKind); 2] =
    [("tls-alpn-01", ChallengeKind::TlsAlpn01), ("http-01", ChallengeKind::Http01)];

/// What is ordered, with what has been got so far.
pub(super) fn acme(table: &Table<'_>) -> Option<Acme> {
    let settings = settings(table)?;
    let certificate = certificate(table, &settings)?;
    Some(Acme { settings: Arc::new(settings), certificate })
}

fn settings(table: &Table<'_>) -> Option<AcmeSettings> {
    let domains = table.find("domains", domains);
    let state = table.find("state", |item| item.path());
    let accept_terms = table.find("accept_terms", accept_terms);
    let authorities = authorities(table);
    Some(AcmeSettings {
        contact: table.find("contact", |item| item.read(|text| url(text, "mailto:"))),
        challenge: table.get("challenge", |item| item.word(&CHALLENGES)),
        directory: table.get("directory", |item| item.read(|text| url(text, "https://"))),
        renew_before: table.get("renew_before", |item| item.duration()),
        domains: accept_terms.and(domains)?,
        state: state?,
        authorities: authorities?,
    })
}

fn domains(item: &Item<'_>) -> Option<Vec<String>> {
    let mut domains = item.list(|item| item.read(parse_domain))?;
    let mut seen = HashSet::new();
    domains.retain(|domain| seen.insert(domain.clone()));
    if domains.len() > DOMAINS_MAX {
        return item.wrong(format!(
            "a certificate has at most {DOMAINS_MAX} names; leave the others to another listener"
        ));
    }
    if item.is_empty_list() {
        return item.wrong("there is no name; write domains = [\"chat.example.com\"]");
    }
    Some(domains)
}

fn accept_terms(item: &Item<'_>) -> Option<()> {
    if item.flag()? {
        return Some(());
    }
    item.wrong(
        "the authority gives certificates only to those who agree to its terms of service; read them, and write \
         accept_terms = true",
    )
}

/// Who is believed about the directory.
fn authorities(table: &Table<'_>) -> Option<Authorities> {
    if table.has("directory_ca") {
        return table.find("directory_ca", |item| item.parsed(Authorities::from_pem));
    }
    table.reading.system_roots().map_or_else(
        |error| {
            table.wrong(format!(
                "the authorities that this machine believes cannot be read: {error}; install ca-certificates, or name \
                 the directory's own in directory_ca"
            ))
        },
        Some,
    )
}

/// The certificate that has been got so far. One that is unusable will be replaced by another, which is no reason not
/// to start.
#[expect(clippy::option_option, reason = "the outer one is: a mistake was noted")]
fn certificate(table: &Table<'_>, settings: &AcmeSettings) -> Option<Option<Certificate>> {
    let file = settings.certificate_file();
    // Before it is there: that it has come is what puts it in force.
    table.reading.opened(&file);
    let text = match table.reading.sources.file(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(None),
        Err(error) => {
            return table.wrong_key("state", format!("{}: cannot be read: {error}", file.display()));
        }
    };
    let certificate = Certificate::from_pem(&text, &text);
    if let Err(error) = &certificate {
        table.odd(format!("{}: {error}; another certificate is ordered in its place", file.display()));
    }
    Some(certificate.ok())
}

/// What holds between listeners: a file is for one order, and authorities show no certificates.
pub(super) fn check(listeners: &[Listen], tables: &[Named<'_>]) {
    let mut orders: HashMap<PathBuf, &Listen> = HashMap::new();
    for (listen, named) in listeners.iter().zip(tables) {
        let Some(acme) = &listen.acme else { continue };
        let (tls, settings) = (named.table.table("tls"), &acme.settings);
        let other = *orders.entry(settings.certificate_file()).or_insert(listen);
        if other.acme.as_ref().is_some_and(|other| other.settings != *settings) {
            let (other, name) = (&other.name, settings.name());
            tls.table("acme").wrong_key::<()>(
                "domains",
                format!(
                    "[listen.{other}.tls.acme] orders another certificate called {name}; order the same, begin with \
                     another name, or write another state"
                ),
            );
        }
        let wants_certificates = listen.tls.as_ref().and_then(|tls| tls.settings().clients.as_ref());
        if settings.challenge == ChallengeKind::TlsAlpn01
            && wants_certificates.is_some_and(|clients| clients.auth == ClientAuth::Required)
        {
            tls.table("acme").wrong_key::<()>(
                "challenge",
                "this listener turns away whoever shows no certificate, and so the authority; write challenge = \
                 \"http-01\", or client_auth = \"optional\"",
            );
        }
    }
}

fn url(text: &str, scheme: &str) -> Result<String, String> {
    let is_fit = text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fit {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} does not begin with {scheme}; write {scheme}…"))
    }
}
