//! What a client asks of a feed in the query of its request.

use std::collections::HashSet;

use super::Key;

/// What stands between two keys of a query.
const SEPARATOR: char = ',';

/// What a client asks of a feed: `?keys=EURUSD,GBPUSD&last=1`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// It wants messages with these keys alone, each named once; `None`: all of them.
    pub keys: Option<Vec<Key>>,
    /// Whether it wants the last message of every key it gets first; `None`: as the feed has it.
    pub last: Option<bool>,
}

impl Query {
    /// Reads a query, without its `?`. Parameters that are none of these are the application's, and are left alone; so
    /// are keys that none can be, and a `last` that is neither 0 nor 1. Of `keys` there may be several.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut asked = Self::default();
        let mut seen = HashSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("keys", keys) => {
                    for key in keys.split(SEPARATOR).filter_map(Key::chosen) {
                        if seen.insert(key.clone()) {
                            asked.keys.get_or_insert_default().push(key);
                        }
                    }
                }
                ("last", "1") => asked.last = Some(true),
                ("last", "0") => asked.last = Some(false),
                _ => {}
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_keys_and_whether_the_last_messages_are_wanted() {
        let rows = [
            ("", "", None),
            ("keys=EURUSD,GBPUSD&last=1", "EURUSD GBPUSD", Some(true)),
            ("last=0", "", Some(false)),
            ("last=1&last=0", "", Some(false)),
            ("last=yes&last", "", None),
            ("keys=", "", None),
            ("keys=,+,", "", None),
            ("keys=B,A,B&room=7&keys=C&keys=A", "B A C", None),
            ("keys=EUR%2FUSD%2C+GBP%2FUSD", "EUR/USD GBP/USD", None),
            ("keys=A%00,B%0AX,C", "C", None),
            ("Keys=A&LAST=1", "", None),
        ];
        for (query, keys, last) in rows {
            let keys: Vec<_> = keys.split_whitespace().map(Key::from).collect();
            let keys = (!keys.is_empty()).then_some(keys);
            assert_eq!(Query::parse(query), Query { keys, last }, "{query}");
        }
    }

    #[test]
    fn a_key_that_is_too_long_is_none() {
        let fits = "k".repeat(Key::CHOSEN_BYTES_MAX);
        assert_eq!(Query::parse(&format!("keys={fits}k,{fits}")).keys, Some(vec![Key::from(&*fits)]));
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(query in "(keys=|last=|[%,&=+a-z0-9é]){0,40}") {
            let keys = Query::parse(&query).keys.unwrap_or_default();
            prop_assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        }
    }
}
