//! All routes at once: a few hash lookups find the first that matches, however many there are.

use std::collections::HashMap;

use super::{HostPattern, ListenId, Matcher, PathPattern, host_name, normal_path};

/// Finds routes by their place in the list it was made of.
#[derive(Debug, Default)]
pub struct Router {
    /// By [`ListenId`].
    listeners: Vec<Hosts>,
}

/// The routes of one listener, by host.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<String, Paths>,
    /// By what a host must end with.
    suffix: HashMap<String, Paths>,
    any: Paths,
}

/// The routes of one host pattern, by path: the first of each.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<String, usize>,
    prefix: HashMap<String, usize>,
    /// Slashes in the longest prefix: deeper ones need not be looked up, whatever a client sends.
    depth_max: usize,
    any: Option<usize>,
}

impl Router {
    /// A router for `routes` on this many listeners.
    #[must_use]
    pub fn new<'m>(routes: impl IntoIterator<Item = &'m Matcher>, listeners: usize) -> Self {
        let mut router = Self::default();
        router.listeners.resize_with(listeners, Hosts::default);
        for (route, matcher) in routes.into_iter().enumerate() {
            for (id, hosts) in (0..).map(ListenId).zip(&mut router.listeners) {
                if matcher.listeners.is_empty() || matcher.listeners.contains(&id) {
                    hosts.paths(&matcher.host).insert(&matcher.path, route);
                }
            }
        }
        router
    }

    /// The first route for a request on `listener` with this Host field and request target.
    #[must_use]
    pub fn find(&self, listener: ListenId, host: &str, target: &str) -> Option<usize> {
        let hosts = self.listeners.get(listener.index())?;
        let path = normal_path(target);
        let mut first = hosts.any.find(&path);
        if hosts.exact.is_empty() && hosts.suffix.is_empty() {
            return first;
        }
        let name = host_name(host);
        let mut look = |paths: Option<&Paths>| {
            first = [first, paths.and_then(|paths| paths.find(&path))].into_iter().flatten().min();
        };
        look(hosts.exact.get(&*name));
        if !hosts.suffix.is_empty() {
            for (dot, _) in name.match_indices('.') {
                look(name.get(dot..).and_then(|suffix| hosts.suffix.get(suffix)));
            }
        }
        first
    }
}

impl Hosts {
    fn paths(&mut self, host: &HostPattern) -> &mut Paths {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Suffix(suffix) => self.suffix.entry(suffix.clone()).or_default(),
        }
    }
}

impl Paths {
    fn insert(&mut self, path: &PathPattern, route: usize) {
        match path {
            PathPattern::Any => {
                self.any.get_or_insert(route);
            }
            PathPattern::Exact(path) => insert_first(&mut self.exact, path, route),
            PathPattern::Prefix(prefix) => {
                self.depth_max = self.depth_max.max(prefix.matches('/').count());
                insert_first(&mut self.prefix, prefix, route);
            }
        }
    }

    fn find(&self, path: &str) -> Option<usize> {
        let exact = self.exact.get(path).copied();
        let prefixes = path.match_indices('/').take(self.depth_max);
        let prefix = prefixes.filter_map(|(slash, _)| self.prefix.get(path.get(..=slash)?)).min().copied();
        [exact, prefix, self.any].into_iter().flatten().min()
    }
}

fn insert_first(map: &mut HashMap<String, usize>, key: &str, route: usize) {
    map.entry(key.to_owned()).or_insert(route);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(&str, &str)]) -> Router {
        let matcher = |(host, path): &(&str, &str)| Matcher {
            listeners: Vec::new(),
            host: host.parse().unwrap(),
            path: path.parse().unwrap(),
        };
        let matchers: Vec<_> = routes.iter().map(matcher).collect();
        Router::new(&matchers, 1)
    }

    #[test]
    fn the_first_match_wins_in_file_order() {
        let routes = [
            ("chat.example.com", "/ws/admin"),
            ("chat.example.com", "/ws/*"),
            ("*.example.com", "/ws/*"),
            ("*", "/ws/late/*"),
            ("*", "/healthz"),
            ("chat.example.com", "/*"),
            ("*.example.com", "/*"),
        ];
        let router = router(&routes);
        let rows = [
            (("chat.example.com", "/ws/admin"), Some(0)),
            (("Chat.Example.Com:8765", "/ws/admin?x=1"), Some(0)),
            (("chat.example.com", "/ws/admin/x"), Some(1)),
            (("chat.example.com", "/ws/late/x"), Some(1)),
            (("other.example.com", "/ws/late/x"), Some(2)),
            (("a.b.example.com", "/ws/x"), Some(2)),
            (("example.com", "/ws/late/x"), Some(3)),
            (("example.com", "/ws/x"), None),
            (("chat.example.com", "/healthz"), Some(4)),
            (("chat.example.com", "/ws"), Some(5)),
            (("other.example.com", "/"), Some(6)),
            (("", "/"), None),
        ];
        for ((host, target), route) in rows {
            assert_eq!(router.find(ListenId(0), host, target), route, "{host}{target}");
        }
    }

    #[test]
    fn another_spelling_takes_no_other_route() {
        let router = router(&[("*", "/private/*"), ("*", "/*")]);
        for target in
            ["/private/x", "//private/x", "/%70rivate/x", "/a/../private/x", "/private%2fx", "/./private/x"]
        {
            assert_eq!(router.find(ListenId(0), "x", target), Some(0), "{target}");
        }
    }

    #[test]
    fn a_route_may_be_for_some_listeners_only() {
        let inside = Matcher { listeners: vec![ListenId(1)], ..Matcher::default() };
        let router = Router::new(&[inside, Matcher::default()], 2);
        assert_eq!(router.find(ListenId(0), "x", "/"), Some(1));
        assert_eq!(router.find(ListenId(1), "x", "/"), Some(0));
        assert_eq!(router.find(ListenId(2), "x", "/"), None);
    }
}
