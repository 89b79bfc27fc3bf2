//! Where the body of a backend's refusal ends (RFC 9112 §6.3).

use httparse::{Header, Status};

use super::fields;

/// The length of a response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// This many bytes; none for statuses that have no body.
    Length(u64),
    /// Chunked transfer coding (RFC 9112 §7.1).
    Chunked,
    /// Until the backend closes.
    UntilClose,
}

impl Body {
    /// The body of a response to a GET (RFC 9112 §6.3); `None` where its length is in doubt.
    pub(super) fn of_response(status: u16, headers: &[Header<'_>]) -> Option<Self> {
        let mut lengths = fields::values(headers, "content-length");
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return None;
        }
        let length = length.map(|digits| {
            let is_number = digits.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
        });
        if let Some(None) = length {
            return None;
        }
        if matches!(status, 204 | 304) {
            return Some(Self::Length(0));
        }
        if fields::values(headers, "transfer-encoding").next().is_some() {
            // Chunked only where it is the last coding applied.
            let last = fields::list(headers, "transfer-encoding").last().unwrap_or_default();
            return Some(if last.eq_ignore_ascii_case(b"chunked") {
                Self::Chunked
            } else {
                Self::UntilClose
            });
        }
        Some(length.flatten().map_or(Self::UntilClose, Self::Length))
    }

    /// Where in `bytes`, which begin with the body, the body ends; `None` while it has not fully arrived.
    #[must_use]
    pub fn end_in(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Length(length) => usize::try_from(length).ok().filter(|length| *length <= bytes.len()),
            Self::Chunked => chunked_end(bytes),
            Self::UntilClose => None,
        }
    }
}

fn chunked_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let Ok(Status::Complete((line, size))) = httparse::parse_chunk_size(bytes.get(at..)?) else {
            return None;
        };
        at += line;
        if size == 0 {
            return trailer_end(bytes, at);
        }
        at = at.checked_add(usize::try_from(size).ok()?)?.checked_add(2)?;
    }
}

/// The end of the trailer section at `at`: an empty line (RFC 9112 §7.1.2).
fn trailer_end(bytes: &[u8], at: usize) -> Option<usize> {
    let trailer = bytes.get(at..)?;
    if trailer.starts_with(b"\r\n") {
        return Some(at + 2);
    }
    memchr::memmem::find(trailer, b"\r\n\r\n").map(|end| at + end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_each_kind_at_no_earlier_cut() {
        let rows: [(Body, &[u8], usize); 4] = [
            (Body::Length(5), b"hello", 5),
            (Body::Chunked, b"5\r\nhello\r\n0\r\n\r\n", 15),
            (Body::Chunked, b"1;x=y\r\nh\r\n0\r\nA: b\r\n\r\n", 21),
            (Body::Length(0), b"", 0),
        ];
        for (body, bytes, end) in rows {
            let longer = [bytes, b"next"].concat();
            assert_eq!(body.end_in(&longer), Some(end), "{}", bytes.escape_ascii());
            for cut in 0..end {
                assert_eq!(body.end_in(&bytes[..cut]), None, "{} cut at {cut}", bytes.escape_ascii());
            }
        }
        assert_eq!(Body::UntilClose.end_in(b"anything"), None);
    }
}
