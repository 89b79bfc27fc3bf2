//! Every key that a file may have: what the reader accepts and what the reference page shows are this one list.

mod acme;
mod dispatch;
mod feed;
mod pool;
mod process;
mod route;
mod session;
mod tls;

use pool::POOL;
pub(super) use process::FILE;

/// A table of the file, or one that a key holds.
#[derive(Debug)]
pub(super) struct Section {
    /// How it is headed, such as `route.NAME.limits`; empty for the file itself.
    pub(super) heading: &'static str,
    /// What it is for.
    pub(super) about: &'static str,
    /// What may stand in it, in the order of the reference page.
    pub(super) keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// What it does.
    pub(super) about: &'static str,
}

/// What holds where a key is left out.
#[derive(Debug)]
pub(super) enum Default {
    /// It may not be.
    Required,
    /// As if this stood there.
    Is {
        /// As it would stand in the file.
        toml: &'static str,
        /// Why this and not another.
        because: &'static str,
    },
    /// What there is then.
    Nothing(&'static str),
    /// A table whose keys have defaults of their own.
    Filled,
}

/// What may stand behind a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// Text of a form of its own: what it is, and an example.
    Form(&'static str, &'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A time with its unit.
    Duration,
    /// Bytes with their unit.
    Size,
    /// So many in a second.
    Rate,
    /// So many bytes in a second.
    SizeRate,
    /// A whole number, between these.
    Count(u64, u64),
    /// Percent.
    Share,
    /// `true` or `false`.
    Flag,
    /// What must not be seen: only a reference may stand in the file.
    Secret,
    /// Several, in brackets.
    List(&'static Kind),
    /// A table of names and values.
    Map(&'static Kind),
    /// A table.
    Table(&'static Section),
    /// Any number of tables, each with a name.
    Tables(&'static Section),
    /// One of two kinds.
    Either(&'static Kind, &'static Kind),
}

impl Section {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Kind {
    /// The section that a key's value is, or may be.
    pub(super) fn section(self) -> Option<&'static Section> {
        match self {
            Self::Table(section) | Self::Tables(section) => Some(section),
            Self::List(kind) => kind.section(),
            Self::Either(one, other) => one.section().or_else(|| other.section()),
            Self::Text
            | Self::Form(..)
            | Self::Word(_)
            | Self::Duration
            | Self::Size
            | Self::Rate
            | Self::SizeRate
            | Self::Count(..)
            | Self::Share
            | Self::Flag
            | Self::Secret
            | Self::Map(_) => None,
        }
    }

    /// What it is, with an article: `a duration`.
    pub(super) fn what(self) -> String {
        match self {
            Self::Text => "text in quotes".to_owned(),
            Self::Form(what, _) => what.to_owned(),
            Self::Word(_) => "one of these words".to_owned(),
            Self::Duration => "a duration".to_owned(),
            Self::Size => "a size".to_owned(),
            Self::Rate => "a rate".to_owned(),
            Self::SizeRate => "a size per second".to_owned(),
            Self::Count(min, max) if max == u64::MAX => format!("a whole number from {min}"),
            Self::Count(min, max) => format!("a whole number from {min} to {max}"),
            Self::Share => "a share in percent".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Secret => "a reference to a secret".to_owned(),
            Self::List(kind) => format!("a list, each entry {}", kind.what()),
            Self::Map(kind) => format!("a table of names, each with {}", kind.what()),
            Self::Table(_) => "a table".to_owned(),
            Self::Tables(_) => "a table of named tables".to_owned(),
            Self::Either(one, other) => format!("{}, or {}", one.what(), other.what()),
        }
    }

    /// One way to write it: `"20s"`.
    pub(super) fn sample(self) -> String {
        match self {
            Self::List(kind) => format!("[{}]", kind.sample()),
            Self::Map(kind) => format!("{{ name = {} }}", kind.sample()),
            Self::Either(one, _) => one.sample(),
            Self::Table(section) => {
                let first = section.keys.iter().find(|key| !matches!(key.kind, Self::Table(_)));
                first.map_or_else(String::new, |key| format!("{{ {} = {} }}", key.name, key.kind.sample()))
            }
            Self::Text
            | Self::Form(..)
            | Self::Word(_)
            | Self::Duration
            | Self::Size
            | Self::Rate
            | Self::SizeRate
            | Self::Count(..)
            | Self::Share
            | Self::Flag
            | Self::Secret
            | Self::Tables(_) => {
                let example = self.example();
                let quoted = example.split_inclusive('"').take(2).collect();
                if example.starts_with('"') { quoted } else { example }
            }
        }
    }

    /// All the ways to write it: `"500ms", "20s" or "1h"`.
    pub(super) fn example(self) -> String {
        match self {
            Self::Text => "\"text\"".to_owned(),
            Self::Form(_, example) => example.to_owned(),
            Self::Word(words) => quoted(words),
            Self::Duration => "\"500ms\", \"20s\" or \"1h\"".to_owned(),
            Self::Size => "\"512B\", \"64KiB\" or \"1MiB\"".to_owned(),
            Self::Rate => "\"50/s\"".to_owned(),
            Self::SizeRate => "\"1MiB/s\"".to_owned(),
            Self::Count(min, max) => 10_000.clamp(min, max).to_string(),
            Self::Share => "\"50%\"".to_owned(),
            Self::Flag => "true".to_owned(),
            Self::Secret => "\"${NAME}\" or \"file:/path\"".to_owned(),
            Self::List(kind) => format!("[{}]", kind.example()),
            Self::Map(kind) => format!("{{ name = {} }}", kind.example()),
            Self::Table(_) => self.sample(),
            Self::Tables(section) => format!("[{}]", section.heading),
            Self::Either(one, other) => format!("{} or {}", one.example(), other.example()),
        }
    }
}

/// `"a", "b" or "c"`.
fn quoted(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => quoted.concat(),
    }
}

impl Default {
    /// What there is without it, where that is nothing.
    pub(super) fn comment(&self) -> Option<&'static str> {
        match self {
            Self::Nothing(without) => Some(without),
            Self::Required | Self::Is { .. } | Self::Filled => None,
        }
    }
}
