//! Header fields: lookup, lists, and which of them end at a proxy (RFC 9110 §5.6.1, §7.6.1).

use httparse::Header;

/// The values of every field called `name`, in order.
pub(super) fn values<'f, 'h>(headers: &'f [Header<'h>], name: &'f str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// How often something stands in a head, where a second one would be ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence<T> {
    /// Not at all.
    Missing,
    /// Once, with this value.
    Once(T),
    /// More often, so that two readers could take different ones.
    Repeated,
}

impl<T> Occurrence<T> {
    /// How often it is among `values`.
    pub fn of(values: impl IntoIterator<Item = T>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }

    /// The value, where it is beyond doubt.
    pub fn once(self) -> Option<T> {
        match self {
            Self::Once(value) => Some(value),
            Self::Missing | Self::Repeated => None,
        }
    }

    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Occurrence<U> {
        match self {
            Self::Missing => Occurrence::Missing,
            Self::Once(value) => Occurrence::Once(change(value)),
            Self::Repeated => Occurrence::Repeated,
        }
    }
}

/// The field called `name`, where a second one would be ambiguous.
pub(super) fn single<'h>(headers: &[Header<'h>], name: &str) -> Occurrence<&'h [u8]> {
    Occurrence::of(values(headers, name))
}

/// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 §5.6.1).
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The members of every field called `name`.
pub(super) fn list<'f, 'h>(headers: &'f [Header<'h>], name: &'f str) -> impl Iterator<Item = &'h [u8]> {
    values(headers, name).flat_map(members)
}

/// Whether the list field `name` has `token`, in any case.
pub(super) fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    list(headers, name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

/// The name of an extension, without its parameters (RFC 6455 §9.1).
pub(super) fn extension_name(member: &[u8]) -> &[u8] {
    member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Fields of one connection, which a proxy does not pass on (RFC 9110 §7.6.1).
pub(super) const HOP_BY_HOP: [&str; 7] =
    ["connection", "upgrade", "keep-alive", "proxy-connection", "te", "trailer", "proxy-authenticate"];

/// How the names of the fields begin that a `Connection` header cannot take away, like `Host`: the handshake itself
/// needs them on the other side.
pub(super) const HANDSHAKE_PREFIX: &str = "sec-websocket-";

/// Whether the field `name` ends at this proxy: hop-by-hop by nature or named in a `Connection` field.
pub(super) fn is_hop_by_hop(headers: &[Header<'_>], name: &str) -> bool {
    if HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
        return true;
    }
    let prefix = name.get(..HANDSHAKE_PREFIX.len()).unwrap_or_default();
    let is_needed = name.eq_ignore_ascii_case("host") || prefix.eq_ignore_ascii_case(HANDSHAKE_PREFIX);
    !is_needed && has_token(headers, "connection", name)
}

/// Appends one field line.
pub(super) fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
