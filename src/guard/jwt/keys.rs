//! The keys that tokens are signed with: a shared secret, a public key in PEM, or a JWKS file (RFC 7517).

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde::Deserialize;

use super::super::secret_file::Digest;

/// Bytes of the shortest secret for HS256 (RFC 7518 §3.2: at least the size of the hash).
const SECRET_BYTES_MIN: usize = 32;

/// Bytes of the shortest RSA modulus (RFC 7518 §3.3: 2048 bits or more).
const MODULUS_BYTES_MIN: usize = 256;

/// Bytes of a point on P-256, uncompressed (SEC 1 §2.3.3).
const P256_POINT_BYTES: usize = 65;

/// The algorithms that a route can ask for (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256, and a shared secret.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// Not an algorithm that a route can ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not an algorithm for tokens here; write HS256, RS256 or ES256")]
pub struct InvalidAlgorithm {
    given: String,
}

impl FromStr for Algorithm {
    type Err = InvalidAlgorithm;

    fn from_str(text: &str) -> Result<Self, InvalidAlgorithm> {
        match text {
            "HS256" => Ok(Self::Hs256),
            "RS256" => Ok(Self::Rs256),
            "ES256" => Ok(Self::Es256),
            _ => Err(InvalidAlgorithm { given: text.to_owned() }),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        })
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hs256 => Self::HS256,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Es256 => Self::ES256,
        }
    }
}

/// Keys that cannot be used. No part of them is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokenKeys {
    /// A secret that could be guessed.
    #[error(
        "the secret has {len} bytes; HS256 needs at least 32 (RFC 7518 §3.2): make one with `openssl rand -hex 32`"
    )]
    SecretTooShort {
        /// Its bytes.
        len: usize,
    },
    /// A PEM file where a secret should be: whoever has the public key could sign.
    #[error("this is a PEM file, not a secret; HS256 needs a secret, a public key needs RS256 or ES256")]
    SecretIsPem,
    /// HS256 with a public key.
    #[error("HS256 needs a secret, not a public key")]
    SecretNeeded,
    /// A private key, which only the issuer may have.
    #[error("this is a private key; leave it with the issuer and give the proxy the public one")]
    Private,
    /// Not a public key of this kind.
    #[error(
        "there is no public key for {algorithm} in it; a PEM file with -----BEGIN PUBLIC KEY----- is needed"
    )]
    Pem {
        /// What it should be for.
        algorithm: Algorithm,
    },
    /// An RSA key that is too short.
    #[error("the RSA key is too short; 2048 bits are the least (RFC 7518 §3.3)")]
    ModulusTooShort,
    /// Not a JSON Web Key Set.
    #[error("line {line}, column {column}: not a JWKS; {{\"keys\": [...]}} is needed (RFC 7517 §5)")]
    Jwks {
        /// Counted from 1; 0 where the file ends too early.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A set without a key of the kind.
    #[error("there is no key for {algorithm} in the set")]
    NoKey {
        /// What it should be for.
        algorithm: Algorithm,
    },
    /// Two keys that a token cannot tell apart.
    #[error("two keys for {algorithm} have the same kid, or both have none")]
    KidRepeated {
        /// What they are for.
        algorithm: Algorithm,
    },
}

/// The keys that a token may be signed with, and the one algorithm.
#[derive(Clone)]
pub struct TokenKeys {
    algorithm: Algorithm,
    keys: Vec<TokenKey>,
    /// Of what the keys were read from: tells whether a new file has new keys.
    fingerprint: Digest,
}

#[derive(Clone)]
struct TokenKey {
    kid: Option<String>,
    key: DecodingKey,
}

impl TokenKeys {
    /// A shared secret, for HS256. One line break at its end, as files have, is not part of it.
    ///
    /// # Errors
    /// It is too short, or a PEM file by mistake.
    pub fn from_secret(secret: &[u8]) -> Result<Self, InvalidTokenKeys> {
        let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.starts_with(b"-----BEGIN ") {
            return Err(InvalidTokenKeys::SecretIsPem);
        }
        if secret.len() < SECRET_BYTES_MIN {
            return Err(InvalidTokenKeys::SecretTooShort { len: secret.len() });
        }
        Ok(Self::one(Algorithm::Hs256, DecodingKey::from_secret(secret), secret))
    }

