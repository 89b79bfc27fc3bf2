//! Routes that no request reaches, because an earlier one takes all that they are for.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::table::Named;
use crate::config::Route;
use crate::routing::{HostPattern, Matcher, PathPattern};

/// Notes each of `routes` that one before it covers. Looks only at those that could, so that the time it takes grows
/// with the routes, not with their square.
pub(super) fn warn(routes: &[Arc<Route>], tables: &[Named<'_>]) {
    let mut before: HashMap<(HostPattern, PathPattern), Vec<&Route>> = HashMap::new();
    for (route, named) in routes.iter().zip(tables) {
        let Matcher { host, path, .. } = &route.matcher;
        let wider = wider_hosts(host)
            .into_iter()
            .flat_map(|host| wider_paths(path).into_iter().map(move |path| (host.clone(), path)));
        let mut candidates = wider.filter_map(|key| before.get(&key)).flatten();
        if let Some(cover) = candidates.find(|earlier| earlier.matcher.covers(&route.matcher)) {
            let what = format!("no request gets here: [route.{}] before it takes them all", cover.name);
            named.table.odd(what);
        }
        before.entry((host.clone(), path.clone())).or_default().push(route);
    }
}

/// Every pattern that takes all that `host` takes.
fn wider_hosts(host: &HostPattern) -> Vec<HostPattern> {
    let mut wider = vec![HostPattern::Any, host.clone()];
    if let HostPattern::Exact(name) | HostPattern::Suffix(name) = host {
        let suffixes = name.match_indices('.').filter_map(|(at, _)| name.get(at..));
        wider.extend(suffixes.map(|suffix| HostPattern::Suffix(suffix.to_owned())));
    }
    wider.dedup();
    wider
}

/// Every pattern that takes all that `path` takes.
fn wider_paths(path: &PathPattern) -> Vec<PathPattern> {
    let mut wider = vec![PathPattern::Any, path.clone()];
    if let PathPattern::Exact(text) | PathPattern::Prefix(text) = path {
        let prefixes = text.match_indices('/').filter_map(|(at, _)| text.get(..=at));
        wider.extend(prefixes.map(|prefix| PathPattern::Prefix(prefix.to_owned())));
    }
    wider.dedup();
    wider
}
