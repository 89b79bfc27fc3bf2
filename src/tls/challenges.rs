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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CustomExtension, KeyPair};
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    use super::super::testing::{Authority, Pair, Shaken, client_builder, params, plain_client, shake};
    use super::super::{Server, ServerSettings, Version, facts, label, provider};
    use super::*;

    /// As RFC 8737 §3 wants it.
    fn proof(domain: &str) -> Pair {
        let mut params = params(&[domain]);
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
        let key = KeyPair::generate().unwrap();
        Pair { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    fn server(certificates: Vec<Certificate>) -> Server {
        let (least, timeout) = (Version::V1_2, Duration::from_secs(10));
        Server::new(ServerSettings {
            certificates,
            clients: None,
            least,
            handshakes_per_second: None,
            timeout,
        })
        .unwrap()
    }

    /// A client that is an ACME authority, or pretends to be.
    fn ask(server: &Server, challenges: &Challenges, domain: &str, offered: &[&[u8]]) -> Shaken {
        // rustls reads no certificate with this critical extension, so nothing is checked at this end.
        let client = client_builder().dangerous().with_custom_certificate_verifier(Arc::new(Blind));
        let mut client = client.with_no_client_auth();
        client.alpn_protocols = offered.iter().map(|one| one.to_vec()).collect();
        shake(client, domain, server.with_challenges(challenges))
    }

    #[test]
    fn the_authority_gets_the_proof_even_before_there_is_any_certificate() {
        let ca = Authority::new("ca");
        let proof = proof("Example.com");
        let mut challenges = Challenges::default();
        challenges.insert("EXAMPLE.com", proof.load());
        for certificates in [vec![], vec![ca.certificate(&["example.com"])]] {
            let both = ask(&server(certificates), &challenges, "example.com", &[ACME_TLS]);
            assert!(both.is_done(), "{:?} {:?}", both.client_error, both.server_error);
            assert_eq!(both.shown(), proof.leaf());
            assert_eq!(both.server.alpn_protocol(), Some(ACME_TLS));
            let shown = both.shown();
            let shown = facts::parse(&shown).unwrap();
            assert!(
                shown
                    .iter_extensions()
                    .any(|one| one.critical && one.value == [&[4, 32][..], &[7; 32]].concat())
            );
        }
    }

    #[test]
    fn nobody_else_gets_a_proof_or_agrees_on_its_protocol() {
        let ca = Authority::new("ca");
        let ours = ca.pair(&["example.com"]);
        let server = server(vec![ours.load()]);
        let challenges = Challenges::from_iter([("example.com".to_owned(), proof("example.com").load())]);
        let rows: [(&str, &[&[u8]], bool); 6] = [
            ("example.com", &[], true),
            ("example.com", &[HTTP_1_1], true),
            ("example.com", &[ACME_TLS, HTTP_1_1], true),
            ("example.com", &[ACME_TLS, b"h2"], false),
            ("example.com", &[b"h2"], false),
            ("other.example", &[ACME_TLS], false),
        ];
        for (domain, offered, is_done) in rows {
            let both = ask(&server, &challenges, domain, offered);
            assert_eq!(both.is_done(), is_done, "{domain} {offered:?}");
            if is_done {
                assert_eq!(both.shown(), ours.leaf(), "{offered:?}");
                assert_ne!(both.server.alpn_protocol(), Some(ACME_TLS));
            }
        }
        let mut done = challenges;
        done.remove("Example.com");
        assert!(done.is_empty());
        let both = ask(&server, &done, "example.com", &[ACME_TLS]);
        assert_eq!(both.client_error.as_ref().map(label), Some("alert"));
        assert!(
            shake(plain_client(&ca.authorities()), "example.com", server.with_challenges(&done)).is_done()
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let challenges = Challenges::from_iter([("Example.com".to_owned(), proof("example.com").load())]);
        assert!(format!("{challenges:?}").starts_with(r#"Challenges({"example.com": Certificate"#));
        let otherwise = Arc::new(super::super::by_name::ByName::new(&[]));
        assert_eq!(format!("{:?}", Proving { challenges, otherwise }), r#"{"example.com"}"#);
    }

    /// Checks nothing.
    #[derive(Debug)]
    struct Blind;

    impl ServerCertVerifier for Blind {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    }
}
