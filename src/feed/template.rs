//! What is said to a source about keys, and understood when a client says it.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use super::{Key, Words};

/// The place of the keys.
const PLACE: &str = "{keys}";

/// A text with `{keys}` in the place of the keys: JSON, or any line of text. Where `["{keys}"]` stands in JSON, they are
/// a list; elsewhere they are joined by a separator.
///
/// # What clients say
/// A client says what it would say to the source itself, so its text is understood if
/// - it has keys where the template has them, as a list or joined, whichever the template shows;
/// - each other member of an object that it has as well is equal. Members that it leaves out, and those it has besides,
///   do not matter;
/// - each other element of a list is there and equal.
///
/// What is written with a reference (`${NAME}`, `file:/path`) stands for the vendor's secret, which a client cannot know:
/// anything may be in its place, so nobody finds it out by trying. A text that could have been said with either of two
/// templates is not for either of them to understand; see [`Subscriptions::read`](super::Subscriptions::read).
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    /// As the source gets it; it may hold the vendor's key.
    text: Box<str>,
    /// As it stands in the configuration, with references in the place of secrets.
    written: Box<str>,
    form: Form,
}

/// How a template is understood.
#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// What a client may say, where `{keys}` stands.
    Json { shape: Shape, is_list: bool },
    /// Text before the keys and behind them.
    Line,
}

/// What a JSON value of a client's is held against.
#[derive(Clone, PartialEq, Eq)]
enum Shape {
    /// Anything, or nothing.
    Any,
    /// This, or nothing where it is a member of an object.
    Equal(Value),
    /// The keys, between this and that.
    Keys {
        before: Box<str>,
        behind: Box<str>,
    },
    /// `["{keys}"]`.
    KeyList,
    Object(Vec<(Box<str>, Shape)>),
    Array(Vec<Shape>),
}

