//! What a certificate says (RFC 5280 §4): whose it is, for which names, from when to when.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Before the end, when somebody should renew.
const WARNING: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Bytes of the longest name of a client. Host names have 253, e-mail addresses 254.
const CLIENT_NAME_BYTES_MAX: usize = 256;

/// What we tell of a certificate of our own.
pub(super) struct Facts {
    pub(super) subject: String,
    pub(super) names: Vec<String>,
    pub(super) begins_at: u64,
    pub(super) expires_at: u64,
}

impl Facts {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            subject: certificate.subject().to_string(),
            names: alternative_names(certificate).filter_map(host_name).collect(),
            begins_at: seconds(validity.not_before),
            expires_at: seconds(validity.not_after),
        }
    }
}

/// What somebody should know of a certificate's validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worry {
    /// Nobody believes it any more.
    Expired {
        /// The last second in which it was valid, since 1970.
        at: u64,
        /// How long ago that is.
        since: Duration,
    },
    /// Nobody believes it yet; or the clock is wrong.
    NotValidYet {
        /// The first second in which it is, since 1970.
        from: u64,
        /// How long it is until then.
        wait: Duration,
    },
    /// It ends within 14 days; for those made for less than 42, within a third of their time.
    ExpiresSoon {
        /// The last second in which it is valid, since 1970.
        at: u64,
        /// How long it is until then.
        left: Duration,
    },
}

impl Worry {
    /// All in seconds since 1970. Both ends are in the validity (RFC 5280 §4.1.2.5).
    pub(super) fn about(begins_at: u64, expires_at: u64, now: u64) -> Option<Self> {
        let soon = WARNING.min(Duration::from_secs(expires_at.saturating_sub(begins_at)) / 3);
        let left = Duration::from_secs(expires_at.saturating_sub(now));
        if now > expires_at {
            Some(Self::Expired { at: expires_at, since: Duration::from_secs(now - expires_at) })
        } else if now < begins_at {
            Some(Self::NotValidYet { from: begins_at, wait: Duration::from_secs(begins_at - now) })
        } else {
            (left <= soon).then_some(Self::ExpiresSoon { at: expires_at, left })
        }
    }
}

impl fmt::Display for Worry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { at, since } => {
                write!(f, "expired {} ago, on {}; nobody believes it: renew it", span(*since), date(*at))
            }
            Self::NotValidYet { from, wait } => write!(
                f,
                "is not valid until {}, in {}; use another until then, or set the clock",
                date(*from),
                span(*wait)
            ),
            Self::ExpiresSoon { at, left } => {
                write!(f, "expires in {}, on {}; renew it", span(*left), date(*at))
            }
        }
    }
}

/// The name of a client by its certificate (DER), once the certificate is believed: the first DNS name, e-mail address
/// or URI among its alternative names, else its common name. Names that are longer than 256 bytes, have control
/// characters, or begin or end with a space are passed over and never cut: what is left could be another's name.
#[must_use]
pub fn client_name(leaf: &[u8]) -> Option<String> {
    let certificate = parse(leaf).ok()?;
    let alternative = alternative_names(&certificate).find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => fit(name),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    });
    alternative
        .or_else(|| certificate.subject().iter_common_name().find_map(|name| fit(name.as_str().ok()?)))
}

/// One certificate and nothing after it, or what the parser has against it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("something comes after it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A time in seconds since 1970, as `2026-11-24 02:10 UTC`.
#[must_use]
pub fn date(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| ASN1Time::from_timestamp(unix).ok());
    let Some(time) = time.map(|time| time.to_datetime()) else { return "a day beyond reckoning".to_owned() };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", time.hour(), time.minute())
}

/// A span in its largest whole unit.
pub(super) fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute")];
    let seconds = span.as_secs();
    let (count, unit) = UNITS
        .into_iter()
        .find(|(unit, _)| seconds >= *unit)
        .map_or((seconds, "second"), |(unit, name)| (seconds / unit, name));
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn alternative_names<'a>(certificate: &'a X509Certificate<'a>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.into_iter().flat_map(|extension| &extension.value.general_names)
}

/// What a client could have dialled.
fn host_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn fit(name: &str) -> Option<String> {
    let fits = !name.is_empty()
        && name.len() <= CLIENT_NAME_BYTES_MAX
        && name.trim() == name
        && !name.contains(char::is_control);
    fits.then(|| name.to_owned())
}

