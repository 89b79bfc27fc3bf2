//! What differs between two configurations, and what goes on from one to the other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{BackendUrl, Config, Listen, Pool, Route, Target};

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
    let (old, new) = (by_name(&former.pools, |pool| &pool.name), by_name(&config.pools, |pool| &pool.name));
    changes.extend(gone("pool", &former.pools, |pool| &pool.name, &new));
    for pool in &config.pools {
        match old.get(&*pool.name) {
            None => changes.push(format!("pool {}: added", pool.name)),
            Some(former) if *former == pool => {}
            Some(former) => changes.extend(changes_of_pool(former, pool)),
        }
    }
    let (old, new) =
        (by_name(&former.routes, |route| &route.name), by_name(&config.routes, |route| &route.name));
    changes.extend(gone("route", &former.routes, |route| &route.name, &new));
    let pool_of = |config: &Config, route: &Route| match route.target {
        Target::Pool(id) => config.pools.get(id.index()).map(|pool| pool.name.clone()),
        Target::Feed(_) | Target::Echo | Target::Ticker { .. } | Target::Fixed(_) => None,
    };
    for route in &config.routes {
        match old.get(&*route.name) {
            None => changes.push(format!("route {}: added", route.name)),
            Some(was) if was.is_like(route) && pool_of(former, was) == pool_of(config, route) => {}
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

fn changes_of_pool(former: &Pool, pool: &Pool) -> Vec<String> {
    let urls = |pool: &Pool| -> HashSet<BackendUrl> {
        pool.backends.iter().map(|backend| backend.url.clone()).collect()
    };
    let (old, new) = (urls(former), urls(pool));
    let name = &pool.name;
    let in_order = |pool: &Pool, other: &HashSet<BackendUrl>, what: &str| -> Vec<String> {
        let urls = pool.backends.iter().map(|backend| &backend.url).filter(|url| !other.contains(url));
        urls.map(|url| format!("pool {name}: {what} {url}")).collect()
    };
    [vec![format!("pool {name}: changed")], in_order(former, &new, "removed"), in_order(pool, &old, "added")]
        .concat()
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
}
