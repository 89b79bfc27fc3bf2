//! A handshake of selat's own, as the client (RFC 6455 §4.1): for connections that no client waits for.

use httparse::EMPTY_HEADER;

use super::answer::{self, Asked, Response};
use super::deflate::{self, Deflate};
use super::fields::Occurrence;
use super::{HEADERS_MAX, InvalidAnswer, Key, Rewrite, UpgradeRequest, fields};

/// What every request begins with.
const METHOD: &[u8] = b"GET ";

/// A request for a WebSocket, and what its answer is judged by.
#[derive(Debug, Clone)]
pub struct Ask {
    head: Vec<u8>,
    key: Key,
    /// Subprotocols among the fields.
    protocols: Vec<Vec<u8>>,
    offers_deflate: bool,
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// 101, valid for the request.
    Switching {
        /// The compression it has accepted.
        deflate: Option<Deflate>,
    },
    /// 1xx other than 101: the answer is still to come (RFC 9110 §15.2).
    Interim,
    /// Anything else.
    Refused {
        /// Its status code.
        status: u16,
    },
}

impl Ask {
    /// Asks `authority` (host and port) for `path`, which may have a query, and is `/` where it is empty.
    ///
    /// `fields` are written as they are: whoever reads the configuration has checked them. `nonce` is to be random
    /// (§4.1 item 7). If `compression` is offered, the server may accept it or not.
    #[must_use]
    pub fn new<'f>(
        authority: &str,
        path: &str,
        fields: impl IntoIterator<Item = (&'f str, &'f str)>,
        nonce: [u8; 16],
        compression: bool,
    ) -> Self {
        let key = Key::from_nonce(nonce);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut head = format!("GET {slash}{path} HTTP/1.1\r\n").into_bytes();
        let mut protocols = Vec::new();
        fields::push(&mut head, "Host", authority.as_bytes());
        fields::push(&mut head, "Upgrade", b"websocket");
        fields::push(&mut head, "Connection", b"Upgrade");
        fields::push(&mut head, "Sec-WebSocket-Version", b"13");
        fields::push(&mut head, "Sec-WebSocket-Key", key.as_bytes());
        if compression {
            fields::push(&mut head, "Sec-WebSocket-Extensions", Deflate::OFFER);
        }
        for (name, value) in fields {
            fields::push(&mut head, name, value.as_bytes());
            if name.eq_ignore_ascii_case("sec-websocket-protocol") {
                protocols.extend(fields::members(value.as_bytes()).map(<[u8]>::to_vec));
            }
        }
        head.extend_from_slice(b"\r\n");
        Self { head, key, protocols, offers_deflate: compression }
    }

    /// Asks what a client has asked for, as its backend got it, but for extensions. `rewrite` has no base path: that is
    /// given with [`Self::head_under`].
    #[must_use]
    pub fn again(request: &UpgradeRequest<'_>, rewrite: &Rewrite<'_>) -> Self {
        let mut request = request.clone();
        request.withhold_extensions();
        let mut head = request.head_for(rewrite);
        // It is kept as long as the client is there.
        head.shrink_to_fit();
        Self {
            head,
            key: *request.key(),
            protocols: request.protocols().map(<[u8]>::to_vec).collect(),
            offers_deflate: false,
        }
    }

    /// The request, to be sent as it is.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The request at a server all of whose paths begin with `base_path`.
    #[must_use]
    pub fn head_under(&self, base_path: &str) -> Vec<u8> {
        let (method, rest) = self.head.split_at_checked(METHOD.len()).unwrap_or_default();
        [method, base_path.trim_end_matches('/').as_bytes(), rest].concat()
    }

    /// Judges a whole head, as [`super::head_len`] delimits it, as the answer.
    ///
    /// # Errors
    /// [`InvalidAnswer`] where a client has to fail the connection.
    pub fn judge(&self, head: &[u8]) -> Result<Answered, InvalidAnswer> {
        let mut table = [EMPTY_HEADER; HEADERS_MAX];
        let Response { status, headers, .. } = answer::parse(head, &mut table)?;
        match status {
            101 => answer::check_switching(headers, self)?,
            ..=199 => return Ok(Answered::Interim),
            _ => return Ok(Answered::Refused { status }),
        }
        // Nothing but permessage-deflate was offered, so nothing else is left to be accepted.
        let mut members = fields::list(headers, "sec-websocket-extensions");
        let deflate = members.next().map(Deflate::accepted).transpose()?;
        // RFC 7692 §5.1: one offer is accepted once.
        if members.next().is_some() {
            return Err(InvalidAnswer::Deflate);
        }
        Ok(Answered::Switching { deflate })
    }
}

/// The subprotocol that a 101 has chosen, if any (§4.2.2).
#[must_use]
pub fn chosen_protocol(head: &[u8]) -> Option<Vec<u8>> {
    let mut table = [EMPTY_HEADER; HEADERS_MAX];
    let Response { headers, .. } = answer::parse(head, &mut table).ok()?;
    match fields::single(headers, "sec-websocket-protocol") {
        Occurrence::Once(protocol) => Some(protocol.to_vec()),
        Occurrence::Missing | Occurrence::Repeated => None,
    }
}

impl Asked for Ask {
    fn key(&self) -> &Key {
        &self.key
    }

    fn offers_extension(&self, name: &[u8]) -> bool {
        self.offers_deflate && name.eq_ignore_ascii_case(deflate::NAME)
    }

