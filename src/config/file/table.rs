//! A table of the file, read by the keys of its section. A key that the section does not have is a mistake.

use std::fmt::Display;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::item::{Item, placed};
use super::keys::{Default, Key, Kind, Section};
use super::mistake::did_you_mean;
use super::reading::Reading;

/// Bytes of a name that a table is given; it is a label of metrics.
const NAME_BYTES_MAX: usize = 64;

/// A table that is there, or that is not and has its defaults all the same.
pub(super) struct Table<'a> {
    pub(super) reading: &'a Reading<'a>,
    section: &'static Section,
    /// `route.chat`; empty for the file itself.
    pub(super) path: String,
    entries: Option<&'a DeTable<'a>>,
    /// Its first byte: for what is missing.
    at: usize,
}

/// A table with the name it was given.
pub(super) struct Named<'a> {
    pub(super) name: Arc<str>,
    pub(super) table: Table<'a>,
}

impl<'a> Table<'a> {
    /// Notes every key that does not belong here.
    pub(super) fn new(
        reading: &'a Reading<'a>,
        section: &'static Section,
        path: String,
        entries: Option<&'a DeTable<'a>>,
        at: usize,
    ) -> Self {
        let table = Self { reading, section, path, entries, at };
        for (name, _) in entries.into_iter().flatten() {
            if section.key(name.get_ref()).is_none() {
                reading.mistake(name.span().start, table.unknown(name.get_ref()));
            }
        }
        table
    }

    /// The value of a key that has a default; which also stands in for one that is wrong.
    pub(super) fn get<T>(&self, name: &str, read: impl Fn(&Item<'_>) -> Option<T>) -> T {
        let key = self.key(name);
        if let Some(value) = self.item(key).and_then(|item| read(&item)) {
            return value;
        }
        let Default::Is { toml, .. } = key.default else {
            unreachable!("{name} is asked for by its default")
        };
        let value = DeValue::parse(toml).expect("a default is TOML: tested");
        let (reading, kind, at) = (self.reading, key.kind, 0);
        let (table, key) = (self.path.as_str(), key.name.to_owned());
        read(&Item { reading, table, key, kind, value: value.get_ref(), at })
            .expect("a default is valid: tested")
    }

    /// The value of a key that has none; `None` if it is left out, or wrong.
    pub(super) fn find<T>(&self, name: &str, read: impl Fn(&Item<'_>) -> Option<T>) -> Option<T> {
        let key = self.key(name);
        match (self.item(key), &key.default) {
            (Some(item), _) => read(&item),
            (None, Default::Required) => self.missing(name),
            (None, Default::Is { .. } | Default::Nothing(_) | Default::Filled) => None,
        }
    }

    /// The value of a key that cannot be left out here; `None` if it is, or is wrong.
    pub(super) fn must<T>(&self, name: &str, read: impl Fn(&Item<'_>) -> Option<T>) -> Option<T> {
        if self.has(name) { self.find(name, read) } else { self.missing(name) }
    }

    /// Whether there is such a key, right or wrong.
    pub(super) fn has(&self, name: &str) -> bool {
        self.item(self.key(name)).is_some()
    }

    /// The table that a key holds; with nothing but defaults if it is left out, or wrong.
    pub(super) fn table(&self, name: &str) -> Table<'_> {
        self.table_if_any(name).unwrap_or_else(|| {
            let path = self.path_of(name);
            Table { reading: self.reading, section: self.section_of(name), path, entries: None, at: self.at }
        })
    }

    /// The table that a key holds.
    pub(super) fn table_if_any(&self, name: &str) -> Option<Table<'_>> {
        let key = self.key(name);
        self.item(key)?.table()
    }

    /// The tables with names of their own, in the order of the file.
    pub(super) fn named(&self, name: &str) -> Vec<Named<'_>> {
        let key = self.key(name);
        let Some(item) = self.item(key) else { return Vec::new() };
        let Some(entries) = item.value.as_table() else {
            item.unfit::<()>();
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (own, entry) in entries {
            let (at, path) = (own.span().start, format!("{}.{}", self.path_of(name), own.get_ref()));
            let Some(entries) = entry.get_ref().as_table() else {
                let what = format!("is {}, not a table; write [{path}]", entry.get_ref().type_str());
                self.reading.mistake(at, placed(own.get_ref(), name, &what));
                continue;
            };
            if !is_name(own.get_ref()) {
                let what = "is not a name; write at most 64 letters, digits, - and _";
                self.reading.mistake(at, placed(&format!("{:?}", own.get_ref()), name, &what));
                continue;
            }
            let table = Table::new(self.reading, self.section_of(name), path, Some(entries), at);
            tables.push(Named { name: own.get_ref().as_ref().into(), table });
        }
        tables
    }

    /// Notes, unless there is something wrong under this key, that nothing is.
    pub(super) fn need(&self, name: &str, what: &str) {
        let is_empty = |item: Item<'_>| item.value.as_table().is_some_and(DeTable::is_empty);
        if self.item(self.key(name)).is_none_or(is_empty) {
            self.wrong::<()>(what);
        }
    }

    /// Notes what is wrong with a key, or, where there is none, with the table.
    pub(super) fn wrong_key<T>(&self, name: &str, what: impl Display) -> Option<T> {
        match self.item(self.key(name)) {
            Some(item) => item.wrong(what),
            None => self.wrong(what),
        }
    }

    /// Notes what is wrong with the table as a whole.
    pub(super) fn wrong<T>(&self, what: impl Display) -> Option<T> {
        self.reading.mistake(self.at, self.said(&what));
        None
    }

    /// Notes what is odd about the table as a whole.
    pub(super) fn odd(&self, what: impl Display) {
        self.reading.warning(self.at, self.said(&what));
    }

    fn missing<T>(&self, name: &str) -> Option<T> {
        self.wrong(format!("{name} is missing; write {name} = {}", self.key(name).kind.sample()))
    }

    fn said(&self, what: &dyn Display) -> String {
        if self.path.is_empty() { what.to_string() } else { format!("[{}]: {what}", self.path) }
    }

    fn item(&self, key: &'static Key) -> Option<Item<'_>> {
        let (_, entry) = self.entries?.iter().find(|(name, _)| name.get_ref() == key.name)?;
        let (value, at) = (entry.get_ref(), entry.span().start);
        Some(Item {
            reading: self.reading,
            table: &self.path,
            key: key.name.to_owned(),
            kind: key.kind,
            value,
            at,
        })
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section.key(name).expect("the reader asks for keys of the section")
    }

    fn section_of(&self, name: &str) -> &'static Section {
        self.key(name).kind.section().expect("the reader asks for a table where the key holds one")
    }

    fn unknown(&self, name: &str) -> String {
        let place =
            if self.path.is_empty() { "at the top".to_owned() } else { format!("in [{}]", self.path) };
        let keys = self.section.keys;
        // A key of a table within, written without it, is the commonest slip of those who know another proxy.
        let within =
            keys.iter().find(|key| matches!(key.kind, Kind::Table(inner) if inner.key(name).is_some()));
        let near = match within {
            Some(outer) => format!("; did you mean \"{}.{name}\"?", outer.name),
            None => did_you_mean(name, keys.iter().map(|key| key.name)),
        };
        format!("unknown key {name:?} {place}{near}")
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