/// Not a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It says nothing about keys.
    #[error("there is no {{keys}} in it, once; write {{\"op\":\"subscribe\",\"args\":[\"{{keys}}\"]}}")]
    NoPlace,
    /// In JSON the keys are a text, or in one: `{keys}` with nothing around it would let them be anything.
    #[error(
        "it looks like JSON and is none; write \"{{keys}}\" for keys with a separator, [\"{{keys}}\"] for a list"
    )]
    NotJson,
    /// Clients would have to know the secret, or could find it out.
    #[error("a reference has to be inside a JSON string; in a plain line, write none")]
    Reference,
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
        let form = match (serde_json::from_str(text), serde_json::from_str(written)) {
            (Ok(value), Ok(written)) => {
                let shape = Shape::new(&value, &written);
                let is_list = shape.is_list().ok_or(InvalidTemplate::NoPlace)?;
                Form::Json { shape, is_list }
            }
            (Ok(_), Err(_)) => return Err(InvalidTemplate::Reference),
            (Err::<Value, _>(_), _) if looks_like_json(text) => return Err(InvalidTemplate::NotJson),
            (Err(_), _) if has_reference(written) => return Err(InvalidTemplate::Reference),
            (Err(_), _) => Form::Line,
        };
        Ok(Self { text: text.into(), written: written.into(), form })
    }

    /// The text with these keys, each as JSON writes it if the template is JSON.
    #[must_use]
    pub fn write(&self, keys: &[Key], separator: &str) -> Words {
        let (before, behind) = self.halves();
        let words = match &self.form {
            Form::Json { is_list: true, .. } => {
                let list: Vec<_> = keys.iter().map(|Key(key)| Value::from(&**key).to_string()).collect();
                // The quotes that the keys bring are those around the place.
                let (before, behind) = (before.trim_end_matches('"'), behind.trim_start_matches('"'));
                [before, &list.join(","), behind].concat()
            }
            Form::Json { is_list: false, .. } => {
                let quoted = Value::from(joined(keys, separator)).to_string();
                let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
                [before, inner, behind].concat()
            }
            Form::Line => [before, &joined(keys, separator), behind].concat(),
        };
        Words(words.into())
    }

    /// The keys of a client's text, each once, in its order; `None` if it is no text of this kind, or if one of its keys
    /// can be none.
    #[must_use]
    pub fn keys_in(&self, text: &str, separator: &str) -> Option<Vec<Key>> {
        let mut found = Found { keys: Vec::new(), seen: HashSet::new(), separator };
        let is_understood = match &self.form {
            Form::Json { shape, .. } => shape.matches(&serde_json::from_str(text).ok()?, &mut found),
            Form::Line => {
                let (before, behind) = self.halves();
                let text = without_line_end(text).strip_prefix(before)?;
                found.split(text.strip_suffix(without_line_end(behind))?)
            }
        };
        is_understood.then_some(found.keys)
    }

    /// What stands before the place of the keys and behind it.
    fn halves(&self) -> (&str, &str) {
        self.text.split_once(PLACE).unwrap_or((&self.text, ""))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl Shape {
    /// What `value` is to a client, where `written` has references in it.
    fn new(value: &Value, written: &Value) -> Self {
        match (value, written) {
            (Value::String(_), Value::String(written)) if has_reference(written) => Self::Any,
            (Value::String(text), _) => match text.split_once(PLACE) {
                Some((before, behind)) => Self::Keys { before: before.into(), behind: behind.into() },
                None => Self::Equal(value.clone()),
            },
            (Value::Array(items), Value::Array(written)) => match items.as_slice() {
                [Value::String(only)] if only == PLACE => Self::KeyList,
                _ => Self::Array(
                    items.iter().zip(written).map(|(item, written)| Self::new(item, written)).collect(),
                ),
            },
            (Value::Object(members), Value::Object(written)) => {
                let written = |name: &str| written.get(name).unwrap_or(&Value::Null);
                let member =
                    |(name, value): (&String, _)| (name.as_str().into(), Self::new(value, written(name)));
                Self::Object(members.iter().map(member).collect())
            }
            (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_), _) => {
                Self::Equal(value.clone())
            }
        }
    }

    /// Whether the keys are a list; `None` if there is no place for them.
    fn is_list(&self) -> Option<bool> {
        match self {
            Self::Any | Self::Equal(_) => None,
            Self::Keys { .. } => Some(false),
            Self::KeyList => Some(true),
            Self::Object(members) => members.iter().find_map(|(_, member)| member.is_list()),
            Self::Array(items) => items.iter().find_map(Self::is_list),
        }
    }

    /// Whether a client's `value` is of this kind; its keys come to `found`.
    fn matches(&self, value: &Value, found: &mut Found<'_>) -> bool {
        match (self, value) {
            (Self::Any, _) => true,
            (Self::Equal(expected), _) => expected == value,
            (Self::Keys { before, behind }, Value::String(text)) => text
                .strip_prefix(&**before)
                .and_then(|text| text.strip_suffix(&**behind))
                .is_some_and(|text| found.split(text)),
            (Self::Keys { before, behind }, Value::Array(items)) => {
                // As they would be written, so that no key of a client's is two at the source.
                let is_bare = before.is_empty() && behind.is_empty();
                is_bare && items.iter().all(|item| item.as_str().is_some_and(|text| found.split(text)))
            }
            (Self::KeyList, Value::Array(items)) => {
                items.iter().all(|item| item.as_str().is_some_and(|text| found.add(text)))
            }
            (Self::KeyList, Value::String(text)) => found.split(text),
            (Self::Object(members), Value::Object(values)) => {
                members.iter().all(|(name, member)| match values.get(&**name) {
                    Some(value) => member.matches(value, found),
                    None => member.is_list().is_none(),
                })
            }
            (Self::Array(items), Value::Array(values)) => {
                let mut pairs = items.iter().zip(values);
                items.len() == values.len() && pairs.all(|(item, value)| item.matches(value, found))
            }
            (Self::Keys { .. } | Self::KeyList | Self::Object(_) | Self::Array(_), _) => false,
        }
    }
}

/// The keys of a client's text, as they are come upon.
struct Found<'t> {
    keys: Vec<Key>,
    seen: HashSet<Key>,
    separator: &'t str,
}

