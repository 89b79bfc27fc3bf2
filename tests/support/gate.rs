//! A proxy with one route, to a backend that the test plays.

use super::backend::Stage;
use super::frames::{TEXT, client_frame};
use super::http::{Head, switching, upgrade_request};
use super::loopback;
use super::proxy::Proxy;
use super::raw::Raw;

/// One route before a backend.
pub(crate) struct Gate {
    pub(crate) proxy: Proxy,
    pub(crate) backend: Stage,
}

/// A session that was let in, both ends behind the handshake.
pub(crate) struct Session {
    pub(crate) client: Raw,
    pub(crate) backend: Raw,
    /// What the backend was asked.
    pub(crate) asked: Head,
    /// What the client was answered.
    pub(crate) answered: Head,
}

impl Gate {
    /// `route` are lines of the table `[route.all]`, and of tables below it.
    pub(crate) fn new(route: &str) -> Self {
        Self::with(route, "", "")
    }

    /// The same with lines of `[listen.public]`, and further tables.
    pub(crate) fn with(route: &str, listen: &str, tables: &str) -> Self {
        let backend = Stage::new();
        let proxy = Proxy::from_toml_on_one_core(&format!(
            "[listen.public]\naddr = \"{}:0\"\n{listen}\n[route.all]\npool = \"app\"\n{route}\n\
             [pool.app]\nbackends = [\"{}\"]\n{tables}\n",
            loopback(),
            backend.url()
        ));
        Self { proxy, backend }
    }

    /// Opens a session with this request.
    pub(crate) fn admits(&self, request: &[u8]) -> Session {
        self.admits_on(self.proxy.dial(), request, &[])
    }

    /// Opens a session with this request on a connection of the caller's, to which the backend answers 101 with these
    /// header lines.
    pub(crate) fn admits_on(&self, mut client: Raw, request: &[u8], answer: &[&str]) -> Session {
        client.send(request);
        let (mut backend, asked) = self.backend.request();
        backend.send(&switching(answer));
        let answered = client.head();
        assert_eq!(answered.status(), 101);
        client.send(&client_frame(TEXT, true, b"through"));
        assert_eq!(backend.frame().payload, b"through");
        Session { client, backend, asked, answered }
    }

    /// That this request is refused with this status, and logged with this reason: the answer.
    pub(crate) fn refuses(&mut self, request: &[u8], status: u16, reason: &str) -> (Head, String) {
        let client = self.proxy.dial();
        self.refuses_on(client, request, status, reason)
    }

    /// The same on a connection of the caller's.
    pub(crate) fn refuses_on(
        &mut self,
        mut client: Raw,
        request: &[u8],
        status: u16,
        reason: &str,
    ) -> (Head, String) {
        client.send(request);
        let (head, body) = client.response();
        let body = String::from_utf8(body).expect("a sentence");
        assert_eq!(head.status(), status, "{}: {body}", request.escape_ascii());
        let logged = self.proxy.refusal();
        assert_eq!(logged, (status.into(), reason.to_owned()), "{}", request.escape_ascii());
        (head, body)
    }

    /// That the first request to reach the backend is this one, sent now with these header lines.
    pub(crate) fn expect_nothing_reached_the_backend(&self, more: &[&str]) {
        assert_eq!(self.admits(&upgrade_request("/witness", more)).asked.target(), "/witness");
    }
}
