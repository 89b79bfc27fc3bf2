//! Looking things up in a client's request as it came: header fields, cookies, query parameters, subprotocols.
//!
//! What is read here decides who is let in and where to; a value that two readers could read differently is never
//! one of two, but [`Occurrence::Repeated`].

use std::borrow::Cow;

use super::fields::{self, Occurrence};
use super::request::UpgradeRequest;

/// A head that the parser has accepted: CR LF lines, no folding, `name: value`.
#[derive(Debug, Clone)]
pub(super) struct Received(Box<[u8]>);

impl Received {
    pub(super) fn new(head: &[u8]) -> Self {
        Self(head.into())
    }

    /// Names and values, in order, as they came.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        lines(&self.0).skip(1).take_while(|line| !line.is_empty()).filter_map(split_line)
    }
}

impl UpgradeRequest {
    /// The value of the header field `name` (in any case), as the client sent it.
    #[must_use]
    pub fn header(&self, name: &str) -> Occurrence<&[u8]> {
        Occurrence::of(self.values(name))
    }

    /// The value of the cookie `name` (RFC 6265 §4.2.1; names are case-sensitive).
    #[must_use]
    pub fn cookie(&self, name: &str) -> Occurrence<&[u8]> {
        let pairs = self.values("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
        let named = pairs.filter_map(|pair| {
            let (key, value) = split_at_byte(pair, b'=')?;
            (key.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
        });
        Occurrence::of(named)
    }

    /// The value of the query parameter `name`, both decoded as application/x-www-form-urlencoded; bytes that are
    /// not UTF-8 become U+FFFD.
    #[must_use]
    pub fn query(&self, name: &str) -> Occurrence<Cow<'_, str>> {
        let query = self.target().split_once('?').map_or("", |(_, query)| query);
        let pairs = form_urlencoded::parse(query.as_bytes());
        Occurrence::of(pairs.filter(|(key, _)| key == name).map(|(_, value)| value))
    }

    /// The subprotocols that the client offered, in its order.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        self.protocols.iter().map(Vec::as_slice)
    }

