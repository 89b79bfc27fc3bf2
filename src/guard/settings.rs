//! What a route asks of those who want in. Plain data; whoever reads the configuration fills it in.

use std::time::Duration;

use ipnet::IpNet;

use super::{ApiKeys, CredentialSource, Identity, Limits, Origin, Rate, TokenKeys, Users};

/// The admission rules of one route. The default lets everybody in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Web origins whose pages may connect (RFC 6454, RFC 6455 §10.2); `None`: not looked at. An empty list keeps
    /// every browser out. It guards against foreign *pages*: other programs write what they like into the header.
    pub origins: Option<Vec<Origin>>,
    /// Whether a request without an `Origin` is refused too. By default it is not: every browser sends one with a
    /// WebSocket handshake (RFC 6455 §4.1 item 8), so its absence says that no foreign page is behind the request.
    pub origin_required: bool,
    /// Networks whose clients may connect; empty: all. Clients without an address (Unix sockets) are in none.
    pub allow: Vec<IpNet>,
    /// Networks whose clients may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// How a client proves who it is; `None`: it need not.
    pub auth: Option<Auth>,
    /// Handshakes that may begin, of the whole process. Each shard keeps an equal share of it; see [`Rate`].
    pub handshakes: Option<Rate>,
    /// Sessions that one client address may hold on this route, of the whole process; an IPv6 /64 counts as one
    /// address. `None`: no limit. Kept by [`Census`](super::Census), not by [`Guard`](super::Guard).
    pub connections_per_ip: Option<u32>,
    /// Sessions that one [`Identity`] may hold on this route, of the whole process; who is nobody in
    /// particular is not counted. `None`: no limit. Kept by [`Census`](super::Census).
    pub connections_per_identity: Option<u32>,
    /// Sessions on this route, of the whole process; `None`: no limit. Kept by [`Census`](super::Census).
    pub connections_max: Option<u32>,
}

impl Settings {
    /// The part that [`Census`](super::Census) keeps; `None` if there is nothing to keep, and nobody to ask.
    #[must_use]
    pub fn limits(&self) -> Option<Limits> {
        let limits = Limits {
            per_ip: self.connections_per_ip,
            per_identity: self.connections_per_identity,
            max: self.connections_max,
        };
        (limits != Limits::default()).then_some(limits)
    }
}

/// How a client proves who it is. One way a route.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// A key out of a file.
    ApiKey(ApiKeyAuth),
    /// A user name and a password (RFC 7617).
    Basic(BasicAuth),
    /// A signed token (RFC 7519).
    Jwt(JwtAuth),
    /// A key in the first message, behind the 101: only where selat reads what clients say.
    FirstMessage(FirstMessageAuth),
}

/// Admission by the first message that a client sends: a JSON object with a key in it.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstMessageAuth {
    /// The member of the object that holds the key.
    pub member: String,
    /// The keys that open the door.
    pub keys: ApiKeys,
    /// For the message to come, from the 101 on; then Close 1008.
    pub timeout: Duration,
}

impl FirstMessageAuth {
    /// Whose key this message holds; `None` if it is no JSON object with one of our keys in that member. All keys are
    /// compared with, whichever it is.
    #[must_use]
    pub fn admit(&self, payload: &[u8]) -> Option<Identity> {
        let message: serde_json::Value = serde_json::from_slice(payload).ok()?;
        let key = message.as_object()?.get(&self.member)?.as_str()?;
        self.keys.name_of(key.as_bytes()).map(Identity::named)
    }
}

/// Admission by API key.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeyAuth {
    /// The keys that open the door.
    pub keys: ApiKeys,
    /// Where a client may put its key. A request that has one in two places is refused.
    pub from: Vec<CredentialSource>,
}

impl ApiKeyAuth {
    /// These keys, in the header `X-Api-Key`.
    #[must_use]
    pub fn new(keys: ApiKeys) -> Self {
        Self { keys, from: vec![CredentialSource::Header("X-Api-Key".to_owned())] }
    }
}

/// Admission by user name and password, in `Authorization: Basic` (RFC 7617).
#[derive(Debug, Clone, PartialEq)]
pub struct BasicAuth {
    /// The users and the hashes of their passwords.
    pub users: Users,
}

/// Admission by JSON Web Token.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtAuth {
    /// The keys that a token may be signed with, and the one algorithm.
    pub keys: TokenKeys,
    /// Where a client may put its token. A request that has one in two places is refused.
    pub from: Vec<CredentialSource>,
    /// What `iss` has to be (RFC 7519 §4.1.1); `None`: not looked at.
    pub issuer: Option<String>,
    /// What `aud` has to name (RFC 7519 §4.1.3). `None`: a token that names an audience is refused, as the RFC asks
    /// of whoever does not find itself among them.
    pub audience: Option<String>,
}

impl JwtAuth {
    /// These keys, the token in `Authorization: Bearer`, no particular issuer or audience.
    #[must_use]
    pub fn new(keys: TokenKeys) -> Self {
        Self { keys, from: vec![CredentialSource::Bearer], issuer: None, audience: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_opens_with_a_key_in_its_member_alone() {
        let keys = ApiKeys::parse("acme:0123456789abcdef\nglobex:fedcba9876543210\n").unwrap();
        let auth = FirstMessageAuth { member: "userKey".into(), keys, timeout: Duration::from_secs(10) };
        let rows: [(&[u8], Option<&str>); 12] = [
            (br#"{"userKey":"0123456789abcdef"}"#, Some("acme")),
            (br#" {"symbol":"EURUSD","userKey":"fedcba9876543210"} "#, Some("globex")),
            (br#"{"userKey":"0123456789abcdeF"}"#, None),
            (br#"{"userKey":["0123456789abcdef"]}"#, None),
            (br#"{"userKey":{"userKey":"0123456789abcdef"}}"#, None),
            (br#"{"userkey":"0123456789abcdef"}"#, None),
            (br#"{"user":{"userKey":"0123456789abcdef"}}"#, None),
            (br#"["userKey","0123456789abcdef"]"#, None),
            (br#"{"userKey":"0123456789abcdef""#, None),
            (br#""0123456789abcdef""#, None),
            (b"\xff\xfe", None),
            (b"", None),
        ];
        for (payload, name) in rows {
            let identity = auth.admit(payload);
            assert_eq!(identity.as_ref().and_then(Identity::name), name, "{}", payload.escape_ascii());
        }
        let deep = [b"[".repeat(4096), b"]".repeat(4096)].concat();
        assert_eq!(auth.admit(&deep), None);
    }
}
