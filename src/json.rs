//! A place in a JSON document (RFC 6901), by which messages are told apart.

use std::fmt;

use serde_json::Value;

/// A place in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Box<str>);

/// Not a JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPointer {
    /// RFC 6901 §3.
    #[error("a JSON pointer begins with /; write /symbol, or /data/0/id")]
    NoSlash,
    /// RFC 6901 §3: `~` stands before 0 or 1.
    #[error("~ is written ~0 in a JSON pointer, and / in a name ~1")]
    Tilde,
}

impl Pointer {
    /// Reads a pointer such as `/symbol`.
    ///
    /// # Errors
    /// [`InvalidPointer`].
    pub fn new(text: &str) -> Result<Self, InvalidPointer> {
        if !text.starts_with('/') {
            return Err(InvalidPointer::NoSlash);
        }
        if text.split('~').skip(1).any(|behind| !behind.starts_with(['0', '1'])) {
            return Err(InvalidPointer::Tilde);
        }
        Ok(Self(text.into()))
    }

    /// The text, number or flag that stands there. `None` where there is no such place, or something else in it, or
    /// `payload` is no JSON.
    #[must_use]
    pub fn find(&self, payload: &[u8]) -> Option<Value> {
        let mut document: Value = serde_json::from_slice(payload).ok()?;
        let value = document.pointer_mut(&self.0)?.take();
        matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)).then_some(value)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_stands_there() {
        let json = br#"{"symbol":"EURUSD","id":7,"live":true,"a/b":{"m~n":["x","y"]},"none":null}"#;
        let rows = [
            ("/symbol", Some(Value::from("EURUSD"))),
            ("/id", Some(Value::from(7))),
            ("/live", Some(Value::from(true))),
            ("/a~1b/m~0n/1", Some(Value::from("y"))),
            ("/a~1b", None),
            ("/none", None),
            ("/missing", None),
        ];
        for (pointer, expected) in rows {
            let found = Pointer::new(pointer).unwrap().find(json);
            assert_eq!(found, expected, "{pointer}");
        }
        assert_eq!(Pointer::new("/symbol").unwrap().find(b"Connected"), None);
    }

    #[test]
    fn is_refused_if_it_is_none() {
        assert_eq!(Pointer::new("symbol"), Err(InvalidPointer::NoSlash));
        assert_eq!(Pointer::new(""), Err(InvalidPointer::NoSlash));
        assert_eq!(Pointer::new("/a~2"), Err(InvalidPointer::Tilde));
        assert_eq!(Pointer::new("/a~"), Err(InvalidPointer::Tilde));
    }
}
