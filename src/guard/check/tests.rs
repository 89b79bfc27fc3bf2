//! A request from its bytes to the verdict, one rule at a time, then several against each other.
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::prelude::*;

use super::*;
use crate::guard::{ApiKeys, CredentialSource, Limits, Rate, TokenFault, TokenKeys, Users, parse_network};
use crate::protocol::handshake::Refusal;

const KEY: &str = "0123456789abcdef";
/// For HS256, `{"sub":"alice","exp":4102444800}`; made with `openssl dgst -sha256 -hmac`.
const SECRET: &str = "an example secret of 32 bytes or more";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0\
    .frdIvM-FtxqrYUcLTcz1_XTKDrEVbvf1eyhwKhjoN6o";
const NOW: u64 = 1_700_000_000;

/// A request with this target and these header lines, each with its CR LF.
fn request(target: &str, lines: &[u8]) -> Option<UpgradeRequest<'static>> {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: selat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    UpgradeRequest::parse([head.as_bytes(), lines, b"\r\n"].concat().leak()).ok()
}

fn guard(settings: &Settings) -> Guard {
    Guard::new(settings, NonZeroU32::MIN)
}

/// The verdict on a request from 192.0.2.1, without the wait.
fn verdict(settings: &Settings, target: &str, lines: &str) -> Result<Option<String>, &'static str> {
    let facts = Facts { client: Some([192, 0, 2, 1].into()), now: Instant::now(), unix_now: NOW };
    let mut request = request(target, lines.as_bytes()).unwrap_or_else(|| panic!("{target} {lines}"));
    let verdict = guard(settings).check(&mut request, &facts);
    verdict.map(|identity| identity.name().map(str::to_owned)).map_err(Denial::reason)
}

fn sources(texts: &[&str]) -> Vec<CredentialSource> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn with_keys(from: &[&str]) -> Settings {
    let keys = ApiKeys::parse(&format!("acme:{KEY}\n")).unwrap();
    Settings { auth: Some(Auth::ApiKey(ApiKeyAuth { keys, from: sources(from) })), ..Settings::default() }
}

fn with_tokens(from: &[&str]) -> Settings {
    let keys = TokenKeys::from_secret(SECRET.as_bytes()).unwrap();
    let auth = JwtAuth { from: sources(from), ..JwtAuth::new(keys) };
    Settings { auth: Some(Auth::Jwt(auth)), ..Settings::default() }
}

#[test]
fn lets_everybody_in_by_default() {
    assert_eq!(verdict(&Settings::default(), "/", "Origin: null\r\nAuthorization: Basic x\r\n"), Ok(None));
}

#[test]
fn looks_at_the_origin_of_whoever_sends_one() {
    let origins = Some(vec!["https://example.com".parse().unwrap()]);
    let listed = Settings { origins, ..Settings::default() };
    let required = Settings { origin_required: true, ..listed.clone() };
    let nobody = Settings { origins: Some(Vec::new()), ..Settings::default() };
    let rows = [
        (&listed, "Origin: https://example.com\r\n", Ok(None)),
        (&listed, "Origin: https://evil.example\r\n", Err("origin_forbidden")),
        (&listed, "Origin: null\r\n", Err("origin_forbidden")),
        (&listed, "Origin:\r\n", Err("origin_forbidden")),
        // RFC 6454 §7.3: one at most, even of the right ones.
        (&listed, "Origin: https://example.com\r\nOrigin: https://example.com\r\n", Err("origin_forbidden")),
        // RFC 6455 §10.2: a program that is no browser sends none, or what it likes.
        (&listed, "", Ok(None)),
        // RFC 9110 §7.6.1: naming a field in Connection does not take it from us.
        (&listed, "Origin: https://evil.example\r\nConnection: Origin\r\n", Err("origin_forbidden")),
        (&required, "", Err("origin_missing")),
        (&required, "Origin: https://example.com\r\n", Ok(None)),
        (&nobody, "Origin: https://example.com\r\n", Err("origin_forbidden")),
        (&nobody, "", Ok(None)),
    ];
    for (settings, lines, expected) in rows {
        assert_eq!(verdict(settings, "/", lines), expected, "{lines:?}");
    }
}

