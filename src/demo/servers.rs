//! The servers of the demo, as they are configured: two backends, and the proxy in front of them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{
    Backend, BackendUrl, Config, Cores, Feed, FeedId, Limits, ListenAddress, Pool, PoolId, Route, Target,
    Timeouts,
};
use crate::routing::PathPattern;

/// The feed, and the proxy's route to it.
pub(super) const FEED: &str = "feed";

/// Where tickers are: the proxy's own, and those of the backends.
const TICKER_PATH: &str = "/ticker";

/// Between two messages of the proxy's ticker, and of those that are sources of the feed.
const TICK: Duration = Duration::from_secs(1);
const FEED_TICK: Duration = Duration::from_millis(100);

/// Any free port for this machine alone.
pub(super) fn any_port() -> ListenAddress {
    ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into())
}

/// An echo, and a ticker beside it.
pub(super) fn backend(listen: ListenAddress) -> Config {
    let one_core = core_affinity::get_core_ids().and_then(|cores| cores.last().map(|core| core.id));
    let routes = vec![
        at(TICKER_PATH, Route::new("ticker", Target::Ticker { every: FEED_TICK })),
        Route::new("echo", Target::Echo),
    ];
    Config {
        cores: one_core.map_or(Cores::All, |core| Cores::List([core].into())),
        limits: Limits { connections_max: Some(256) },
        ..server(listen, routes, Vec::new())
    }
}

/// Echoes of all `backends`, and a feed of their tickers: the last one's, as long as it is there.
pub(super) fn proxy(listen: ListenAddress, backends: &[&ListenAddress]) -> Config {
    let pool = |name: &str, urls: &mut dyn Iterator<Item = String>| {
        let urls = urls.filter_map(|url| url.parse::<BackendUrl>().ok());
        Pool::new(name, urls.map(Backend::from).collect())
    };
    let echo = pool("echo", &mut backends.iter().map(|address| format!("ws://{address}")));
    let mut tickers = backends.iter().rev().map(|address| format!("ws://{address}{TICKER_PATH}"));
    let sources = pool(&Feed::pool_name(FEED), &mut tickers);
    let routes = vec![
        at(TICKER_PATH, Route::new("ticker", Target::Ticker { every: TICK })),
        at(&format!("/{FEED}"), Route::new(FEED, Target::Feed(FeedId(0)))),
        Route::new("all", Target::Pool(PoolId(0))),
    ];
    let feed = Feed { name: FEED.into(), sources: PoolId(1), headers: Vec::new(), settings: Arc::default() };
    Config { feeds: vec![Arc::new(feed)], ..server(listen, routes, vec![echo, sources]) }
}

fn at(path: &str, mut route: Route) -> Route {
    route.matcher.path = PathPattern::Exact(path.to_owned());
    route
}

/// With as many connections as the limit of open files allows.
fn server(listen: ListenAddress, mut routes: Vec<Route>, pools: Vec<Pool>) -> Config {
    let close = Duration::from_secs(2);
    routes.iter_mut().for_each(|route| route.session.close = close);
    Config {
        timeouts: Timeouts { drain_window: Duration::from_secs(1), close, ..Timeouts::default() },
        ..Config::new(listen, routes, pools)
    }
}
