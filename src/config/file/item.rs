//! One value of the file, read as what its key wants. What is wrong with it is noted where it stands.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::Kind;
use super::mistake::did_you_mean;
use super::reading::Reading;
use super::sources::{Expanded, expand};
use super::table::Table;
use crate::config::{Secret, parse_bytes, parse_duration};

/// A value, and where it stands.
pub(super) struct Item<'a> {
    pub(super) reading: &'a Reading<'a>,
    /// The table that its key stands in: `pool.chat`; empty for the file itself.
    pub(super) table: &'a str,
    /// Its key there, or the place in that key's list: `backends[0]`.
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) value: &'a DeValue<'a>,
    /// Its first byte.
    pub(super) at: usize,
}

impl<'a> Item<'a> {
    /// Any text.
    pub(super) fn text(&self) -> Option<String> {
        self.expanded(|value| value).map(|expanded| expanded.text)
    }

    /// Text of a form that `T` knows.
    pub(super) fn form<T: FromStr<Err: Display>>(&self) -> Option<T> {
        self.read(str::parse)
    }

    /// Text that `read` understands; its error says what would be right.
    pub(super) fn read<T, E: Display>(&self, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.judge(&self.expanded(|value| value)?, read)
    }

    /// Text in which braces mean something to `read`; those of a value from outside mean themselves.
    pub(super) fn template<T, E: Display>(&self, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.judge(&self.expanded(|value| value.replace('{', "{{").replace('}', "}}"))?, read)
    }

    /// Text that may hold a secret: `read` gets it, and how it is written. Its error must quote only the latter.
    pub(super) fn confidential<T, E: Display>(
        &self,
        read: impl FnOnce(&str, &str) -> Result<T, E>,
    ) -> Option<T> {
        let expanded = self.expanded(|value| value)?;
        read(&expanded.text, self.as_written()).map_or_else(|error| self.wrong(error), Some)
    }

    fn judge<T, E: Display>(
        &self,
        expanded: &Expanded,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match read(&expanded.text) {
            Ok(value) => Some(value),
            // The error quotes the text, which may be a secret.
            Err(_) if expanded.is_foreign => {
                let (what, example) = (self.kind.what(), self.kind.example());
                self.wrong(format!("what it refers to is not {what}; write {example}"))
            }
            Err(error) => self.wrong(error.to_string()),
        }
    }

