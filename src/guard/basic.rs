//! User names and passwords (RFC 7617), checked at the speed of a handshake.
//!
//! Password hashes that are slow by design (bcrypt, argon2, the `$5$` and `$apr1$` of htpasswd) protect passwords
//! that people think up, in a file that was stolen. One check takes 5 to 300 ms of a core, during which a shard
//! forwards nothing for anybody, and whoever likes may ask for one. So only salted and plain SHA-256 are read, and the
//! passwords are to be long and random, as API keys are; then the speed of the hash helps nobody to guess them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::secret_file::{self, Digest, InvalidSecrets, LineFault};

/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// The users of one file, and the hashes of their passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Users(HashMap<Box<str>, Hash>);

#[derive(Clone, PartialEq, Eq)]
struct Hash {
    digest: Digest,
    salt: Vec<u8>,
}

impl Users {
    /// Reads a file of users, one a line: `user:hash`. Empty lines and lines that begin with `#` are skipped. A hash
    /// is `{SSHA256}` and base64 of SHA-256(password, salt) and the salt, or `{SHA256}` without a salt: what
    /// `doveadm pw -s SSHA256` and OpenLDAP's `pw-sha2` write.
    ///
    /// # Errors
    /// The line that is wrong, and how; never its content.
    pub fn parse(text: &str) -> Result<Self, InvalidSecrets> {
        let mut names = HashSet::new();
        let entries = secret_file::entries(text, |_, content| {
            let (user, hash) = content.split_once(':').ok_or(LineFault::HashMissing)?;
            if user.is_empty() {
                return Err(LineFault::NameMissing);
            }
            secret_file::once(&mut names, user, LineFault::NameRepeated)?;
            Ok((user.into(), Hash::parse(hash)?))
        })?;
        Ok(Self(entries.into_iter().collect()))
    }

    /// The user whose credentials these are: base64 of `user:password` in UTF-8 (RFC 7617 §2).
    ///
    /// An unknown user takes the time of a known one with the wrong password.
    pub(super) fn user_of(&self, credentials: &[u8]) -> Option<String> {
        let mut decoded = String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()?;
        // §2: a user-id has no colon, a password may.
        let colon = decoded.find(':')?;
        let (user, password) = decoded.split_at(colon);
        let password = password.strip_prefix(':')?.as_bytes();
        let known = self.0.get(user);
        let is_right = known.unwrap_or(&Hash::NOBODY).is_of(password);
        if known.is_none() || !is_right {
            return None;
        }
        decoded.truncate(colon);
        Some(decoded)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({} redacted)", self.0.len())
    }
}

impl Hash {
    /// What an unknown user's password is compared with.
    const NOBODY: Self = Self { digest: Digest::ZERO, salt: Vec::new() };

