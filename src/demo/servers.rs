//! The servers of the demo, as they are configured: two backends, and the proxy in front of them and of
//! the workers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::client::Crew;
use crate::config::{
    Backend, BackendUrl, Config, Cores, Dispatch, DispatchId, Feed, FeedId, Limits, ListenAddress, Pool,
    PoolId, Route, Target, Timeouts,
};
use crate::routing::PathPattern;

/// The feed, and the proxy's route to it.
pub(super) const FEED: &str = "feed";

/// The route of the echoes.
pub(super) const ECHO: &str = "echo";

/// The dispatch, and the proxy's route to it.
const WORK: &str = "work";

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

/// Echoes of all `backends`, and a feed of their tickers: the last one's, as long as it is there. Of the workers, the first
/// works alone, the others together.
pub(super) fn proxy(listen: ListenAddress, backends: &[&ListenAddress], workers: &[SocketAddr]) -> Config {
    let pool = |name: &str, urls: &mut dyn Iterator<Item = String>| {
        let urls = urls.filter_map(|url| url.parse::<BackendUrl>().ok());
        Pool::new(name, urls.map(Backend::from).collect())
    };
    let echo = pool("echo", &mut backends.iter().map(|address| format!("ws://{address}")));
    let mut tickers = backends.iter().rev().map(|address| format!("ws://{address}{TICKER_PATH}"));
    let sources = pool(&Feed::pool_name(FEED), &mut tickers);
    let mut workers = workers.iter().map(|address| format!("ws://{address}"));
    let alone = pool("alone", &mut workers.by_ref().take(1));
    let crew = pool(&Dispatch::pool_name(WORK), &mut workers);
    let routes = vec![
        at(Crew::Many.path(), Route::new(WORK, Target::Dispatch(DispatchId(0)))),
        at(Crew::One.path(), Route::new("alone", Target::Pool(PoolId(2)))),
        at(TICKER_PATH, Route::new("ticker", Target::Ticker { every: TICK })),
        at(&format!("/{FEED}"), Route::new(FEED, Target::Feed(FeedId(0)))),
        Route::new(ECHO, Target::Pool(PoolId(0))),
    ];
    let feed = Feed { name: FEED.into(), sources: PoolId(1), headers: Vec::new(), settings: Arc::default() };
    let work = Dispatch { name: WORK.into(), backends: PoolId(3), settings: Arc::default() };
    Config {
        feeds: vec![Arc::new(feed)],
        dispatches: vec![Arc::new(work)],
        ..server(listen, routes, vec![echo, sources, alone, crew])
    }
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
