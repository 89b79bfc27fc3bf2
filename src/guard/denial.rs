//! Why a request is not admitted, and what its sender is told.

use std::time::Duration;

use super::TokenFault;
use crate::protocol::handshake::{Challenge, Refusal};

/// A rule that a request broke.
///
/// Each maps once to a status ([`Refusal`]), to a word for counters and logs ([`Denial::reason`]) and to a sentence
/// for a person, which says what to do and nothing about the secrets it was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// No `Origin`, where one is required.
    OriginMissing,
    /// An origin that is not on the list, several, or what is not an origin.
    OriginForbidden,
    /// The client is in a network of the deny list.
    AddressDenied,
    /// The client is in no network of the allow list.
    AddressNotAllowed,
    /// More handshakes than the route takes.
    HandshakeRate {
        /// Until the next may come.
        wait: Duration,
    },
    /// A key, token or password twice, or in two places.
    CredentialRepeated,
    /// No API key.
    KeyMissing,
    /// Not one of the API keys.
    KeyWrong,
    /// No `Authorization: Basic`.
    PasswordMissing,
    /// An unknown user, another password, or not `user:password` in base64.
    PasswordWrong,
    /// No token.
    TokenMissing,
    /// A token that proves nothing.
    Token(TokenFault),
    /// The client's address has as many sessions on the route as it may.
    AddressFull,
    /// Whoever the client has proved to be has as many sessions on the route as they may.
    IdentityFull,
    /// The route has as many sessions as it may.
    RouteFull,
}

impl Denial {
    /// Every word that [`Denial::reason`] can give.
    pub const REASONS: [&'static str; 24] = [
        "origin_missing",
        "origin_forbidden",
        "address_denied",
        "address_not_allowed",
        "handshake_rate",
        "credential_repeated",
        "key_missing",
        "key_wrong",
        "password_missing",
        "password_wrong",
        "token_missing",
        "token_malformed",
        "token_algorithm",
        "token_critical",
        "token_key_unknown",
        "token_signature",
        "token_never_expires",
        "token_expired",
        "token_not_yet_valid",
        "token_issuer",
        "token_audience",
        "connections_per_ip",
        "connections_per_identity",
        "connections_max",
    ];

    /// The word for counters and logs, one of [`Denial::REASONS`].
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::OriginMissing => "origin_missing",
            Self::OriginForbidden => "origin_forbidden",
            Self::AddressDenied => "address_denied",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::HandshakeRate { .. } => "handshake_rate",
            Self::CredentialRepeated => "credential_repeated",
            Self::KeyMissing => "key_missing",
            Self::KeyWrong => "key_wrong",
            Self::PasswordMissing => "password_missing",
            Self::PasswordWrong => "password_wrong",
            Self::TokenMissing => "token_missing",
            Self::Token(fault) => token_reason(fault),
            Self::AddressFull => "connections_per_ip",
            Self::IdentityFull => "connections_per_identity",
            Self::RouteFull => "connections_max",
        }
    }
}

fn token_reason(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Malformed => "token_malformed",
        TokenFault::Algorithm => "token_algorithm",
        TokenFault::Critical => "token_critical",
        TokenFault::KeyUnknown => "token_key_unknown",
        TokenFault::Signature => "token_signature",
        TokenFault::NeverExpires => "token_never_expires",
        TokenFault::Expired => "token_expired",
        TokenFault::NotYetValid => "token_not_yet_valid",
        TokenFault::Issuer => "token_issuer",
        TokenFault::Audience => "token_audience",
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let unauthorized = |challenge, message| Self::Unauthorized { challenge, message };
        match denial {
            Denial::OriginMissing => Self::Forbidden("an Origin header is required"),
            Denial::OriginForbidden => Self::Forbidden("pages of this origin may not connect"),
            // Which list it was is not the client's business.
            Denial::AddressDenied | Denial::AddressNotAllowed => {
                Self::Forbidden("clients of this network may not connect")
            }
            Denial::HandshakeRate { wait } => Self::TooManyRequests {
                message: "too many connections are being opened; try again later",
                retry_after_secs: whole_secs(wait),
            },
            Denial::CredentialRepeated => Self::CredentialRepeated,
            Denial::KeyMissing => unauthorized(Challenge::ApiKey, "an API key is required"),
            Denial::KeyWrong => Self::Forbidden("the API key is not known"),
            Denial::PasswordMissing => {
                unauthorized(Challenge::Basic, "a user name and password are required")
            }
            Denial::PasswordWrong => unauthorized(Challenge::Basic, "the user name or the password is wrong"),
            Denial::TokenMissing => unauthorized(Challenge::Bearer, "a bearer token is required"),
            Denial::Token(fault) => unauthorized(Challenge::BearerInvalid, token_message(fault)),
            Denial::AddressFull => Self::TooManyRequests {
                message: "too many connections from this address; close some, or try again later",
                retry_after_secs: 1,
            },
            Denial::IdentityFull => Self::TooManyRequests {
                message: "too many connections with these credentials; close some, or try again later",
                retry_after_secs: 1,
            },
            Denial::RouteFull => Self::Full,
        }
    }
}

/// What a client is told of its token. Before the signature is known to be right, nothing but that it is not.
fn token_message(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Malformed
        | TokenFault::Algorithm
        | TokenFault::Critical
        | TokenFault::KeyUnknown
        | TokenFault::Signature => "the token is not valid; get a new one",
        TokenFault::NeverExpires => "the token has no expiry time (exp); get one that has",
        TokenFault::Expired => "the token has expired; get a new one",
        TokenFault::NotYetValid => "the token is not valid yet; check the clock, or try again later",
        TokenFault::Issuer => "the token is from another issuer; get one for this service",
        TokenFault::Audience => "the token is for another service; get one for this one",
    }
}

/// Rounded up, and at least one: a client that comes back too early is refused again.
fn whole_secs(wait: Duration) -> u32 {
    let secs = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    u32::try_from(secs.max(1)).unwrap_or(u32::MAX)
}
