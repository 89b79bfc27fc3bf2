//! From tables to the model: each section in a file of its own, references between them looked up by name.

mod acme;
mod dispatch;
mod feed;
mod guard;
mod pool;
mod process;
mod responder;
mod route;
mod session;
mod shadow;
mod tls;
mod unused;

use std::collections::HashMap;
use std::sync::Arc;

use super::item::Item;
use super::mistake::did_you_mean;
use super::table::{Named, Table};
use crate::config::{Config, Listen, ListenAddress};

/// What a route may refer to by name.
struct Known<'f> {
    listeners: Names<'f>,
    pools: Names<'f>,
    feeds: Names<'f>,
    dispatches: Names<'f>,
}

/// Names in the order of the file, which is that of the model.
struct Names<'f> {
    /// The key that they stand under, for messages.
    under: &'static str,
    places: HashMap<&'f str, u16>,
}

/// The whole file; `None` if anything is wrong with it.
pub(super) fn config(file: &Table<'_>) -> Option<Config> {
    let listeners = file.named("listen");
    let pools = file.named("pool");
    let feeds = file.named("feed");
    let dispatches = file.named("dispatch");
    let routes = file.named("route");
    // Known by name even where they are wrong, so that no mistake is told twice.
    let known = Known {
        listeners: Names::new("listen", &listeners),
        pools: Names::new("pool", &pools),
        feeds: Names::new("feed", &feeds),
        dispatches: Names::new("dispatch", &dispatches),
    };
    if routes.is_empty() {
        file.need(
            "route",
            "there is no route; write [route.all], and below it pool = \"NAME\", feed = \"NAME\", dispatch = \"NAME\" or \
             respond = \"echo\"",
        );
    }
    if listeners.is_empty() {
        file.need("listen", "there is no listener; write [listen.public], and below it addr = \":8765\"");
    }
    let process = process::process(&file.table("process"));
    let forwarding = process::forwarding(&file.table("forwarded"));
    let log = process::log(&file.table("log"));
    let admin = file.table_if_any("admin").map(|table| process::admin(&table));
    let listeners = all(&listeners, process::listen);
    let pools = all(&pools, pool::pool);
    let feeds = all(&feeds, feed::feed);
    let dispatches = all(&dispatches, dispatch::dispatch);
    let routes = all(&routes, |named| route::route(named, &known));
    let (listeners, admin) = (listeners?, admin.map_or(Some(None), |admin| admin.map(Some))?);
    let mut pools = pools?;
    let feeds: Option<Vec<_>> = feeds?.into_iter().map(|feed| feed.place(&mut pools)).collect();
    let dispatches: Option<Vec<_>> =
        dispatches?.into_iter().map(|dispatch| dispatch.place(&mut pools)).collect();
    let (Some(feeds), Some(dispatches)) = (feeds, dispatches) else {
        return file.wrong("there are too many pools, feeds and dispatches; 65535 is the most");
    };
    Some(Config {
        listeners,
        admin,
        cores: process.cores,
        placement: process.placement,
        limits: process.limits,
        timeouts: process.timeouts,
        handover: process.handover,
        forwarding,
        log,
        pools: pools.into_iter().map(Arc::new).collect(),
        routes: routes?.into_iter().map(Arc::new).collect(),
        feeds: feeds.into_iter().map(Arc::new).collect(),
        dispatches: dispatches.into_iter().map(Arc::new).collect(),
        effective: Arc::default(),
    })
}

/// What holds between sections that are right each by itself.
pub(super) fn check(file: &Table<'_>, config: &Config) {
    let mut addresses: HashMap<&ListenAddress, &str> = HashMap::new();
    for (Listen { name, address, .. }, named) in config.listeners.iter().zip(file.named("listen")) {
        // Each port 0 is a port of its own.
        if matches!(address, ListenAddress::Tcp(address) if address.port() == 0) {
            continue;
        }
        if let Some(other) = addresses.insert(address, name) {
            named.table.wrong_key::<()>("addr", format!("[listen.{other}] has the same address"));
        }
    }
    acme::check(&config.listeners, &file.named("listen"));
    let shared = config.admin.as_ref().and_then(|admin| addresses.get(&admin.address));
    if let Some(other) = shared {
        file.table("admin").wrong_key::<()>("addr", format!("[listen.{other}] has the same address"));
    }
    shadow::warn(&config.routes, &file.named("route"));
    unused::warn(config, file);
}

/// Every one of them, even behind one that is wrong.
fn all<T>(tables: &[Named<'_>], read: impl Fn(&Named<'_>) -> Option<T>) -> Option<Vec<T>> {
    let read: Vec<_> = tables.iter().map(read).collect();
    read.into_iter().collect()
}

impl<'f> Names<'f> {
    fn new(under: &'static str, tables: &'f [Named<'_>]) -> Self {
        let places = (0..).zip(tables).map(|(place, named)| (&*named.name, place));
        Self { under, places: places.collect() }
    }

    /// The place of the one that `item` names.
    fn find(&self, item: &Item<'_>) -> Option<u16> {
        item.read(|name| {
            self.places.get(name).copied().ok_or_else(|| {
                let near = did_you_mean(name, self.places.keys().copied());
                format!("there is no [{}.{name}]{near}", self.under)
            })
        })
    }
}
