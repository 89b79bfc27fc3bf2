//! What differs between two configurations, and what goes on from one to the other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{BackendUrl, Config, Feed, Listen, Pool, Route, Target};

/// Goes on with what listeners and pools have for TLS where the new configuration has the same: the tickets that
/// clients hold, and the sessions of backends that can be resumed, stay good.
pub(super) fn keep_tls(former: &Config, config: &mut Config) {
    let old = by_name(&former.listeners, |listen| &listen.name);
    for listen in &mut config.listeners {
        if let Some(former) =
            old.get(&*listen.name).filter(|former| former.tls.is_some() && former.tls == listen.tls)
        {
            listen.tls.clone_from(&former.tls);
        }
    }
    let old = by_name(&former.pools, |pool| &pool.name);
    for pool in &mut config.pools {
        let same = old.get(&*pool.name).filter(|former| former.tls.is_some() && former.tls == pool.tls);
        if let Some(former) = same {
            Arc::make_mut(pool).tls.clone_from(&former.tls);
        }
    }
}

/// What differs between two configurations, a line each.
pub(super) fn changes(former: &Config, config: &Config) -> Vec<String> {
    let whole = [
        (former.timeouts != config.timeouts, "process: changed"),
        (former.forwarding != config.forwarding, "forwarded: changed"),
    ];
    let whole = whole.into_iter().filter(|(has_changed, _)| *has_changed);
    let mut changes: Vec<_> = whole.map(|(_, line)| line.to_owned()).collect();
    changes.extend(changes_of_listeners(&former.listeners, &config.listeners));
    changes.extend(changes_of_pools(former, config));
    changes.extend(changes_of_feeds(former, config));
    changes.extend(changes_of_routes(former, config));
    changes
}

fn changes_of_pools(former: &Config, config: &Config) -> Vec<String> {
    let pools = |config: &Config| -> Vec<_> {
        config.pools.iter().filter(|pool| Feed::of_pool(&pool.name).is_none()).cloned().collect()
    };
    let (former, pools) = (pools(former), pools(config));
    let (old, new) = (by_name(&former, |pool| &pool.name), by_name(&pools, |pool| &pool.name));
    let mut changes = gone("pool", &former, |pool| &pool.name, &new);
    for pool in &pools {
        match old.get(&*pool.name) {
            None => changes.push(format!("pool {}: added", pool.name)),
            Some(former) if *former == pool => {}
            Some(former) => {
                changes.push(format!("pool {}: changed", pool.name));
                changes.extend(changes_of_backends(&format!("pool {}", pool.name), former, pool));
            }
        }
    }
    changes
}

fn changes_of_feeds(former: &Config, config: &Config) -> Vec<String> {
    let (old, new) = (by_name(&former.feeds, |feed| &feed.name), by_name(&config.feeds, |feed| &feed.name));
    let mut changes = gone("feed", &former.feeds, |feed| &feed.name, &new);
    for feed in &config.feeds {
        let Some(was) = old.get(&*feed.name) else {
            changes.push(format!("feed {}: added", feed.name));
            continue;
        };
        let sources = |config: &Config, feed: &Feed| config.pools.get(feed.sources.index()).cloned();
        let (old, new) = (sources(former, was), sources(config, feed));
        if was.is_like(feed) && old == new {
            continue;
        }
        changes.push(format!("feed {}: changed", feed.name));
        if let Some((old, new)) = old.zip(new) {
            changes.extend(changes_of_backends(&format!("feed {}", feed.name), &old, &new));
        }
    }
    changes
}

fn changes_of_routes(former: &Config, config: &Config) -> Vec<String> {
    let (old, new) =
        (by_name(&former.routes, |route| &route.name), by_name(&config.routes, |route| &route.name));
    let mut changes = gone("route", &former.routes, |route| &route.name, &new);
    // Asked for once both are known to be of the same kind.
    let target_of = |config: &Config, route: &Route| match route.target {
        Target::Pool(id) => config.pools.get(id.index()).map(|pool| pool.name.clone()),
        Target::Feed(id) => config.feeds.get(id.index()).map(|feed| feed.name.clone()),
        Target::Dispatch(id) => config.dispatches.get(id.index()).map(|dispatch| dispatch.name.clone()),
        Target::Echo | Target::Ticker { .. } | Target::Fixed(_) => None,
    };
    for route in &config.routes {
        match old.get(&*route.name) {
            None => changes.push(format!("route {}: added", route.name)),
            Some(was) if was.is_like(route) && target_of(former, was) == target_of(config, route) => {}
            Some(_) => changes.push(format!("route {}: changed", route.name)),
        }
    }
    // The first that matches is taken: another order may be another meaning.
    let stay = |route: &&Arc<Route>, other: &HashMap<_, _>| other.contains_key(&*route.name);
    let before = former.routes.iter().filter(|route| stay(route, &new)).map(|route| &route.name);
    if !before.eq(config.routes.iter().filter(|route| stay(route, &old)).map(|route| &route.name)) {
        changes.push("routes: in another order".to_owned());
    }
    changes
}

fn by_name<T>(all: &[T], name: impl Fn(&T) -> &Arc<str>) -> HashMap<&str, &T> {
    all.iter().map(|one| (&**name(one), one)).collect()
}

/// A line for each that is not among `new`.
fn gone<T>(what: &str, all: &[T], name: impl Fn(&T) -> &Arc<str>, new: &HashMap<&str, &T>) -> Vec<String> {
    let names = all.iter().map(name).filter(|name| !new.contains_key(&***name));
    names.map(|name| format!("{what} {name}: removed")).collect()
}

