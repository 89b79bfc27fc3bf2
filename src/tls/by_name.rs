//! Which certificate a client is shown: by the name that it asks for (SNI, RFC 6066 §3) and the keys that it can check.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// Certificates by their names. A name may have several, of which the first that the client can check is taken: one
/// with an ECDSA key and one with an RSA key for old clients, say.
pub(super) struct ByName {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what comes after `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut by_name = Self { exact: HashMap::new(), wildcard: HashMap::new(), all: Vec::new() };
        for certificate in certificates {
            let key = certificate.key();
            for name in certificate.names() {
                let name = name.to_ascii_lowercase();
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_name.wildcard, parent.to_owned()),
                    None => (&mut by_name.exact, name),
                };
                names.entry(name).or_default().push(key.clone());
            }
            by_name.all.push(key);
        }
        by_name
    }

    /// An exact name is better than a wildcard, and either than the first of all, which is for clients that ask for no
    /// name or for one that nobody here has: they can then say what is wrong better than an alert could.
    ///
    /// Where the client can check no key of them, the first is returned: rustls then has the words for why not.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let checkable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let for_all = || self.all.iter().find(checkable).or(self.all.first());
        self.named(&name).find(checkable).or_else(|| self.named(&name).next()).or_else(for_all)
    }

    /// RFC 9525 §6.3: a wildcard stands for exactly one label, the leftmost.
    fn named(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let exact = self.exact.get(name);
        let wildcard = name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        exact.into_iter().chain(wildcard).flatten()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

/// Its names only: the rest is keys.
impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.exact.keys()).entries(self.wildcard.keys()).finish()
    }
}
