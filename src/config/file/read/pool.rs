//! Pools: backends, policy, health, queue.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::item::{Either, Item};
use super::super::mistake::did_you_mean;
use super::super::table::{Named, Table};
use super::tls;
use crate::balance::{HashBy, Policy, Queue};
use crate::config::{Backend, BackendUrl, Pool};
use crate::health::{Exchange, Outlier, Percent, Probe, Settings};
use crate::protocol::proxy_protocol::Version;

const POLICIES: [(&str, Policy); 5] = [
    ("round-robin", Policy::RoundRobin),
    ("weighted", Policy::Weighted),
    ("least-connections", Policy::LeastConnections),
    ("p2c", Policy::PowerOfTwo),
    ("ewma", Policy::Ewma),
];

const PROXY_VERSIONS: [(&str, Option<Version>); 3] =
    [("off", None), ("v1", Some(Version::V1)), ("v2", Some(Version::V2))];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Tcp,
    Http,
    WebSocket,
}

const PROBES: [(&str, Kind); 4] =
    [("none", Kind::None), ("tcp", Kind::Tcp), ("http", Kind::Http), ("websocket", Kind::WebSocket)];

pub(super) fn pool(named: &Named<'_>) -> Option<Pool> {
    let policy = named.table.get("balance", |item| item.read(policy));
    servers(&named.table, &named.name).map(|servers| Pool { policy, ..servers })
}

/// What all tables of servers have, be they of a pool or of a dispatch.
pub(super) fn servers(table: &Table<'_>, name: &str) -> Option<Pool> {
    let health = health(table);
    let queue = table.table("queue");
    let queue = Queue {
        sessions_max: queue.get("size", |item| item.count()),
        timeout: queue.get("timeout", |item| item.duration()),
    };
    let connect = table.get("connect_timeout", |item| item.duration());
    let resolve_every = table.get("resolve_every", |item| item.duration());
    let send_proxy = table.get("send_proxy", |item| item.word(&PROXY_VERSIONS));
    let backends = table.find("backends", backends);
    let tls = tls::client(table, "backends", backends.as_deref().unwrap_or_default());
    Some(Pool {
        name: name.into(),
        policy: Policy::default(),
        backends: backends?,
        health: health?,
        queue,
        connect,
        resolve_every,
        send_proxy,
        tls: tls?.map(Arc::new),
    })
}

fn backends(item: &Item<'_>) -> Option<Vec<Backend>> {
    let seen = std::cell::RefCell::new(HashSet::new());
    let backends = item.list(|item| {
        let backend = match item.as_either()? {
            Either::Text(url) => Backend::from(url.form::<BackendUrl>()?),
            Either::Table(item) => backend(&item.table()?)?,
        };
        if seen.borrow_mut().insert(backend.url.to_string()) {
            Some(backend)
        } else {
            item.wrong("this backend is there already; for a larger share give it a weight")
        }
    })?;
    if item.is_empty_list() {
        return item.wrong("there is no backend; write backends = [\"ws://10.0.0.1:9001\"]");
    }
    Some(backends)
}

fn backend(table: &Table<'_>) -> Option<Backend> {
    let weight = table.get("weight", |item| item.count());
    let connections_max = table.find("max_connections", |item| item.count());
    Some(Backend { url: table.find("url", |item| item.form())?, weight, connections_max })
}

fn policy(text: &str) -> Result<Policy, String> {
    if let Some((_, policy)) = POLICIES.iter().find(|(word, _)| *word == text) {
        return Ok(policy.clone());
    }
    let by = match text.strip_prefix("hash:").map(|by| by.split_once(':').unwrap_or((by, ""))) {
        Some(("ip", "")) => HashBy::Ip,
        Some(("path", "")) => HashBy::Path,
        Some(("header", name)) if is_token(name) => HashBy::Header(name.to_owned()),
        Some(("cookie", name)) if is_token(name) => HashBy::Cookie(name.to_owned()),
        Some(("query", name)) if !name.is_empty() => HashBy::Query(name.to_owned()),
        Some(_) => {
            return Err(format!(
                "{text:?} is not a hash policy; write hash:ip, hash:path, hash:header:NAME, hash:cookie:NAME or \
                 hash:query:NAME"
            ));
        }
        None => {
            let near = did_you_mean(text, POLICIES.iter().map(|(word, _)| *word));
            return Err(format!(
                "{text:?} is not a policy{near}; write round-robin, weighted, least-connections, p2c, ewma or hash:ip \
                 (or :path, :header:NAME, :cookie:NAME, :query:NAME)"
            ));
        }
    };
    Ok(Policy::Hash(by))
}