    /// A public key in PEM (RFC 7468 §13), for RS256 or ES256.
    ///
    /// # Errors
    /// It is no such key.
    pub fn from_pem(algorithm: Algorithm, text: &str) -> Result<Self, InvalidTokenKeys> {
        if text.contains("PRIVATE KEY-----") {
            return Err(InvalidTokenKeys::Private);
        }
        let invalid = InvalidTokenKeys::Pem { algorithm };
        // A certificate has the key of its owner inside, but also a validity that nobody here would look at.
        if !text.contains("PUBLIC KEY-----") {
            return Err(invalid);
        }
        let key = match algorithm {
            Algorithm::Hs256 => return Err(InvalidTokenKeys::SecretNeeded),
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(text.as_bytes()),
            Algorithm::Es256 => DecodingKey::from_ec_pem(text.as_bytes()),
        };
        let key = key.map_err(|_| invalid)?;
        check_strength(algorithm, &key)?;
        Ok(Self::one(algorithm, key, text.as_bytes()))
    }

    /// The keys for `algorithm` in a JWKS file (RFC 7517 §5); those for anything else are skipped.
    ///
    /// # Errors
    /// It is not a JWKS, has no key for the algorithm, or two that a token could not tell apart.
    pub fn from_jwks(algorithm: Algorithm, text: &str) -> Result<Self, InvalidTokenKeys> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(text)
            .map_err(|error| InvalidTokenKeys::Jwks { line: error.line(), column: error.column() })?;
        let mut keys: Vec<TokenKey> = Vec::new();
        for value in set.keys {
            // §5: keys that are not understood SHOULD be ignored.
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
            let Some(key) = usable(algorithm, &jwk) else { continue };
            check_strength(algorithm, &key)?;
            let kid = jwk.common.key_id;
            if keys.iter().any(|other| other.kid == kid) {
                return Err(InvalidTokenKeys::KidRepeated { algorithm });
            }
            keys.push(TokenKey { kid, key });
        }
        if keys.is_empty() {
            return Err(InvalidTokenKeys::NoKey { algorithm });
        }
        Ok(Self { algorithm, keys, fingerprint: Digest::of(&[text.as_bytes()]) })
    }

    fn one(algorithm: Algorithm, key: DecodingKey, source: &[u8]) -> Self {
        Self { algorithm, keys: vec![TokenKey { kid: None, key }], fingerprint: Digest::of(&[source]) }
    }

    /// The one algorithm that tokens are signed with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that a token with this `kid` is signed with. A single key without a name is every token's; a token
    /// without a `kid` means the only key there is.
    pub(super) fn select(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        let found = match (self.keys.as_slice(), kid) {
            ([only], None) => Some(only),
            ([only], Some(_)) if only.kid.is_none() => Some(only),
            (_, None) => None,
            (keys, Some(kid)) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        };
        found.map(|found| &found.key)
    }
}

impl PartialEq for TokenKeys {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({}, {} redacted)", self.algorithm, self.keys.len())
    }
}

/// The key in a JWK, if it is for verifying signatures of this algorithm (RFC 7517 §4.2, §4.4).
fn usable(algorithm: Algorithm, jwk: &Jwk) -> Option<DecodingKey> {
    let is_kind = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::OctetKey(_), Algorithm::Hs256)
        | (AlgorithmParameters::RSA(_), Algorithm::Rs256) => true,
        (AlgorithmParameters::EllipticCurve(point), Algorithm::Es256) => point.curve == EllipticCurve::P256,
        _ => false,
    };
    let wanted = jsonwebtoken::jwk::KeyAlgorithm::from(jsonwebtoken::Algorithm::from(algorithm));
    let is_named = jwk.common.key_algorithm.is_none_or(|named| named == wanted);
    let is_for_signatures =
        jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    if is_kind && is_named && is_for_signatures { DecodingKey::from_jwk(jwk).ok() } else { None }
}

/// That the key is one that the library will verify with, and not one that it would refuse with every token.
fn check_strength(algorithm: Algorithm, key: &DecodingKey) -> Result<(), InvalidTokenKeys> {
    match (algorithm, key.kind()) {
        (Algorithm::Hs256, DecodingKeyKind::SecretOrDer(secret)) if secret.len() < SECRET_BYTES_MIN => {
            Err(InvalidTokenKeys::SecretTooShort { len: secret.len() })
        }
        // A little more than the modulus: its tag, and the exponent (RFC 8017 appendix A.1.1).
        (Algorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) if der.len() <= MODULUS_BYTES_MIN => {
            Err(InvalidTokenKeys::ModulusTooShort)
        }
        (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, .. }) if n.len() < MODULUS_BYTES_MIN => {
            Err(InvalidTokenKeys::ModulusTooShort)
        }
        (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) if point.len() != P256_POINT_BYTES => {
            Err(InvalidTokenKeys::Pem { algorithm })
        }
        _ => Ok(()),
    }
}