#[test]
fn looks_at_the_address_and_deny_wins() {
    let networks = |texts: &[&str]| texts.iter().map(|text| parse_network(text).unwrap()).collect::<Vec<_>>();
    /// Allowed, denied, the client.
    type Row = (&'static [&'static str], &'static [&'static str], Option<&'static str>);
    let rows: [(Row, Result<(), Denial>); 10] = [
        ((&[], &[], Some("192.0.2.1")), Ok(())),
        ((&["192.0.2.0/24"], &[], Some("192.0.2.1")), Ok(())),
        ((&["192.0.2.0/24"], &[], Some("198.51.100.1")), Err(Denial::AddressNotAllowed)),
        ((&[], &["192.0.2.0/24"], Some("192.0.2.1")), Err(Denial::AddressDenied)),
        ((&[], &["192.0.2.0/24"], Some("198.51.100.1")), Ok(())),
        ((&["192.0.2.1"], &["192.0.2.0/24"], Some("192.0.2.1")), Err(Denial::AddressDenied)),
        // RFC 4291 §2.5.5.2: an IPv4 client of an IPv6 listener.
        ((&[], &["192.0.2.0/24"], Some("::ffff:192.0.2.1")), Err(Denial::AddressDenied)),
        ((&["192.0.2.0/24"], &[], Some("::ffff:192.0.2.1")), Ok(())),
        ((&["0.0.0.0/0", "::/0"], &[], None), Err(Denial::AddressNotAllowed)),
        ((&[], &["0.0.0.0/0"], None), Ok(())),
    ];
    for ((allow, deny, client), expected) in rows {
        let settings = Settings { allow: networks(allow), deny: networks(deny), ..Settings::default() };
        let client = client.map(|client| client.parse().unwrap());
        let facts = Facts { client, now: Instant::now(), unix_now: NOW };
        let found = guard(&settings).check(&mut request("/", b"").unwrap(), &facts);
        assert_eq!(found.map(|_| ()), expected, "{client:?}, allow {allow:?}, deny {deny:?}");
    }
}

#[test]
fn only_those_who_may_come_take_from_the_rate() {
    let origins = Some(vec!["https://example.com".parse().unwrap()]);
    let two = NonZeroU32::new(2).unwrap();
    let handshakes = Some(Rate { per_second: two, burst: two });
    let mut guard = guard(&Settings { origins, handshakes, ..with_keys(&["header:X-Api-Key"]) });
    let now = Instant::now();
    let mut ask = |lines: &str, now| {
        let facts = Facts { client: None, now, unix_now: NOW };
        guard.check(&mut request("/", lines.as_bytes()).unwrap(), &facts).map(|_| ())
    };
    for _ in 0..10 {
        assert_eq!(ask("Origin: https://evil.example\r\n", now), Err(Denial::OriginForbidden));
    }
    // Guessing keys, on the other hand, is what the rate slows down.
    assert_eq!(ask("X-Api-Key: guess\r\n", now), Err(Denial::KeyWrong));
    let right = format!("X-Api-Key: {KEY}\r\n");
    assert_eq!(ask(&right, now), Ok(()));
    let wait = Duration::from_millis(500);
    assert_eq!(ask(&right, now), Err(Denial::HandshakeRate { wait }));
    assert_eq!(ask(&right, now + wait), Ok(()));
    let response = String::from_utf8(Refusal::from(Denial::HandshakeRate { wait }).response()).unwrap();
    // RFC 6585 §4.
    assert!(
        response.starts_with("HTTP/1.1 429 ") && response.contains("\r\nRetry-After: 1\r\n"),
        "{response}"
    );
}

