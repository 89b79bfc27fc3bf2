//! How TLS is spoken: whom to believe, which cipher suite, whether sessions are resumed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError};

use anyhow::{Context, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};

/// Tickets kept; servers give a few with each session, of which the next needs one.
const TICKETS_MAX: usize = 1024;

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nobody has said.
    Unsaid,
    /// Who shows a certificate that one of those in this PEM file has signed.
    Authorities(PathBuf),
    /// Whoever answers.
    Anyone,
}

/// Whether sessions are resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Never: every handshake is a full one.
    Full,
    /// Whenever the server has given a ticket (TLS 1.3). Each is used once (RFC 8446 §C.4).
    Resumed,
}

/// The one cipher suite to offer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Suite(SupportedCipherSuite);

impl Suite {
    /// Its name in the IANA registry: rustls has another prefix for those of TLS 1.3.
    fn name(suite: SupportedCipherSuite) -> String {
        suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut suites = aws_lc_rs::ALL_CIPHER_SUITES.iter().copied();
        suites.find(|&suite| Self::name(suite) == text).map(Self).ok_or_else(|| {
            let names: Vec<_> = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(|&suite| Self::name(suite)).collect();
            format!("no such cipher suite; there are {}", names.join(", "))
        })
    }
}

/// How TLS is spoken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Security {
    /// Whom to believe.
    pub(crate) trust: Trust,
    /// The one cipher suite to offer; `None`: all.
    pub(crate) suite: Option<Suite>,
    /// Whether sessions are resumed.
    pub(crate) sessions: Sessions,
}

impl Security {
    /// Makes sure that nobody believes to have secured what is not.
    ///
    /// # Errors
    /// Something was asked for.
    pub(super) fn expect_unused(&self) -> anyhow::Result<()> {
        let nothing = Self { trust: Trust::Unsaid, suite: None, sessions: Sessions::Full };
        ensure!(
            *self == nothing,
            "--ca, --insecure, --cipher and --resume are for TLS: the target must be wss://…"
        );
        Ok(())
    }

    /// For rustls.
    ///
    /// # Errors
    /// The authorities cannot be read, or nobody has said whom to believe.
    pub(super) fn config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(Suite(suite)) = self.suite {
            provider.cipher_suites = vec![suite];
        }
        let provider = Arc::new(provider);
        let verifier: Arc<dyn ServerCertVerifier> = match &self.trust {
            Trust::Unsaid => {
                bail!("a wss:// target needs --ca FILE, or --insecure to believe whoever answers")
            }
            Trust::Authorities(file) => {
                WebPkiServerVerifier::builder_with_provider(authorities(file)?, provider.clone()).build()?
            }
            Trust::Anyone => Arc::new(Believing(provider.clone())),
        };
        let builder = ClientConfig::builder_with_provider(provider);
        // The versions that have the one cipher suite, if only one is offered.
        let builder = match self.suite {
            Some(Suite(SupportedCipherSuite::Tls13(_))) => {
                builder.with_protocol_versions(&[&rustls::version::TLS13])
            }
            Some(Suite(SupportedCipherSuite::Tls12(_))) => {
                builder.with_protocol_versions(&[&rustls::version::TLS12])
            }
            None => builder.with_safe_default_protocol_versions(),
        }?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = match self.sessions {
            Sessions::Full => Resumption::disabled(),
            Sessions::Resumed => Resumption::store(Arc::new(Tickets::default())),
        };
        Ok(Arc::new(config))
    }
}

fn authorities(file: &Path) -> anyhow::Result<Arc<RootCertStore>> {
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", file.display()))?;
    for certificate in certificates {
        store.add(certificate).with_context(|| format!("cannot use a certificate in {}", file.display()))?;
    }
    ensure!(
        !store.is_empty(),
        "there is no certificate in {}; it should begin with -----BEGIN CERTIFICATE-----",
        file.display()
    );
    Ok(Arc::new(store))
}

/// Believes every certificate, but not that somebody has its key who has not shown it.
#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The tickets of the one server of a run. rustls's own store keeps eight, fewer than sessions begin at a time.
#[derive(Debug, Default)]
struct Tickets(
    #[expect(clippy::disallowed_types, reason = "rustls wants to share it; here one thread does all")]
    std::sync::Mutex<VecDeque<Tls13ClientSessionValue>>,
);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() == TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_cipher_suites_by_their_registered_names() {
        let suite: Suite = "TLS_AES_128_GCM_SHA256".parse().unwrap();
        assert!(matches!(suite, Suite(SupportedCipherSuite::Tls13(_))));
        let error = "AES128".parse::<Suite>().unwrap_err();
        assert!(error.contains("TLS_AES_128_GCM_SHA256"), "{error}");
    }
}