/// Times before 1970 are 0: nobody counts from there.
fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::super::testing::{Authority, params};
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn worries_about_ends_and_beginnings() {
        let (begins, ends) = (100 * DAY, 190 * DAY);
        let expired = |since| Worry::Expired { at: ends, since: Duration::from_secs(since) };
        let soon = |left| Worry::ExpiresSoon { at: ends, left: Duration::from_secs(left) };
        let early = |wait| Worry::NotValidYet { from: begins, wait: Duration::from_secs(wait) };
        let rows = [
            (0, Some(early(100 * DAY))),
            (begins - 1, Some(early(1))),
            (begins, None),
            (ends - 14 * DAY - 1, None),
            (ends - 14 * DAY, Some(soon(14 * DAY))),
            (ends, Some(soon(0))),
            (ends + 1, Some(expired(1))),
            (u64::MAX, Some(expired(u64::MAX - ends))),
        ];
        for (now, worry) in rows {
            assert_eq!(Worry::about(begins, ends, now), worry, "at {now}");
        }
    }

    #[test]
    fn a_certificate_of_six_days_is_no_worry_for_four() {
        assert_eq!(Worry::about(0, 6 * DAY, 4 * DAY - 1), None);
        assert!(matches!(Worry::about(0, 6 * DAY, 4 * DAY), Some(Worry::ExpiresSoon { .. })));
    }

    #[test]
    fn says_when_and_what_to_do() {
        let at = 1_795_485_600;
        let rows = [
            (
                Worry::Expired { at, since: Duration::from_secs(3 * DAY + 5) },
                "expired 3 days ago, on 2026-11-24 02:00 UTC; nobody believes it: renew it",
            ),
            (
                Worry::NotValidYet { from: at, wait: Duration::from_secs(3600) },
                "is not valid until 2026-11-24 02:00 UTC, in 1 hour; use another until then, or set the clock",
            ),
            (
                Worry::ExpiresSoon { at, left: Duration::from_secs(59) },
                "expires in 59 seconds, on 2026-11-24 02:00 UTC; renew it",
            ),
            (
                Worry::Expired { at: u64::MAX, since: Duration::ZERO },
                "expired 0 seconds ago, on a day beyond reckoning; nobody believes it: renew it",
            ),
        ];
        for (worry, said) in rows {
            assert_eq!(worry.to_string(), said);
        }
    }

    fn named(common: Option<&str>, alternative: Vec<SanType>) -> Option<String> {
        let mut params: CertificateParams = params(&[]);
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.subject_alt_names = alternative;
        client_name(&Authority::new("ca").sign(&params, &KeyPair::generate().unwrap()).leaf())
    }

    #[test]
    fn a_client_is_called_by_its_first_name() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let address = SanType::IpAddress([192, 0, 2, 7].into());
        let long = "x".repeat(257);
        let rows = [
            (Some("cn"), vec![dns("a.example"), mail("b@example")], Some("a.example")),
            (Some("cn"), vec![address.clone(), mail("b@example"), dns("a.example")], Some("b@example")),
            (None, vec![uri("spiffe://example/feed")], Some("spiffe://example/feed")),
            (Some("Jos\u{e9}"), vec![address], Some("Jos\u{e9}")),
            (Some("cn"), vec![dns(&long), dns("x\r\ny"), dns("")], Some("cn")),
            (Some(" cn"), vec![], None),
            (Some("c\nn"), vec![], None),
            (None, vec![], None),
        ];
        for (common, alternative, name) in rows {
            assert_eq!(named(common, alternative).as_deref(), name);
        }
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        let leaf = Authority::new("ca").pair(&["example.com"]).leaf();
        assert_eq!(client_name(&leaf).as_deref(), Some("example.com"));
        for cut in 0..leaf.len() {
            assert_eq!(client_name(&leaf[..cut]), None);
        }
        assert_eq!(client_name(&[&leaf[..], &[0]].concat()), None);
        for at in 0..leaf.len() {
            let mut damaged = leaf.clone();
            damaged[at] ^= 0xff;
            assert!(client_name(&damaged).is_none_or(|name| fit(&name).is_some()), "at {at}");
        }
    }
}
