//! TLS toward clients: certificates by name, the clients' own certificates, versions, tickets.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::authorities::Authorities;
use super::by_name::ByName;
use super::certificate::{Certificate, InvalidCertificate};
use super::challenges::{ACME_TLS, Challenges, Proving};
use super::{HTTP_1_1, provider};

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
    /// Chosen by the name that the client asks for (SNI) and the signatures that it can check; the first is for clients
    /// that ask for no name, or another. Empty while certificates are still to be had (ACME): then every handshake
    /// fails, and [`super::explain`] says so.
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
    /// [`InvalidCertificate`]: the authorities of clients cannot be used, or there is no randomness to be had.
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
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(&settings.certificates)));
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // Sessions are remembered by the clients, in tickets. A memory here would be one lock for all shards.
        config.session_storage = Arc::new(NoServerSessionStorage {});
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

    /// For rustls as [`Server::config`], but a client that offers [`ACME_TLS`] alone, for a domain with a challenge, is
    /// shown the proof (RFC 8737 §3); tickets are good with either. Of no use where clients have to show a
    /// certificate: authorities show none.
    #[must_use]
    pub fn with_challenges(&self, challenges: &Challenges) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols.push(ACME_TLS.to_vec());
        let otherwise = config.cert_resolver;
        config.cert_resolver = Arc::new(Proving { challenges: challenges.clone(), otherwise });
        Arc::new(config)
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
