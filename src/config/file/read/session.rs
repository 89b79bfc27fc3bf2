//! What the sessions of a route are held to: times, sizes, rates, pings.

use std::num::NonZeroU64;

use super::super::item::Item;
use super::super::table::Table;
use crate::config::{parse_byte_rate, parse_rate};
use crate::session::{Excess, Ping, Pings, Rate, RateLimit, Settings};

const EXCESSES: [(&str, Excess); 2] = [("slow", Excess::Slow), ("close", Excess::Close)];

pub(super) fn session(route: &Table<'_>, limits: &Table<'_>) -> Settings {
    let timeouts = route.table("timeouts");
    let messages = rate(limits, "rate", |item| item.read(parse_rate), "rate_burst", |item| item.count());
    let bytes = rate(limits, "bytes", |item| item.read(parse_byte_rate), "bytes_burst", |item| item.size());
    let excess = limits.get("excess", |item| item.word(&EXCESSES));
    let is_limited = messages.is_some() || bytes.is_some();
    Settings {
        close: timeouts.get("close", |item| item.duration()),
        idle: timeouts.get("idle", |item| item.duration()),
        lifetime: timeouts.find("lifetime", |item| item.duration()),
        message_bytes_max: limits.find("message", |item| item.size()).unwrap_or(u64::MAX),
        frame_bytes_max: limits.find("frame", |item| item.size()).unwrap_or(u64::MAX),
        rate: is_limited.then_some(RateLimit { messages, bytes, excess }),
        ping: route.table_if_any("ping").map(|table| pings(&table)).unwrap_or_default(),
    }
}

/// A rate and its burst, which is a second's worth unless it is said.
fn rate(
    limits: &Table<'_>,
    name: &str,
    read: impl Fn(&Item<'_>) -> Option<NonZeroU64>,
    burst_name: &str,
    read_burst: impl Fn(&Item<'_>) -> Option<u64>,
) -> Option<Rate> {
    let burst = limits.find(burst_name, read_burst).and_then(NonZeroU64::new);
    if limits.has(burst_name) && !limits.has(name) {
        limits.wrong_key::<()>(
            burst_name,
            format!("there is no {name} that it could exceed; write {name} too"),
        );
    }
    let per_second = limits.find(name, read)?;
    Some(Rate { per_second, burst: burst.unwrap_or(per_second) })
}

fn pings(table: &Table<'_>) -> Pings {
    let timeout = table.get("timeout", |item| item.duration());
    let both = table.find("every", |item| item.duration()).map(|every| Ping { every, timeout });
    let side = |name: &str| {
        let Some(side) = table.table_if_any(name) else { return both };
        let timeout = side.find("timeout", |item| item.duration()).unwrap_or(timeout);
        side.find("every", |item| item.duration()).map(|every| Ping { every, timeout })
    };
    let pings = Pings { client: side("client"), backend: side("backend") };
    if !["every", "client", "backend"].iter().any(|name| table.has(name)) {
        table.wrong::<()>("nobody is pinged; write every = \"20s\"");
    }
    pings
}