/// Nothing else of a listener can change.
fn changes_of_listeners(former: &[Listen], listeners: &[Listen]) -> impl Iterator<Item = String> {
    let changed = former.iter().zip(listeners).filter(|(old, new)| old.tls != new.tls);
    changed.map(|(_, listen)| format!("listener {}: certificates or TLS settings changed", listen.name))
}

/// Those that are gone and those that are new, of `whom`.
fn changes_of_backends(whom: &str, former: &Pool, pool: &Pool) -> Vec<String> {
    let urls = |pool: &Pool| -> HashSet<BackendUrl> {
        pool.backends.iter().map(|backend| backend.url.clone()).collect()
    };
    let (old, new) = (urls(former), urls(pool));
    let in_order = |pool: &Pool, other: &HashSet<BackendUrl>, what: &str| -> Vec<String> {
        let urls = pool.backends.iter().map(|backend| &backend.url).filter(|url| !other.contains(url));
        urls.map(|url| format!("{whom}: {what} {url}")).collect()
    };
    [in_order(former, &new, "removed"), in_order(pool, &old, "added")].concat()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls;

    /// What a listener is made of that shows this certificate.
    fn server(certificate: &tls::Certificate) -> Option<Arc<tls::Server>> {
        let settings = tls::ServerSettings {
            certificates: vec![certificate.clone()],
            clients: None,
            least: tls::Version::V1_2,
            handshakes_per_second: None,
            timeout: Duration::from_secs(10),
        };
        Some(Arc::new(tls::Server::new(settings).unwrap()))
    }

    /// What a pool is made of that asks for this name.
    fn client(name: &str) -> Option<Arc<tls::Client>> {
        let settings = tls::ClientSettings {
            verification: tls::Verification::Insecure,
            certificate: None,
            server_name: Some(name.to_owned()),
        };
        Some(Arc::new(tls::Client::new(settings).unwrap()))
    }

    fn certificate() -> tls::Certificate {
        let made = rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]).unwrap();
        tls::Certificate::from_pem(&made.cert.pem(), &made.signing_key.serialize_pem()).unwrap()
    }

    fn config(server: Option<Arc<tls::Server>>, client: Option<Arc<tls::Client>>) -> Config {
        let pool = Pool { tls: client, ..Pool::new("chat", Vec::new()) };
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), Vec::new(), vec![pool]);
        config.listeners[0].tls = server;
        config
    }

    fn is_same<T>(old: &Option<Arc<T>>, new: &Option<Arc<T>>) -> bool {
        old.as_ref().zip(new.as_ref()).is_some_and(|(old, new)| Arc::ptr_eq(old, new))
    }

    #[test]
    fn the_same_tls_goes_on_and_another_begins_anew() {
        let [ours, renewed] = [certificate(), certificate()];
        let former = config(server(&ours), client("a"));
        let listener = "listener public: certificates or TLS settings changed";
        let rows: [(_, _, _, &[&str]); 4] = [
            (server(&ours), client("a"), (true, true), &[]),
            (server(&renewed), client("a"), (false, true), &[listener]),
            (server(&ours), client("b"), (true, false), &["pool chat: changed"]),
            (None, None, (false, false), &[listener, "pool chat: changed"]),
        ];
        for (server, client, is_kept, told) in rows {
            let mut new = config(server, client);
            assert_eq!(changes(&former, &new), told);
            keep_tls(&former, &mut new);
            let [old, now] = [&former, &new].map(|config| &config.listeners[0].tls);
            let [old_pool, pool_now] = [&former, &new].map(|config| &config.pools[0].tls);
            assert_eq!((is_same(old, now), is_same(old_pool, pool_now)), is_kept, "{told:?}");
            assert_eq!(changes(&former, &new), told, "what is kept is the same");
        }
    }

    /// What a file with these lines behind a listener comes to.
    fn read(lines: &str) -> Config {
        struct Nothing;
        impl crate::config::Sources for Nothing {
            fn env(&self, name: &str) -> Option<String> {
                Some(format!("value-of-{name}"))
            }

            fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
                Err(std::io::ErrorKind::NotFound.into())
            }

            fn unix_now(&self) -> u64 {
                0
            }

            fn system_roots(&self) -> std::io::Result<Vec<tls::CertificateDer<'static>>> {
                Err(std::io::ErrorKind::NotFound.into())
            }
        }
        let text = format!("[listen.public]\naddr = \":1\"\n{lines}");
        crate::config::parse(&text, "selat.toml", &Nothing).unwrap().config
    }

    #[test]
    fn a_feed_is_told_of_by_its_name_and_its_sources() {
        const FX: &str = "[route.fx]\nfeed = \"fx\"\n[feed.fx]\nsources = [\"ws://a/?t=${A}\"]\n";
        let former = read(FX);
        let rows: [(String, &[&str]); 6] = [
            (FX.to_owned(), &[]),
            // Another place among the pools is no change.
            (format!("[pool.chat]\nbackends = [\"ws://c\"]\n{FX}"), &["pool chat: added"]),
            (format!("{FX}history = 3\n"), &["feed fx: changed"]),
            (
                FX.replace("${A}", "${B}"),
                &[
                    "feed fx: changed",
                    "feed fx: removed ws://a:80/?t=${A}",
                    "feed fx: added ws://a:80/?t=${B}",
                ],
            ),
            (
                FX.replace("fx", "fy").replace("[route.fy]", "[route.fx]"),
                &["feed fx: removed", "feed fy: added", "route fx: changed"],
            ),
            ("[route.fx]\nrespond = \"echo\"\n".to_owned(), &["feed fx: removed", "route fx: changed"]),
        ];
        for (lines, told) in rows {
            assert_eq!(changes(&former, &read(&lines)), told, "{lines}");
        }
    }
}
