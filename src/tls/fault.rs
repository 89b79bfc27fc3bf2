//! What went wrong in TLS, for people: whose fault it is and what to do.

use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::facts::{date, span};
use super::label::{is_about_versions, is_about_what_we_show, is_not_tls};

/// Names of a certificate that a sentence tells; there may be thousands.
const NAMES_TOLD: usize = 5;
/// Characters of a peer's text that a sentence tells.
const CHARS_TOLD: usize = 80;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// It has come to us.
    Client,
    /// We have dialled it.
    Server,
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
        Error::General(what) if is_about_what_we_show(what) => {
            "there is no certificate of ours for this client, so it was turned away: set cert and key, or wait until \
                automatic ones are there"
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
            "the certificate of {it} is not valid yet, but from {} on: wait, or set the clock of this machine",
            date(not_before.as_secs())
        ),
        CertificateError::NotValidYet => {
            format!("the certificate of {it} is not valid yet: wait, or set the clock of this machine")
        }
        CertificateError::UnknownIssuer => format!(
            "the certificate of {it} is signed by nobody whom we believe (unknown issuer): set {ca} to the authority \
             that has signed it, and let {it} send the whole chain"
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
                "{it} does not have the key of the certificate that it shows, or somebody forged a signature"
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
        AlertDescription::AccessDenied => {
            format!("{it} believes {ours} and still does not let us in: allow it there")
        }
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
                "{it} speaks no version of TLS that we do: it needs TLS 1.2 or 1.3, and not less than min_version"
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

/// As RFC 8446 §6 spells it, and every other program's log: `bad_certificate` where rustls has `BadCertificate`.
fn words(alert: AlertDescription) -> String {
    if let AlertDescription::Unknown(number) = alert {
        return number.to_string();
    }
    let mut spelled = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && spelled.ends_with(|before: char| before.is_ascii_lowercase()) {
            spelled.push('_');
        }
        spelled.push(letter.to_ascii_lowercase());
    }
    spelled
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConnection, ServerConnection};

    use super::super::label;
    use super::super::testing::{Authority, params, plain_client, plain_server, shake};
    use super::*;

    /// What our server makes of these first bytes.
    fn heard(bytes: &[u8]) -> Error {
        let pair = Authority::new("ca").pair(&["example.com"]);
        let mut server = ServerConnection::new(Arc::new(plain_server(&pair))).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets().unwrap_err()
    }

    #[test]
    fn plain_http_is_known_for_what_it_is_at_either_end() {
        let error = heard(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert_eq!(label(&error), "not_tls");
        assert!(explain(&error, Peer::Client).contains("the client does not speak TLS"));

        let config = plain_client(&Authority::new("ca").authorities());
        let name = ServerName::try_from("example.com").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        client.read_tls(&mut &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]).unwrap();
        let error = client.process_new_packets().unwrap_err();
        assert_eq!(label(&error), "not_tls");
        assert!(explain(&error, Peer::Server).contains("use ws:// in its URL"));
        assert_eq!(label(&heard(b"SSH-2.0-OpenSSH_9.2\r\n")), "not_tls");
    }

    #[test]
    fn a_hello_of_tls_1_0_is_a_matter_of_versions() {
        // RFC 2246 §7.4.1.2: version 3.1, random, no session, one cipher, no compression.
        let mut hello = vec![1, 0, 0, 41, 3, 1];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
        let record = [&[22, 3, 1, 0, 45][..], &hello].concat();
        let error = heard(&record);
        assert_eq!(label(&error), "protocol_version", "{error}");
        assert!(explain(&error, Peer::Client).contains("it needs TLS 1.2 or 1.3"));
    }

    #[test]
    fn an_authority_that_poses_as_a_server_is_told_what_it_lacks() {
        let ca = Authority::new("ca");
        let mut params = params(&["example.com"]);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pair = ca.sign(&params, &rcgen::KeyPair::generate().unwrap());
        let both = shake(plain_client(&ca.authorities()), "example.com", Arc::new(plain_server(&pair)));
        let error = both.client_error.unwrap();
        assert_eq!(label(&error), "certificate");
        assert!(explain(&error, Peer::Server).contains("basicConstraints = CA:FALSE"), "{error}");
    }

    #[test]
    fn a_certificate_for_another_use_is_told() {
        let ca = Authority::new("ca");
        let mut params = params(&["example.com"]);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let pair = ca.sign(&params, &rcgen::KeyPair::generate().unwrap());
        let both = shake(plain_client(&ca.authorities()), "example.com", Arc::new(plain_server(&pair)));
        let error = both.client_error.unwrap();
        assert_eq!(label(&error), "certificate");
        assert!(explain(&error, Peer::Server).contains("extendedKeyUsage = serverAuth"), "{error}");
    }

    #[test]
    fn each_alert_says_what_the_peer_wants_of_us() {
        use AlertDescription as Alert;
        let rows = [
            (Alert::UnknownCA, Peer::Client, "does not believe whoever signed our certificate"),
            (Alert::UnknownCA, Peer::Server, "does not believe whoever signed our client certificate"),
            (Alert::CertificateRequired, Peer::Server, "set cert and key"),
            (Alert::CertificateExpired, Peer::Client, "our certificate has expired"),
            (Alert::CertificateRevoked, Peer::Server, "our client certificate was revoked"),
            (Alert::BadCertificate, Peer::Client, "refuses our certificate (bad_certificate)"),
            (Alert::CertificateUnknown, Peer::Server, "(certificate_unknown)"),
            (Alert::ProtocolVersion, Peer::Server, "no version of TLS"),
            (Alert::HandshakeFailure, Peer::Client, "nothing in common with us (handshake_failure)"),
            (Alert::UnrecognisedName, Peer::Server, "set server_name"),
            (Alert::NoApplicationProtocol, Peer::Server, "refuses HTTP/1.1"),
            (Alert::AccessDenied, Peer::Server, "does not let us in"),
            (Alert::UserCanceled, Peer::Client, "gave up"),
            (Alert::InternalError, Peer::Server, "a fault of its own"),
            (Alert::BadRecordMac, Peer::Client, "the alert bad_record_mac"),
            (Alert::Unknown(200), Peer::Client, "the alert 200"),
        ];
        for (alert, peer, part) in rows {
            let error = Error::AlertReceived(alert);
            let told = explain(&error, peer);
            assert!(told.starts_with(peer.name()) && told.contains(part), "{told}");
            assert_eq!(label(&error), "alert");
        }
    }

    #[test]
    fn nothing_in_common_says_what_is_wanting() {
        let rows = [
            (PeerIncompatible::Tls12NotOfferedOrEnabled, "protocol_version", "TLS 1.2 or 1.3"),
            (PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig, "protocol_version", "TLS 1.2 or 1.3"),
            (PeerIncompatible::NoCipherSuitesInCommon, "cipher", "no cipher in common"),
            (PeerIncompatible::NoKxGroupsInCommon, "cipher", "no curve in common"),
            (PeerIncompatible::NoSignatureSchemesInCommon, "cipher", "ECDSA or RSA"),
            (PeerIncompatible::NullCompressionRequired, "cipher", "NullCompressionRequired"),
        ];
        for (wanting, word, part) in rows {
            let error = Error::PeerIncompatible(wanting);
            assert_eq!(label(&error), word);
            assert!(explain(&error, Peer::Client).contains(part), "{error}");
        }
    }

    #[test]
    fn what_a_peer_put_into_its_certificate_is_told_in_short() {
        let presented = (0..1000).map(|n| format!("DnsName(\"{n}\n{}\")", "x".repeat(1000))).collect();
        let expected = ServerName::try_from("example.com").unwrap();
        let error =
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented });
        let told = explain(&error, Peer::Server);
        assert!(told.contains("and 995 more") && told.contains("0\\nxxx"), "{told}");
        assert!(told.len() < 700 && !told.contains('\n'), "{}", told.len());
        assert!(explain(&Error::General("x\n".repeat(1000)), Peer::Client).len() < 200);
    }
}
