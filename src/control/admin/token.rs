//! The bearer token (RFC 6750) that lets a request change something.

use std::fmt;

use subtle::ConstantTimeEq;

/// A secret; it does not show itself.
#[derive(Clone)]
pub struct Token(String);

/// A secret that could not stand in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token must be visible ASCII characters, at least one, without blanks")]
pub struct InvalidToken;

impl Token {
    /// The token itself, without `Bearer`.
    ///
    /// # Errors
    /// [`InvalidToken`] if it could not stand in a header.
    pub fn new(secret: &str) -> Result<Self, InvalidToken> {
        let is_legal = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if is_legal { Ok(Self(secret.to_owned())) } else { Err(InvalidToken) }
    }

    /// Whether an `Authorization` field holds this token, in a time that does not depend on how much of it is right.
    /// The token's length is no secret.
    pub(super) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked("Bearer ".len()) else { return false };
        // RFC 9110 §11.1: the scheme is case-insensitive.
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token::new("s3cret").unwrap();
        for right in ["Bearer s3cret", "bearer s3cret"] {
            assert!(token.is_in(right.as_bytes()), "{right}");
        }
        for wrong in ["", "s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Basic s3cret"] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_no_token() {
        for secret in ["", "two words", "line\n", "sécret"] {
            assert_eq!(Token::new(secret).err(), Some(InvalidToken), "{secret:?}");
        }
    }
}