#[test]
fn finds_a_key_in_each_of_its_places_and_in_one_only() {
    let all = with_keys(&["header:X-Api-Key", "query:key", "subprotocol:key."]);
    let acme = || Ok(Some("acme".to_owned()));
    let rows = [
        ("/", "X-Api-Key: 0123456789abcdef\r\n", acme()),
        ("/", "x-api-key:\t0123456789abcdef \r\n", acme()),
        ("/?a=1&key=0123456789abcdef", "", acme()),
        ("/?key=%30123456789abcde%66", "", acme()),
        ("/", "Sec-WebSocket-Protocol: chat, key.0123456789abcdef\r\n", acme()),
        ("/", "", Err("key_missing")),
        ("/?KEY=0123456789abcdef", "", Err("key_missing")),
        ("/key=0123456789abcdef", "", Err("key_missing")),
        ("/", "Sec-WebSocket-Protocol: chat, KEY.0123456789abcdef\r\n", Err("key_missing")),
        ("/", "X-Api-Key:\r\n", Err("key_wrong")),
        ("/", "X-Api-Key: 0123456789ABCDEF\r\n", Err("key_wrong")),
        ("/?key=0123456789abcdef%00", "", Err("key_wrong")),
        ("/?key=0123456789abcdef%ff", "", Err("key_wrong")),
        ("/?key=0123456789abcdef+", "", Err("key_wrong")),
        ("/?key", "", Err("key_wrong")),
        ("/", "Sec-WebSocket-Protocol: key.\r\n", Err("key_wrong")),
        ("/", "X-Api-Key: 0123456789abcdef, 0123456789abcdef\r\n", Err("key_wrong")),
        // Twice is ambiguous, even if both are right.
        ("/", "X-Api-Key: 0123456789abcdef\r\nX-Api-Key: x\r\n", Err("credential_repeated")),
        ("/?key=x&key=0123456789abcdef", "", Err("credential_repeated")),
        ("/?key=x&k%65y=0123456789abcdef", "", Err("credential_repeated")),
        ("/", "Sec-WebSocket-Protocol: key.x, key.0123456789abcdef\r\n", Err("credential_repeated")),
        ("/?key=x", "X-Api-Key: 0123456789abcdef\r\n", Err("credential_repeated")),
    ];
    for (target, lines, expected) in rows {
        assert_eq!(verdict(&all, target, lines), expected, "{target} {lines:?}");
    }
    let header_only = with_keys(&["header:X-Api-Key"]);
    assert_eq!(verdict(&header_only, "/?key=0123456789abcdef", ""), Err("key_missing"));
    let long = format!("X-Api-Key: {}\r\n", "a".repeat(16 * 1024));
    assert_eq!(verdict(&all, "/", &long), Err("key_wrong"));
}

#[test]
fn a_subprotocol_that_is_a_credential_goes_no_further() {
    let facts = Facts { client: None, now: Instant::now(), unix_now: NOW };
    let rows = [
        (with_tokens(&["bearer", "subprotocol:secret."]), format!("secret.{TOKEN}"), "alice"),
        (with_keys(&["subprotocol:secret."]), format!("secret.{KEY}"), "acme"),
    ];
    for (settings, entry, name) in rows {
        let lines = format!("Sec-WebSocket-Protocol: chat, {entry}\r\n");
        let mut request = request("/", lines.as_bytes()).unwrap();
        let identity = guard(&settings).check(&mut request, &facts).unwrap();
        assert_eq!(identity.name(), Some(name));
        assert!(request.protocols().eq([b"chat"]));
        assert!(!request.offers_protocol(entry.as_bytes()) && request.offers_protocol(b"chat"));
    }
}