fn health(pool: &Table<'_>) -> Option<Settings> {
    let table = pool.table("health");
    let (every, timeout) =
        (table.get("every", |item| item.duration()), table.get("timeout", |item| item.duration()));
    if timeout > every {
        table.odd("timeout is longer than every, so a server that hangs is asked late");
    }
    let outlier = outlier(&pool.table("outlier"));
    Some(Settings {
        rise: table.get("rise", |item| item.count()),
        fall: table.get("fall", |item| item.count()),
        every,
        timeout,
        slow_start: pool.find("slow_start", |item| item.duration()),
        panic_below: pool.get("panic_below", percent),
        probe: probe(&table)?,
        outlier: outlier?,
    })
}

/// The probe, or that there is none.
#[expect(clippy::option_option, reason = "the outer one is: a mistake was noted")]
fn probe(table: &Table<'_>) -> Option<Option<Probe>> {
    let kind = table.get("probe", |item| item.word(&PROBES));
    let path = table.find("path", url_path);
    let (send, expect) = (table.find("send", |item| item.text()), table.find("expect", |item| item.text()));
    let only = |name: &str, kinds: &[Kind], what: &str| {
        if table.has(name) && !kinds.contains(&kind) {
            table.wrong_key(name, format!("only a probe of kind {what} has it; write probe = \"websocket\""))
        } else {
            Some(())
        }
    };
    let is_fit = [
        only("path", &[Kind::Http, Kind::WebSocket], "http or websocket"),
        only("send", &[Kind::WebSocket], "websocket"),
        only("expect", &[Kind::WebSocket], "websocket"),
    ];
    if is_fit.contains(&None) {
        return None;
    }
    let exchange = match (send, expect) {
        (Some(send), Some(expect)) => Some(Exchange { send, expect }),
        (Some(_), None) if !table.has("expect") => {
            return table.wrong_key("send", "there is no expect; write what the answer has to contain");
        }
        (None, Some(_)) if !table.has("send") => {
            return table.wrong_key("expect", "there is no send; write the message that is answered");
        }
        (Some(_), None) | (None, Some(_)) => return None,
        (None, None) => None,
    };
    Some(match kind {
        Kind::None => None,
        Kind::Tcp => Some(Probe::Tcp),
        Kind::Http => Some(Probe::Http { path: path.unwrap_or_else(|| "/".to_owned()) }),
        Kind::WebSocket => Some(Probe::WebSocket { path, exchange }),
    })
}

fn outlier(table: &Table<'_>) -> Option<Outlier> {
    let outlier = Outlier {
        failures: table.get("failures", |item| item.count()),
        ejection_base: table.get("ejection_base", |item| item.duration()),
        ejection_max: table.get("ejection_max", |item| item.duration()),
        ejected_share_max: table.get("max_ejected", percent),
    };
    if outlier.ejection_base > outlier.ejection_max {
        return table.wrong("ejection_base is longer than ejection_max; make it shorter");
    }
    Some(outlier)
}

fn percent(item: &Item<'_>) -> Option<Percent> {
    item.read(|text| {
        let percent =
            text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).and_then(Percent::new);
        percent.ok_or_else(|| {
            format!("{text:?} is not a share; write a whole number from 0 to 100, such as 50%")
        })
    })
}

/// A path of a URL, with or without a query.
fn url_path(item: &Item<'_>) -> Option<String> {
    item.read(|text| {
        let is_fit =
            text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if is_fit {
            Ok(text.to_owned())
        } else {
            Err(format!("{text:?} is not a path; write it from its / on, without spaces and #"))
        }
    })
}

/// RFC 9110 §5.6.2; cookie names are tokens too (RFC 6265 §4.1.1).
pub(super) fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}
