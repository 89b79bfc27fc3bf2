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

#[cfg(test)]
mod tests {
    use rustls::SignatureScheme as Scheme;

    use super::super::testing::{Authority, params, rsa_key};
    use super::*;

    const ALL: [Scheme; 2] = [Scheme::ECDSA_NISTP256_SHA256, Scheme::RSA_PSS_SHA256];
    const ECDSA: [Scheme; 1] = [Scheme::ECDSA_NISTP256_SHA256];
    const RSA: [Scheme; 1] = [Scheme::RSA_PSS_SHA256];

    /// The index of what is chosen.
    fn chosen(certificates: &[Certificate], name: Option<&str>, schemes: &[Scheme]) -> Option<usize> {
        let by_name = ByName::new(certificates);
        let key = by_name.choose(name, schemes)?;
        certificates.iter().position(|one| Arc::ptr_eq(&one.key(), key))
    }

    #[test]
    fn an_exact_name_comes_before_a_wildcard_and_that_before_the_first() {
        let ca = Authority::new("ca");
        let certificates = [
            ca.certificate(&["first.example"]),
            ca.certificate(&["*.example.com", "example.com"]),
            ca.certificate(&["chat.example.com", "CHAT.example.org"]),
            ca.certificate(&["*.Deep.example.com", "192.0.2.7"]),
        ];
        let rows = [
            (Some("first.example"), 0),
            (Some("example.com"), 1),
            (Some("feed.example.com"), 1),
            (Some("chat.example.com"), 2),
            (Some("Chat.Example.Com"), 2),
            (Some("chat.example.org"), 2),
            (Some("a.deep.example.com"), 3),
            (Some("deep.example.com"), 1),
            // RFC 9525 §6.3: one label, and a whole one.
            (Some("a.b.example.com"), 0),
            (Some("xexample.com"), 0),
            (Some(".example.com"), 1),
            (Some("*.example.com"), 1),
            (Some("other.example"), 0),
            (Some("com"), 0),
            (Some(""), 0),
            (None, 0),
        ];
        for (name, index) in rows {
            assert_eq!(chosen(&certificates, name, &ALL), Some(index), "{name:?}");
        }
        assert_eq!(chosen(&[], Some("example.com"), &ALL), None);
    }

    #[test]
    fn of_several_for_a_name_the_first_that_the_client_can_check_is_shown() {
        let ca = Authority::new("ca");
        let rsa = |names: &[&str]| ca.sign(&params(names), &rsa_key()).load();
        let certificates = [
            ca.certificate(&["a.example"]),
            rsa(&["a.example", "*.b.example"]),
            ca.certificate(&["x.b.example"]),
        ];
        let rows: [(Option<&str>, &[Scheme], usize); 10] = [
            (Some("a.example"), &ALL, 0),
            (Some("a.example"), &ECDSA, 0),
            (Some("a.example"), &RSA, 1),
            (Some("x.b.example"), &ALL, 2),
            (Some("x.b.example"), &RSA, 1),
            // Its own name with a key that it cannot check, rather than another's that it can: rustls says why not.
            (Some("y.b.example"), &ECDSA, 1),
            (Some("a.example"), &[], 0),
            (None, &ALL, 0),
            (None, &RSA, 1),
            (None, &[], 0),
        ];
        for (name, schemes, index) in rows {
            assert_eq!(chosen(&certificates, name, schemes), Some(index), "{name:?} {schemes:?}");
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let by_name = ByName::new(&[Authority::new("ca").certificate(&["*.example.com"])]);
        assert_eq!(format!("{by_name:?}"), r#"{"example.com"}"#);
    }
}