    fn parse(text: &str) -> Result<Self, LineFault> {
        let (scheme, encoded) =
            text.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(LineFault::HashFormat)?;
        let is_salted = match scheme.to_ascii_uppercase().as_str() {
            "SSHA256" => true,
            "SHA256" => false,
            _ => return Err(LineFault::HashFormat),
        };
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| LineFault::HashMalformed)?;
        let (digest, salt) = bytes.split_first_chunk::<DIGEST_BYTES>().ok_or(LineFault::HashMalformed)?;
        if salt.is_empty() == is_salted {
            return Err(LineFault::HashMalformed);
        }
        Ok(Self { digest: Digest::from_bytes(*digest), salt: salt.to_vec() })
    }

    fn is_of(&self, password: &[u8]) -> bool {
        Digest::of(&[password, &self.salt]).ct_eq(&self.digest).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `printf %s 'open sesame' | openssl dgst -sha256 -binary | base64`, and with the salt `NaCl` after it, both
    /// made with OpenSSL.
    const FILE: &str = "Aladdin:{SHA256}Qe9LsLI2YeZjAarDYGaRLawDeCe0rmOnsRZaWqk+1Os=\n\
        salted:{SSHA256}fHtHHqPttI8FBu+8S+duZAM0QXFuqu3HbjaY+ATjSS9OYUNs\n\n# one\n\
        colon:{ssha256}nsU+RLuLr7knRPrE4H1Lg644qCL2pDRJzh/OZovBij0A/yBzYWx0\n";

    fn user_of(users: &Users, pair: &str) -> Option<String> {
        users.user_of(BASE64_STANDARD.encode(pair).as_bytes())
    }

    #[test]
    fn knows_its_users_by_their_passwords() {
        let users = Users::parse(FILE).unwrap();
        let rows = [
            ("Aladdin:open sesame", Some("Aladdin")),
            ("salted:open sesame", Some("salted")),
            // §2: the password may have colons, the user none.
            ("colon:a:b", Some("colon")),
            ("Aladdin:open sesame ", None),
            ("Aladdin:", None),
            ("aladdin:open sesame", None),
            ("nobody:open sesame", None),
            (":open sesame", None),
            ("Aladdin", None),
            ("", None),
            ("Aladdin:open sesame\0", None),
        ];
        for (pair, user) in rows {
            assert_eq!(user_of(&users, pair).as_deref(), user, "{pair:?}");
        }
    }

    #[test]
    fn refuses_credentials_that_are_not_base64_of_utf_8() {
        let users = Users::parse(FILE).unwrap();
        // RFC 7617 §2 has the first, for "Aladdin:open sesame".
        let rows: [(&[u8], bool); 7] = [
            (b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true),
            (b"QWxhZGRpbjpvcGVuIHNlc2FtZQ", false),
            (b"QWxhZGRpbjpvcGVuIHNlc2FtZQ== x", false),
            (b"Aladdin:open sesame", false),
            (b"", false),
            (b"\xff\xff", false),
            (b"QWxhZGRpbjr/", false),
        ];
        for (credentials, is_known) in rows {
            assert_eq!(users.user_of(credentials).is_some(), is_known, "{}", credentials.escape_ascii());
        }
    }

    #[test]
    fn says_which_line_is_wrong() {
        let rows = [
            ("alice", 1, LineFault::HashMissing),
            ("# x\n:{SHA256}x", 2, LineFault::NameMissing),
            ("a:$2y$05$abcdefghijklmnopqrstuv", 1, LineFault::HashFormat),
            ("a:$apr1$x$y", 1, LineFault::HashFormat),
            ("a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 1, LineFault::HashFormat),
            ("a:open sesame", 1, LineFault::HashFormat),
            ("a:{SHA256}", 1, LineFault::HashMalformed),
            ("a:{SHA256}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 1, LineFault::HashMalformed),
            ("a:{SHA256}not base64", 1, LineFault::HashMalformed),
        ];
        for (text, line, fault) in rows {
            assert_eq!(Users::parse(text), Err(InvalidSecrets::Line { line, fault }), "{text:?}");
        }
        let plain = FILE.lines().next().unwrap();
        let fault = LineFault::NameRepeated;
        assert_eq!(Users::parse(&format!("{plain}\n{plain}")), Err(InvalidSecrets::Line { line: 2, fault }));
        let unsalted = plain.replace("{SHA256}", "{SSHA256}");
        let fault = LineFault::HashMalformed;
        assert_eq!(Users::parse(&unsalted), Err(InvalidSecrets::Line { line: 1, fault }));
    }

    #[test]
    fn debug_shows_no_user() {
        assert_eq!(format!("{:?}", Users::parse(FILE).unwrap()), "Users(3 redacted)");
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(text in ".{0,200}", lines in "([a-z]{0,3}:[{]S?SHA256[}][A-Za-z0-9+/=]{0,60}\n){0,4}") {
            let _ = Users::parse(&text);
            let _ = Users::parse(&lines);
        }

        #[test]
        fn any_credentials_are_judged_without_a_panic(bytes: Vec<u8>) {
            let users = Users::parse(FILE).unwrap();
            prop_assert_eq!(users.user_of(&bytes), None);
            prop_assert_eq!(users.user_of(BASE64_STANDARD.encode(&bytes).as_bytes()), None);
        }
    }
}
