//! Heads of HTTP messages, written out by hand and taken apart by hand.

/// The key of RFC 6455 §1.3, and what answers it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A legal opening handshake for `target`, with these further header lines.
pub(crate) fn upgrade_request(target: &str, more: &[&str]) -> Vec<u8> {
    upgrade_request_to("chat.example", target, more)
}

/// The same, asking this host.
pub(crate) fn upgrade_request_to(host: &str, target: &str, more: &[&str]) -> Vec<u8> {
    let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
    .into_bytes()
}

/// The 101 that answers [`upgrade_request`], with these further header lines.
pub(crate) fn switching(more: &[&str]) -> Vec<u8> {
    let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// The head of a request or a response.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The first line.
    pub(crate) start: String,
    /// Names as they came, and values, in order.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// Takes a whole head apart, its empty line included.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("a head of ASCII");
        let mut lines = text.strip_suffix("\r\n\r\n").expect("an empty line at the end").split("\r\n");
        let start = lines.next().expect("a first line").to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| unreachable!("a field: {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        };
        Self { start, fields: lines.map(field).collect() }
    }

    /// The values of every field of this name, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that must be there once.
    pub(crate) fn one(&self, name: &str) -> &str {
        let values = self.all(name);
        assert_eq!(values.len(), 1, "one {name} in {self:?}");
        values.first().copied().unwrap_or_default()
    }

    /// A response's status.
    pub(crate) fn status(&self) -> u16 {
        let code = self.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok())
            .unwrap_or_else(|| unreachable!("a status line: {}", self.start))
    }

    /// A request's target.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}
