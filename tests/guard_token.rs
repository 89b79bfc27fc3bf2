//! Tokens (RFC 7519) that PyJWT has signed: who has a good one is let in by the name in it, any other is refused with
//! the word for what is wrong in the log, and never the token.
#![cfg(feature = "runtime")]

mod support;

use std::collections::HashMap;
use std::fs;

use support::gate::{Gate, Session};
use support::http::upgrade_request;
use support::path::Directory;
use support::python::Script;

/// Tokens by name, and the keys to hold them against.
struct Issuer {
    directory: Directory,
    tokens: HashMap<String, String>,
}

impl Issuer {
    fn new(test: &str) -> Self {
        let directory = Directory::new(test);
        let script = Script::start("tokens.py", &[directory.as_ref().to_str().expect("it is ASCII")]);
        let lines = std::iter::repeat_with(|| script.line()).take_while(|line| line != "end");
        let tokens = lines.map(|line| {
            let (name, token) = line.split_once(' ').expect("a name and a token");
            (name.to_owned(), token.to_owned())
        });
        Self { tokens: tokens.collect(), directory }
    }

    /// A gate for tokens of this algorithm. `{keys}` in `auth` stands for the directory of the keys.
    fn gate(&self, algorithm: &str, auth: &str) -> Gate {
        let auth = auth.replace("{keys}", self.directory.as_ref().to_str().expect("it is ASCII"));
        let route = format!(
            "request_headers = {{ set = {{ X-User = \"{{identity}}\" }} }}\n\
             [route.all.auth]\nkind = \"jwt\"\nalgorithm = \"{algorithm}\"\naudience = \"stream\"\n{auth}"
        );
        Gate::with(&route, "", "[log]\nlevel = \"trace\"\n")
    }

    fn token(&self, name: &str) -> &str {
        self.tokens.get(name).unwrap_or_else(|| unreachable!("tokens.py makes {name}"))
    }

    fn bearer(&self, name: &str) -> Vec<u8> {
        upgrade_request("/", &[&format!("Authorization: Bearer {}", self.token(name))])
    }

    fn expect_admitted(&self, gate: &mut Gate, name: &str) {
        let session = gate.admits(&self.bearer(name));
        assert_eq!(session.asked.one("x-user"), "ada", "{name}");
        drop(session);
        assert_eq!(gate.proxy.session().get("identity"), "ada");
    }

    fn expect_refused(&self, gate: &mut Gate, rows: &[(&str, &str)]) {
        for (name, reason) in rows {
            let (head, body) = gate.refuses(&self.bearer(name), 401, reason);
            // RFC 6750 §3.1.
            assert_eq!(
                head.one("www-authenticate"),
                "Bearer realm=\"selat\", error=\"invalid_token\"",
                "{body}"
            );
        }
    }

    /// That neither a token nor its signature is in the log.
    fn expect_never_logged(&self, gate: &mut Gate) {
        for token in self.tokens.values() {
            let (signed, signature) = token.rsplit_once('.').expect("three parts");
            gate.proxy.expect_never_logged(signed);
            if !signature.is_empty() {
                gate.proxy.expect_never_logged(signature);
            }
        }
    }
}

#[test]
fn a_token_is_good_by_its_signature_and_for_its_time() {
    let issuer = Issuer::new("algorithms");
    let rows = [
        ("HS256", "secret = \"file:{keys}/secret\""),
        ("RS256", "public_key_file = \"{keys}/rs256.pem\""),
        ("ES256", "public_key_file = \"{keys}/es256.pem\""),
    ];
    for (algorithm, auth) in rows {
        let mut gate = issuer.gate(algorithm, auth);
        let named = |what: &str| format!("{algorithm}-{what}");
        issuer.expect_admitted(&mut gate, &named("good"));
        issuer.expect_refused(
            &mut gate,
            &[(&named("expired"), "token_expired"), (&named("stranger"), "token_signature")],
        );
        // A token does not choose its own algorithm.
        let others = ["HS256-good", "RS256-good", "ES256-good", "stronger", "unsigned", "confused"];
        for other in others.into_iter().filter(|other| !other.starts_with(algorithm)) {
            let reason = match other {
                // No algorithm that there is.
                "unsigned" => "token_malformed",
                "confused" if algorithm == "HS256" => "token_signature",
                _ => "token_algorithm",
            };
            issuer.expect_refused(&mut gate, &[(other, reason)]);
        }
        issuer.expect_never_logged(&mut gate);
    }
}

