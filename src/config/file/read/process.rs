//! What holds for the whole process: listeners, limits, forwarding, admin, logs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::table::{Named, Table};
use super::{acme, tls};
use crate::config::{
    Access, Acme, Admin, Cores, Limits, Listen, ListenAddress, Log, LogFormat, LogLevel, Placement,
    ProxyProtocol, Timeouts,
};
use crate::guard::parse_network;
use crate::protocol::handshake::{ForwardHeader, Forwarding};
use crate::tls::Server;

const PLACEMENTS: [(&str, Placement); 2] = [("kernel", Placement::Kernel), ("balanced", Placement::Balanced)];

const PROXY_PROTOCOLS: [(&str, ProxyProtocol); 2] =
    [("off", ProxyProtocol::Off), ("required", ProxyProtocol::Required)];

const FORWARD_HEADERS: [(&str, ForwardHeader); 5] = [
    ("X-Forwarded-For", ForwardHeader::For),
    ("X-Forwarded-Proto", ForwardHeader::Proto),
    ("X-Forwarded-Host", ForwardHeader::Host),
    ("X-Forwarded-Port", ForwardHeader::Port),
    ("Forwarded", ForwardHeader::Forwarded),
];

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// The parts of the configuration that `[process]` has.
pub(super) struct Process {
    pub(super) cores: Cores,
    pub(super) placement: Placement,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) handover: Option<PathBuf>,
}

pub(super) fn process(table: &Table<'_>) -> Process {
    let timeouts = table.table("timeouts");
    Process {
        cores: table.get("cores", |item| item.form()),
        placement: table.get("placement", |item| item.word(&PLACEMENTS)),
        limits: Limits { connections_max: table.find("max_connections", |item| item.count()) },
        timeouts: Timeouts {
            head: timeouts.get("head", |item| item.duration()),
            close: timeouts.get("close", |item| item.duration()),
            drain_window: table.get("drain_window", |item| item.duration()),
        },
        handover: table.find("handover", |item| item.path()),
    }
}

pub(super) fn listen(named: &Named<'_>) -> Option<Listen> {
    let Named { name, table } = named;
    let proxy_protocol = table.get("proxy_protocol", |item| item.word(&PROXY_PROTOCOLS));
    let tls = table.table_if_any("tls").map(|table| secure(&table));
    let address = table.find("addr", |item| item.form())?;
    let (tls, acme) = match tls {
        Some(secure) => secure.map(|(server, acme)| (Some(Arc::new(server)), acme))?,
        None => (None, None),
    };
    Some(Listen { name: name.clone(), address, proxy_protocol, tls, acme })
}

/// How TLS is spoken, and what comes automatically of what it takes.
fn secure(table: &Table<'_>) -> Option<(Server, Option<Acme>)> {
    let acme = match table.table_if_any("acme") {
        Some(table) => Some(acme::acme(&table)?),
        None => None,
    };
    Some((tls::server(table, acme.as_ref())?, acme))
}

pub(super) fn forwarding(table: &Table<'_>) -> Forwarding {
    Forwarding {
        trusted: table.get("trusted", |item| item.list(|item| item.read(parse_network))),
        headers: table.get("send", |item| item.list(|item| item.word(&FORWARD_HEADERS))),
    }
}

pub(super) fn admin(table: &Table<'_>) -> Option<Admin> {
    let token = table.find("token", |item| item.secret());
    let address = table.find("addr", |item| item.form())?;
    let is_reachable = match &address {
        ListenAddress::Tcp(address) => !is_loopback(address.ip()),
        ListenAddress::Unix(_) => false,
    };
    if is_reachable && !table.has("token") {
        return table.wrong_key(
            "addr",
            "other machines can reach this address, so there must be a token = \"${NAME}\"; or write 127.0.0.1, [::1] \
             or unix:/path",
        );
    }
    Some(Admin { address, token })
}

pub(super) fn log(table: &Table<'_>) -> Log {
    Log {
        format: table.get("format", |item| item.word(&FORMATS)),
        level: table.get("level", |item| item.word(&LEVELS)),
        access: table.get("access", |item| item.read(access)),
    }
}

fn access(text: &str) -> Result<Access, String> {
    match text {
        "on" => Ok(Access::On),
        "off" => Ok(Access::Off),
        path if path.starts_with('/') => Ok(Access::File(path.into())),
        other => {
            Err(format!("{other:?} is neither on nor off nor a path; write on, off or /path/to/access.log"))
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
