//! Dispatches: where their backends are, and what is done with messages and replies.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::super::item::Item;
use super::super::mistake::did_you_mean;
use super::super::table::{Named, Table};
use super::pool;
use crate::config::{Backend, Dispatch, Pool, PoolId};
use crate::dispatch::{Balance, Exchange, Gather, Order, Replies, Send, Settings, Template, Unanswered};
use crate::json::Pointer;

const BALANCES: [(&str, Balance); 4] = [
    ("least-outstanding", Balance::LeastOutstanding),
    ("round-robin", Balance::RoundRobin),
    ("p2c", Balance::PowerOfTwo),
    ("ewma", Balance::Ewma),
];

const ORDERS: [(&str, Order); 2] = [("as-they-come", Order::AsTheyCome), ("as-asked", Order::AsAsked)];

/// How many get a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Getters {
    One,
    All,
}

const SENDS: [(&str, Getters); 2] = [("one", Getters::One), ("all", Getters::All)];

/// How many replies a message has from each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    One,
    Any,
}

const REPLIES: [(&str, Count); 2] = [("one", Count::One), ("any", Count::Any)];

/// What the client gets of several replies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    First,
    All,
    Array,
}

const GATHERS: [(&str, Kind); 3] = [("first", Kind::First), ("all", Kind::All), ("array", Kind::Array)];

/// A dispatch whose backends have no place among the pools yet.
pub(super) struct Unplaced {
    name: Arc<str>,
    settings: Settings,
    backends: Pool,
}

impl Unplaced {
    /// The dispatch, its backends behind all other `pools`; `None` if there are more than can be counted.
    pub(super) fn place(self, pools: &mut Vec<Pool>) -> Option<Dispatch> {
        let backends = PoolId(u16::try_from(pools.len()).ok()?);
        pools.push(self.backends);
        Some(Dispatch { name: self.name, backends, settings: Arc::new(self.settings) })
    }
}

pub(super) fn dispatch(named: &Named<'_>) -> Option<Unplaced> {
    let Named { name, table } = named;
    let backends = pool::servers(table, &Dispatch::pool_name(name));
    let settings = settings(table, backends.as_ref());
    Some(Unplaced { name: name.clone(), settings: settings?, backends: backends? })
}

fn settings(table: &Table<'_>, backends: Option<&Pool>) -> Option<Settings> {
    let getters = table.get("send", |item| item.word(&SENDS));
    let replies = table.get("replies", |item| item.word(&REPLIES));
    check_use(table, getters, replies);
    let send = match (getters, replies) {
        (Getters::One, _) => Send::One(chosen(table, replies)),
        (Getters::All, Count::One) => Send::All(gather(table)),
        (Getters::All, Count::Any) => Send::All(Gather::All { quorum: None }),
    };
    if let (Send::All(gather), Some(backends)) = (&send, backends) {
        check_all(table, *gather, &backends.backends);
    }
    let replies = match replies {
        Count::One => Replies::One(exchange(table)?),
        Count::Any => Replies::Any,
    };
    let outstanding_max = table.find("outstanding_max", |item| item.count());
    let outstanding_max = outstanding_max.unwrap_or(Settings::default().outstanding_max);
    Some(Settings { send, replies, outstanding_max })
}

/// That nothing is asked for that cannot be had together.
fn check_use(table: &Table<'_>, getters: Getters, replies: Count) {
    let rules: [(bool, &[&str], &str); 3] = [
        (
            getters == Getters::One,
            &["gather", "quorum"],
            "each message goes to one backend, which replies alone; write send = \"all\", or remove it",
        ),
        (
            getters == Getters::All,
            &["balance", "retry", "slow_start"],
            "each message goes to all backends, and none is chosen; write send = \"one\", or remove it",
        ),
        (
            replies == Count::Any,
            &["correlate", "order", "retry", "timeout", "on_timeout", "gather", "quorum", "outstanding_max"],
            "with replies = \"any\" nobody knows which message a reply answers; write replies = \"one\", or remove it",
        ),
    ];
    let mut told: Vec<&str> = Vec::new();
    for (_, names, what) in rules.iter().filter(|(applies, ..)| *applies) {
        for name in names.iter().filter(|name| table.has(name)) {
            if !told.contains(name) {
                table.wrong_key::<()>(name, what);
                told.push(name);
            }
        }
    }
}

/// How the one backend is chosen that gets a message.
fn chosen(table: &Table<'_>, replies: Count) -> Balance {
    let balance = table.find("balance", |item| item.read(balance)).unwrap_or(match replies {
        Count::One => Balance::LeastOutstanding,
        Count::Any => Balance::RoundRobin,
    });
    let goes_by_replies = !matches!(balance, Balance::RoundRobin | Balance::Hash(_));
    if goes_by_replies && replies == Count::Any {
        table.wrong_key::<()>(
            "balance",
            "it goes by what has no reply yet, which replies = \"any\" does not tell; write round-robin or hash:/user",
        );
    }
    balance
}

