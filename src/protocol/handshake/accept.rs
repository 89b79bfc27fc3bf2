//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 §4.1, §4.2.2).

use base64::{Engine, prelude::BASE64_STANDARD};
use sha1::{Digest, Sha1};

/// The GUID of RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key's wire form: 16 random bytes in base64.
const KEY_BYTES: usize = 24;

/// A well-formed `Sec-WebSocket-Key`: base64 of exactly 16 bytes (RFC 6455 §4.2.1 item 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// The key a client makes from 16 random bytes (RFC 6455 §4.1 item 7).
    #[must_use]
    pub fn from_nonce(nonce: [u8; 16]) -> Self {
        let mut key = [0; KEY_BYTES];
        BASE64_STANDARD.encode_slice(nonce, &mut key).expect("16 bytes encode to 24");
        Self(key)
    }

    /// The key in a header value; `None` if it is not base64 of 16 bytes.
    #[must_use]
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let key = <[u8; KEY_BYTES]>::try_from(value).ok()?;
        let mut nonce = [0; 18];
        (BASE64_STANDARD.decode_slice(key, &mut nonce) == Ok(16)).then_some(Self(key))
    }

    /// The header value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The `Sec-WebSocket-Accept` value that answers this key (RFC 6455 §4.2.2 item 5.4).
    #[must_use]
    pub fn accept(&self) -> String {
        let digest = Sha1::new().chain_update(self.0).chain_update(GUID).finalize();
        BASE64_STANDARD.encode(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_key_of_rfc_6455_1_3() {
        let key = Key::from_header(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(Key::from_nonce(*b"the sample nonce"), key);
    }

    #[test]
    fn refuses_what_is_not_base64_of_16_bytes() {
        for value in
            ["", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZTEy", "dGhlIHNhbXBsZSBub25jZ!==", "é"]
        {
            assert_eq!(Key::from_header(value.as_bytes()), None, "{value:?}");
        }
    }
}
