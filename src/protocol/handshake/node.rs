//! The addresses in `X-Forwarded-For` and `Forwarded` (RFC 7239 §4, §6).

use std::net::IpAddr;

/// The `for` of each element of one `Forwarded` value, `None` where it is no address; one `None` for a value that
/// cannot be read.
pub(super) fn forwarded_for(value: &[u8]) -> Vec<Option<IpAddr>> {
    let Some(elements) = split_unquoted(value, b',') else { return vec![None] };
    let elements = elements.into_iter().map(<[u8]>::trim_ascii).filter(|element| !element.is_empty());
    elements
        .map(|element| {
            let pairs = split_unquoted(element, b';')?;
            let mut nodes = pairs.into_iter().filter_map(|pair| {
                let pair = pair.trim_ascii();
                let (name, value) = pair.split_at_checked(4)?;
                name.eq_ignore_ascii_case(b"for=").then_some(value)
            });
            let found = nodes.next()?;
            // RFC 7239 §4: each parameter MUST NOT occur more than once.
            nodes.next().is_none().then(|| node(found))?
        })
        .collect()
}

/// `value` split at `separator` outside quotations; `None` if a quotation is left open (RFC 9110 §5.6.4).
pub(super) fn split_unquoted(value: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = value
        .split(|byte| {
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                b'\\' if is_quoted => is_escaped = !was_escaped,
                b'"' if !was_escaped => is_quoted = !is_quoted,
                _ => return !is_quoted && *byte == separator,
            }
            false
        })
        .collect();
    (!is_quoted).then_some(parts)
}

/// The address of a node, quoted or not, with or without a port (RFC 7239 §6, and what `X-Forwarded-For` has in
/// practice); `None` for `unknown`, obfuscated identifiers and garbage.
pub(super) fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (IpAddr::V6(address.parse().ok()?), port)
        }
        None => match (text.parse(), text.find(':')) {
            (Ok(address), _) => (address, ""),
            (Err(_), Some(at)) => {
                let (address, port) = text.split_at(at);
                (IpAddr::V4(address.parse().ok()?), port)
            }
            (Err(_), None) => return None,
        },
    };
    let is_port = |port: &str| {
        let is_obfuscated = port.starts_with('_');
        !port.is_empty() && port.bytes().all(|byte| is_obfuscated || byte.is_ascii_digit())
    };
    let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    is_whole.then(|| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_an_address_with_or_without_a_port_or_nothing() {
        let rows = [
            ("192.0.2.1", Some("192.0.2.1")),
            (" 192.0.2.1\t", Some("192.0.2.1")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("192.0.2.1:_port", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("\"[2001:db8::1]:80\"", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:", None),
            ("192.0.2.1:x", None),
            ("192.0.2.1:80:80", None),
            ("192.0.2", None),
            ("192.0.2.01", None),
            ("0xC0000201", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]80", None),
            ("2001:db8::1]:80", None),
            ("fe80::1%eth0", None),
            ("\"192.0.2.1", None),
            ("client.example", None),
            ("unknown", None),
            ("_secret", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(node(text.as_bytes()), expected.map(|ip| ip.parse().unwrap()), "{text:?}");
        }
        assert_eq!(node(b"\xFF"), None);
    }
}
