//! Header fields that the configuration sets, adds and removes, in requests to backends and in responses to clients.
//!
//! Works on heads that selat has written: every line ends in CR LF, and no value holds either.

use std::net::IpAddr;

use super::fields;

/// What the values of edits may tell of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'f> {
    /// `{client_ip}`: the real client ([`super::Forwarding::real_client`]).
    pub client: Option<IpAddr>,
    /// `{host}`: the host that was asked, with its port.
    pub host: &'f [u8],
    /// `{path}`: the path as it came, without its query.
    pub path: &'f str,
    /// `{route}`: the name of the route.
    pub route: &'f str,
    /// `{identity}`: who the client proved to be.
    pub identity: Option<&'f str>,
}

/// Changes to the fields of a head, all of them legal. Applied in this order: remove, set, add.
///
/// A value may hold the placeholders `{client_ip}`, `{host}`, `{path}`, `{route}` and `{identity}`; `{{` and `}}` are
/// plain braces. Control characters in what they stand for are percent-encoded, so that no client can write a line of
/// its own. A field whose value turns out empty is not written; one that is set is still taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    set: Vec<Field>,
    add: Vec<Field>,
    remove: Vec<String>,
}

/// An edit that would break the handshake or the head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEdit {
    /// RFC 9110 §5.1: a name is a token.
    #[error("\"{name}\" is not the name of a header field")]
    Name {
        /// As it was given.
        name: String,
    },
    /// Fields of the handshake, of one connection or of the body's length.
    #[error("{name} belongs to the handshake or to the connection and cannot be edited")]
    Protected {
        /// As it was given.
        name: String,
    },
    /// RFC 9112 §3.2: there is exactly one.
    #[error("Host can only be set: a request has exactly one")]
    Host,
    /// RFC 9110 §5.5: CR, LF, NUL and other control characters.
    #[error("the value of {name} holds a control character")]
    Value {
        /// Of the field.
        name: String,
    },
    /// No such placeholder, or a brace alone.
    #[error(
        "the value of {name} has \"{placeholder}\", which is none of {{client_ip}}, {{host}}, {{path}}, {{route}}, \
         {{identity}}; write {{{{ and }}}} for plain braces"
    )]
    Placeholder {
        /// Of the field.
        name: String,
        /// From the brace on.
        placeholder: String,
    },
}

