//! Looking things up in a client's request as it came: header fields, cookies, query parameters.
//!
//! What is read here decides who is let in and where to; a value that two readers could read differently is never
//! one of two, but [`Occurrence::Repeated`].

use std::borrow::Cow;

use super::UpgradeRequest;
use super::fields::{self, Occurrence};

impl<'h> UpgradeRequest<'h> {
    /// The value of the header field `name` (in any case), as the client sent it.
    #[must_use]
    pub fn header(&self, name: &str) -> Occurrence<&'h [u8]> {
        fields::single(self.head().headers(), name)
    }

    /// The value of the cookie `name` (RFC 6265 §4.2.1; names are case-sensitive).
    #[must_use]
    pub fn cookie(&self, name: &str) -> Occurrence<&'h [u8]> {
        let cookies = fields::values(self.head().headers(), "cookie");
        let pairs = cookies.flat_map(|value| value.split(|byte| *byte == b';'));
        let named = pairs.filter_map(|pair| {
            let at = memchr::memchr(b'=', pair)?;
            let (key, value) = (pair.get(..at)?, pair.get(at + 1..)?);
            (key.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
        });
        Occurrence::of(named)
    }

    /// The value of the query parameter `name`, both decoded as application/x-www-form-urlencoded; bytes that are
    /// not UTF-8 become U+FFFD.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Occurrence<Cow<'h, str>> {
        let pairs = form_urlencoded::parse(self.query().unwrap_or_default().as_bytes());
        Occurrence::of(pairs.filter(|(key, _)| key == name).map(|(_, value)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, lines: &str) -> UpgradeRequest<'static> {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: selat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        UpgradeRequest::parse(head.leak().as_bytes()).unwrap()
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
            assert_eq!(request(target, "").query_parameter("k"), value.map(Cow::Borrowed), "{target}");
        }
    }
}
