//! Texts that a source is known to say.

/// A text of a source: itself, or with `*` for any characters, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// This text; every text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether `text`, without white space around it, is what is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text = text.trim();
        let Some((begin, rest)) = self.0.split_once('*') else { return text == &*self.0 };
        let Some(mut text) = text.strip_prefix(begin) else { return false };
        let mut pieces = rest.split('*').peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                return text.ends_with(piece);
            }
            match text.find(piece) {
                Some(at) => text = text.get(at + piece.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let rows = [
            ("Connected", "Connected", true),
            ("Connected", " Connected\r\n", true),
            ("Connected", "Connected to a", false),
            ("Connected*", "Connected to a", true),
            ("*limit*", "rate limit reached", true),
            ("*limit*", "lim it", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "x", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
