//! API keys: long random words that open the door to whoever has one.

use std::collections::HashSet;
use std::fmt;

use subtle::ConditionallySelectable;

use super::secret_file::{self, Digest, InvalidSecrets, LineFault};

/// Characters of the shortest key; below, one could be guessed: 16 hexadecimal digits are 64 random bits.
const KEY_CHARS_MIN: usize = 16;

/// The keys of one file, as digests: what is in memory opens no door.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeys(Vec<Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    name: Box<str>,
    digest: Digest,
}

impl ApiKeys {
    /// Reads a file of keys, one a line: `name:key`, or the key alone, which logs then know as `line-N`. Empty lines
    /// and lines that begin with `#` are skipped.
    ///
    /// A key has at least 16 of the characters of token68 (RFC 9110 §11.2): letters, digits and `-._~+/=`. Where
    /// keys come as subprotocols, those with `/` or `=` cannot be sent (RFC 6455 §4.1 item 10).
    ///
    /// # Errors
    /// The line that is wrong, and how; never its content.
    pub fn parse(text: &str) -> Result<Self, InvalidSecrets> {
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        let entries = secret_file::entries(text, |line, content| {
            let (name, key) = match content.split_once(':') {
                Some((name, key)) => (name.trim().to_owned(), key.trim()),
                None => (format!("line-{line}"), content),
            };
            if name.is_empty() {
                return Err(LineFault::NameMissing);
            }
            check_key(key)?;
            let digest = Digest::of(&[key.as_bytes()]);
            secret_file::once(&mut names, name.clone(), LineFault::NameRepeated)?;
            secret_file::once(&mut digests, digest, LineFault::KeyRepeated)?;
            Ok(Entry { name: name.into(), digest })
        })?;
        Ok(Self(entries))
    }

    /// The name of this key; `None` if it is none of ours. Takes the same time whichever it is: it is compared with
    /// every one, as digests, of which the sender controls no single byte.
    pub(super) fn name_of(&self, key: &[u8]) -> Option<&str> {
        let digest = Digest::of(&[key]);
        let mut found = u32::MAX;
        for (index, entry) in (0..u32::MAX).zip(&self.0) {
            found.conditional_assign(&index, entry.digest.ct_eq(&digest));
        }
        self.0.get(usize::try_from(found).ok()?).map(|entry| &*entry.name)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({} redacted)", self.0.len())
    }
}

fn check_key(key: &str) -> Result<(), LineFault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !key.bytes().all(is_plain) {
        return Err(LineFault::KeyCharacters);
    }
    if key.len() < KEY_CHARS_MIN { Err(LineFault::KeyTooShort) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str =
        "# partners\n\nacme: 0123456789abcdef\r\n  globex:fedcba9876543210  \nbare.key-0123456789\n";

    #[test]
    fn finds_each_key_by_its_name() {
        let keys = ApiKeys::parse(FILE).unwrap();
        let rows: [(&[u8], Option<&str>); 9] = [
            (b"0123456789abcdef", Some("acme")),
            (b"fedcba9876543210", Some("globex")),
            (b"bare.key-0123456789", Some("line-5")),
            (b"", None),
            (b"0123456789abcde", None),
            (b"0123456789abcdef\0", None),
            (b"0123456789ABCDEF", None),
            (b"acme", None),
            (b"\xff\xfe", None),
        ];
        for (key, name) in rows {
            assert_eq!(keys.name_of(key), name, "{}", key.escape_ascii());
        }
        assert_eq!(keys.name_of(&vec![b'a'; 1 << 20]), None);
    }

    #[test]
    fn says_which_line_is_wrong_and_never_what_is_in_it() {
        let rows = [
            ("ok:0123456789abcdef\n\nsecretsecret", 3, LineFault::KeyTooShort),
            ("a:", 1, LineFault::KeyTooShort),
            ("# x\n:0123456789abcdef", 2, LineFault::NameMissing),
            ("a:0123456789abcdef\na:0123456789abcdeg", 2, LineFault::NameRepeated),
            ("a:0123456789abcdef\nb:0123456789abcdef", 2, LineFault::KeyRepeated),
            ("a:0123456789 abcdef", 1, LineFault::KeyCharacters),
            ("a:0123456789abcdef # mine", 1, LineFault::KeyCharacters),
            ("a:0123456789abcdef:x", 1, LineFault::KeyCharacters),
            ("a:0123456789abcd\0f", 1, LineFault::KeyCharacters),
            ("a:schlüssel0123456789", 1, LineFault::KeyCharacters),
        ];
        for (text, line, fault) in rows {
            let error = ApiKeys::parse(text).unwrap_err();
            assert_eq!(error, InvalidSecrets::Line { line, fault }, "{text:?}");
            assert!(!error.to_string().contains("secretsecret"));
        }
        assert_eq!(ApiKeys::parse("# nobody\n\n"), Err(InvalidSecrets::Empty));
        let many: String = (0..5000).map(|n| format!("{n:032}\n")).collect();
        assert_eq!(ApiKeys::parse(&many), Err(InvalidSecrets::TooMany));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", ApiKeys::parse(FILE).unwrap()), "ApiKeys(3 redacted)");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}", lines in "([a-z:# ]{0,20}[0-9a-z]{0,20}\n){0,8}") {
            let _ = ApiKeys::parse(&text);
            let _ = ApiKeys::parse(&lines);
        }

        #[test]
        fn a_key_opens_if_and_only_if_it_is_in_the_file(
            keys in proptest::collection::hash_set("[a-c]{16}", 1..20), tried in "[a-c]{16}",
        ) {
            let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
            let parsed = ApiKeys::parse(&text).unwrap();
            prop_assert_eq!(parsed.name_of(tried.as_bytes()).is_some(), keys.contains(&tried));
            for key in &keys {
                prop_assert!(parsed.name_of(key.as_bytes()).is_some());
            }
        }
    }
}
