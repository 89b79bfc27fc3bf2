//! What a client gets in the place of a reply that did not come.

use std::fmt;

use serde_json::Value;

/// The place of the message's id, as JSON writes it.
const PLACE: &str = "{id}";

/// A text with `{id}` in the place of what the message has at the correlation pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Box<str>);

/// Not a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A text frame without a text says nothing.
    #[error("an empty text says nothing; write drop, close, or what the client gets in the place of a reply")]
    Empty,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn new(text: &str) -> Result<Self, InvalidTemplate> {
        if text.trim().is_empty() { Err(InvalidTemplate::Empty) } else { Ok(Self(text.into())) }
    }

    /// Whether it says which message it is about.
    #[must_use]
    pub fn names_id(&self) -> bool {
        self.0.contains(PLACE)
    }

    /// The text about the message with this id; `null` for one that has none.
    #[must_use]
    pub fn write(&self, id: Option<&Value>) -> String {
        self.0.replace(PLACE, &id.unwrap_or(&Value::Null).to_string())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_message_as_json_does() {
        let template = Template::new(r#"{"id":{id},"error":{"code":-32000}}"#).unwrap();
        assert!(template.names_id());
        let rows = [
            (Some(Value::from(7)), r#"{"id":7,"error":{"code":-32000}}"#),
            (Some(Value::from("a\"b")), r#"{"id":"a\"b","error":{"code":-32000}}"#),
            (None, r#"{"id":null,"error":{"code":-32000}}"#),
        ];
        for (id, expected) in rows {
            assert_eq!(template.write(id.as_ref()), expected);
        }
        assert_eq!(Template::new(" "), Err(InvalidTemplate::Empty));
    }
}
