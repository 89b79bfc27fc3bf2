//! Certificates with their keys, and authorities, from PEM (RFC 7468).

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::provider;

/// What is wrong with a certificate, a key or an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// There is none in the text.
    #[error("there is no certificate in it; it should begin with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// There is no key in the text.
    #[error(
        "there is no private key in it; it should begin with -----BEGIN PRIVATE KEY----- (not encrypted)"
    )]
    NoKey,
    /// The key is another certificate's.
    #[error("the key does not belong to this certificate; it is another one's, or the files are mixed up")]
    WrongKey,
    /// It cannot be read.
    #[error("it cannot be used: {0}")]
    Unusable(String),
}

/// A certificate chain and its private key, which belong together.
#[derive(Clone)]
pub struct Certificate(Arc<CertifiedKey>);

impl Certificate {
    /// From PEM texts: the chain, leaf first; and the leaf's key, as PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, InvalidCertificate> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| InvalidCertificate::NoKey)?;
        CertifiedKey::from_der(chain, key, &provider()).map(|key| Self(Arc::new(key))).map_err(|error| {
            match error {
                rustls::Error::InconsistentKeys(_) => InvalidCertificate::WrongKey,
                other => InvalidCertificate::Unusable(other.to_string()),
            }
        })
    }

    /// What rustls signs with.
    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        self.0.clone()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

/// Certificates of those whose signatures are believed.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// From PEM text with one or more certificates.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn from_pem(text: &str) -> Result<Self, InvalidCertificate> {
        Self::from_der(certificates(text)?)
    }

    /// From certificates in DER.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn from_der(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, InvalidCertificate> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(certificate).map_err(|error| InvalidCertificate::Unusable(error.to_string()))?;
        }
        Ok(Self(Arc::new(store)))
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        self.0.clone()
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, InvalidCertificate> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| InvalidCertificate::Unusable(error.to_string()))?;
    if found.is_empty() { Err(InvalidCertificate::NoCertificate) } else { Ok(found) }
}
