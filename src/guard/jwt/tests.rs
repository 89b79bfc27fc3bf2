//! Tokens, one fault at a time.
//!
//! The first are the examples of RFC 7515 appendix A, so that a foreign hand signed them. The others are signed here,
//! with the key of A.1, from the header and the claims of their row.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::sign;
use proptest::prelude::*;

use super::*;

/// What the tokens of RFC 7515 appendix A say: `{"iss":"joe", "exp":1300819380, "http://example.com/is_root":true}`.
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EXP: u64 = 1_300_819_380;

const SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const HS256: (&str, &str) =
    ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
const RS256: (&str, &str) = (
    "eyJhbGciOiJSUzI1NiJ9",
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU\
     Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d\
     O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig\
     cN_IoypGlUPQGe77Rw",
);
const ES256: (&str, &str) = (
    "eyJhbGciOiJFUzI1NiJ9",
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
);

/// The public keys of A.2 and A.3, as OpenSSL writes them.
const RSA_PEM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp
oQIDAQAB
-----END PUBLIC KEY-----
";
const EC_PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
-----END PUBLIC KEY-----
";
/// Keys that must not do: RSA with 1024 bits, and P-384.
const SHORT_RSA_PEM: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDOx8wVpGXslgZadA0Vtmt96iB8
4ueErPw07cYr9ZWn31BIHTxlg6QzUskhTA9VAa/8ON97nksx43deH6wpz8C/RpJ7
xBz5tW0CeMedzYyyitvQXqJ/Kcbiqs1YwDj2ciFyJJYxKc/YhaY8FNFOn9pkZQpb
DBLz1Ieh4y9l/s8JWQIDAQAB
-----END PUBLIC KEY-----
";
const P384_PEM: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEoSwJ13dF4QlOKdjsrfqyG3SmKONv3s+w
y32AAeb51GdBJ2bHsYcC0BkYEHYTrz9JIko/DEdthHpkjLaSzcps10HJRoSenVkb
lJNj781vrEjJfjn/wXpQ0OqPjZIKioRF
-----END PUBLIC KEY-----
";
/// The keys of A.1 to A.3 in one set, with one for encryption and one of a kind that nobody knows (RFC 7517 §5).
const JWKS: &str = r#"{"keys": [
    {"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "e": "AQAB",
     "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
    {"kty": "EC", "kid": "ec", "crv": "P-256",
     "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty": "RSA", "kid": "enc", "use": "enc", "e": "AQAB", "n": "AQAB"},
    {"kty": "quantum", "kid": "future", "q": [1, 2]},
    {"kty": "oct", "kid": "one", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    {"kty": "oct", "kid": "two", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
]}"#;

fn secret() -> Vec<u8> {
    BASE64URL.decode(SECRET).unwrap()
}

fn secret_keys() -> TokenKeys {
    TokenKeys::from_secret(&secret()).unwrap()
}

/// A token of appendix A.
fn rfc_token((header, signature): (&str, &str)) -> String {
    format!("{header}.{PAYLOAD}.{signature}")
}

/// A token with this header and these claims, rightly signed with `secret`.
fn signed_with(secret: &[u8], header: &str, claims: &str) -> String {
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn signed(header: &str, claims: &str) -> String {
    signed_with(&secret(), header, claims)
}

const HEADER: &str = r#"{"alg":"HS256"}"#;

#[test]
fn accepts_the_tokens_of_rfc_7515_until_they_expire() {
    let jwks = |algorithm| TokenKeys::from_jwks(algorithm, JWKS).unwrap();
    let rows = [
        ("A.1", HS256, secret_keys()),
        ("A.2", RS256, TokenKeys::from_pem(Algorithm::Rs256, RSA_PEM).unwrap()),
        ("A.3", ES256, TokenKeys::from_pem(Algorithm::Es256, EC_PEM).unwrap()),
        ("A.2, from a set", RS256, jwks(Algorithm::Rs256)),
        ("A.3, from a set", ES256, jwks(Algorithm::Es256)),
    ];
    for (example, token, keys) in rows {
        let auth = JwtAuth { issuer: Some("joe".to_owned()), ..JwtAuth::new(keys) };
        let verdict = |unix_now| verify(&auth, rfc_token(token).as_bytes(), unix_now);
        assert_eq!(verdict(EXP), Ok(Identity::ANONYMOUS), "{example}");
        // RFC 7519 §4.1.4: not on or after exp, give or take the leeway of 60 s.
        assert_eq!(verdict(EXP + 59), Ok(Identity::ANONYMOUS), "{example}");
        assert_eq!(verdict(EXP + 60), Err(TokenFault::Expired), "{example}");
        assert_eq!(verdict(u64::MAX), Err(TokenFault::Expired), "{example}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let auth = JwtAuth::new(TokenKeys::from_pem(Algorithm::Es256, EC_PEM).unwrap());
    let token = rfc_token(ES256);
    assert!(verify(&auth, token.as_bytes(), EXP).is_ok());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(verify(&auth, &changed, EXP).is_err(), "byte {at}");
    }
}

#[test]
fn the_algorithm_is_the_configurations_and_never_the_tokens() {
    let rsa = || TokenKeys::from_pem(Algorithm::Rs256, RSA_PEM).unwrap();
    let ec = || TokenKeys::from_pem(Algorithm::Es256, EC_PEM).unwrap();
    let claims = r#"{"exp":1300819380}"#;
    let rows = [
        // RFC 8725 §2.1: the public key taken for a shared secret.
        (
            "HS256 with the RSA key",
            signed_with(RSA_PEM.as_bytes(), HEADER, claims),
            rsa(),
            TokenFault::Algorithm,
        ),
        (
            "HS256 with the EC key",
            signed_with(EC_PEM.as_bytes(), HEADER, claims),
            ec(),
            TokenFault::Algorithm,
        ),
        ("RS256 to a secret", rfc_token(RS256), secret_keys(), TokenFault::Algorithm),
        ("ES256 to RS256", rfc_token(ES256), rsa(), TokenFault::Algorithm),
        ("HS512", signed(r#"{"alg":"HS512"}"#, claims), secret_keys(), TokenFault::Algorithm),
        // RFC 7519 §6.1: an unsecured token.
        ("none", format!("eyJhbGciOiJub25lIn0.{PAYLOAD}."), secret_keys(), TokenFault::Malformed),
        ("None", signed(r#"{"alg":"None"}"#, claims), secret_keys(), TokenFault::Malformed),
        ("no alg", signed(r"{}", claims), secret_keys(), TokenFault::Malformed),
        // A header that says RS256 over a signature that is HMAC with the public key.
        (
            "RS256 by name",
            signed_with(RSA_PEM.as_bytes(), r#"{"alg":"RS256"}"#, claims),
            rsa(),
            TokenFault::Signature,
        ),
        ("another secret", signed_with(&[7; 32], HEADER, claims), secret_keys(), TokenFault::Signature),
        ("no signature", format!("{}.{PAYLOAD}.", HS256.0), secret_keys(), TokenFault::Signature),
        (
            "a key of its own",
            signed_with(
                &[0; 32],
                r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#,
                claims,
            ),
            secret_keys(),
            TokenFault::Signature,
        ),
    ];
    for (attack, token, keys, fault) in rows {
        assert_eq!(verify(&JwtAuth::new(keys), token.as_bytes(), EXP), Err(fault), "{attack}");
    }
}

#[test]
fn judges_the_registered_claims() {
    let auth = JwtAuth {
        issuer: Some("https://id.example".to_owned()),
        audience: Some("chat".to_owned()),
        ..JwtAuth::new(secret_keys())
    };
    let good = r#""iss":"https://id.example","aud":"chat","exp":1300819380"#;
    let rows = [
        (format!("{{{good}}}"), Ok(None)),
        (format!(r#"{{{good},"sub":"alice"}}"#), Ok(Some("alice"))),
        (format!(r#"{{{good},"sub":"a\nb"}}"#), Ok(Some("a?b"))),
        // RFC 7519 §4.1.5: nbf, with the leeway.
        (format!(r#"{{{good},"nbf":1300819380}}"#), Ok(None)),
        (format!(r#"{{{good},"nbf":1300819440}}"#), Ok(None)),
        (format!(r#"{{{good},"nbf":1300819441}}"#), Err(TokenFault::NotYetValid)),
        // §2: a NumericDate may have a fraction.
        (format!("{{{}}}", good.replace("1300819380", "1300819320.5")), Ok(None)),
        (format!("{{{}}}", good.replace("1300819380", "1300819320")), Err(TokenFault::Expired)),
        (format!("{{{}}}", good.replace("1300819380", "-1")), Err(TokenFault::Expired)),
        (format!("{{{}}}", good.replace("1300819380", "0")), Err(TokenFault::Expired)),
        (format!("{{{}}}", good.replace("1300819380", "1e300")), Ok(None)),
        (format!("{{{}}}", good.replace("1300819380", "1e999")), Err(TokenFault::Malformed)),
        (format!("{{{}}}", good.replace("1300819380", r#""1300819380""#)), Err(TokenFault::Malformed)),
        (format!("{{{}}}", good.replace("1300819380", "null")), Err(TokenFault::NeverExpires)),
        (format!("{{{}}}", good.replace(r#","exp":1300819380"#, "")), Err(TokenFault::NeverExpires)),
        // §4.1.1.
        (format!("{{{}}}", good.replace("id.example", "id.example/")), Err(TokenFault::Issuer)),
        (format!("{{{}}}", good.replace(r#""iss":"https://id.example","#, "")), Err(TokenFault::Issuer)),
        // §4.1.3: a name, or a list of them.
        (format!("{{{}}}", good.replace(r#""chat""#, r#"["mail","chat"]"#)), Ok(None)),
        (format!("{{{}}}", good.replace(r#""chat""#, r#"["mail"]"#)), Err(TokenFault::Audience)),
        (format!("{{{}}}", good.replace(r#""chat""#, "[]")), Err(TokenFault::Audience)),
        (format!("{{{}}}", good.replace("chat", "Chat")), Err(TokenFault::Audience)),
        (format!("{{{}}}", good.replace(r#""aud":"chat","#, "")), Err(TokenFault::Audience)),
        (format!("{{{}}}", good.replace(r#""chat""#, "7")), Err(TokenFault::Malformed)),
        // §4: claim names MUST be unique, or the token rejected.
        (format!(r#"{{{good},"exp":9999999999}}"#), Err(TokenFault::Malformed)),
        // §4.1.2: a string.
        (format!(r#"{{{good},"sub":7}}"#), Err(TokenFault::Malformed)),
        ("[]".to_owned(), Err(TokenFault::Malformed)),
        (String::new(), Err(TokenFault::Malformed)),
    ];
    for (claims, verdict) in rows {
        let found = verify(&auth, signed(HEADER, &claims).as_bytes(), EXP);
        let found = found.as_ref().map(Identity::name).map_err(|fault| *fault);
        assert_eq!(found, verdict, "{claims}");
    }
}

#[test]
fn a_token_for_somebody_is_not_for_whoever_did_not_ask() {
    // RFC 7519 §4.1.3: who does not identify itself with a value in aud MUST reject.
    let token = signed(HEADER, r#"{"exp":1300819380,"aud":"mail"}"#);
    assert_eq!(verify(&JwtAuth::new(secret_keys()), token.as_bytes(), EXP), Err(TokenFault::Audience));
}

#[test]
fn the_kid_chooses_the_key() {
    let set = JwtAuth::new(TokenKeys::from_jwks(Algorithm::Hs256, JWKS).unwrap());
    let claims = r#"{"exp":1300819380}"#;
    let rows = [
        (signed(r#"{"alg":"HS256","kid":"one"}"#, claims), Ok(())),
        (signed_with(&[0; 32], r#"{"alg":"HS256","kid":"two"}"#, claims), Ok(())),
        (signed(r#"{"alg":"HS256","kid":"two"}"#, claims), Err(TokenFault::Signature)),
        (signed(r#"{"alg":"HS256","kid":"three"}"#, claims), Err(TokenFault::KeyUnknown)),
        (signed(r#"{"alg":"HS256","kid":"../../one"}"#, claims), Err(TokenFault::KeyUnknown)),
        // A key of the set that is for another algorithm.
        (signed(r#"{"alg":"HS256","kid":"rsa"}"#, claims), Err(TokenFault::KeyUnknown)),
        // Two keys, and no word which.
        (signed(HEADER, claims), Err(TokenFault::KeyUnknown)),
        // RFC 7515 §4.1.11: critical extensions that we do not know.
        (
            signed(r#"{"alg":"HS256","kid":"one","crit":["b64"],"b64":false}"#, claims),
            Err(TokenFault::Critical),
        ),
    ];
    for (token, verdict) in rows {
        assert_eq!(verify(&set, token.as_bytes(), EXP).map(|_| ()), verdict, "{token}");
    }
    // One key without a name is every token's; one with a name is not another's.
    let token = signed(r#"{"alg":"HS256","kid":"any"}"#, claims);
    assert!(verify(&JwtAuth::new(secret_keys()), token.as_bytes(), EXP).is_ok());
    let only_rsa = TokenKeys::from_jwks(Algorithm::Rs256, JWKS).unwrap();
    assert!(only_rsa.select(Some("enc")).is_none() && only_rsa.select(None).is_some());
}

#[test]
fn says_why_keys_are_of_no_use() {
    let secret = |text: &str| TokenKeys::from_secret(text.as_bytes()).unwrap_err();
    let pem = |algorithm, text| TokenKeys::from_pem(algorithm, text).unwrap_err();
    let jwks = |algorithm, text| TokenKeys::from_jwks(algorithm, text).unwrap_err();
    let private = RSA_PEM.replace("PUBLIC", "PRIVATE");
    let certificate = RSA_PEM.replace("PUBLIC KEY", "CERTIFICATE");
    let broken = RSA_PEM.replace("MIIB", "AAAA");
    let (rs, es, hs) = (Algorithm::Rs256, Algorithm::Es256, Algorithm::Hs256);
    let rows = [
        // RFC 7518 §3.2 and §3.3: the least sizes.
        (secret("hunter2\n"), InvalidTokenKeys::SecretTooShort { len: 7 }),
        (secret(""), InvalidTokenKeys::SecretTooShort { len: 0 }),
        (secret(RSA_PEM), InvalidTokenKeys::SecretIsPem),
        (pem(rs, SHORT_RSA_PEM), InvalidTokenKeys::ModulusTooShort),
        (pem(es, P384_PEM), InvalidTokenKeys::Pem { algorithm: es }),
        (pem(es, RSA_PEM), InvalidTokenKeys::Pem { algorithm: es }),
        (pem(rs, EC_PEM), InvalidTokenKeys::Pem { algorithm: rs }),
        (pem(hs, RSA_PEM), InvalidTokenKeys::SecretNeeded),
        (pem(rs, &private), InvalidTokenKeys::Private),
        (pem(rs, &certificate), InvalidTokenKeys::Pem { algorithm: rs }),
        (pem(rs, &broken), InvalidTokenKeys::Pem { algorithm: rs }),
        (pem(rs, ""), InvalidTokenKeys::Pem { algorithm: rs }),
        (jwks(rs, "{\n\"keys\": 7}"), InvalidTokenKeys::Jwks { line: 2, column: 9 }),
        (jwks(rs, r#"{"keys": []}"#), InvalidTokenKeys::NoKey { algorithm: rs }),
        (jwks(hs, r#"{"keys": [{"kty":"oct","k":"c2hvcnQ"}]}"#), InvalidTokenKeys::SecretTooShort { len: 5 }),
        (jwks(rs, r#"{"keys": [{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#), InvalidTokenKeys::ModulusTooShort),
        (jwks(hs, &JWKS.replace("\"two\"", "\"one\"")), InvalidTokenKeys::KidRepeated { algorithm: hs }),
    ];
    for (found, expected) in rows {
        assert_eq!(found, expected);
    }
    let shown = secret("hunter2").to_string();
    assert!(shown.contains("openssl rand") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn equal_keys_are_equal_and_shown_to_nobody() {
    assert_eq!(secret_keys(), secret_keys());
    assert_ne!(secret_keys(), TokenKeys::from_secret(&[7; 32]).unwrap());
    let with_line_break = [secret(), b"\r\n".to_vec()].concat();
    assert_eq!(secret_keys(), TokenKeys::from_secret(&with_line_break).unwrap());
    let auth = JwtAuth::new(TokenKeys::from_jwks(Algorithm::Hs256, JWKS).unwrap());
    let shown = format!("{auth:?}");
    assert!(shown.contains("TokenKeys(HS256, 2 redacted)"), "{shown}");
}

#[test]
fn names_its_algorithms_as_the_field_does() {
    for name in ["HS256", "RS256", "ES256"] {
        assert_eq!(name.parse::<Algorithm>().unwrap().to_string(), name);
    }
    for name in ["none", "hs256", "HS512", ""] {
        assert!(name.parse::<Algorithm>().unwrap_err().to_string().contains("write HS256"), "{name}");
    }
}

proptest! {
    #[test]
    fn no_token_is_read_with_a_panic(bytes: Vec<u8>, header in ".{0,40}", claims in ".{0,40}") {
        let auth = JwtAuth::new(secret_keys());
        prop_assert!(verify(&auth, &bytes, EXP).is_err());
        // Rightly signed nonsense gets past the signature.
        prop_assert!(verify(&auth, signed(&header, &claims).as_bytes(), EXP).is_err());
        prop_assert!(verify(&auth, signed(HEADER, &claims).as_bytes(), EXP).is_err());
    }

    #[test]
    fn no_key_file_is_read_with_a_panic(text in ".{0,100}", inside in "[A-Za-z0-9+/=\n]{0,100}") {
        let _ = TokenKeys::from_secret(text.as_bytes());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{inside}\n-----END PUBLIC KEY-----\n");
        for algorithm in [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256] {
            let _ = TokenKeys::from_jwks(algorithm, &text);
            let _ = TokenKeys::from_pem(algorithm, &text);
            let _ = TokenKeys::from_pem(algorithm, &pem);
        }
    }
}
