//! What a client means that speaks to selat as it would to the source.

use super::{Key, Subscriptions};

/// What a client wants of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// To have these keys.
    Subscribe(Vec<Key>),
    /// To have them no more.
    Unsubscribe(Vec<Key>),
}

impl Subscriptions {
    /// What `text` asks for; `None` if it is no such message, or could be both of them.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Choice> {
        let subscribed = self.subscribe.keys_in(text, &self.separator);
        let unsubscribed =
            self.unsubscribe.as_ref().and_then(|template| template.keys_in(text, &self.separator));
        match (subscribed, unsubscribed) {
            (Some(keys), None) => Some(Choice::Subscribe(keys)),
            (None, Some(keys)) => Some(Choice::Unsubscribe(keys)),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    /// Whether what is written with each template is understood as what it is: no vendor's two messages are the same,
    /// but templates may be, by mistake or because they differ in a secret alone.
    #[must_use]
    pub fn tells_apart(&self) -> bool {
        let keys = || vec![Key::from("k")];
        let subscribed = self.read(&self.subscribe.write(&keys(), &self.separator).0);
        let unsubscribed =
            self.unsubscribe.as_ref().map(|template| self.read(&template.write(&keys(), &self.separator).0));
        subscribed == Some(Choice::Subscribe(keys()))
            && unsubscribed.is_none_or(|choice| choice == Some(Choice::Unsubscribe(keys())))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::feed::{Conflict, Template};

    /// Subscriptions with these templates, keys joined by a comma.
    pub(crate) fn subscriptions(
        subscribe: &str,
        unsubscribe: Option<&str>,
        conflict: Conflict,
    ) -> Subscriptions {
        let template = |text| Template::new(text, text).unwrap();
        Subscriptions {
            subscribe: template(subscribe),
            unsubscribe: unsubscribe.map(template),
            separator: ",".into(),
            conflict,
            topics_max: 3,
        }
    }

    #[test]
    fn a_text_that_could_be_either_is_neither() {
        let both = subscriptions(
            r#"{"op":"subscribe","args":["{keys}"]}"#,
            Some(r#"{"op":"unsubscribe","args":["{keys}"]}"#),
            Conflict::Adds,
        );
        let keys = || vec![Key::from("A")];
        let rows = [
            (r#"{"op":"subscribe","args":["A"]}"#, Some(Choice::Subscribe(keys()))),
            (r#"{"op":"unsubscribe","args":["A"]}"#, Some(Choice::Unsubscribe(keys()))),
            (r#"{"args":["A"]}"#, None),
            (r#"{"op":"ping","args":["A"]}"#, None),
            ("hello", None),
        ];
        for (text, choice) in rows {
            assert_eq!(both.read(text), choice, "{text}");
        }
        let one = subscriptions(r#"{"op":"subscribe","args":["{keys}"]}"#, None, Conflict::Adds);
        assert_eq!(one.read(r#"{"args":["A"]}"#), Some(Choice::Subscribe(keys())));
    }

    #[test]
    fn templates_that_mean_the_same_are_not_told_apart() {
        let rows = [
            (r#"{"op":"on","keys":["{keys}"]}"#, Some(r#"{"op":"off","keys":["{keys}"]}"#), true),
            (r#"{"on":["{keys}"]}"#, Some(r#"{"off":["{keys}"]}"#), true),
            (r#"{"op":"on","keys":["{keys}"]}"#, Some(r#"{"keys":["{keys}"]}"#), false),
            (r#"{"op":"${ON}","keys":["{keys}"]}"#, Some(r#"{"op":"off","keys":["{keys}"]}"#), false),
            ("+{keys}", Some("-{keys}"), true),
            ("{keys}", Some("-{keys}"), false),
            ("{keys}", None, true),
        ];
        for (subscribe, unsubscribe, expected) in rows {
            let both = subscriptions(subscribe, unsubscribe, Conflict::Adds);
            assert_eq!(both.tells_apart(), expected, "{subscribe} {unsubscribe:?}");
        }
    }
}