impl Found<'_> {
    /// Takes a key, unless it is empty. False if it can be none.
    fn add(&mut self, text: &str) -> bool {
        if text.trim().is_empty() {
            return true;
        }
        let Some(key) = Key::chosen(text) else { return false };
        if self.seen.insert(key.clone()) {
            self.keys.push(key);
        }
        true
    }

    /// Takes keys with separators between them.
    fn split(&mut self, text: &str) -> bool {
        let separator = self.separator;
        if separator.is_empty() { self.add(text) } else { text.split(separator).all(|key| self.add(key)) }
    }
}

fn joined(keys: &[Key], separator: &str) -> String {
    keys.iter().map(|Key(key)| &**key).collect::<Vec<_>>().join(separator)
}

fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// Whether somebody who wrote this meant JSON.
fn looks_like_json(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with(['{', '[', '"']) && !text.starts_with(PLACE)
}

/// Whether something from outside stands in the place of this, or of a part of it. `$${` is how `${` is written.
fn has_reference(written: &str) -> bool {
    written.starts_with("file:") || written.replace("$${", "").contains("${")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        Template::new(text, text).unwrap()
    }

    fn keys(text: &str) -> Vec<Key> {
        text.split_whitespace().map(Key::from).collect()
    }

    #[test]
    fn writes_keys_joined_or_as_a_list() {
        let rows = [
            (r#"{"symbol":"{keys}"}"#, r#"{"symbol":"A,B\"\\,C"}"#),
            (r#"{"z":1,"args":[ "{keys}" ],"a":2}"#, r#"{"z":1,"args":[ "A","B\"\\","C" ],"a":2}"#),
            (r#"["sub",{"ch":"ticker:{keys}@1s"}]"#, r#"["sub",{"ch":"ticker:A,B\"\\,C@1s"}]"#),
            (r#"["sub","{keys}"]"#, r#"["sub","A,B\"\\,C"]"#),
            ("SUB {keys};", "SUB A,B\"\\,C;"),
            ("{keys}", "A,B\"\\,C"),
        ];
        for (text, expected) in rows {
            assert_eq!(&*template(text).write(&keys(r#"A B"\ C"#), ",").0, expected);
        }
        assert_eq!(&*template(r#"{"args":["{keys}"]}"#).write(&[], ",").0, r#"{"args":[]}"#);
    }

    #[test]
    fn understands_what_clients_say_to_the_source() {
        let joined = r#"{"op":"subscribe","symbol":"{keys}"}"#;
        let list = r#"{"op":"subscribe","args":["{keys}"]}"#;
        let nested = r#"{"method":"sub","params":{"depth":5,"channels":["t:{keys}","x"]}}"#;
        let rows = [
            (joined, r#"{"op":"subscribe","symbol":"A, B,,A"}"#, Some("A B")),
            (joined, r#" {"symbol":"A","id":7} "#, Some("A")),
            (joined, r#"{"symbol":["A","B,C"],"op":"subscribe"}"#, Some("A B C")),
            (joined, r#"{"op":"subscribe","symbol":""}"#, Some("")),
            (joined, r#"{"op":"unsubscribe","symbol":"A"}"#, None),
            (joined, r#"{"op":null,"symbol":"A"}"#, None),
            (joined, r#"{"op":"subscribe"}"#, None),
            (joined, r#"{"op":"subscribe","symbol":7}"#, None),
            (joined, r#"{"op":"subscribe","symbol":["A",7]}"#, None),
            (joined, r#"{"op":"subscribe","symbol":"A\n"}"#, Some("A")),
            (joined, r#"{"op":"subscribe","symbol":"A\nB"}"#, None),
            (joined, r#"["subscribe","A"]"#, None),
            (joined, "subscribe A", None),
            (joined, "", None),
            (list, r#"{"op":"subscribe","args":["A","B,C","A"]}"#, Some("A B,C")),
            (list, r#"{"args":"A,B"}"#, Some("A B")),
            (list, r#"{"args":[]}"#, Some("")),
            (list, r#"{"args":[["A"]]}"#, None),
            (nested, r#"{"method":"sub","params":{"channels":["t:A,B","x"]}}"#, Some("A B")),
            (nested, r#"{"params":{"depth":6,"channels":["t:A","x"]}}"#, None),
            (nested, r#"{"params":{"channels":["t:A"]}}"#, None),
            (nested, r#"{"params":{"channels":["A","x"]}}"#, None),
            ("SUB {keys} NOW\n", "SUB A,B NOW", Some("A B")),
            ("SUB {keys}", "SUB", None),
            ("SUB {keys}", "UNSUB A", None),
        ];
        for (text, said, expected) in rows {
            assert_eq!(template(text).keys_in(said, ","), expected.map(keys), "{text} {said}");
        }
    }

    #[test]
    fn a_secret_is_neither_asked_of_clients_nor_found_out_by_them() {
        let written = r#"{"userKey":"${KEY}","auth":"file:/k","tag":"$${x}","symbol":"{keys}"}"#;
        let text = r#"{"userKey":"vendor's","auth":"too","tag":"${x}","symbol":"{keys}"}"#;
        let template = Template::new(text, written).unwrap();
        for said in [
            r#"{"userKey":"the client's own","symbol":"A"}"#,
            r#"{"userKey":"vendor's","auth":7,"symbol":"A"}"#,
            r#"{"tag":"${x}","symbol":"A"}"#,
        ] {
            assert_eq!(template.keys_in(said, ","), Some(keys("A")), "{said}");
        }
        assert_eq!(template.keys_in(r#"{"tag":"x","symbol":"A"}"#, ","), None);
        assert!(template.write(&keys("A"), ",").0.contains("vendor's"));
        assert!(!format!("{template:?} {:?}", template.write(&[], ",")).contains("vendor's"));
    }

    #[test]
    fn is_refused_if_it_has_no_safe_place_for_keys() {
        let rows = [
            (r#"{"symbol":"A"}"#, InvalidTemplate::NoPlace),
            (r#"{"a":"{keys}","b":"{keys}"}"#, InvalidTemplate::NoPlace),
            (r#"{"{keys}":1}"#, InvalidTemplate::NoPlace),
            (r#"{"args":[{keys}]}"#, InvalidTemplate::NotJson),
            (r#"{"args":["{keys}"]"#, InvalidTemplate::NotJson),
            ("SUB ${KEY} {keys}", InvalidTemplate::Reference),
            (r#"{"a":"${KEY} {keys}"}"#, InvalidTemplate::NoPlace),
        ];
        for (text, expected) in rows {
            assert_eq!(Template::new(text, text), Err(expected), "{text}");
        }
        let (text, written) = (r#"{"key":7,"args":["{keys}"]}"#, r#"{"key":${KEY},"args":["{keys}"]}"#);
        assert_eq!(Template::new(text, written), Err(InvalidTemplate::Reference));
        let text = r#"{"key":"ends" here","args":["{keys}"]}"#;
        assert_eq!(Template::new(text, written), Err(InvalidTemplate::NotJson));
    }

    proptest! {
        #[test]
        fn what_it_writes_it_understands(
            names in proptest::collection::hash_set("[A-Za-z0-9/\"\\\\é]{1,8}", 0..6),
            text in prop::sample::select(vec![
                r#"{"op":"sub","args":["{keys}"]}"#, r#"{"s":"{keys}"}"#, r#"[1,"x{keys}y"]"#, "SUB {keys}", "{keys}",
            ]),
        ) {
            let template = template(text);
            let keys: Vec<_> = names.iter().map(|name| Key::from(&**name)).collect();
            let Words(words) = template.write(&keys, ",");
            prop_assert_eq!(template.keys_in(&words, ","), Some(keys));
        }

        #[test]
        fn any_text_is_read_without_a_panic(said in ".{0,80}", json in r#"[\[\]{}":,a-cktsymbol0-9]{0,60}"#) {
            for text in [r#"{"symbol":"{keys}"}"#, r#"["{keys}"]"#, "a{keys}b", "aa{keys}aa"] {
                let _ = template(text).keys_in(&said, ",");
                let _ = template(text).keys_in(&json, ",");
            }
        }
    }
}
