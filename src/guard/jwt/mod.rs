//! JSON Web Tokens: signatures (RFC 7515) and the registered claims (RFC 7519 §4.1).
//!
//! The algorithm is the configuration's and never the token's (RFC 8725 §3.1), and the time is an argument.

mod keys;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;

use super::{Identity, JwtAuth};

pub use keys::{Algorithm, InvalidAlgorithm, InvalidTokenKeys, TokenKeys};

/// How far the clocks of issuer and proxy may be apart (RFC 7519 §4.1.4: "usually no more than a few minutes").
const LEEWAY: Duration = Duration::from_secs(60);

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenFault {
    /// Not a signed token of the compact form, or with claims of the wrong type.
    #[error("malformed")]
    Malformed,
    /// Signed with another algorithm than the route's, or with none.
    #[error("signed with another algorithm")]
    Algorithm,
    /// It names header parameters that have to be understood (RFC 7515 §4.1.11), and are not.
    #[error("with critical extensions")]
    Critical,
    /// Its `kid` is none of the keys', or it has none and there are several.
    #[error("signed with an unknown key")]
    KeyUnknown,
    /// The signature is wrong.
    #[error("not signed by the issuer")]
    Signature,
    /// It has no `exp`, and would be good for ever.
    #[error("without an expiry time")]
    NeverExpires,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("not valid yet")]
    NotYetValid,
    /// `iss` is somebody else.
    #[error("from another issuer")]
    Issuer,
    /// `aud` does not name this service.
    #[error("for another audience")]
    Audience,
}

/// The registered claims that are looked at.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    // NumericDate: seconds since the epoch, with a fraction if one likes (RFC 7519 §2).
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// RFC 7519 §4.1.3: a list of strings, or one string alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, wanted: &str) -> bool {
        match self {
            Self::One(name) => name == wanted,
            Self::Many(names) => names.iter().any(|name| name == wanted),
        }
    }
}

/// Whom this token speaks for, at `unix_now` seconds after the epoch.
///
/// # Errors
/// The first fault; those of the claims only where the signature is right, so that they tell a stranger nothing.
pub(super) fn verify(auth: &JwtAuth, token: &[u8], unix_now: u64) -> Result<Identity, TokenFault> {
    let header = decode_header(token).map_err(|_| TokenFault::Malformed)?;
    let algorithm = auth.keys.algorithm().into();
    if header.alg != algorithm {
        return Err(TokenFault::Algorithm);
    }
    // RFC 7515 §4.1.11: extensions listed here MUST be understood; we know none.
    if header.crit.is_some() {
        return Err(TokenFault::Critical);
    }
    let key = auth.keys.select(header.kid.as_deref()).ok_or(TokenFault::KeyUnknown)?;
    let mut validation = Validation::new(algorithm);
    // The library looks at the signature only: it would compare times with a clock of its own.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let claims = decode::<Claims>(token, key, &validation).map_err(|error| fault(error.kind()))?.claims;
    check_times(&claims, unix_now)?;
    check_parties(&claims, auth)?;
    Ok(claims.sub.as_deref().map_or(Identity::ANONYMOUS, Identity::named))
}

fn fault(error: &ErrorKind) -> TokenFault {
    let is_signature = matches!(error, ErrorKind::InvalidSignature);
    if is_signature { TokenFault::Signature } else { TokenFault::Malformed }
}

fn check_times(claims: &Claims, unix_now: u64) -> Result<(), TokenFault> {
    let now = Duration::from_secs(unix_now);
    let (earliest, latest) =
        (now.saturating_sub(LEEWAY).as_secs_f64(), now.saturating_add(LEEWAY).as_secs_f64());
    // RFC 7519 §4.1.4: the time MUST be before exp.
    let exp = claims.exp.ok_or(TokenFault::NeverExpires)?;
    if earliest >= exp {
        return Err(TokenFault::Expired);
    }
    // §4.1.5: it MUST be after or equal to nbf.
    if claims.nbf.is_some_and(|nbf| latest < nbf) { Err(TokenFault::NotYetValid) } else { Ok(()) }
}

fn check_parties(claims: &Claims, auth: &JwtAuth) -> Result<(), TokenFault> {
    if let Some(issuer) = &auth.issuer
        && claims.iss.as_ref() != Some(issuer)
    {
        return Err(TokenFault::Issuer);
    }
    let is_for_us = match (&auth.audience, &claims.aud) {
        (None, None) => true,
        (Some(wanted), Some(aud)) => aud.names(wanted),
        // §4.1.3: who does not find itself in aud MUST reject the token.
        (None, Some(_)) | (Some(_), None) => false,
    };
    if is_for_us { Ok(()) } else { Err(TokenFault::Audience) }
}
