//! The admin interface of a running proxy.

use selat::telemetry::{BackendOverview, BackendState, Overview, PoolOverview};

use super::eventually;
use super::proxy::Proxy;
use super::raw::Raw;

/// A client of it.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    address: String,
}

/// A proxy with this configuration, and its admin interface.
pub(crate) fn start(toml: &str) -> (Proxy, Admin) {
    let mut proxy = Proxy::from_toml(toml);
    let admin = Admin::of(&mut proxy);
    (proxy, admin)
}

impl Admin {
    /// Of a proxy whose configuration has one. To be asked for once.
    pub(crate) fn of(proxy: &mut Proxy) -> Self {
        Self { address: proxy.line("admin interface").get("address") }
    }

    /// What `/status` says.
    pub(crate) fn status(&self) -> Overview {
        let (status, body) = self.ask("GET", "/status");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("an overview")
    }

    /// Asks for something that changes something.
    pub(crate) fn post(&self, path: &str) -> (u16, String) {
        self.ask("POST", path)
    }

    /// Asks for something that must be done.
    pub(crate) fn order(&self, path: &str) {
        let (status, body) = self.post(path);
        assert_eq!(status, 200, "{path}: {body}");
    }

    /// The first pool.
    pub(crate) fn pool(&self) -> PoolOverview {
        self.status().pools.into_iter().next().expect("a pool")
    }

    /// The backend at this URL.
    pub(crate) fn backend(&self, url: &str) -> BackendOverview {
        let pool = self.pool();
        pool.backends.into_iter().find(|backend| backend.name == url).expect("it is configured")
    }

    /// Waits until the backend at this URL is in this state.
    pub(crate) fn wait_for(&self, url: &str, state: BackendState) {
        eventually(state.name(), || self.backend(url).state == state);
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut connection = Raw::connect(&self.address);
        connection.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let (head, body) = connection.response();
        (head.status(), String::from_utf8(body).expect("text"))
    }
}
