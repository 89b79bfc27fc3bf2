//! What went wrong in TLS, in a word, for metrics.

use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};

/// What rustls says when there is no certificate to show.
const NOTHING_TO_SHOW: &str = "no server certificate chain resolved";

/// Every [`label`] that there is.
pub const LABELS: [&str; 15] = [
    "alert",
    "alpn",
    "certificate",
    "cipher",
    "expired",
    "misbehaved",
    "name",
    "no_certificate",
    "not_tls",
    "not_valid_yet",
    "other",
    "our_certificate",
    "protocol_version",
    "revoked",
    "unknown_ca",
];

/// What went wrong, in a word out of [`LABELS`]. `alert` is the peer's complaint about us; of the others, all but
/// `our_certificate` and `other` are our complaint about the peer.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's, and open")]
pub fn label(error: &Error) -> &'static str {
    match error {
        Error::AlertReceived(_) => "alert",
        Error::InvalidCertificate(wrong) => certificate_label(wrong),
        Error::NoCertificatesPresented => "no_certificate",
        Error::PeerIncompatible(wanting) if is_about_versions(wanting) => "protocol_version",
        Error::PeerIncompatible(_) => "cipher",
        Error::NoApplicationProtocol => "alpn",
        Error::InvalidMessage(wrong) if is_not_tls(*wrong) => "not_tls",
        Error::General(what) if is_about_what_we_show(what) => "our_certificate",
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => "misbehaved",
        _ => "other",
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's, and open")]
fn certificate_label(wrong: &CertificateError) -> &'static str {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not_valid_yet",
        CertificateError::UnknownIssuer => "unknown_ca",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "name",
        CertificateError::Revoked => "revoked",
        _ => "certificate",
    }
}

pub(super) fn is_about_versions(wanting: &PeerIncompatible) -> bool {
    matches!(
        wanting,
        PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            // Clients of TLS 1.1 and older have no such extension (RFC 5246 §7.4.1.4.1), and rustls asks for it first.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
    )
}

/// The very first bytes of a record are wrong: its type, or its version.
pub(super) fn is_not_tls(wrong: InvalidMessage) -> bool {
    matches!(wrong, InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion)
}

/// We have no certificate that this client could be shown.
pub(super) fn is_about_what_we_show(what: &str) -> bool {
    what == NOTHING_TO_SHOW
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn every_label_is_in_the_list_and_only_once() {
        let certificate = |wrong| Error::InvalidCertificate(wrong);
        let errors = [
            Error::AlertReceived(AlertDescription::UnknownCA),
            Error::NoApplicationProtocol,
            certificate(CertificateError::BadEncoding),
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            certificate(CertificateError::Expired),
            Error::DecryptError,
            certificate(CertificateError::NotValidForName),
            Error::NoCertificatesPresented,
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            certificate(CertificateError::NotValidYet),
            Error::FailedToGetRandomBytes,
            Error::General(NOTHING_TO_SHOW.into()),
            Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
            certificate(CertificateError::Revoked),
            certificate(CertificateError::UnknownIssuer),
        ];
        assert_eq!(errors.each_ref().map(label), LABELS);
    }
}
