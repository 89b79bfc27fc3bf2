//! Whom a request came from, as far as it was proven.

use sha2::{Digest as _, Sha256};

/// Characters of a name that are kept for logs.
const NAME_CHARS_MAX: usize = 64;

/// Who was let in: the name of a key, a user, the subject of a token; or nobody in particular.
///
/// The name is for people and logs: bounded, and without the characters that could forge a log line or a terminal. Two
/// identities may look alike for that, so they are told apart by their [`IdentityKey`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity(Option<Box<Named>>);

/// What an identity is counted under: the SHA-256 of its whole name. As short for a long name as for any, and no two
/// names have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdentityKey([u8; 32]);

/// Boxed as a whole, for most clients are nobody in particular and a session holds two of these.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    key: IdentityKey,
    shown: Box<str>,
}

impl Identity {
    /// Somebody who did not have to say who they are.
    pub const ANONYMOUS: Self = Self(None);

    /// Somebody of this name, of which 64 characters are kept; letters, digits and visible ASCII stay, `?` stands for
    /// every other character.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let is_plain = |c: &char| c.is_alphanumeric() || c.is_ascii_graphic();
        let plain = name.chars().take(NAME_CHARS_MAX).map(|c| if is_plain(&c) { c } else { '?' });
        let key = IdentityKey(Sha256::digest(name).into());
        Self(Some(Box::new(Named { key, shown: plain.collect() })))
    }

    /// The name for logs.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|named| &*named.shown)
    }

    /// What to count it under; nobody in particular is not counted.
    #[must_use]
    pub fn key(&self) -> Option<IdentityKey> {
        self.0.as_ref().map(|named| named.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        let rows = [
            ("alice@example.com", "alice@example.com"),
            ("müller", "müller"),
            ("a\r\nlevel=error", "a??level=error"),
            ("\x1b[2Jx\0", "?[2Jx?"),
            ("two words", "two?words"),
            ("\u{202e}txt.exe", "?txt.exe"),
        ];
        for (name, shown) in rows {
            assert_eq!(Identity::named(name).name(), Some(shown));
        }
        let long = "é".repeat(1000);
        assert_eq!(Identity::named(&long).name().map(|name| name.chars().count()), Some(NAME_CHARS_MAX));
        assert_eq!(Identity::ANONYMOUS.name(), None);
    }

    #[test]
    fn names_that_look_alike_are_told_apart() {
        let long = "x".repeat(NAME_CHARS_MAX);
        let rows =
            [("two words".to_owned(), "two\twords".to_owned()), (format!("{long}1"), format!("{long}2"))];
        for (one, other) in rows {
            let [one_there, other_there] = [&one, &other].map(|name| Identity::named(name));
            assert_eq!(one_there.name(), other_there.name());
            assert_ne!(one_there.key(), other_there.key());
            assert_eq!(one_there.key(), Identity::named(&one).key());
        }
        assert_eq!(Identity::ANONYMOUS.key(), None);
    }
}
