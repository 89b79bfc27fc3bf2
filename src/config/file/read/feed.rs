//! Feeds: where their sources are, and what is done with what those say.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::item::Item;
use super::super::table::{Named, Table};
use super::{pool::is_token, tls};
use crate::config::{Backend, BackendUrl, Feed, Pool, PoolId, Secret};
use crate::feed::{
    Backoff, ClientMessages, Conflict, Pattern, Quiet, Rotate, Settings, Slow, SlowPolicy, Stall,
    Subscriptions, Template, Words,
};
use crate::health::{Outlier, Percent};
use crate::json::Pointer;
use crate::protocol::handshake::HeaderEdits;

const SLOW_POLICIES: [(&str, SlowPolicy); 3] = [
    ("disconnect", SlowPolicy::Disconnect),
    ("drop-oldest", SlowPolicy::DropOldest),
    ("conflate", SlowPolicy::Conflate),
];

const CLIENT_MESSAGES: [(&str, ClientMessages); 3] = [
    ("discard", ClientMessages::Discard),
    ("reject", ClientMessages::Reject),
    ("forward", ClientMessages::Forward),
];

const CONFLICTS: [(&str, Conflict); 2] = [("adds", Conflict::Adds), ("replaces", Conflict::Replaces)];

/// A feed whose sources have no place among the pools yet.
pub(super) struct Unplaced {
    name: Arc<str>,
    headers: Vec<(String, Secret)>,
    settings: Settings,
    sources: Pool,
}

impl Unplaced {
    /// The feed, its sources behind all other `pools`; `None` if there are more than can be counted.
    pub(super) fn place(self, pools: &mut Vec<Pool>) -> Option<Feed> {
        let sources = PoolId(u16::try_from(pools.len()).ok()?);
        pools.push(self.sources);
        Some(Feed { name: self.name, sources, headers: self.headers, settings: Arc::new(self.settings) })
    }
}

pub(super) fn feed(named: &Named<'_>) -> Option<Unplaced> {
    let Named { name, table } = named;
    let headers = table.get("headers", |item| item.map(header));
    let settings = settings(table);
    let connect = table.get("connect_timeout", |item| item.duration());
    let resolve_every = table.get("resolve_every", |item| item.duration());
    let backends = table.find("sources", sources);
    let tls = tls::client(table, "sources", backends.as_deref().unwrap_or_default())?;
    let mut pool = Pool::new(&Feed::pool_name(name), backends?);
    // Which source is read, and when it is dialled again, is for the feed to say.
    pool.health.outlier = Outlier { ejected_share_max: Percent::ZERO, ..Outlier::default() };
    let sources = Pool { connect, resolve_every, tls: tls.map(Arc::new), ..pool };
    Some(Unplaced { name: name.clone(), headers, settings: settings?, sources })
}

fn sources(item: &Item<'_>) -> Option<Vec<Backend>> {
    let seen = RefCell::new(HashSet::new());
    let sources = item.list(|item| {
        let url = item.confidential(BackendUrl::source)?;
        if seen.borrow_mut().insert(url.to_string()) {
            Some(Backend::from(url))
        } else {
            item.wrong("this source is in the feed already; remove it")
        }
    })?;
    if item.is_empty_list() {
        return item.wrong("there is no source; write sources = [\"wss://vendor.example/feed\"]");
    }
    Some(sources)
}

/// A field of the request to a source. The value may hold a secret, and has no placeholders.
fn header(name: &str, item: &Item<'_>) -> Option<(String, Secret)> {
    if name.eq_ignore_ascii_case("host") {
        return item.wrong("it is the host of the source's URL; remove it");
    }
    // RFC 6455 §11.3.4: the one field of the handshake that is for the application.
    if name.eq_ignore_ascii_case("sec-websocket-protocol") {
        return item.read(|protocols| {
            let is_fit = protocols.split(',').all(|protocol| is_token(protocol.trim()));
            let field = || (name.to_owned(), Secret::new(protocols));
            is_fit.then(field).ok_or("these are no subprotocols; write \"v2.feed\", or \"v2.feed, v1.feed\"")
        });
    }
    let judge = |value: &str| {
        let value = value.replace('{', "{{").replace('}', "}}");
        HeaderEdits::new(&[(name.to_owned(), value)], &[], &[]).map(|_| ())
    };
    // What is wrong with the name has no secret in it, whatever the value is.
    if let Err(error) = judge("") {
        return item.wrong(error);
    }
    item.read(|value| judge(value).map(|()| (name.to_owned(), Secret::new(value))))
}

