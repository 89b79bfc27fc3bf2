//! TLS toward clients: certificates by name, the clients' own certificates, versions, tickets.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::certificate::{Authorities, Certificate, InvalidCertificate};
use super::provider;

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Those without one are turned away in the handshake.
    Required,
    /// One that is shown has to be right; none need be.
    Optional,
}

/// Which certificates of clients are believed.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificates {
    /// Who may have signed them.
    pub authorities: Authorities,
    /// Whether there must be one.
    pub auth: ClientAuth,
}

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Chosen by the name that the client asks for (SNI); the first is for clients that ask for none, or another.
    pub certificates: Vec<Certificate>,
    /// `None`: clients are not asked for certificates.
    pub clients: Option<ClientCertificates>,
    /// The lowest version that is spoken.
    pub least: Version,
    /// Handshakes that one shard begins in a second; those beyond wait their turn. `None`: no limit.
    pub handshakes_per_second: Option<NonZeroU32>,
    /// For a handshake, waiting included; then the connection is closed.
    pub timeout: Duration,
}

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct Server {
    settings: ServerSettings,
    config: Arc<ServerConfig>,
}

impl Server {
    /// Speaks TLS like this.
    ///
    /// # Errors
    /// [`InvalidCertificate`]: the authorities of clients cannot be used, or there is no chance to be had.
    pub fn new(settings: ServerSettings) -> Result<Self, InvalidCertificate> {
        let unusable = |error: &dyn fmt::Display| InvalidCertificate::Unusable(error.to_string());
        let versions: &[_] = match settings.least {
            Version::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Version::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&error))?;
        let builder = match &settings.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(clients.authorities.store(), provider());
                let verifier = match clients.auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(&error))?)
            }
        };
        let by_name = ByName(settings.certificates.clone());
        let mut config = builder.with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| unusable(&error))?;
        Ok(Self { settings, config: Arc::new(config) })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// For rustls. Shared by all shards, so that a ticket of one is good at all.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

#[derive(Debug)]
struct ByName(Vec<Certificate>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.first().map(Certificate::key)
    }
}