    fn offers_protocol(&self, protocol: &[u8]) -> bool {
        self.protocols.iter().any(|offered| offered == protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::{Context, Facts, Forwarding, HeaderEdits, Hop, PathRewrite, Scheme};

    const NONCE: [u8; 16] = *b"the sample nonce";
    const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
                             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn judged(ask: &Ask, lines: &str) -> Result<Answered, InvalidAnswer> {
        ask.judge(format!("{SWITCHING}{lines}\r\n").as_bytes())
    }

    #[test]
    fn asks_for_what_it_is_told_to() {
        let headers = [("X-Key", "a: b"), ("Sec-WebSocket-Protocol", "fx.v2, fx.v1")];
        let ask = Ask::new("vendor.example:443", "/feed?a=b", headers, NONCE, false);
        let request = UpgradeRequest::parse(ask.head()).unwrap();
        assert_eq!((request.path(), request.query()), ("/feed", Some("a=b")));
        assert_eq!(request.head().header("host"), Some(b"vendor.example:443".as_slice()));
        assert_eq!(request.head().header("x-key"), Some(b"a: b".as_slice()));
        assert!(request.offers_protocol(b"fx.v1") && !request.offers_extension(b"permessage-deflate"));
        let ask = Ask::new("vendor.example", "", [], NONCE, true);
        let request = UpgradeRequest::parse(ask.head()).unwrap();
        assert_eq!(request.path(), "/");
        assert!(request.offers_extension(b"permessage-deflate"));
    }

    #[test]
    fn a_request_is_one_for_tungstenite() {
        let ask = Ask::new("vendor.example", "/feed", [("X-Key", "secret")], NONCE, true);
        let request = tungstenite::handshake::machine::TryParse::try_parse(ask.head()).unwrap();
        let (_, request): (usize, tungstenite::handshake::server::Request) = request.unwrap();
        let response = tungstenite::handshake::server::create_response(&request).unwrap();
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn asks_again_what_a_client_has_asked_for() {
        let head = "GET /chat?a=b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: b\r\nX-Key: c\r\n\r\n";
        let request = UpgradeRequest::parse(head.as_bytes()).unwrap();
        let facts = Facts { client: None, host: b"x", path: "/chat", route: "all", identity: None };
        let rewrite = Rewrite {
            base_path: "",
            path: &PathRewrite::default(),
            forwarding: &Forwarding::default(),
            hop: Hop { peer: None, scheme: Scheme::Http, port: None },
            edits: &HeaderEdits::default(),
            facts: &facts,
        };
        let ask = Ask::again(&request, &rewrite);
        for (base, path) in [("", "/chat"), ("/", "/chat"), ("/v1/", "/v1/chat")] {
            let head = ask.head_under(base);
            let request = UpgradeRequest::parse(&head).unwrap();
            assert_eq!((request.path(), request.query()), (path, Some("a=b")));
            assert_eq!(request.head().header("x-key"), Some(b"c".as_slice()));
            assert!(request.offers_protocol(b"b") && !request.offers_extension(b"permessage-deflate"));
        }
        let chosen = format!("{SWITCHING}Sec-WebSocket-Protocol: b\r\n\r\n");
        assert_eq!(ask.judge(chosen.as_bytes()), Ok(Answered::Switching { deflate: None }));
        assert_eq!(chosen_protocol(chosen.as_bytes()), Some(b"b".to_vec()));
        assert_eq!(chosen_protocol(format!("{SWITCHING}\r\n").as_bytes()), None);
    }

    #[test]
    fn judges_the_answer() {
        let plain = Ask::new("x", "/", [("sec-websocket-protocol", "a, b")], NONCE, false);
        let deflate = Ask::new("x", "/", [], NONCE, true);
        let extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        let fresh = Some(Deflate { context: Context::Fresh });
        assert_eq!(judged(&plain, ""), Ok(Answered::Switching { deflate: None }));
        assert_eq!(judged(&deflate, ""), Ok(Answered::Switching { deflate: None }));
        assert_eq!(judged(&deflate, extension), Ok(Answered::Switching { deflate: fresh }));
        assert_eq!(judged(&plain, extension), Err(InvalidAnswer::Extension));
        assert_eq!(judged(&deflate, &extension.repeat(2)), Err(InvalidAnswer::Deflate));
        assert_eq!(judged(&deflate, "Sec-WebSocket-Extensions: bbf\r\n"), Err(InvalidAnswer::Extension));
        let chosen = |protocol| format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        assert_eq!(judged(&plain, &chosen("b")), Ok(Answered::Switching { deflate: None }));
        assert_eq!(judged(&plain, &chosen("c")), Err(InvalidAnswer::Protocol));
        let status = |line: &str| plain.judge(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes());
        assert_eq!(status("100 Continue"), Ok(Answered::Interim));
        assert_eq!(status("429 Too Many Requests"), Ok(Answered::Refused { status: 429 }));
        assert_eq!(status("503 x"), Ok(Answered::Refused { status: 503 }));
        assert_eq!(status("101 x"), Err(InvalidAnswer::NotAnUpgrade));
        assert!(matches!(status("099 x"), Err(InvalidAnswer::Syntax(_))));
        let wrong = SWITCHING.replace("s3p", "S3p") + "\r\n";
        assert_eq!(plain.judge(wrong.as_bytes()), Err(InvalidAnswer::Accept));
    }
}