#[test]
fn a_token_is_good_for_one_service_from_one_issuer() {
    let issuer = Issuer::new("claims");
    let mut gate = issuer.gate("HS256", "secret = \"file:{keys}/secret\"\nissuer = \"https://id.example\"");
    issuer.expect_admitted(&mut gate, "HS256-good");
    issuer.expect_refused(
        &mut gate,
        &[
            ("early", "token_not_yet_valid"),
            ("eternal", "token_never_expires"),
            ("other-issuer", "token_issuer"),
            ("no-issuer", "token_issuer"),
            ("other-audience", "token_audience"),
            ("no-audience", "token_audience"),
        ],
    );
    let (head, _) = gate.refuses(&upgrade_request("/", &[]), 401, "token_missing");
    assert_eq!(head.one("www-authenticate"), "Bearer realm=\"selat\"");
    for nonsense in ["x", "a.b.c", "e30.e30.", "Zm9v"] {
        let request = upgrade_request("/", &[&format!("Authorization: Bearer {nonsense}")]);
        gate.refuses(&request, 401, "token_malformed");
    }
    // One character of the claims is another.
    let token = issuer.token("HS256-good");
    let at = token.find('.').expect("three parts") + 10;
    let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    let tampered = format!("{}{other}{}", &token[..at], &token[at + 1..]);
    gate.refuses(
        &upgrade_request("/", &[&format!("Authorization: Bearer {tampered}")]),
        401,
        "token_signature",
    );
    issuer.expect_never_logged(&mut gate);
    let good = format!("Authorization: Bearer {token}");
    gate.expect_nothing_reached_the_backend(&[&good]);
}

#[test]
fn a_key_set_is_chosen_from_by_name_and_may_change() {
    let issuer = Issuer::new("jwks");
    let mut gate = issuer.gate("RS256", "jwks_file = \"{keys}/jwks.json\"");
    issuer.expect_admitted(&mut gate, "kid-one");
    issuer.expect_admitted(&mut gate, "kid-two");
    issuer.expect_refused(
        &mut gate,
        &[
            ("kid-swapped", "token_signature"),
            ("kid-unknown", "token_key_unknown"),
            ("kid-missing", "token_key_unknown"),
        ],
    );
    // The issuer rotates: what was signed with the key that is gone is refused.
    let file = issuer.directory.file("jwks.json");
    let set = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, set.replace("\"one\"", "\"three\"")).expect("the directory is ours");
    gate.proxy.line("reloaded");
    issuer.expect_refused(&mut gate, &[("kid-one", "token_key_unknown")]);
    issuer.expect_admitted(&mut gate, "kid-unknown");
    issuer.expect_admitted(&mut gate, "kid-two");
}

#[test]
fn a_token_may_come_as_a_subprotocol_and_stays_here() {
    let issuer = Issuer::new("subprotocol");
    let gate =
        issuer.gate("ES256", "public_key_file = \"{keys}/es256.pem\"\nfrom = [\"subprotocol:token.\"]");
    let token = issuer.token("ES256-good");
    let request = upgrade_request("/", &[&format!("Sec-WebSocket-Protocol: chat, token.{token}")]);
    let Session { asked, answered, .. } =
        gate.admits_on(gate.proxy.dial(), &request, &["Sec-WebSocket-Protocol: chat"]);
    assert_eq!((asked.one("sec-websocket-protocol"), asked.one("x-user")), ("chat", "ada"));
    assert_eq!(answered.one("sec-websocket-protocol"), "chat");
}