#[test]
fn checks_user_and_password() {
    // `{SHA256}` of "open sesame", as RFC 7617 §2 has it for Aladdin.
    let users = Users::parse("Aladdin:{SHA256}Qe9LsLI2YeZjAarDYGaRLawDeCe0rmOnsRZaWqk+1Os=\n").unwrap();
    let settings = Settings { auth: Some(Auth::Basic(BasicAuth { users })), ..Settings::default() };
    let aladdin = || Ok(Some("Aladdin".to_owned()));
    let rows = [
        ("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", aladdin()),
        // RFC 9110 §11.1: the scheme in any case; §11.4: one space or more.
        ("authorization: bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", aladdin()),
        ("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZT==\r\n", Err("password_wrong")),
        ("Authorization: Basic\r\n", Err("password_wrong")),
        ("Authorization: Basic Aladdin:open sesame\r\n", Err("password_wrong")),
        ("", Err("password_missing")),
        ("Authorization:\r\n", Err("password_missing")),
        ("Authorization: BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", Err("password_missing")),
        ("Authorization: Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", Err("password_missing")),
        (
            "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nAuthorization: Basic eDp5\r\n",
            Err("credential_repeated"),
        ),
    ];
    for (lines, expected) in rows {
        assert_eq!(verdict(&settings, "/", lines), expected, "{lines:?}");
    }
    // RFC 7617 §2: the password may have colons; §2.1: UTF-8; a user that nobody knows.
    for pair in ["Aladdin:open:sesame", "Aladdin:öpen", "Jasmine:open sesame", "Aladdin", ":", ""] {
        let lines = format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(pair));
        assert_eq!(verdict(&settings, "/", &lines), Err("password_wrong"), "{pair:?}");
    }
}

#[test]
fn finds_a_token_in_each_of_its_places_and_in_one_only() {
    let all = with_tokens(&["bearer", "query:access_token", "subprotocol:token."]);
    let alice = || Ok(Some("alice".to_owned()));
    let rows = [
        // RFC 6750 §2.1 and §2.3.
        ("/".to_owned(), format!("Authorization: Bearer {TOKEN}\r\n"), alice()),
        ("/".to_owned(), format!("Authorization: bearer  {TOKEN}\r\n"), alice()),
        (format!("/?access_token={TOKEN}"), String::new(), alice()),
        ("/".to_owned(), format!("Sec-WebSocket-Protocol: token.{TOKEN}, chat\r\n"), alice()),
        ("/".to_owned(), String::new(), Err("token_missing")),
        ("/".to_owned(), "Authorization: Basic eDp5\r\n".to_owned(), Err("token_missing")),
        ("/".to_owned(), format!("Authorization: {TOKEN}\r\n"), Err("token_missing")),
        ("/".to_owned(), "Authorization: Bearer\r\n".to_owned(), Err("token_malformed")),
        ("/".to_owned(), "Authorization: Bearer a.b.c\r\n".to_owned(), Err("token_malformed")),
        ("/".to_owned(), format!("Authorization: Bearer {TOKEN}=\r\n"), Err("token_malformed")),
        ("/".to_owned(), format!("Authorization: Bearer {TOKEN} {TOKEN}\r\n"), Err("token_malformed")),
        (format!("/?access_token={TOKEN}%00"), String::new(), Err("token_malformed")),
        // §2: "Clients MUST NOT use more than one method".
        (
            format!("/?access_token={TOKEN}"),
            format!("Authorization: Bearer {TOKEN}\r\n"),
            Err("credential_repeated"),
        ),
        (
            "/".to_owned(),
            format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"),
            Err("credential_repeated"),
        ),
        (
            "/".to_owned(),
            format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Basic eDp5\r\n"),
            Err("credential_repeated"),
        ),
    ];
    for (target, lines, expected) in rows {
        assert_eq!(verdict(&all, &target, &lines), expected, "{target} {lines:?}");
    }
}

