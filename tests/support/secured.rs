//! A proxy that speaks TLS with clients, in front of a plain backend.

use super::loopback;
use super::proxy::Proxy;
use super::tls::{Authority, Certificate, Validity};

/// It, and who has signed its certificate.
pub(crate) struct Secured {
    pub(crate) proxy: Proxy,
    pub(crate) authority: Authority,
    /// For `localhost`, and for where it listens.
    pub(crate) certificate: Certificate,
}

impl Secured {
    /// In front of this backend, with these lines more in the table `tls` of its listener.
    pub(crate) fn start(backend: &str, tls: &str) -> Self {
        Self::with(backend, tls, "")
    }

    /// The same, with these lines more in its route.
    pub(crate) fn with(backend: &str, tls: &str, route: &str) -> Self {
        let (authority, host) = (Authority::new(), loopback().to_string());
        let certificate = authority.certificate(&["localhost", &host], Validity::Now);
        let tls = format!("{}{tls}", lines(&certificate));
        let proxy =
            Proxy::from_toml(&toml(&host, &tls, &format!("{route}[pool.app]\nbackends = [\"{backend}\"]\n")));
        Self { proxy, authority, certificate }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.proxy.address
    }

    /// Why the next handshake that came to nothing did.
    pub(crate) fn failure(&mut self) -> String {
        self.proxy.line("no TLS session").get("error")
    }
}

/// The lines that name a certificate.
pub(crate) fn lines(certificate: &Certificate) -> String {
    format!("cert = \"{}\"\nkey = \"{}\"\n", certificate.chain_file(), certificate.key_file())
}

/// A listener at `host` with these lines in its table `tls`, and a route to the pool `app`, from whose lines on the
/// text is `rest`. On one core, and telling of every handshake that comes to nothing.
pub(crate) fn toml(host: &str, tls: &str, rest: &str) -> String {
    let core = super::allowed_cores().first().expect("one core").to_string();
    format!(
        "[process]\ncores = \"{core}\"\ndrain_window = \"100ms\"\n[log]\nlevel = \"debug\"\n[listen.public]\naddr = \"{host}:0\"\n\
         [listen.public.tls]\n{tls}\n[route.all]\npool = \"app\"\n{rest}"
    )
}
