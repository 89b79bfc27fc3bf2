//! PEM texts (RFC 7468): the certificates or the key in one, and a name for what is there instead.

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::InvalidCertificate;

/// All certificates of the text, in its order; there is at least one. Other sections are passed over, so that a key
/// may be in the same file.
pub(super) fn certificates(
    text: &str,
    bytes_max: usize,
) -> Result<Vec<CertificateDer<'static>>, InvalidCertificate> {
    let found = sections::<CertificateDer<'static>>(text, bytes_max)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let has = |part| labels(text).any(|label| label.contains(part));
    Err(if has("CERTIFICATE REQUEST") {
        InvalidCertificate::RequestInstead
    } else if has("TRUSTED CERTIFICATE") {
        InvalidCertificate::TrustedCertificate
    } else if has("PRIVATE KEY") {
        InvalidCertificate::KeyInstead
    } else {
        InvalidCertificate::NoCertificate
    })
}

/// The one private key of the text. Other sections are passed over, so that the certificates may be in the same file.
pub(super) fn key(text: &str, bytes_max: usize) -> Result<PrivateKeyDer<'static>, InvalidCertificate> {
    let mut found = sections::<PrivateKeyDer<'static>>(text, bytes_max)?;
    let keys = found.len();
    match (found.pop(), keys) {
        (Some(key), 1) => Ok(key),
        (Some(_), found) => Err(InvalidCertificate::ManyKeys { found }),
        (None, _) => Err(instead_of_key(text)),
    }
}

fn instead_of_key(text: &str) -> InvalidCertificate {
    let mut labels = labels(text);
    match labels.find(|label| label.ends_with("PRIVATE KEY")) {
        Some(kind) => InvalidCertificate::KeyKind(kind.chars().take(40).collect()),
        None if text.contains("-----BEGIN CERTIFICATE-----") => InvalidCertificate::CertificateInstead,
        None => InvalidCertificate::NoKey,
    }
}

/// Every section of this type.
fn sections<T: PemObject>(text: &str, bytes_max: usize) -> Result<Vec<T>, InvalidCertificate> {
    if text.len() > bytes_max {
        return Err(InvalidCertificate::TooLarge { bytes: text.len(), bytes_max });
    }
    // Before anything is decoded: the older form has headers in its section, which are no base64.
    if labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(InvalidCertificate::EncryptedKey);
    }
    T::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| InvalidCertificate::Broken(in_words(&error)))
}

/// What each section says it is, whether or not anybody knows such things.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")?.trim_end().strip_suffix("-----"))
}

/// Never with a byte of what was read: it may have been a key.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's, and open")]
fn in_words(error: &Error) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => "a section begins and never ends, so it was cut short",
        Error::IllegalSectionStart { .. } => "a line that begins a section does not end in -----",
        Error::Base64Decode(_) => "what is between BEGIN and END is not base64",
        _ => "a section cannot be read",
    }
}