fn balance(text: &str) -> Result<Balance, String> {
    if let Some(pointer) = text.strip_prefix("hash:") {
        return Pointer::new(pointer)
            .map(Balance::Hash)
            .map_err(|error| format!("it is not known by what to hash; {error}, behind hash:"));
    }
    let found = BALANCES.iter().find(|(word, _)| *word == text);
    found.map(|(_, balance)| balance.clone()).ok_or_else(|| {
        let near = did_you_mean(text, BALANCES.iter().map(|(word, _)| *word));
        format!(
            "{text:?} is not a policy for messages{near}; write least-outstanding, round-robin, p2c, ewma or hash:/user"
        )
    })
}

fn gather(table: &Table<'_>) -> Gather {
    let kind = table.find("gather", |item| item.word(&GATHERS)).unwrap_or(Kind::First);
    let quorum = table.find("quorum", |item| item.count()).and_then(NonZeroUsize::new);
    if kind == Kind::First && table.has("quorum") {
        table.wrong_key::<()>(
            "quorum",
            "the first reply is enough for gather = \"first\"; write gather = \"all\" or \"array\", or remove it",
        );
    }
    match kind {
        Kind::First => Gather::First,
        Kind::All => Gather::All { quorum },
        Kind::Array => Gather::Array { quorum },
    }
}

/// What cannot be where each message goes to all of these.
fn check_all(table: &Table<'_>, gather: Gather, backends: &[Backend]) {
    if backends.iter().any(|backend| backend.weight != 1) {
        table.wrong_key::<()>(
            "backends",
            "each message goes to all of them, whatever their weight; remove it",
        );
    }
    let (Gather::All { quorum: Some(quorum) } | Gather::Array { quorum: Some(quorum) }) = gather else {
        return;
    };
    let count = backends.len();
    if quorum.get() > count {
        let is_address = |backend: &Backend| backend.url.host.parse::<IpAddr>().is_ok();
        if backends.iter().all(is_address) {
            let what = format!(
                "there are {count} backends, so that it would never be reached; write {count} at most"
            );
            table.wrong_key::<()>("quorum", what);
        } else {
            table.odd(format!(
                "quorum is {quorum}, which the {count} names in backends have to resolve to that many addresses for"
            ));
        }
    }
}

fn exchange(table: &Table<'_>) -> Option<Exchange> {
    let default = Exchange::default();
    let correlate = table.find("correlate", |item| item.read(Pointer::new));
    let retries = table.find("retry", |item| item.count()).unwrap_or(default.retries);
    if retries > 0 && !table.has("correlate") {
        table.wrong_key::<()>(
            "retry",
            "without correlate nobody could tell a late reply from that of another backend; write where messages say \
             which they are, such as correlate = \"/id\"",
        );
    }
    let order = table.find("order", |item| item.word(&ORDERS)).unwrap_or(default.order);
    let timeout = table.find("timeout", |item| item.duration()).unwrap_or(default.timeout);
    let unanswered =
        if table.has("on_timeout") { table.find("on_timeout", unanswered)? } else { default.unanswered };
    check_unanswered(table, &unanswered, order);
    Some(Exchange { correlate, order, retries, timeout, unanswered })
}

fn unanswered(item: &Item<'_>) -> Option<Unanswered> {
    item.read(|text| match text {
        "drop" => Ok(Unanswered::Drop),
        "close" => Ok(Unanswered::Close),
        text => match did_you_mean(text, ["drop", "close"]) {
            near if near.is_empty() => {
                Template::new(text).map(Unanswered::Reply).map_err(|error| error.to_string())
            }
            near => Err(format!("{text:?} is a poor reply{near}")),
        },
    })
}

/// That a client can tell what a reply is about that stands for another, or that one is missing.
fn check_unanswered(table: &Table<'_>, unanswered: &Unanswered, order: Order) {
    let correlates = table.has("correlate");
    match unanswered {
        Unanswered::Reply(template) if template.names_id() && !correlates => {
            table.wrong_key::<()>(
                "on_timeout",
                "without correlate a message has no {id}; write where it has one, such as correlate = \"/id\"",
            );
        }
        Unanswered::Reply(template) if !template.names_id() && order == Order::AsTheyCome => {
            table.odd("the reply of on_timeout does not say what it answers; write {id} into it");
        }
        Unanswered::Drop if order == Order::AsAsked && !correlates => {
            table.odd(
                "where a reply is dropped, a client that counts takes the next one for it; write on_timeout = \"close\"",
            );
        }
        Unanswered::Reply(_) | Unanswered::Drop | Unanswered::Close => {}
    }
}