#[test]
fn every_denial_has_its_status_its_word_and_a_sentence_without_secrets() {
    let wait = Duration::from_millis(1);
    let rows = [
        (Denial::OriginMissing, 403),
        (Denial::OriginForbidden, 403),
        (Denial::AddressDenied, 403),
        (Denial::AddressNotAllowed, 403),
        (Denial::HandshakeRate { wait }, 429),
        (Denial::CredentialRepeated, 400),
        (Denial::KeyMissing, 401),
        (Denial::KeyWrong, 403),
        (Denial::PasswordMissing, 401),
        (Denial::PasswordWrong, 401),
        (Denial::TokenMissing, 401),
        (Denial::Token(TokenFault::Malformed), 401),
        (Denial::Token(TokenFault::Algorithm), 401),
        (Denial::Token(TokenFault::Critical), 401),
        (Denial::Token(TokenFault::KeyUnknown), 401),
        (Denial::Token(TokenFault::Signature), 401),
        (Denial::Token(TokenFault::NeverExpires), 401),
        (Denial::Token(TokenFault::Expired), 401),
        (Denial::Token(TokenFault::NotYetValid), 401),
        (Denial::Token(TokenFault::Issuer), 401),
        (Denial::Token(TokenFault::Audience), 401),
        (Denial::AddressFull, 429),
        (Denial::IdentityFull, 429),
        (Denial::RouteFull, 503),
    ];
    assert_eq!(rows.map(|(denial, _)| denial.reason()), Denial::REASONS);
    for (denial, status) in rows {
        let refusal = Refusal::from(denial);
        assert_eq!(refusal.http_status(), status, "{denial:?}");
        let response = String::from_utf8(refusal.response()).unwrap();
        assert_eq!(response.contains("\r\nWWW-Authenticate: "), status == 401, "{response}");
        assert_eq!(response.contains("\r\nRetry-After: "), matches!(status, 429 | 503), "{response}");
    }
    // Which of these it was would help who forges tokens.
    let shown = |fault| Refusal::from(Denial::Token(fault)).response();
    for fault in [TokenFault::Algorithm, TokenFault::Critical, TokenFault::KeyUnknown, TokenFault::Signature]
    {
        assert_eq!(shown(fault), shown(TokenFault::Malformed));
    }
}

#[test]
fn a_guard_shows_no_secret() {
    for settings in [with_keys(&["bearer"]), with_tokens(&["bearer"])] {
        let shown = format!("{settings:?} {:?}", guard(&settings));
        assert!(!shown.contains(KEY) && !shown.contains(SECRET) && shown.contains("redacted"), "{shown}");
    }
}

#[test]
fn says_which_limits_the_control_plane_has_to_keep() {
    assert_eq!(Settings::default().limits(), None);
    let none = Limits::default();
    let rows = [
        (Settings { connections_max: Some(9), ..Settings::default() }, Limits { max: Some(9), ..none }),
        (Settings { connections_per_ip: Some(8), ..Settings::default() }, Limits { per_ip: Some(8), ..none }),
        (
            Settings { connections_per_identity: Some(7), ..Settings::default() },
            Limits { per_identity: Some(7), ..none },
        ),
    ];
    for (settings, limits) in rows {
        assert_eq!(settings.limits(), Some(limits));
    }
}

#[test]
fn says_where_a_credential_could_be() {
    for text in [
        "",
        "Bearer",
        "header",
        "header:",
        "header:X Y",
        "query:",
        "subprotocol:",
        "subprotocol:a,b",
        "cookie:x",
    ] {
        let error = text.parse::<CredentialSource>().unwrap_err().to_string();
        assert!(error.contains("write bearer, header:X-Api-Key"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_request_panics_and_none_gets_in_without_its_key(
        value in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), "[a-z0-9. =,;:%]{0,40}".prop_map(String::into_bytes)],
        name in prop::sample::select(vec!["Origin", "Authorization", "X-Api-Key", "Sec-WebSocket-Protocol", "Cookie"]),
        query in "[a-z0-9=&%+]{0,40}",
    ) {
        let lines = [name.as_bytes(), b": ", &value, b"\r\n"].concat();
        let Some(request) = request(&format!("/?{query}"), &lines) else { return Ok(()) };
        let origins = Some(vec!["https://*.example.com".parse().unwrap()]);
        let facts = Facts { client: None, now: Instant::now(), unix_now: NOW };
        let from = ["bearer", "header:X-Api-Key", "query:key", "subprotocol:key."];
        for settings in [with_keys(&from), with_tokens(&from)] {
            let settings = Settings { origins: origins.clone(), ..settings };
            prop_assert!(guard(&settings).check(&mut request.clone(), &facts).is_err());
        }
    }
}
