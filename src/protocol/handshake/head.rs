//! The extent of an HTTP head, and the line rules that keep two parsers from reading it differently (RFC 9112 §2.2).

/// Header lines in one head; beyond: 431. Bounds the parser's table.
pub const HEADERS_MAX: usize = 100;

/// A head that no two parsers can be trusted to read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// RFC 9112 §2.2: lines end in CR LF.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// RFC 9112 §5.2: a line that continues the one before it.
    #[error("a header line is folded")]
    ObsFold,
    /// RFC 9110 §5.5: NUL in a head.
    #[error("a NUL byte in the head")]
    Nul,
}

/// Bytes of the head at the front of `bytes`, its empty line included; `None` if it has not fully arrived.
///
/// # Errors
/// A [`HeadFault`], as soon as the bytes show it.
pub fn head_len(bytes: &[u8]) -> Result<Option<usize>, HeadFault> {
    let mut line_start = 0;
    for lf in memchr::memchr_iter(b'\n', bytes) {
        let line = bytes.get(line_start..lf).unwrap_or_default();
        if memchr::memchr(0, line).is_some() {
            return Err(HeadFault::Nul);
        }
        match line {
            [b'\r'] => return Ok(Some(lf + 1)),
            [b' ' | b'\t', ..] if line_start > 0 => return Err(HeadFault::ObsFold),
            [.., b'\r'] => line_start = lf + 1,
            _ => return Err(HeadFault::BareLf),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_at_the_first_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let with_more = [head.as_slice(), b"\x81\x80more\n"].concat();
        assert_eq!(head_len(&with_more), Ok(Some(head.len())));
        for cut in 0..head.len() {
            assert_eq!(head_len(&head[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn refuses_lines_that_parsers_read_differently() {
        let rows: [(&[u8], HeadFault); 5] = [
            (b"GET / HTTP/1.1\nHost: x\r\n\r\n", HeadFault::BareLf),
            (b"GET / HTTP/1.1\r\nHost: x\n\r\n", HeadFault::BareLf),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\n", HeadFault::BareLf),
            (b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", HeadFault::ObsFold),
            (b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n", HeadFault::Nul),
        ];
        for (head, fault) in rows {
            assert_eq!(head_len(head), Err(fault), "{}", head.escape_ascii());
        }
    }
}
