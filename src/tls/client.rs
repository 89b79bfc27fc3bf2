//! TLS toward servers: whom to believe, and who we are to them.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::authorities::Authorities;
use super::certificate::{Certificate, InvalidCertificate};
use super::{HTTP_1_1, provider};

/// Servers with whom a session is remembered, in each [`Client::config`]; the oldest is forgotten.
const SESSIONS: usize = 256;

/// Whether a server has to prove that it is the one that was meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Verification {
    /// By a certificate that these have signed, for the name that was dialled.
    By(Authorities),
    /// It has not: whoever answers is believed.
    Insecure,
}

/// How TLS is spoken with servers.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientSettings {
    /// Whether the server is believed.
    pub verification: Verification,
    /// What we show a server that asks who we are.
    pub certificate: Option<Certificate>,
    /// The name that is asked for and has to be in the certificate, where it is not that of the URL.
    pub server_name: Option<String>,
}

/// A name that no certificate can be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name that a certificate can be for; give a host name of letters, digits, dots and hyphens \
     (others as xn--…), or an IP address"
)]
pub struct InvalidServerName(String);

/// What dialling needs to speak TLS.
#[derive(Clone)]
pub struct Client {
    settings: ClientSettings,
    config: Arc<ClientConfig>,
}

impl Client {
    /// Speaks TLS like this.
    ///
    /// # Errors
    /// [`InvalidCertificate`]: our own certificate cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, InvalidCertificate> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidCertificate::Unusable(error.to_string()))?;
        let builder = match &settings.verification {
            Verification::By(authorities) => builder.with_root_certificates(authorities.store()),
            Verification::Insecure => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody {
                    algorithms: provider().signature_verification_algorithms,
                }))
            }
        };
        let mut config = match &settings.certificate {
            Some(ours) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(ours.key()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { settings, config: Arc::new(config) })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// For rustls, with a memory of sessions of its own, so that shards need not share one.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Arc::new(config)
    }

    /// What to ask for and to check when dialling this host of a URL: [`ClientSettings::server_name`], else the host
    /// itself. Addresses may have brackets and a zone (RFC 6874), which no certificate has; a dot after the name is the
    /// resolver's business (RFC 6066 §3).
    ///
    /// # Errors
    /// [`InvalidServerName`].
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, InvalidServerName> {
        let asked = self.settings.server_name.as_deref().unwrap_or(host);
        let bare = asked.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(asked);
        let bare = match bare.split_once('%') {
            Some((address, _)) if address.contains(':') => address,
            Some(_) | None => bare.strip_suffix('.').unwrap_or(bare),
        };
        ServerName::try_from(bare.to_owned()).map_err(|_| InvalidServerName(asked.chars().take(80).collect()))
    }
}

/// The same settings: then a reload need not begin anew.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// Believes whoever has the key of the certificate that it shows, whosever that is.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
