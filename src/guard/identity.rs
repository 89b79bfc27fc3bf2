//! Whom a request came from, as far as it was proven.

/// Characters of a name that are kept for logs.
const NAME_CHARS_MAX: usize = 64;

/// Who was let in: the name of a key, a user, the subject of a token; or nobody in particular.
///
/// The name is for people and logs: bounded, and without the characters that could forge a log line or a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity(Option<Box<str>>);

impl Identity {
    /// Somebody who did not have to say who they are.
    pub const ANONYMOUS: Self = Self(None);

    /// Somebody of this name, of which 64 characters are kept; letters, digits and visible ASCII stay, `?` stands for
    /// every other character.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let is_plain = |c: &char| c.is_alphanumeric() || c.is_ascii_graphic();
        let plain = name.chars().take(NAME_CHARS_MAX).map(|c| if is_plain(&c) { c } else { '?' });
        Self(Some(plain.collect()))
    }

    /// The name for logs.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
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
}
