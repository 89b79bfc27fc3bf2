//! One route's rules on one shard, and the order in which a request is held against them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Instant;

use super::network::Networks;
use super::rate::TokenBucket;
use super::{ApiKeyAuth, Auth, BasicAuth, Denial, Identity, JwtAuth, Origin, Settings, credential, jwt};
use crate::protocol::handshake::{Occurrence, UpgradeRequest};

/// What the rules look at beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The client's address, as far as it is known; `None` for a Unix socket.
    pub client: Option<IpAddr>,
    /// The shard's time.
    pub now: Instant,
    /// The time in seconds since 1970, which tokens are dated in.
    pub unix_now: u64,
}

/// The rules of one route, ready for use on one shard.
#[derive(Debug)]
pub struct Guard {
    origins: Option<Vec<Origin>>,
    origin_required: bool,
    allow: Networks,
    deny: Networks,
    auth: Option<Auth>,
    handshakes: Option<TokenBucket>,
}

impl Guard {
    /// The guard of one of `shards` shards, which keeps its share of the route's rate.
    #[must_use]
    pub fn new(settings: &Settings, shards: NonZeroU32) -> Self {
        Self {
            origins: settings.origins.clone(),
            origin_required: settings.origin_required,
            allow: Networks::new(&settings.allow),
            deny: Networks::new(&settings.deny),
            auth: settings.auth.clone(),
            handshakes: settings.handshakes.map(|rate| TokenBucket::new(rate, shards)),
        }
    }

    /// Lets a request go on, or not. From one that may, the subprotocol entries that carry a credential are taken
    /// out, so that they reach no backend.
    ///
    /// First what costs nothing and says that the sender has no business here, then the rate, which bounds how often
    /// the last, a credential, is verified: who is kept out by address or origin takes no handshake from the others.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&mut self, request: &mut UpgradeRequest<'_>, facts: &Facts) -> Result<Identity, Denial> {
        self.check_address(facts.client)?;
        self.check_origin(request)?;
        if let Some(bucket) = &mut self.handshakes {
            bucket.take(facts.now).map_err(|wait| Denial::HandshakeRate { wait })?;
        }
        let Some(auth) = &self.auth else { return Ok(Identity::ANONYMOUS) };
        let (identity, places) = match auth {
            Auth::ApiKey(auth) => (check_key(auth, request)?, auth.from.as_slice()),
            Auth::Basic(auth) => (check_password(auth, request)?, [].as_slice()),
            Auth::Jwt(auth) => (check_token(auth, request, facts.unix_now)?, auth.from.as_slice()),
            // Judged behind the 101.
            Auth::FirstMessage(_) => return Ok(Identity::ANONYMOUS),
        };
        credential::withhold(places, request);
        Ok(identity)
    }

    fn check_address(&self, client: Option<IpAddr>) -> Result<(), Denial> {
        if client.is_some_and(|client| self.deny.contain(client)) {
            return Err(Denial::AddressDenied);
        }
        let is_allowed = self.allow.is_empty() || client.is_some_and(|client| self.allow.contain(client));
        if is_allowed { Ok(()) } else { Err(Denial::AddressNotAllowed) }
    }

    fn check_origin(&self, request: &UpgradeRequest<'_>) -> Result<(), Denial> {
        let sent = match request.header("origin") {
            Occurrence::Missing if self.origin_required => return Err(Denial::OriginMissing),
            Occurrence::Missing => return Ok(()),
            Occurrence::Once(sent) => Some(sent),
            Occurrence::Repeated => None,
        };
        let Some(origins) = &self.origins else { return Ok(()) };
        // RFC 6454 §7.3: a user agent sends one at most, so who sends two is lying about one of them.
        let is_allowed = sent.is_some_and(|sent| origins.iter().any(|origin| origin.matches(sent)));
        if is_allowed { Ok(()) } else { Err(Denial::OriginForbidden) }
    }
}

fn check_key(auth: &ApiKeyAuth, request: &UpgradeRequest<'_>) -> Result<Identity, Denial> {
    let key = once(credential::fetch(&auth.from, request), Denial::KeyMissing)?;
    auth.keys.name_of(&key).map(Identity::named).ok_or(Denial::KeyWrong)
}

fn check_password(auth: &BasicAuth, request: &UpgradeRequest<'_>) -> Result<Identity, Denial> {
    let credentials = credential::authorization(request, "Basic").map(Cow::Borrowed);
    let credentials = once(credentials, Denial::PasswordMissing)?;
    auth.users.user_of(&credentials).map(|user| Identity::named(&user)).ok_or(Denial::PasswordWrong)
}

fn check_token(auth: &JwtAuth, request: &UpgradeRequest<'_>, unix_now: u64) -> Result<Identity, Denial> {
    let token = once(credential::fetch(&auth.from, request), Denial::TokenMissing)?;
    jwt::verify(auth, &token, unix_now).map_err(Denial::Token)
}

fn once<'r>(found: Occurrence<Cow<'r, [u8]>>, missing: Denial) -> Result<Cow<'r, [u8]>, Denial> {
    match found {
        Occurrence::Once(credential) => Ok(credential),
        Occurrence::Missing => Err(missing),
        Occurrence::Repeated => Err(Denial::CredentialRepeated),
    }
}

#[cfg(test)]
mod tests;
