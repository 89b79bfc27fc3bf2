//! The opening handshake (RFC 6455 §4), as plain as a measured connection needs it: no extension.

use std::str::FromStr;

use httparse::{EMPTY_HEADER, Header, Request, Response, Status};
use selat::protocol::handshake::Key;

/// Bytes of a head; longer ones are refused.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header fields of a head; more are refused.
const FIELDS_MAX: usize = 64;

/// What a client asks for beside a WebSocket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asks {
    /// Subprotocols, in the order of preference.
    pub(crate) subprotocols: Vec<String>,
    /// Header fields; a `Host` stands instead of the usual one.
    pub(crate) fields: Vec<Field>,
}

/// A header field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    name: String,
    value: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once(':').ok_or("not a field; write for instance 'Origin: http://x'")?;
        let value = value.trim();
        if !is_token(name) || value.chars().any(|c| c.is_control()) {
            return Err("not a field; its name is a word and its value has no line ends".to_owned());
        }
        if OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(format!("{name} is the handshake's own"));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Fields that the handshake is made of.
const OWN: [&str; 6] = [
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
];

/// Whether `text` can be a name (RFC 9110 §5.6.2): of a field, of a subprotocol.
pub(crate) fn is_token(text: &str) -> bool {
    let is_in = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_in)
}

/// A client's side, the same for every connection of a run.
///
/// RFC 6455 §4.1 wants a fresh key for each connection, against caches that answer for a server; there are none here.
#[derive(Debug)]
pub(crate) struct Opening {
    request: Vec<u8>,
    accept: String,
    subprotocols: Vec<String>,
}

/// What a server's bytes come to so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Not a whole head yet.
    Partly,
    /// Upgraded; frames begin after this many bytes.
    Upgraded {
        /// Bytes of the head.
        head_bytes: usize,
    },
}

/// Why a server's answer opens no connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// An answer other than 101.
    Status(u16),
    /// 101, but with a wrong `Sec-WebSocket-Accept` or none.
    Accept,
    /// 101, but with a subprotocol that was not asked for.
    Subprotocol,
    /// No HTTP head that can be read.
    Malformed,
}

impl Opening {
    /// The handshake for `path` on `host` (and port), with a key made of `nonce`.
    pub(crate) fn new(host: &str, path: &str, asks: &Asks, nonce: [u8; 16]) -> Self {
        let key = Key::from_nonce(nonce);
        let mut request = format!("GET {path} HTTP/1.1\r\n").into_bytes();
        let mut add = |name: &str, value: &str| request.extend(format!("{name}: {value}\r\n").into_bytes());
        if !asks.fields.iter().any(|field| field.name.eq_ignore_ascii_case("Host")) {
            add("Host", host);
        }
        for Field { name, value } in &asks.fields {
            add(name, value);
        }
        if !asks.subprotocols.is_empty() {
            add("Sec-WebSocket-Protocol", &asks.subprotocols.join(", "));
        }
        request
            .extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
        request.extend_from_slice(b"Sec-WebSocket-Key: ");
        request.extend_from_slice(key.as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        Self { request, accept: key.accept(), subprotocols: asks.subprotocols.clone() }
    }

    /// What to send.
    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads all the bytes that have come from the server.
    ///
    /// # Errors
    /// When the server does not open a WebSocket connection.
    pub(crate) fn handle(&self, bytes: &[u8]) -> Result<Answered, Refused> {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut response = Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Ok(Answered::Partly),
            Ok(Status::Complete(head_bytes)) => match response.code {
                Some(101) => self.judge(response.headers).map(|()| Answered::Upgraded { head_bytes }),
                Some(status) => Err(Refused::Status(status)),
                None => Err(Refused::Malformed),
            },
            Ok(Status::Partial) | Err(_) => Err(Refused::Malformed),
        }
    }

    fn judge(&self, fields: &[Header<'_>]) -> Result<(), Refused> {
        if field(fields, "Sec-WebSocket-Accept") != Some(self.accept.as_bytes()) {
            return Err(Refused::Accept);
        }
        // §4.1: a subprotocol that was not asked for MUST fail the connection; none at all need not.
        let is_asked_for = |chosen: &[u8]| self.subprotocols.iter().any(|asked| asked.as_bytes() == chosen);
        match field(fields, "Sec-WebSocket-Protocol") {
            Some(chosen) if !is_asked_for(chosen) => Err(Refused::Subprotocol),
            Some(_) | None => Ok(()),
        }
    }
}

/// What a server makes of a client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Not a whole head yet.
    Partly,
    /// Send this answer; frames begin after `head_bytes`.
    Upgraded {
        /// Bytes of the head.
        head_bytes: usize,
        /// The 101.
        answer: Vec<u8>,
    },
    /// Send this answer, then close.
    Refused {
        /// The refusal, with a sentence for a person.
        answer: Vec<u8>,
    },
}

