//! What went wrong in TLS, for people: whose fault it is and what to do; and in a word, for metrics.

use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::facts::{date, span};

/// Names of a certificate that a sentence tells; there may be thousands.
const NAMES_TOLD: usize = 5;
/// Characters of a peer's text that a sentence tells.
const CHARS_TOLD: usize = 80;
/// What rustls says when there is no certificate to show.
const NOTHING_TO_SHOW: &str = "no server certificate chain resolved";

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// It has come to us.
    Client,
    /// We have dialled it.
    Server,
}

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
        Error::General(what) if what == NOTHING_TO_SHOW => "our_certificate",
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

/// What went wrong, in a sentence: whose fault it is and what to do.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's, and open")]
pub fn explain(error: &Error, peer: Peer) -> String {
    let it = peer.name();
    match error {
        Error::AlertReceived(alert) => alerted(*alert, peer),
        Error::InvalidCertificate(wrong) => distrusted(wrong, peer),
        Error::NoCertificatesPresented => match peer {
            Peer::Client => {
                "the client showed no certificate, and this listener wants one: give the client one that \
                client_ca has signed, or set client_auth = \"optional\""
                    .to_owned()
            }
            Peer::Server => "the server showed no certificate: it has to have one".to_owned(),
        },
        Error::PeerIncompatible(wanting) => incompatible(wanting, peer),
        Error::NoApplicationProtocol => {
            format!("{it} speaks no HTTP/1.1 (ALPN): WebSockets begin with it here; let it offer http/1.1")
        }
        Error::InvalidMessage(wrong) if is_not_tls(*wrong) => match peer {
            Peer::Client => {
                "the client does not speak TLS, plain HTTP perhaps: let it use wss:// or https://, or come \
                to a listener without tls"
                    .to_owned()
            }
            Peer::Server => {
                "the server does not speak TLS on this port, plain HTTP perhaps: use ws:// in its URL, or \
                the port on which it has TLS"
                    .to_owned()
            }
        },
        Error::General(what) if what == NOTHING_TO_SHOW => {
            "there is no certificate of ours for this client, so it was \
            turned away: set cert and key, or wait until automatic ones are there"
                .to_owned()
        }
        Error::DecryptError => {
            format!("what came from {it} cannot be decrypted: it was changed on the way, or {it} is faulty")
        }
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord => {
            format!("{it} breaks the rules of TLS ({}): update its TLS library", told(&error.to_string()))
        }
        other => format!("TLS with {it} failed: {}", told(&other.to_string())),
    }
}

/// Its certificate is not believed.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's, and open")]
fn distrusted(wrong: &CertificateError, peer: Peer) -> String {
    let (it, ca) = (peer.name(), peer.authorities());
    match wrong {
        CertificateError::ExpiredContext { time, not_after } => {
            let since = span(Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs())));
            format!(
                "the certificate of {it} expired {since} ago, on {}: renew it there",
                date(not_after.as_secs())
            )
        }
        CertificateError::Expired => format!("the certificate of {it} has expired: renew it there"),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the certificate of {it} is not valid until {}: wait, or set the clock of this machine",
            date(not_before.as_secs())
        ),
        CertificateError::NotValidYet => {
            format!("the certificate of {it} is not valid yet: wait, or set the clock of this machine")
        }
        CertificateError::UnknownIssuer => format!(
            "the certificate of {it} is signed by nobody in {ca}: set {ca} to the authority that has signed it, and \
             let {it} send the whole chain"
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the certificate of {it} is not for {} but for {}: dial it by such a name, or set server_name",
            told(&expected.to_str()),
            names(presented)
        ),
        CertificateError::NotValidForName => {
            format!("the certificate of {it} is for other names: dial it by one of them, or set server_name")
        }
        CertificateError::Revoked => {
            format!("the certificate of {it} was revoked by its authority: it needs a new one")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => format!(
            "the certificate of {it} is not for {0}: make one with extendedKeyUsage = {0}",
            match peer {
                Peer::Client => "clientAuth",
                Peer::Server => "serverAuth",
            }
        ),
        CertificateError::BadSignature => {
            format!(
                "{it} has not the key of the certificate that it shows, or an authority's signature is forged"
            )
        }
        // It has no name in rustls, and is what `openssl req -x509` makes where nothing else is said.
        CertificateError::Other(what) if what.to_string() == "CaUsedAsEndEntity" => format!(
            "the certificate of {it} is an authority's own, which is to sign others: make one with \
             basicConstraints = CA:FALSE"
        ),
        other => format!("the certificate of {it} cannot be believed: {}", told(&other.to_string())),
    }
}

