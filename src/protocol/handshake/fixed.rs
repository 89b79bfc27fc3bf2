//! Responses that the configuration spells out, such as that of `/healthz`.

use super::edits::{check_name, check_value};
use super::{InvalidEdit, RequestHead};

/// A whole response, after which the connection closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedResponse {
    status: u16,
    /// With the empty line.
    head: Vec<u8>,
    body: Vec<u8>,
}

/// A response that no client could read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFixed {
    /// 1xx is not an end, and beyond 599 there is nothing (RFC 9110 §15).
    #[error("{0} is not the status of a whole response: 200 to 599")]
    Status(u16),
    /// RFC 9110 §15.3.5, §15.3.6, §15.4.5.
    #[error("a response with status {0} has no body")]
    Body(u16),
    /// Of one of its fields.
    #[error(transparent)]
    Field(#[from] InvalidEdit),
}

impl FixedResponse {
    /// A response with this body. `headers` are further fields, as they stand: no placeholders.
    ///
    /// # Errors
    /// [`InvalidFixed`].
    pub fn new(
        status: u16,
        content_type: &str,
        body: impl Into<Vec<u8>>,
        headers: &[(String, String)],
    ) -> Result<Self, InvalidFixed> {
        let body = body.into();
        if !(200..=599).contains(&status) {
            return Err(InvalidFixed::Status(status));
        }
        let has_body = !matches!(status, 204 | 205 | 304);
        if !has_body && !body.is_empty() {
            return Err(InvalidFixed::Body(status));
        }
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        if has_body {
            check_value("Content-Type", content_type)?;
            head.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            check_name(name)?;
            check_value(name, value)?;
            if name.eq_ignore_ascii_case("content-type") {
                return Err(InvalidEdit::Protected { name: name.clone() }.into());
            }
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Connection: close\r\n\r\n");
        Ok(Self { status, head: head.into_bytes(), body })
    }

    /// The status code.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.status
    }

    /// The response to this request.
    #[must_use]
    pub fn response_to(&self, request: &RequestHead<'_>) -> Vec<u8> {
        // RFC 9110 §9.3.2: to HEAD a server MUST NOT send a body; the fields tell what GET would get.
        let body = if request.method() == "HEAD" { &[] } else { self.body.as_slice() };
        [self.head.as_slice(), body].concat()
    }
}

/// The reason phrase of the statuses that people configure; others have none (RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(fixed: &FixedResponse, method: &str) -> String {
        let head = format!("{method} /healthz HTTP/1.0\r\n\r\n");
        let request = RequestHead::parse(head.as_bytes()).unwrap();
        String::from_utf8(fixed.response_to(&request)).unwrap()
    }

    #[test]
    fn a_fixed_response_is_whole_and_its_head_alone_answers_head() {
        let headers = [("Cache-Control".to_owned(), "no-store".to_owned())];
        let fixed = FixedResponse::new(200, "text/plain; charset=utf-8", "fine\n", &headers).unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\
            Cache-Control: no-store\r\nConnection: close\r\n\r\n";
        assert_eq!(respond(&fixed, "GET"), format!("{head}fine\n"));
        assert_eq!(respond(&fixed, "HEAD"), head);
        assert_eq!(respond(&fixed, "POST"), format!("{head}fine\n"));
    }

    #[test]
    fn a_status_without_body_says_nothing_of_its_length() {
        let fixed = FixedResponse::new(204, "text/plain", "", &[]).unwrap();
        assert_eq!(respond(&fixed, "GET"), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        let fixed = FixedResponse::new(299, "text/plain", "", &[]).unwrap();
        assert!(respond(&fixed, "GET").starts_with("HTTP/1.1 299 \r\n"), "RFC 9112 §4: with its space");
    }

    #[test]
    fn what_no_client_could_read_is_no_response() {
        for status in [0, 101, 199, 600] {
            assert_eq!(FixedResponse::new(status, "text/plain", "", &[]), Err(InvalidFixed::Status(status)));
        }
        assert_eq!(FixedResponse::new(204, "text/plain", "x", &[]), Err(InvalidFixed::Body(204)));
        let rows = [
            ("Content-Length", "0"),
            ("Content-Type", "x"),
            ("X A", "x"),
            ("X-A", "x\r\ny"),
            ("Upgrade", "x"),
        ];
        for (name, value) in rows {
            let headers = [(name.to_owned(), value.to_owned())];
            let fixed = FixedResponse::new(200, "text/plain", "", &headers);
            assert!(matches!(fixed, Err(InvalidFixed::Field(_))), "{name}: {fixed:?}");
        }
        assert!(FixedResponse::new(200, "text/plain\r\nX: y", "", &[]).is_err());
    }
}
