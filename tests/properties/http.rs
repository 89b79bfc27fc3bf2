//! What any head that selat writes must be, whoever reads it (RFC 9112 §2–§6).

/// A head as httparse reads it: first line, then names and values.
#[derive(Debug)]
pub(crate) struct Head {
    /// Method and target of a request; status and reason of a response.
    pub(crate) start: (String, String),
    /// Fields in order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The values of every field of that name.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// The list members of every field of that name (RFC 9110 §5.6.1).
    pub(crate) fn members(&self, name: &str) -> Vec<&[u8]> {
        let values = self.values(name).into_iter();
        let members = values.flat_map(|value| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
        members.filter(|member| !member.is_empty()).collect()
    }

    /// Whether that list has this member, in any case.
    pub(crate) fn has(&self, name: &str, member: &str) -> bool {
        self.members(name).iter().any(|other| other.eq_ignore_ascii_case(member.as_bytes()))
    }
}

/// Fields that a recipient may read, more than selat accepts: it adds some of its own.
const FIELDS_MAX: usize = 128;

/// The request that is exactly `bytes`.
pub(crate) fn request(bytes: &[u8]) -> Option<Head> {
    let mut table = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut table);
    let len = request.parse(bytes).ok()?;
    (len == httparse::Status::Complete(bytes.len()) && request.version == Some(1)).then_some(())?;
    Some(Head { start: (request.method?.into(), request.path?.into()), fields: fields(request.headers) })
}

/// The response that is exactly `bytes`.
pub(crate) fn response(bytes: &[u8]) -> Option<Head> {
    let mut table = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut table);
    let len = response.parse(bytes).ok()?;
    (len == httparse::Status::Complete(bytes.len())).then_some(())?;
    let start = (response.code?.to_string(), response.reason?.into());
    Some(Head { start, fields: fields(response.headers) })
}

fn fields(headers: &[httparse::Header<'_>]) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect()
}

/// No two parsers read it differently: CR LF at every line's end and nowhere else, one empty line, the last; no
/// folding, no NUL.
pub(crate) fn assert_unambiguous(head: &[u8]) {
    let text = head.escape_ascii();
    let lines = head.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("no empty line at the end: {text}"));
    assert!(!lines.contains(&0), "NUL: {text}");
    for line in lines.split(|byte| *byte == b'\n') {
        let is_last = std::ptr::eq(line.as_ptr_range().end, lines.as_ptr_range().end);
        let line = line.strip_suffix(b"\r").or(is_last.then_some(line));
        let line = line.unwrap_or_else(|| panic!("a line ends in LF alone: {text}"));
        assert!(!line.contains(&b'\r'), "a CR inside a line: {text}");
        assert!(!line.is_empty(), "an empty line inside: {text}");
        assert!(!line.starts_with(b" ") && !line.starts_with(b"\t"), "a folded line: {text}");
    }
}
