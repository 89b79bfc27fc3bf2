//! What an order is made of, besides talk: proofs for TLS-ALPN-01 (RFC 8737 §3), and the account as it was kept.

use instant_acme::AccountCredentials;
use rcgen::{CertificateParams, CustomExtension, KeyPair};

use crate::tls::{Certificate, InvalidCertificate};

/// A proof that could not be made.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Unmade {
    /// Not a certificate.
    #[error("the certificate that proves {domain} to be ours: {source}")]
    Certificate {
        /// For whom.
        domain: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// One that cannot be shown.
    #[error("the certificate that proves {domain} to be ours: {source}")]
    Unusable {
        /// For whom.
        domain: String,
        /// Why not.
        source: InvalidCertificate,
    },
}

/// The certificate that proves to an authority that `domain` is ours: it holds the digest of the key authorization.
pub(super) fn certificate(domain: &str, digest: &[u8]) -> Result<Certificate, Unmade> {
    let made = || {
        let mut params = CertificateParams::new([domain.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
    };
    let (certificate, key) =
        made().map_err(|source| Unmade::Certificate { domain: domain.to_owned(), source })?;
    Certificate::from_pem(&certificate, &key)
        .map_err(|source| Unmade::Unusable { domain: domain.to_owned(), source })
}

/// The account that was kept, if it is one with the authority of this directory.
pub(super) fn credentials(text: &str, directory: &str) -> Option<AccountCredentials> {
    let kept: serde_json::Value = serde_json::from_str(text).ok()?;
    (kept.get("directory")?.as_str()? == directory).then(|| serde_json::from_value(kept).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_only_good_with_its_own_authority() {
        let key = KeyPair::generate().unwrap().serialize_der();
        let key = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, key);
        let kept = format!(r#"{{"id":"https://ca/1","key_pkcs8":"{key}","directory":"https://ca/dir"}}"#);
        assert!(credentials(&kept, "https://ca/dir").is_some());
        assert!(credentials(&kept, "https://staging.ca/dir").is_none());
        for broken in ["", "{}", &kept[1..]] {
            assert!(credentials(broken, "https://ca/dir").is_none(), "{broken}");
        }
    }

    #[test]
    fn a_proof_is_for_its_name_alone() {
        let proof = certificate("chat.example.com", &[7; 32]).unwrap();
        assert_eq!(proof.names(), ["chat.example.com"]);
    }
}