impl HeaderEdits {
    /// Edits by name and value: `set` replaces every field of that name, `add` leaves those there are, `remove` takes
    /// them all out.
    ///
    /// # Errors
    /// [`InvalidEdit`] for the first edit that is not legal.
    pub fn new(
        set: &[(String, String)],
        add: &[(String, String)],
        remove: &[String],
    ) -> Result<Self, InvalidEdit> {
        let is_host = |name: &str| name.eq_ignore_ascii_case("host");
        for name in add.iter().map(|(name, _)| name).chain(remove) {
            check_name(name)?;
            if is_host(name) {
                return Err(InvalidEdit::Host);
            }
        }
        let fields = |edits: &[(String, String)]| edits.iter().map(Field::new).collect::<Result<_, _>>();
        Ok(Self { set: fields(set)?, add: fields(add)?, remove: remove.to_vec() })
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Edits the head at the front of `message`, which selat has written; what is behind its empty line stays.
    pub fn apply(&self, message: &mut Vec<u8>, facts: &Facts<'_>) {
        let Some(end) = memchr::memmem::find(message, b"\r\n\r\n") else { return };
        if self.is_empty() {
            return;
        }
        let body = message.split_off(end + 4);
        let head = std::mem::take(message);
        let mut lines = head.get(..end).unwrap_or_default().split(|byte| *byte == b'\n');
        push_line(message, lines.next().unwrap_or_default());
        for line in lines.filter(|line| !self.takes_out(line)) {
            push_line(message, line);
        }
        for field in self.set.iter().chain(&self.add) {
            field.push(message, facts);
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&body);
    }

    fn takes_out(&self, line: &[u8]) -> bool {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let mut names = self.remove.iter().chain(self.set.iter().map(|field| &field.name));
        names.any(|taken| taken.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Appends a line with or without its CR.
fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    out.extend_from_slice(b"\r\n");
}

/// A name that may be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: String,
    value: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    ClientIp,
    Host,
    Path,
    Route,
    Identity,
}

impl Field {
    fn new((name, value): &(String, String)) -> Result<Self, InvalidEdit> {
        check_name(name)?;
        check_value(name, value)?;
        let value = pieces(value)
            .map_err(|placeholder| InvalidEdit::Placeholder { name: name.clone(), placeholder })?;
        Ok(Self { name: name.clone(), value })
    }

    fn push(&self, out: &mut Vec<u8>, facts: &Facts<'_>) {
        let mut value = Vec::new();
        for piece in &self.value {
            match piece {
                Piece::Text(text) => value.extend_from_slice(text.as_bytes()),
                Piece::ClientIp => {
                    value.extend(facts.client.map(|client| client.to_string()).unwrap_or_default().bytes());
                }
                Piece::Host => push_sanitised(&mut value, facts.host),
                Piece::Path => push_sanitised(&mut value, facts.path.as_bytes()),
                Piece::Route => push_sanitised(&mut value, facts.route.as_bytes()),
                Piece::Identity => {
                    push_sanitised(&mut value, facts.identity.unwrap_or_default().as_bytes());
                }
            }
        }
        let value = value.trim_ascii();
        if !value.is_empty() {
            fields::push(out, &self.name, value);
        }
    }
}

/// The pieces of a value; the placeholder that is none.
fn pieces(value: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from_brace) = rest.split_at(at);
        text.push_str(before);
        if let Some(behind) = from_brace.strip_prefix("{{").or(from_brace.strip_prefix("}}")) {
            text.extend(from_brace.chars().next());
            rest = behind;
            continue;
        }
        let (placeholder, behind) =
            from_brace.split_at(from_brace.find('}').map_or(from_brace.len(), |at| at + 1));
        let piece = match placeholder {
            "{client_ip}" => Piece::ClientIp,
            "{host}" => Piece::Host,
            "{path}" => Piece::Path,
            "{route}" => Piece::Route,
            "{identity}" => Piece::Identity,
            other => return Err(other.to_owned()),
        };
        pieces.extend((!text.is_empty()).then(|| Piece::Text(std::mem::take(&mut text))));
        pieces.push(piece);
        rest = behind;
    }
    text.push_str(rest);
    pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
    Ok(pieces)
}