/// A server's side: reads all the bytes that have come from the client.
pub(crate) fn accept(bytes: &[u8]) -> Accepted {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    let head_bytes = match request.parse(bytes) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Accepted::Partly,
        Ok(Status::Partial) => {
            return refuse("431 Request Header Fields Too Large", "The request head is too long.");
        }
        Err(_) => return refuse("400 Bad Request", "This is not HTTP."),
    };
    let upgrade =
        field(request.headers, "Upgrade").is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
    if !upgrade {
        return refuse("426 Upgrade Required", "This is a WebSocket echo server: connect with ws://.");
    }
    let Some(key) = field(request.headers, "Sec-WebSocket-Key").and_then(Key::from_header) else {
        return refuse("400 Bad Request", "Sec-WebSocket-Key is missing or malformed.");
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        key.accept()
    );
    Accepted::Upgraded { head_bytes, answer: answer.into_bytes() }
}

fn refuse(status: &str, sentence: &str) -> Accepted {
    let answer = format!(
        "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{sentence}\n",
        sentence.len() + 1
    );
    Accepted::Refused { answer: answer.into_bytes() }
}

/// The value of the first field of this name.
fn field<'h>(fields: &[Header<'h>], name: &str) -> Option<&'h [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening() -> Opening {
        Opening::new("127.0.0.1:9001", "/chat", &Asks::default(), *b"the sample nonce")
    }

    #[test]
    fn agrees_with_itself() {
        let opening = opening();
        let Accepted::Upgraded { head_bytes, answer } = accept(opening.request()) else { panic!("refused") };
        assert_eq!(head_bytes, opening.request().len());
        let bytes = [answer.as_slice(), b"early"].concat();
        assert_eq!(opening.handle(&bytes), Ok(Answered::Upgraded { head_bytes: answer.len() }));
        for cut in 0..answer.len() {
            assert_eq!(opening.handle(&answer[..cut]), Ok(Answered::Partly), "cut at {cut}");
        }
    }

    #[test]
    fn knows_a_refusal() {
        let rows: [(&[u8], Refused); 4] = [
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Refused::Status(503)),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Refused::Accept),
            (b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: AAAA\r\n\r\n", Refused::Accept),
            (b"SSH-2.0-OpenSSH\r\n\r\n", Refused::Malformed),
        ];
        for (bytes, refused) in rows {
            assert_eq!(opening().handle(bytes), Err(refused));
        }
        assert_eq!(opening().handle(&[b'H'; HEAD_BYTES_MAX]), Err(Refused::Malformed));
    }

    #[test]
    fn asks_for_what_it_is_told_to() {
        let fields = ["Host: elsewhere", "Origin:http://x:1"].map(|field| field.parse().unwrap()).to_vec();
        let asks = Asks { subprotocols: vec!["chat.v2".to_owned(), "chat".to_owned()], fields };
        let opening = Opening::new("here", "/", &asks, *b"the sample nonce");
        let request = String::from_utf8(opening.request().to_vec()).unwrap();
        let expected = "GET / HTTP/1.1\r\nHost: elsewhere\r\nOrigin: http://x:1\r\nSec-WebSocket-Protocol: chat.v2, chat\r\n";
        assert!(request.starts_with(expected), "{request}");
        let answer = |chosen: &str| {
            let accept = &opening.accept;
            format!("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {accept}\r\n{chosen}\r\n").into_bytes()
        };
        for (chosen, is_good) in
            [("", true), ("Sec-WebSocket-Protocol: chat\r\n", true), ("Sec-WebSocket-Protocol: x\r\n", false)]
        {
            assert_eq!(opening.handle(&answer(chosen)) != Err(Refused::Subprotocol), is_good, "{chosen}");
        }
    }

    #[test]
    fn says_what_is_no_field() {
        for text in ["", "x", ": y", "a b: c", "a: b\r\nc: d", "upgrade: x", "Sec-WebSocket-Key: x"] {
            assert!(text.parse::<Field>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn refuses_with_an_honest_status() {
        let rows: [(&[u8], &[u8]); 3] = [
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 "),
            (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", b"HTTP/1.1 400 "),
            (b"\x16\x03\x01\x02\x00", b"HTTP/1.1 400 "),
        ];
        for (bytes, status) in rows {
            let Accepted::Refused { answer } = accept(bytes) else { panic!("accepted {bytes:?}") };
            assert!(answer.starts_with(status));
        }
    }
}