    /// Takes the subprotocols that begin with `prefix` out of the request: they are not offered to a backend, and
    /// none may choose them.
    pub fn withhold_protocols(&mut self, prefix: &[u8]) {
        let offered = self.protocols.len();
        self.protocols.retain(|protocol| !protocol.starts_with(prefix));
        if self.protocols.len() == offered {
            return;
        }
        let is_offer = |line: &[u8]| {
            split_line(line).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-protocol"))
        };
        let mut kept = Vec::with_capacity(self.lines.len());
        for line in lines(&self.lines).filter(|line| !line.is_empty() && !is_offer(line)) {
            kept.extend_from_slice(line);
            kept.extend_from_slice(b"\r\n");
        }
        if !self.protocols.is_empty() {
            fields::push(&mut kept, "Sec-WebSocket-Protocol", &self.protocols.join(b", ".as_slice()));
        }
        self.lines = kept;
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named =
            move |(key, value): (&'_ [u8], _)| key.eq_ignore_ascii_case(name.as_bytes()).then_some(value);
        self.received.fields().filter_map(named)
    }
}

/// The lines of a head, without their CR LF.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    split_at_byte(line, b':').map(|(name, value)| (name, value.trim_ascii()))
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, lines: &str) -> UpgradeRequest {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: selat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        UpgradeRequest::parse(head.as_bytes(), None).unwrap()
    }

    #[test]
    fn finds_header_fields_as_they_came() {
        let request = request(
            "/",
            "Origin:https://example.com\r\nX-One: a: b \r\nX-Empty:\r\nX-Two: 1\r\nx-two: 2\r\nX-Far: y\r\n",
        );
        // RFC 9110 §5.1: names in any case; §5.5: whitespace around a value is not part of it.
        assert_eq!(request.header("oRIGIN"), Occurrence::Once(b"https://example.com".as_slice()));
        assert_eq!(request.header("x-one"), Occurrence::Once(b"a: b".as_slice()));
        assert_eq!(request.header("x-empty"), Occurrence::Once(b"".as_slice()));
        assert_eq!(request.header("X-TWO"), Occurrence::Repeated);
        assert_eq!(request.header("x-three"), Occurrence::Missing);
        assert_eq!(request.header("get / http/1.1"), Occurrence::Missing);
    }

    #[test]
    fn a_connection_header_hides_no_field_from_us() {
        // RFC 9110 §7.6.1 keeps it from the backend; it came all the same.
        let request = request("/", "Origin: https://evil.example\r\nConnection: Origin\r\n");
        assert_eq!(request.header("origin"), Occurrence::Once(b"https://evil.example".as_slice()));
    }

    #[test]
    fn finds_cookies_in_every_cookie_header() {
        let request = request("/", "Cookie: a=1; sid=x=y ;b\r\nCookie: c=3; c=4\r\n");
        assert_eq!(request.cookie("a"), Occurrence::Once(b"1".as_slice()));
        assert_eq!(request.cookie("sid"), Occurrence::Once(b"x=y".as_slice()));
        assert_eq!(request.cookie("SID"), Occurrence::Missing);
        assert_eq!(request.cookie("b"), Occurrence::Missing);
        assert_eq!(request.cookie("c"), Occurrence::Repeated);
    }

    #[test]
    fn decodes_query_parameters() {
        let rows = [
            ("/?k=v", Occurrence::Once("v")),
            ("/p?a=1&k=v&b", Occurrence::Once("v")),
            ("/?k=a%2Bb+c", Occurrence::Once("a+b c")),
            ("/?%6B=v", Occurrence::Once("v")),
            ("/?k", Occurrence::Once("")),
            ("/?k=a=b?c", Occurrence::Once("a=b?c")),
            ("/?k=%ff", Occurrence::Once("\u{fffd}")),
            ("/?k=%00", Occurrence::Once("\0")),
            ("/?k=%4", Occurrence::Once("%4")),
            ("/?k=1&k=1", Occurrence::Repeated),
            ("/?k=1&%6b=2", Occurrence::Repeated),
            ("/?K=v", Occurrence::Missing),
            ("/k=v", Occurrence::Missing),
            ("/", Occurrence::Missing),
        ];
        for (target, value) in rows {
            assert_eq!(request(target, "").query("k"), value.map(Cow::Borrowed), "{target}");
        }
    }

    #[test]
    fn a_withheld_subprotocol_reaches_no_backend_and_cannot_be_chosen() {
        let offer =
            "Sec-WebSocket-Protocol: chat, key.SECRET\r\nX-Other: key.x\r\nsec-websocket-protocol: v2\r\n";
        let mut withheld = request("/", offer);
        withheld.withhold_protocols(b"key.");
        let head = String::from_utf8(withheld.head_for("")).unwrap();
        assert!(!head.contains("SECRET"), "{head}");
        assert_eq!(head.to_lowercase().matches("sec-websocket-protocol:").count(), 1, "{head}");
        assert!(head.contains("\r\nSec-WebSocket-Protocol: chat, v2\r\n"), "{head}");
        assert!(head.contains("\r\nX-Other: key.x\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n") && head.matches("\r\n\r\n").count() == 1, "{head}");
        assert!(withheld.offers_protocol(b"chat") && !withheld.offers_protocol(b"key.SECRET"));

        let mut only = request("/", "Sec-WebSocket-Protocol: key.SECRET\r\n");
        only.withhold_protocols(b"key.");
        let head = String::from_utf8(only.head_for("")).unwrap();
        assert!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");

        let mut none = request("/", offer);
        let before = none.head_for("");
        none.withhold_protocols(b"token.");
        assert_eq!(none.head_for(""), before);
    }
}
