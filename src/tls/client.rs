//! TLS toward servers: whom to believe, and who we are to them.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{InvalidDnsNameError, ServerName};

use super::certificate::{Authorities, Certificate, InvalidCertificate};
use super::provider;

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
        let unusable = |error: rustls::Error| InvalidCertificate::Unusable(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let authorities = match &settings.verification {
            Verification::By(authorities) => authorities.store(),
            Verification::Insecure => Arc::new(rustls::RootCertStore::empty()),
        };
        let builder = builder.with_root_certificates(authorities);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { settings, config: Arc::new(config) })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// The name that a server at `host` has to prove: `settings.server_name`, or else its own.
    ///
    /// # Errors
    /// It can be in no certificate.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
    }

    /// For rustls, with a memory of sessions of its own, so that shards need not share one.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(256);
        Arc::new(config)
    }
}

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