/// It complains about us (RFC 8446 §6.2).
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's, and open")]
fn alerted(alert: AlertDescription, peer: Peer) -> String {
    let it = peer.name();
    let ours = match peer {
        Peer::Client => "our certificate",
        Peer::Server => "our client certificate",
    };
    match alert {
        AlertDescription::UnknownCA => match peer {
            Peer::Client => {
                "the client does not believe whoever signed our certificate: put the whole chain in cert, \
                or give the client the authority"
                    .to_owned()
            }
            Peer::Server => {
                "the server does not believe whoever signed our client certificate: set cert to one of an \
                authority that it believes"
                    .to_owned()
            }
        },
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            format!("{it} wants a client certificate, and we have none: set cert and key")
        }
        AlertDescription::CertificateExpired => format!("{it} says that {ours} has expired: renew it"),
        AlertDescription::CertificateRevoked => format!("{it} says that {ours} was revoked: get another"),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            format!("{it} refuses {ours} ({}): is it the right one, for this name and use?", words(alert))
        }
        AlertDescription::ProtocolVersion => {
            format!(
                "{it} speaks no version of TLS that we do: it needs TLS 1.2 or 1.3, and both ends one in common"
            )
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => format!(
            "{it} finds nothing in common with us ({}): a cipher, a curve, a kind of signature, or a client \
             certificate that it wants",
            words(alert)
        ),
        AlertDescription::UnrecognisedName => {
            format!(
                "{it} has no certificate for the name that we asked for: dial it by its name, or set server_name"
            )
        }
        AlertDescription::NoApplicationProtocol => {
            format!("{it} refuses HTTP/1.1 (ALPN), with which WebSockets begin here: let it allow http/1.1")
        }
        AlertDescription::AccessDenied => format!("{it} believes {ours} but lets it not in: allow it there"),
        AlertDescription::UserCanceled => format!("{it} gave up during the handshake"),
        AlertDescription::InternalError => format!("{it} failed by a fault of its own: look into its log"),
        other => format!("{it} ended TLS with the alert {}: its log may say why", words(other)),
    }
}

/// Nothing in common with it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's, and open")]
fn incompatible(wanting: &PeerIncompatible, peer: Peer) -> String {
    let it = peer.name();
    match wanting {
        versions if is_about_versions(versions) => {
            format!(
                "{it} speaks no version of TLS that we do: it needs TLS 1.2 or 1.3, and what tls.min allows"
            )
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            format!("{it} has no cipher in common with us: it needs AES-GCM or ChaCha20-Poly1305 with ECDHE")
        }
        PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
            format!("{it} has no curve in common with us: it needs X25519, P-256 or P-384")
        }
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            format!(
                "{it} cannot check the kind of key that our certificate has: add one of another kind, ECDSA or RSA"
            )
        }
        other => format!("{it} lacks something that TLS needs here ({other:?}): update its TLS library"),
    }
}

fn is_about_versions(wanting: &PeerIncompatible) -> bool {
    matches!(
        wanting,
        PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
    )
}

/// The very first bytes of a record are wrong: its type, or its version.
fn is_not_tls(wrong: InvalidMessage) -> bool {
    matches!(wrong, InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion)
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "the client",
            Self::Server => "the server",
        }
    }

    /// The key that says whose signatures are believed.
    fn authorities(self) -> &'static str {
        match self {
            Self::Client => "client_ca",
            Self::Server => "ca",
        }
    }
}

/// As in RFC 8446 §6: `UnknownCA` is rustls's spelling of unknown_ca.
fn words(alert: AlertDescription) -> String {
    format!("{alert:?}")
}

/// Some of the names that a certificate is for. rustls gives them as `DnsName("example.com")`.
fn names(presented: &[String]) -> String {
    let bare = presented.iter().map(|name| {
        let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        told(inside.trim_matches('"'))
    });
    let told: Vec<_> = bare.take(NAMES_TOLD).collect();
    match presented.len().saturating_sub(NAMES_TOLD) {
        0 if told.is_empty() => "no name at all (it has no subjectAltName)".to_owned(),
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

/// A text that a peer may have had a hand in, made fit to be read: short, on one line.
fn told(text: &str) -> String {
    text.chars().take(CHARS_TOLD).flat_map(char::escape_debug).collect()
}