fn settings(table: &Table<'_>) -> Option<Settings> {
    let has_key = table.has("key");
    let key = table.find("key", |item| item.read(Pointer::new));
    let snapshot = table.get("snapshot", |item| item.flag());
    if snapshot && !has_key {
        table.wrong_key::<()>("snapshot", without_key("whose last message is a snapshot"));
    }
    let words = |item: &Item<'_>| item.list(|item| Some(Words(item.text()?.into())));
    let rotate = table.table_if_any("rotate").map(|table| rotate(&table));
    let subscriptions = table.table_if_any("subscriptions").map(|within| subscriptions(table, &within));
    Some(Settings {
        on_open: table.get("on_open", words),
        skip: table.get("skip", |item| item.list(pattern)),
        fatal: table.get("fatal", |item| item.list(pattern)),
        key,
        keys_max: table.get("keys_max", |item| item.count()),
        snapshot,
        history: table.find("history", |item| item.count()).unwrap_or_default(),
        message_bytes_max: table.get("message", |item| item.size()),
        slow: slow(&table.table("slow"), has_key),
        stall: stall(&table.table("stall")),
        rotate: optional(rotate)?,
        backoff: backoff(&table.table("backoff")),
        compression: table.get("compression", |item| item.flag()),
        client_messages: table.get("client_messages", |item| item.word(&CLIENT_MESSAGES)),
        subscriptions: optional(subscriptions)?,
        gap_message: table.find("gap_message", |item| item.text()),
    })
}

/// Nothing where there is nothing; `None` where there is something, and it is wrong.
#[expect(clippy::option_option, reason = "the outer one is: a mistake was noted")]
fn optional<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |value| value.map(Some))
}

/// Why something needs `key`, and what to write.
fn without_key(what: &str) -> String {
    format!(
        "there is no key, {what}; write where messages say what they are about, such as key = \"/symbol\""
    )
}

fn pattern(item: &Item<'_>) -> Option<Pattern> {
    item.read(|text| match text.trim() {
        "" => Err("an empty text is no message; write what the source says"),
        text if text.bytes().all(|byte| byte == b'*') => {
            Err("every message is that; write what the source says, with * for any part of it")
        }
        // Messages are held against it without the white space around them.
        text => Ok(Pattern::new(text)),
    })
}

fn slow(table: &Table<'_>, has_key: bool) -> Slow {
    let policy = table.get("policy", |item| item.word(&SLOW_POLICIES));
    if policy == SlowPolicy::Conflate && !has_key {
        table.wrong_key::<()>("policy", without_key("of which a client could get the latest message alone"));
    }
    Slow {
        policy,
        buffer_bytes_max: table.get("buffer", |item| usize::try_from(item.size()?).ok()),
        evict_after: table.get("evict_after", |item| item.duration()),
    }
}

fn stall(table: &Table<'_>) -> Stall {
    let ping = table.table("ping");
    let stall = Stall {
        after: table.find("after", |item| item.duration()),
        quiet: table.get("quiet", |item| item.one_or_more(|item| item.read(Quiet::parse))),
        ping_every: ping.get("every", |item| item.duration()),
        ping_timeout: ping.get("timeout", |item| item.duration()),
    };
    if !stall.quiet.is_empty() && !table.has("after") {
        table.wrong_key::<()>(
            "quiet",
            "there is no after, so silence is never too long; write after = \"30s\" too, or remove it",
        );
    }
    stall
}

fn rotate(table: &Table<'_>) -> Option<Rotate> {
    let overlap: Duration = table.get("overlap", |item| item.duration());
    let every = table.find("every", |item| item.duration())?;
    if overlap < every {
        Some(Rotate { every, overlap })
    } else {
        table.wrong_key("overlap", "overlap is not shorter than every; make it a few seconds")
    }
}

fn backoff(table: &Table<'_>) -> Backoff {
    let backoff = Backoff {
        min: table.get("min", |item| item.duration()),
        max: table.get("max", |item| item.duration()),
    };
    if backoff.min > backoff.max {
        table.wrong::<()>("min is longer than max; make it shorter");
    }
    backoff
}

fn subscriptions(feed: &Table<'_>, table: &Table<'_>) -> Option<Subscriptions> {
    if !feed.has("key") {
        table.wrong::<()>(without_key("by which a client could get those it asked for"));
    }
    let template = |item: &Item<'_>| item.confidential(Template::new);
    let subscribe = table.find("subscribe", template);
    let unsubscribe = table.find("unsubscribe", template);
    let separator =
        table.get("separator", |item| {
            item.read(|text| {
                if text.is_empty() { Err("keys would run together; write \",\"") } else { Ok(text.into()) }
            })
        });
    let conflict = table.get("conflict", |item| item.word(&CONFLICTS));
    let topics_max = table.get("topics_max", |item| item.count());
    let subscriptions = Subscriptions { subscribe: subscribe?, unsubscribe, separator, conflict, topics_max };
    if subscriptions.tells_apart() {
        Some(subscriptions)
    } else if table.has("unsubscribe") {
        table.wrong_key(
            "unsubscribe",
            "a client could mean subscribe by it; they have to differ, and not in a secret",
        )
    } else {
        table.wrong_key(
            "subscribe",
            "keys that a client says with it would not be found again; write it another way",
        )
    }
}