    /// One of these words.
    pub(super) fn word<T: Clone>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.read(|text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| value.clone()).ok_or_else(|| {
                let near = did_you_mean(text, words.iter().map(|(word, _)| *word));
                format!("{text:?} is not known here{near}; write {}", self.kind.example())
            })
        })
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.read(parse_duration)
    }

    /// In bytes.
    pub(super) fn size(&self) -> Option<u64> {
        self.read(parse_bytes)
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.unfit())
    }

    /// A number within the bounds of its kind, which must fit `T`.
    pub(super) fn count<T: TryFrom<u64>>(&self) -> Option<T> {
        let Kind::Count(min, max) = self.kind else { return self.unfit() };
        let number = self.value.as_integer().and_then(|number| {
            u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| (min..=max).contains(number))
        });
        number.and_then(|number| T::try_from(number).ok()).or_else(|| self.unfit())
    }

    /// The whole of a secret, from the environment or a file.
    pub(super) fn secret(&self) -> Option<Secret> {
        let expanded = self.expanded(|value| value)?;
        if let Some(path) = expanded.text.strip_prefix("file:") {
            let text = self.open(Path::new(path))?;
            let secret = text.trim_end_matches(['\r', '\n']);
            return if secret.is_empty() {
                self.wrong("its file is empty")
            } else {
                Some(Secret::new(secret))
            };
        }
        match (expanded.is_foreign, expanded.text.is_empty()) {
            (true, false) => Some(Secret::new(&expanded.text)),
            (true, true) => self.wrong("the environment variable that it refers to is empty"),
            (false, _) => self.wrong(
                "a secret must not stand in the file; write \"${NAME}\" for an environment variable, or \
                 \"file:/path\"",
            ),
        }
    }

    /// What is in the file that it names.
    pub(super) fn contents(&self) -> Option<String> {
        self.open(&self.path()?)
    }

    /// What `parse` makes of the file that it names. Its error must have nothing of the contents.
    pub(super) fn parsed<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        parse(&self.contents()?).map_or_else(|error| self.wrong_file(error), Some)
    }

    /// A path, from the root: what it would be relative to differs between those who start selat.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.read(|text| {
            let is_fit = text.starts_with('/');
            if is_fit {
                Ok(text.into())
            } else {
                Err(format!("{text:?} does not begin with /; write the whole path"))
            }
        })
    }

    /// Names and texts.
    pub(super) fn pairs(&self) -> Option<Vec<(String, String)>> {
        self.map(|name, item| Some((name.to_owned(), item.text()?)))
    }

    /// Whether it is a list of nothing.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value.as_array().is_some_and(|entries| entries.is_empty())
    }

    /// Each entry of a list; those that are wrong are noted and left out.
    pub(super) fn list<T>(&self, read: impl Fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Kind::List(kind) = self.kind else { return self.unfit() };
        let Some(entries) = self.value.as_array() else { return self.unfit() };
        let entries = entries.iter().enumerate().filter_map(|(place, entry)| {
            let key = format!("{}[{place}]", self.key);
            read(&Item { key, kind: *kind, value: entry.get_ref(), at: entry.span().start, ..*self })
        });
        Some(entries.collect())
    }

    /// Each name of a table with its value; those that are wrong are noted and left out.
    pub(super) fn map<T>(&self, read: impl Fn(&str, &Item<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Kind::Map(kind) = self.kind else { return self.unfit() };
        let Some(entries) = self.value.as_table() else { return self.unfit() };
        let entries = entries.iter().filter_map(|(name, entry)| {
            let key = format!("{}.{}", self.key, name.get_ref());
            let at = entry.span().start;
            read(name.get_ref(), &Item { key, kind: *kind, value: entry.get_ref(), at, ..*self })
        });
        Some(entries.collect())
    }

    /// The table that it is.
    pub(super) fn table(&self) -> Option<Table<'a>> {
        let Kind::Table(section) = self.kind else { return self.unfit() };
        let Some(entries) = self.value.as_table() else { return self.unfit() };
        Some(Table::new(self.reading, section, self.full_key(), Some(entries), self.at))
    }

    /// One, or each entry of a list.
    pub(super) fn one_or_more<T>(&self, read: impl Fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
        match (self.kind, self.value) {
            (Kind::Either(one, _), DeValue::String(_)) => Some(vec![read(&self.with(*one))?]),
            (Kind::Either(_, list), DeValue::Array(_)) => self.with(*list).list(read),
            _ => self.unfit(),
        }
    }

    /// As one kind if it is text, as the other if it is a table.
    pub(super) fn as_either(&self) -> Option<Either<'a>> {
        match (self.kind, self.value) {
            (Kind::Either(text, _), DeValue::String(_)) => Some(Either::Text(self.with(*text))),
            (Kind::Either(_, table), DeValue::Table(_)) => Some(Either::Table(self.with(*table))),
            _ => self.unfit(),
        }
    }

    /// Notes that it is wrong.
    pub(super) fn wrong<T>(&self, what: impl Display) -> Option<T> {
        self.reading.mistake(self.at, placed(&self.key, self.table, &what));
        None
    }

    /// Notes what is wrong with the file that it names.
    pub(super) fn wrong_file<T>(&self, what: impl Display) -> Option<T> {
        self.wrong(format!("{}: {what}", self.as_written()))
    }

    /// Notes what is odd about the file that it names.
    pub(super) fn odd_file<T>(&self, what: impl Display) -> Option<T> {
        let what = format!("{}: {what}", self.as_written());
        self.reading.warning(self.at, placed(&self.key, self.table, &what));
        None
    }

    /// Notes that it is not of its kind at all.
    pub(super) fn unfit<T>(&self) -> Option<T> {
        let (what, example) = (self.kind.what(), self.kind.example());
        let shown = match self.value {
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                format!("this {}", self.value.type_str())
            }
        };
        let has_unit = matches!(self.kind, Kind::Duration | Kind::Size | Kind::Rate | Kind::SizeRate);
        if has_unit && (self.value.is_integer() || self.value.is_float()) {
            self.wrong(format!("{shown} has no unit; write {what} in quotes, such as {example}"))
        } else {
            self.wrong(format!("{shown} is not {what}; write {example}"))
        }
    }

    /// With its key and those before it: `pool.chat.backends[0]`.
    fn full_key(&self) -> String {
        if self.table.is_empty() { self.key.clone() } else { format!("{}.{}", self.table, self.key) }
    }

    /// The text as it stands in the file, and so without a value from the environment.
    fn as_written(&self) -> &str {
        self.value.as_str().unwrap_or_default()
    }

    fn with(&self, kind: Kind) -> Self {
        Self { key: self.key.clone(), kind, ..*self }
    }

    fn expanded(&self, quote: impl Fn(String) -> String) -> Option<Expanded> {
        let Some(raw) = self.value.as_str() else { return self.unfit() };
        expand(raw, self.reading.sources, quote).map_or_else(|what| self.wrong(what), Some)
    }

    fn open(&self, path: &Path) -> Option<String> {
        self.reading.opened(path);
        let contents = self.reading.sources.file(path);
        contents.map_or_else(|error| self.wrong_file(format!("cannot be read: {error}")), Some)
    }
}

/// A value of one of two kinds.
pub(super) enum Either<'a> {
    Text(Item<'a>),
    Table(Item<'a>),
}

/// `idle in [route.chat.timeouts]: what`.
pub(super) fn placed(key: &str, table: &str, what: &dyn Display) -> String {
    if table.is_empty() { format!("{key}: {what}") } else { format!("{key} in [{table}]: {what}") }
}
