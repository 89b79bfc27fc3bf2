//! TLS: certificates and authorities from their files, and how they are used.

use std::num::NonZeroU32;

use super::super::item::Item;
use super::super::table::Table;
use crate::config::{Acme, Backend, Transport, parse_rate};
use crate::tls::{
    Authorities, Certificate, Client, ClientAuth, ClientCertificates, ClientSettings, InvalidCertificate,
    Server, ServerSettings, Verification, Version,
};

const VERSIONS: [(&str, Version); 2] = [("1.2", Version::V1_2), ("1.3", Version::V1_3)];

const CLIENT_AUTHS: [(&str, ClientAuth); 2] =
    [("required", ClientAuth::Required), ("optional", ClientAuth::Optional)];

/// How a listener speaks TLS, from its table `tls`, with what came automatically behind what came from files.
pub(super) fn server(table: &Table<'_>, acme: Option<&Acme>) -> Option<Server> {
    let certificates = certificates(table, acme);
    let clients = clients(table);
    let settings = ServerSettings {
        least: table.get("min_version", |item| item.word(&VERSIONS)),
        handshakes_per_second: table.get("handshakes", |item| item.read(handshakes)),
        timeout: table.get("timeout", |item| item.duration()),
        certificates: certificates?,
        clients: clients?,
    };
    Server::new(settings).map_or_else(|error| table.wrong(error), Some)
}

fn certificates(table: &Table<'_>, acme: Option<&Acme>) -> Option<Vec<Certificate>> {
    let mut certificates = match (acme, table.has("cert") || table.has("key") || table.has("certs")) {
        (Some(_), false) => Vec::new(),
        (Some(_), true) | (None, _) => from_files(table)?,
    };
    certificates.extend(acme.and_then(|acme| acme.certificate.clone()));
    Some(certificates)
}

fn from_files(table: &Table<'_>) -> Option<Vec<Certificate>> {
    match (table.has("cert") || table.has("key"), table.has("certs")) {
        (true, false) => Some(vec![certificate(table)?]),
        (false, true) => table.find("certs", |item| {
            if item.is_empty_list() {
                return item
                    .wrong("there is no certificate; write certs = [{ cert = \"/path\", key = \"/path\" }]");
            }
            item.list(|item| certificate(&item.table()?))
        }),
        (true, true) => table.wrong_key(
            "certs",
            "there is a cert or key too; write all certificates here, the default one first",
        ),
        (false, false) => table.wrong("there is no certificate; write cert = \"/path\" and key = \"/path\""),
    }
}

/// The one that `cert` and `key` of a table are.
fn certificate(table: &Table<'_>) -> Option<Certificate> {
    let (chain, key) =
        (table.must("cert", |item| item.contents()), table.must("key", |item| item.contents()));
    let (chain, key) = (chain?, key?);
    match Certificate::from_pem(&chain, &key) {
        Ok(certificate) => {
            if let Some(worry) = certificate.worry(table.reading.sources.unix_now()) {
                table.find::<()>("cert", |item| item.odd_file(worry));
            }
            Some(certificate)
        }
        Err(error) => table.find(to_blame(&chain, &error), |item| item.wrong_file(&error)),
    }
}

/// Whose file has to be another one. What is wrong with a chain alone is found before its key is looked at.
fn to_blame(chain: &str, error: &InvalidCertificate) -> &'static str {
    let is_found_last = matches!(
        error,
        InvalidCertificate::WrongKey
            | InvalidCertificate::LeafNotFirst { .. }
            | InvalidCertificate::ChainOrder { .. }
            | InvalidCertificate::LongChain { .. }
            | InvalidCertificate::Unreadable { .. }
    );
    let is_fit_alone = Certificate::from_pem(chain, "") == Err(InvalidCertificate::NoKey);
    if is_fit_alone && !is_found_last { "key" } else { "cert" }
}

/// Which clients are let in.
#[expect(clippy::option_option, reason = "the outer one is: a mistake was noted")]
fn clients(table: &Table<'_>) -> Option<Option<ClientCertificates>> {
    let auth = table.find("client_auth", |item| item.word(&CLIENT_AUTHS));
    if !table.has("client_ca") {
        return if table.has("client_auth") {
            table.wrong_key("client_auth", "there is no client_ca to hold certificates against; write it too")
        } else {
            Some(None)
        };
    }
    let authorities = table.find("client_ca", authorities)?;
    Some(Some(ClientCertificates { authorities, auth: auth.unwrap_or(ClientAuth::Required) }))
}

fn authorities(item: &Item<'_>) -> Option<Authorities> {
    item.parsed(Authorities::from_pem)
}

/// `None` for any number.
fn handshakes(text: &str) -> Result<Option<NonZeroU32>, String> {
    if text == "off" {
        return Ok(None);
    }
    let rate = parse_rate(text).map_err(|error| format!("{error}; or off"))?;
    NonZeroU32::try_from(rate)
        .map(Some)
        .map_err(|_| "4294967295/s is the most; write off for no limit".to_owned())
}

/// How a pool speaks TLS, from its table `tls`, with those of its backends that want it; nothing if none does. They
/// stand under `key`, which says what they are.
#[expect(clippy::option_option, reason = "the outer one is: a mistake was noted")]
pub(super) fn client(pool: &Table<'_>, key: &str, backends: &[Backend]) -> Option<Option<Client>> {
    let table = &pool.table("tls");
    let certificate = (table.has("cert") || table.has("key")).then(|| certificate(table));
    let server_name = table.find("server_name", |item| item.text());
    let is_insecure = table.get("insecure", |item| item.flag());
    let ca = table.find("ca", authorities);
    if is_insecure && table.has("ca") {
        return table.wrong_key("ca", "insecure = true believes everybody; remove one of the two");
    }
    let mut hosts = backends.iter().map(|backend| &backend.url).filter(|url| url.transport == Transport::Tls);
    if hosts.clone().next().is_none() {
        if pool.has("tls") {
            table
                .odd(format!("none of the {key} is asked for TLS; write wss:// in their URLs, or remove it"));
        }
        return Some(None);
    }
    let verification = if is_insecure {
        table.odd(format!(
            "insecure = true: certificates of {key} are not checked, so whoever answers at their addresses can read \
             and change everything; name their authority in ca instead"
        ));
        Verification::Insecure
    } else if table.has("ca") {
        Verification::By(ca?)
    } else {
        match table.reading.system_roots() {
            Ok(authorities) => Verification::By(authorities),
            Err(error) => {
                return table.wrong(format!(
                    "the authorities that this machine believes cannot be read: {error}; install ca-certificates, or \
                     name the authority of the {key} in ca"
                ));
            }
        }
    };
    let certificate = match certificate {
        Some(certificate) => Some(certificate?),
        None => None,
    };
    let client = Client::new(ClientSettings { verification, certificate, server_name });
    let client = client.map_or_else(|error| table.wrong(error), Some)?;
    match hosts.find_map(|url| client.server_name(&url.host).err()) {
        None => Some(Some(client)),
        Some(error) if table.has("server_name") => table.wrong_key("server_name", error),
        Some(error) => pool.wrong_key(key, format!("{error}; or the right one as tls.server_name")),
    }
}
