//! Pools, feeds and dispatches that no route names: a route to them was forgotten, or they were.

use std::collections::HashSet;

use super::super::table::Table;
use crate::config::{Config, Target};

const KINDS: [(&str, &str); 3] = [
    ("pool", "no route uses this pool"),
    ("feed", "no route uses this feed, and its source is dialled all the same"),
    ("dispatch", "no route uses this dispatch"),
];

/// Notes each of them.
pub(super) fn warn(config: &Config, file: &Table<'_>) {
    let used: HashSet<_> = config.routes.iter().filter_map(|route| used(&route.target)).collect();
    for (under, what) in KINDS {
        let tables = file.named(under);
        for (_, named) in tables.iter().enumerate().filter(|(place, _)| !used.contains(&(under, *place))) {
            named.table.odd(what);
        }
    }
}

/// The key that what a route leads to stands under, and its place there.
fn used(target: &Target) -> Option<(&'static str, usize)> {
    match target {
        Target::Pool(pool) => Some(("pool", pool.index())),
        Target::Feed(feed) => Some(("feed", feed.index())),
        Target::Dispatch(dispatch) => Some(("dispatch", dispatch.index())),
        Target::Echo | Target::Ticker { .. } | Target::Fixed(_) => None,
    }
}
