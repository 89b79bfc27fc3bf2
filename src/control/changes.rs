//! What differs between two configurations, and what goes on from one to the other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{BackendUrl, Config, Dispatch, Feed, Listen, Pool, PoolId, Route, Target};

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
    changes.extend(changes_of("pool", &pools(former), &pools(config), |_, _| true));
    changes.extend(changes_of("feed", &feeds(former), &feeds(config), Feed::is_like));
    changes.extend(changes_of("dispatch", &dispatches(former), &dispatches(config), Dispatch::is_like));
    changes.extend(changes_of_routes(former, config));
    changes
}

/// A pool, feed or dispatch: what it is called, and where its backends are.
struct Whom<'c, T> {
    name: &'c Arc<str>,
    what: &'c T,
    backends: Option<&'c Arc<Pool>>,
}

impl<'c, T> Whom<'c, T> {
    fn new(config: &'c Config, name: &'c Arc<str>, what: &'c T, backends: PoolId) -> Self {
        Self { name, what, backends: config.pools.get(backends.index()) }
    }
}

/// Those that stand under `[pool.NAME]`.
fn pools(config: &Config) -> Vec<Whom<'_, Pool>> {
    let is_own = |name: &str| Feed::of_pool(name).is_none() && Dispatch::of_pool(name).is_none();
    let pools = (0..).map(PoolId).zip(&config.pools).filter(|(_, pool)| is_own(&pool.name));
    pools.map(|(id, pool)| Whom::new(config, &pool.name, pool.as_ref(), id)).collect()
}

fn feeds(config: &Config) -> Vec<Whom<'_, Feed>> {
    let feeds = config.feeds.iter();
    feeds.map(|feed| Whom::new(config, &feed.name, feed.as_ref(), feed.sources)).collect()
}

fn dispatches(config: &Config) -> Vec<Whom<'_, Dispatch>> {
    let dispatches = config.dispatches.iter();
    dispatches
        .map(|dispatch| Whom::new(config, &dispatch.name, dispatch.as_ref(), dispatch.backends))
        .collect()
}

fn changes_of<T>(
    kind: &str,
    former: &[Whom<'_, T>],
    now: &[Whom<'_, T>],
    is_like: impl Fn(&T, &T) -> bool,
) -> Vec<String> {
    let (old, new) = (by_name(former, |whom| whom.name), by_name(now, |whom| whom.name));
    let mut changes = gone(kind, former, |whom| whom.name, &new);
    for whom in now {
        let name = format!("{kind} {}", whom.name);
        match old.get(&**whom.name) {
            None => changes.push(format!("{name}: added")),
            Some(was) if is_like(was.what, whom.what) && was.backends == whom.backends => {}
            Some(was) => {
                changes.push(format!("{name}: changed"));
                if let Some((old, new)) = was.backends.zip(whom.backends) {
                    changes.extend(changes_of_backends(&name, old, new));
                }
            }
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
    fn a_dispatch_is_told_of_by_its_name_and_its_backends() {
        const WORK: &str = "[route.work]\ndispatch = \"work\"\n[dispatch.work]\nbackends = [\"ws://a\"]\n";
        let former = read(WORK);
        let rows: [(String, &[&str]); 7] = [
            (WORK.to_owned(), &[]),
            // Another place among the pools is no change.
            (format!("[pool.chat]\nbackends = [\"ws://c\"]\n{WORK}"), &["pool chat: added"]),
            (format!("{WORK}outstanding_max = 3\n"), &["dispatch work: changed"]),
            (format!("{WORK}health = {{ probe = \"tcp\" }}\n"), &["dispatch work: changed"]),
            (
                WORK.replace("ws://a", "ws://b"),
                &[
                    "dispatch work: changed",
                    "dispatch work: removed ws://a:80",
                    "dispatch work: added ws://b:80",
                ],
            ),
            (
                WORK.replace("work", "play").replace("[route.play]", "[route.work]"),
                &["dispatch work: removed", "dispatch play: added", "route work: changed"],
            ),
            (
                "[route.work]\nrespond = \"echo\"\n".to_owned(),
                &["dispatch work: removed", "route work: changed"],
            ),
        ];
        for (lines, told) in rows {
            assert_eq!(changes(&former, &read(&lines)), told, "{lines}");
        }
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
