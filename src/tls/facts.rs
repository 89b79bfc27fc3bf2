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
pub(super) fn date(unix: u64) -> String {
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
