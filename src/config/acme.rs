//! Automatic certificates (RFC 8555): for which names, from whom, and where they are kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::tls::{Authorities, Certificate};

/// Bytes of a name (RFC 1035 §2.3.4), and of each of its labels.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A certificate that is ordered, renewed and put in force by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Acme {
    /// What is ordered, and where.
    pub settings: Arc<AcmeSettings>,
    /// What has been got so far.
    pub certificate: Option<Certificate>,
}

/// What is ordered, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct AcmeSettings {
    /// The names that it is for, in lower case; at least one. The first is that of its file.
    pub domains: Vec<String>,
    /// Whom the authority may write to: a `mailto:` URL.
    pub contact: Option<String>,
    /// The authority's directory (RFC 8555 §7.1.1): an `https:` URL.
    pub directory: String,
    /// Who may have signed the certificate of the directory's server.
    pub authorities: Authorities,
    /// A directory for the account's key and the certificates.
    pub state: PathBuf,
    /// How the names are proved to be ours.
    pub challenge: ChallengeKind,
    /// How long before its end a certificate is renewed; but not before two thirds of its life are over.
    pub renew_before: Duration,
}

impl AcmeSettings {
    /// Where the certificate is kept: one PEM file with its chain and its key, so that nobody ever reads the one
    /// without the other.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.state.join(format!("{}.pem", self.name()))
    }

    /// What it is called: the first of its domains.
    #[must_use]
    pub fn name(&self) -> &str {
        self.domains.first().map_or("", String::as_str)
    }
}

/// How a name is proved to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChallengeKind {
    /// A handshake with a certificate made for that (RFC 8737), which the authority begins at port 443.
    #[default]
    TlsAlpn01,
    /// A plain HTTP request (RFC 8555 §8.3), which the authority makes to port 80.
    Http01,
}

impl ChallengeKind {
    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }
}

/// A name that no authority would certify by these challenges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDomain {
    /// It takes a challenge in the DNS, which selat does not do.
    #[error(
        "{0:?} is a wildcard, which is only to be had by a challenge in the DNS; write out the names, or have another \
         program fetch the certificate and give it as cert and key"
    )]
    Wildcard(String),
    /// An address, or no name at all.
    #[error("{0:?} is not a domain name; write one such as chat.example.com, in ASCII (xn--…)")]
    NotAName(String),
}

/// Reads a domain name, in any case.
///
/// # Errors
/// [`InvalidDomain`].
pub fn parse_domain(text: &str) -> Result<String, InvalidDomain> {
    if text.starts_with("*.") {
        return Err(InvalidDomain::Wildcard(text.to_owned()));
    }
    let is_name = text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label);
    // Its last label would be a number: RFC 3696 §2.
    let is_address =
        text.ends_with(|last: char| last.is_ascii_digit()) && text.parse::<std::net::Ipv4Addr>().is_ok();
    if is_name && !is_address {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(InvalidDomain::NotAName(text.to_owned()))
    }
}

/// RFC 1123 §2.1: letters, digits and hyphens, these not at the ends. Nothing in it means anything in a path.
fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_what_could_not_be_certified_is_refused() {
        for name in ["chat.example.com", "localhost", "xn--bcher-kva.example", "1.example"] {
            assert_eq!(parse_domain(name).as_deref(), Ok(name));
        }
        assert_eq!(parse_domain("Chat.EXAMPLE.com").as_deref(), Ok("chat.example.com"));
        let long = format!("{}.example", "a".repeat(64));
        let longer = "a.".repeat(127) + "a";
        for name in [
            "",
            ".",
            "a..b",
            "a.",
            "-a",
            "a-",
            "bücher.example",
            "../x",
            "a/b",
            "127.0.0.1",
            "::1",
            &long,
            &longer,
        ] {
            assert_eq!(parse_domain(name), Err(InvalidDomain::NotAName(name.to_owned())));
        }
        assert!(matches!(parse_domain("*.example.com"), Err(InvalidDomain::Wildcard(_))));
    }
}
