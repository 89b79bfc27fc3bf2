//! Who may open a session on a route.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::item::Item;
use super::super::table::Table;
use crate::config::parse_rate;
use crate::guard::{
    Algorithm, ApiKeyAuth, ApiKeys, Auth, BasicAuth, FirstMessageAuth, JwtAuth, Rate, Settings, TokenKeys,
    Users, parse_network,
};

/// For a first message that is not told its time.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    Basic,
    Jwt,
    FirstMessage,
}

const KINDS: [(&str, Kind); 3] = [("key", Kind::Key), ("basic", Kind::Basic), ("jwt", Kind::Jwt)];

/// The keys of `auth` that only some kinds have.
const KEYS_OF_KINDS: [(&str, &[Kind]); 10] = [
    ("keys_file", &[Kind::Key, Kind::FirstMessage]),
    ("timeout", &[Kind::FirstMessage]),
    ("users_file", &[Kind::Basic]),
    ("from", &[Kind::Key, Kind::Jwt]),
    ("algorithm", &[Kind::Jwt]),
    ("secret", &[Kind::Jwt]),
    ("public_key_file", &[Kind::Jwt]),
    ("jwks_file", &[Kind::Jwt]),
    ("issuer", &[Kind::Jwt]),
    ("audience", &[Kind::Jwt]),
];

pub(super) fn guard(route: &Table<'_>, limits: &Table<'_>) -> Option<Settings> {
    let networks = |item: &Item<'_>| item.list(|item| item.read(parse_network));
    let origin_required = route.get("origin_required", |item| item.flag());
    if origin_required && !route.has("origins") {
        route
            .wrong_key::<()>("origin_required", "there are no origins to hold it against; write origins too");
    }
    let settings = Settings {
        origins: route.find("origins", |item| item.list(|item| item.form())),
        origin_required,
        allow: route.get("allow", networks),
        deny: route.get("deny", networks),
        auth: None,
        handshakes: handshakes(limits),
        connections_per_ip: limits.find("connections_per_ip", |item| item.count()),
        connections_per_identity: limits.find("connections_per_identity", |item| item.count()),
        connections_max: limits.find("connections", |item| item.count()),
    };
    match route.table_if_any("auth") {
        Some(table) => Some(Settings { auth: Some(auth(&table)?), ..settings }),
        None => Some(settings),
    }
}

fn handshakes(limits: &Table<'_>) -> Option<Rate> {
    let burst = limits.find("handshakes_burst", |item| item.count()).and_then(NonZeroU32::new);
    if limits.has("handshakes_burst") && !limits.has("handshakes") {
        limits
            .wrong_key::<()>("handshakes_burst", "there is no handshakes that it could exceed; write it too");
    }
    let per_second = limits.find("handshakes", |item| {
        let rate = item.read(parse_rate)?;
        NonZeroU32::try_from(rate).ok().or_else(|| item.wrong("4294967295/s is the most"))
    })?;
    Some(Rate { per_second, burst: burst.unwrap_or(per_second) })
}

fn auth(table: &Table<'_>) -> Option<Auth> {
    let kind = kind(table)?;
    let word = KINDS.iter().find(|(_, other)| *other == kind).map(|(word, _)| format!("kind = {word:?}"));
    for (name, kinds) in KEYS_OF_KINDS {
        if table.has(name) && !kinds.contains(&kind) {
            let word = word.as_deref().unwrap_or("first_message");
            table.wrong_key::<()>(name, format!("{word} has no such key; remove it"));
        }
    }
    let from = table.find("from", |item| item.list(|item| item.form()));
    Some(match kind {
        Kind::Key => {
            let mut auth = ApiKeyAuth::new(table.must("keys_file", |item| item.parsed(ApiKeys::parse))?);
            auth.from = from.unwrap_or(auth.from);
            Auth::ApiKey(auth)
        }
        Kind::Basic => {
            let users = table.must("users_file", |item| item.parsed(Users::parse))?;
            Auth::Basic(BasicAuth { users })
        }
        Kind::Jwt => {
            let (issuer, audience) =
                (table.find("issuer", |item| item.text()), table.find("audience", |item| item.text()));
            let mut auth = JwtAuth::new(token_keys(table)?);
            auth.from = from.unwrap_or(auth.from);
            Auth::Jwt(JwtAuth { issuer, audience, ..auth })
        }
        Kind::FirstMessage => {
            let member = table.find("first_message", |item| item.text());
            let timeout = table.find("timeout", |item| item.duration()).unwrap_or(FIRST_MESSAGE_TIMEOUT);
            let keys = table.must("keys_file", |item| item.parsed(ApiKeys::parse))?;
            Auth::FirstMessage(FirstMessageAuth { member: member?, keys, timeout })
        }
    })
}

fn kind(table: &Table<'_>) -> Option<Kind> {
    match (table.has("kind"), table.has("first_message")) {
        (false, true) => Some(Kind::FirstMessage),
        (true, true) => table.wrong_key("first_message", "there is a kind too; a route has one of the two"),
        (true, false) | (false, false) => table.must("kind", |item| item.word(&KINDS)),
    }
}

fn token_keys(table: &Table<'_>) -> Option<TokenKeys> {
    let algorithm: Algorithm = table.must("algorithm", |item| item.form())?;
    let places = ["secret", "public_key_file", "jwks_file"];
    match places.map(|name| table.has(name)) {
        [true, false, false] if algorithm == Algorithm::Hs256 => table.find("secret", |item| {
            let secret = item.secret()?;
            TokenKeys::from_secret(secret.expose().as_bytes()).map_or_else(|error| item.wrong(error), Some)
        }),
        [true, false, false] => {
            table.wrong_key("secret", format!("{algorithm} needs a public_key_file or jwks_file"))
        }
        [false, true, false] => {
            table.find("public_key_file", |item| item.parsed(|text| TokenKeys::from_pem(algorithm, text)))
        }
        [false, false, true] => {
            table.find("jwks_file", |item| item.parsed(|text| TokenKeys::from_jwks(algorithm, text)))
        }
        _ => table.wrong("write exactly one of secret, public_key_file and jwks_file"),
    }
}
