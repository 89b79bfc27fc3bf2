//! What is said to a source about keys, and understood when a client says it.

use std::fmt;

/// The place of the keys.
const PLACE: &str = "{keys}";

/// A text with `{keys}` in the place of the keys. Where `["{keys}"]` stands, they are a list.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    /// As the source gets it; it may hold the vendor's key.
    text: Box<str>,
    /// As it stands in the configuration, with references in the place of secrets.
    written: Box<str>,
}

/// Not a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It says nothing about keys.
    #[error("there is no {{keys}} in it, once; write {{\"op\":\"subscribe\",\"args\":[\"{{keys}}\"]}}")]
    NoPlace,
}

impl Template {
    /// A template: its `text`, and how it is `written` where references stand for secrets.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn new(text: &str, written: &str) -> Result<Self, InvalidTemplate> {
        if text.matches(PLACE).count() != 1 || written.matches(PLACE).count() != 1 {
            return Err(InvalidTemplate::NoPlace);
        }
        Ok(Self { text: text.into(), written: written.into() })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}
