//! Proofs to an ACME authority that a domain is ours, given in the TLS handshake itself: TLS-ALPN-01, RFC 8737.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::HTTP_1_1;
use super::certificate::Certificate;

/// The protocol that an authority offers, and nothing besides (RFC 8737 §3). Nothing is spoken in it: a connection
/// that has agreed on it is to be closed once the handshake is done.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Domains of which an authority wants proof, each with the certificate that is one (RFC 8737 §3: self-signed, for
/// that domain alone, with the critical extension acmeIdentifier).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Challenges(HashMap<String, Certificate>);

impl Challenges {
    /// Answers for this domain with this certificate; an earlier one for it is forgotten.
    pub fn insert(&mut self, domain: &str, certificate: Certificate) {
        self.0.insert(domain.to_ascii_lowercase(), certificate);
    }

    /// Answers for this domain no longer.
    pub fn remove(&mut self, domain: &str) {
        self.0.remove(&domain.to_ascii_lowercase());
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Certificate)> for Challenges {
    fn from_iter<T: IntoIterator<Item = (String, Certificate)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(domain, proof)| (domain.to_ascii_lowercase(), proof)).collect())
    }
}

/// Shows proofs to authorities, and to everybody else what they would see without.
pub(super) struct Proving {
    pub(super) challenges: Challenges,
    pub(super) otherwise: Arc<dyn ResolvesServerCert>,
}

impl ResolvesServerCert for Proving {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offers =
            |protocol: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|one| one == protocol));
        if !offers(ACME_TLS) || offers(HTTP_1_1) {
            return self.otherwise.resolve(hello);
        }
        // RFC 8737 §3: the authority offers this protocol only. Who offers it beside one that we do not speak would
        // agree on it with a certificate that is no proof: nobody is to have that.
        let alone = hello.alpn().is_some_and(|offered| offered.count() == 1);
        let proof = self.challenges.0.get(&hello.server_name()?.to_ascii_lowercase())?;
        alone.then(|| proof.key())
    }
}

impl fmt::Debug for Proving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.challenges.0.keys()).finish()
    }
}
