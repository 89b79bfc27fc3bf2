//! Certificates of those whose signatures are believed.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::certificate::InvalidCertificate;
use super::pem;

/// Bytes of a file with authorities. The lists of operating systems have 200 KiB, or 1 MiB with notes.
const BYTES_MAX: usize = 4 << 20;

/// Certificates of those whose signatures are believed: at least one.
#[derive(Debug, Clone)]
pub struct Authorities {
    store: Arc<RootCertStore>,
    skipped: usize,
}

impl Authorities {
    /// From PEM text with one or more certificates, each of which has to be right: somebody has chosen them.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn from_pem(text: &str) -> Result<Self, InvalidCertificate> {
        let mut store = RootCertStore::empty();
        for (position, certificate) in (1..).zip(pem::certificates(text, BYTES_MAX)?) {
            store
                .add(certificate)
                .map_err(|error| InvalidCertificate::Unreadable { position, why: error.to_string() })?;
        }
        Ok(Self { store: Arc::new(store), skipped: 0 })
    }

    /// From certificates in DER, as an operating system has them: those that cannot be used are [skipped](Self::skipped),
    /// since nobody here has chosen them.
    ///
    /// # Errors
    /// [`InvalidCertificate::NoneUsable`].
    pub fn from_der(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, InvalidCertificate> {
        let mut store = RootCertStore::empty();
        let (_, skipped) = store.add_parsable_certificates(certificates);
        if store.is_empty() {
            return Err(InvalidCertificate::NoneUsable { skipped });
        }
        Ok(Self { store: Arc::new(store), skipped })
    }

    /// How many there are. Never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// How many certificates could not be used and are not among them.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        self.store.clone()
    }
}

/// The same authorities in the same order.
impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.store.roots == other.store.roots
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Authority;
    use super::*;

    #[test]
    fn a_chosen_file_has_to_be_right_throughout() {
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let authorities = Authorities::from_pem(&format!("{}# two\n{}", one.pem(), two.pem())).unwrap();
        assert_eq!((authorities.len(), authorities.skipped()), (2, 0));
        let wrong = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", one.pem());
        let error = Authorities::from_pem(&wrong).unwrap_err();
        assert!(matches!(error, InvalidCertificate::Unreadable { position: 2, .. }), "{error}");
        assert_eq!(Authorities::from_pem("").unwrap_err(), InvalidCertificate::NoCertificate);
        let pair = one.pair(&["example.com"]);
        assert_eq!(Authorities::from_pem(&pair.key).unwrap_err(), InvalidCertificate::KeyInstead);
    }

    #[test]
    fn a_system_may_have_some_that_are_of_no_use_but_not_only_those() {
        let useless = || CertificateDer::from(vec![0x30, 0]);
        let some = Authorities::from_der([useless(), Authority::new("one").der(), useless()]).unwrap();
        assert_eq!((some.len(), some.skipped()), (1, 2));
        let none = Authorities::from_der([useless()]).unwrap_err();
        assert_eq!(none, InvalidCertificate::NoneUsable { skipped: 1 });
        assert_eq!(Authorities::from_der([]).unwrap_err(), InvalidCertificate::NoneUsable { skipped: 0 });
    }

    #[test]
    fn the_same_ones_are_equal() {
        let (one, two) = (Authority::new("one"), Authority::new("one"));
        assert_eq!(one.authorities(), Authorities::from_der([one.der()]).unwrap());
        assert_ne!(one.authorities(), two.authorities());
    }
}