/// Appends a fact with its control characters percent-encoded.
fn push_sanitised(out: &mut Vec<u8>, fact: &[u8]) {
    for byte in fact {
        if byte.is_ascii_control() {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
}

/// That a field of this name may be written by configuration.
pub(super) fn check_name(name: &str) -> Result<(), InvalidEdit> {
    // RFC 9110 §5.6.2.
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_tchar) {
        return Err(InvalidEdit::Name { name: name.to_owned() });
    }
    let lower = name.to_ascii_lowercase();
    let is_protected = fields::HOP_BY_HOP.contains(&lower.as_str())
        || ["content-length", "transfer-encoding"].contains(&lower.as_str())
        || lower.starts_with(fields::HANDSHAKE_PREFIX);
    if is_protected { Err(InvalidEdit::Protected { name: name.to_owned() }) } else { Ok(()) }
}

/// That this value stays on its line.
pub(super) fn check_value(name: &str, value: &str) -> Result<(), InvalidEdit> {
    let is_fit = value.bytes().all(|byte| !byte.is_ascii_control() || byte == b'\t');
    if is_fit { Ok(()) } else { Err(InvalidEdit::Value { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(edits: &[(&str, &str)]) -> Vec<(String, String)> {
        edits.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn set(name: &str, value: &str) -> Result<HeaderEdits, InvalidEdit> {
        HeaderEdits::new(&pairs(&[(name, value)]), &[], &[])
    }

    fn edited(edits: &HeaderEdits, facts: &Facts<'_>, message: &str) -> String {
        let mut message = message.as_bytes().to_vec();
        edits.apply(&mut message, facts);
        String::from_utf8(message).unwrap()
    }

    const HEAD: &str = "GET / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-b: 2\r\nX-A: 3\r\n\r\n\r\nbody\n";

    #[test]
    fn removes_then_sets_then_adds() {
        let edits = HeaderEdits::new(
            &pairs(&[("x-a", "set")]),
            &pairs(&[("X-B", "added"), ("X-A", "too")]),
            &["X-b".to_owned()],
        );
        let expected = "GET / HTTP/1.1\r\nHost: x\r\nx-a: set\r\nX-B: added\r\nX-A: too\r\n\r\n\r\nbody\n";
        assert_eq!(edited(&edits.unwrap(), &Facts::default(), HEAD), expected);
    }

    #[test]
    fn without_edits_nothing_changes() {
        assert_eq!(edited(&HeaderEdits::default(), &Facts::default(), HEAD), HEAD);
    }

    #[test]
    fn placeholders_tell_the_facts() {
        let facts = Facts {
            client: Some([192, 0, 2, 1].into()),
            host: b"chat.example:8080",
            path: "/ws/room",
            route: "chat",
            identity: Some("ada"),
        };
        let rows = [
            ("{client_ip}", "192.0.2.1"),
            ("{host}{path}", "chat.example:8080/ws/room"),
            ("route={route}; user={identity}", "route=chat; user=ada"),
            ("{{route}} {{}}", "{route} {}"),
            ("{{{route}}}", "{chat}"),
            ("caf\u{e9}\tcr\u{e8}me", "caf\u{e9}\tcr\u{e8}me"),
        ];
        for (value, expected) in rows {
            let message = edited(&set("X-A", value).unwrap(), &facts, "HTTP/1.1 200 OK\r\n\r\n");
            assert_eq!(message, format!("HTTP/1.1 200 OK\r\nX-A: {expected}\r\n\r\n"), "{value}");
        }
    }

    #[test]
    fn a_fact_cannot_write_a_line_of_its_own() {
        let facts = Facts { identity: Some("a\r\nX-Admin: 1\0\u{7f}"), ..Facts::default() };
        let message = edited(&set("X-User", "{identity}").unwrap(), &facts, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(message, "HTTP/1.1 200 OK\r\nX-User: a%0D%0AX-Admin: 1%00%7F\r\n\r\n");
    }

    #[test]
    fn what_the_client_sent_does_not_stand_in_for_a_fact_that_is_missing() {
        let message = edited(&set("X-A", "{identity}").unwrap(), &Facts::default(), HEAD);
        assert_eq!(message, "GET / HTTP/1.1\r\nHost: x\r\nx-b: 2\r\n\r\n\r\nbody\n");
    }

    #[test]
    fn the_handshake_and_the_connection_are_not_to_be_edited() {
        let protected = [
            "Connection",
            "upgrade",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Proxy-Authenticate",
            "Content-Length",
            "Transfer-Encoding",
            "Sec-WebSocket-Key",
            "sec-websocket-accept",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Version",
        ];
        for name in protected {
            let expected = Err(InvalidEdit::Protected { name: name.to_owned() });
            assert_eq!(set(name, "x"), expected);
            assert_eq!(HeaderEdits::new(&[], &pairs(&[(name, "x")]), &[]), expected);
            assert_eq!(HeaderEdits::new(&[], &[], &[name.to_owned()]), expected);
        }
        assert!(set("Host", "backend.example").is_ok());
        assert_eq!(HeaderEdits::new(&[], &pairs(&[("host", "x")]), &[]), Err(InvalidEdit::Host));
        assert_eq!(HeaderEdits::new(&[], &[], &["HOST".to_owned()]), Err(InvalidEdit::Host));
    }

    #[test]
    fn what_would_break_the_head_is_no_edit() {
        for name in ["", "X A", "X:A", "X-A\r\n", "caf\u{e9}", "(x)"] {
            assert_eq!(set(name, "x"), Err(InvalidEdit::Name { name: name.to_owned() }));
        }
        for value in ["a\r\nb", "a\nb", "a\0", "\u{7f}"] {
            assert_eq!(set("X-A", value), Err(InvalidEdit::Value { name: "X-A".to_owned() }));
        }
        for (value, placeholder) in
            [("a {clientip} b", "{clientip}"), ("{", "{"), ("a } b", "}"), ("{host", "{host"), ("{}", "{}")]
        {
            let name = "X-A".to_owned();
            let expected = InvalidEdit::Placeholder { name, placeholder: placeholder.to_owned() };
            assert_eq!(set("X-A", value), Err(expected), "{value}");
        }
    }
}
