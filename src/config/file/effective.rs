//! The configuration as it takes effect: the file with every default written out.
//!
//! Made from the text as it stands and the list of keys, never from values: what the environment or a file provided
//! appears as the reference to it, so that no secret can be in it, and reading it again gives the same configuration.

use toml::de::{DeTable, DeValue};
use toml_writer::{ToTomlKey, ToTomlValue};

use super::keys::{Default, FILE, Key, Kind, Section};

/// The whole of a file without mistakes.
pub(super) fn effective(file: &DeTable<'_>) -> String {
    let mut out = String::new();
    write_table(&mut out, &FILE, "", Some(file));
    out
}

/// A table under its heading, then those within.
fn write_table(out: &mut String, section: &Section, path: &str, entries: Option<&DeTable<'_>>) {
    if !path.is_empty() {
        out.push_str(&format!("{}[{path}]\n", if out.is_empty() { "" } else { "\n" }));
    }
    for key in section.keys {
        let value = value_of(entries, key.name);
        match (value.map_or_else(|| absent(key), |value| present(key, value)), key.default.comment()) {
            (Some(line), _) => out.push_str(&format!("{} = {line}\n", key.name)),
            // What is off is worth a line: the reader learns that it could be on.
            (None, Some(comment)) if value.is_none() => {
                out.push_str(&format!("# {}: {comment}\n", key.name));
            }
            (None, _) => {}
        }
    }
    for key in section.keys {
        let within = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let value = value_of(entries, key.name).and_then(DeValue::as_table);
        let Some(inner) = key.kind.section() else { continue };
        match (key.kind, value) {
            (Kind::Tables(_), Some(tables)) => {
                for (name, table) in tables {
                    let path = format!("{within}.{}", name.get_ref().to_toml_key());
                    write_table(out, inner, &path, table.get_ref().as_table());
                }
            }
            (_, Some(table)) => write_table(out, inner, &within, Some(table)),
            (_, None) if matches!(key.default, Default::Filled) => write_table(out, inner, &within, None),
            (_, None) => {}
        }
    }
}

/// What stands behind a key on its own line; `None` for what gets a heading of its own.
fn present(key: &Key, value: &DeValue<'_>) -> Option<String> {
    let has_heading = matches!(key.kind, Kind::Table(_) | Kind::Tables(_) | Kind::Either(_, Kind::Table(_)));
    (!has_heading || !value.is_table()).then(|| inline(key.kind, value))
}

fn absent(key: &Key) -> Option<String> {
    match key.default {
        Default::Is { toml, .. } => Some(toml.to_owned()),
        Default::Required | Default::Nothing(_) | Default::Filled => None,
    }
}

/// A value in one place, its own defaults filled in.
fn inline(kind: Kind, value: &DeValue<'_>) -> String {
    match (kind, value) {
        (Kind::List(kind), DeValue::Array(entries)) => {
            let entries: Vec<_> = entries.iter().map(|entry| inline(*kind, entry.get_ref())).collect();
            format!("[{}]", entries.join(", "))
        }
        (Kind::Either(_, other), DeValue::Table(_)) => inline(*other, value),
        (Kind::Table(section), DeValue::Table(entries)) => {
            let line = |key: &Key| {
                let value = value_of(Some(entries), key.name);
                let value = value.map_or_else(|| absent(key), |value| Some(inline(key.kind, value)))?;
                Some(format!("{} = {value}", key.name))
            };
            braced(section.keys.iter().filter_map(line))
        }
        (_, DeValue::Table(entries)) => braced(entries.iter().map(|(name, value)| {
            format!("{} = {}", name.get_ref().to_toml_key(), inline(Kind::Text, value.get_ref()))
        })),
        (_, DeValue::Array(entries)) => {
            let entries: Vec<_> = entries.iter().map(|entry| inline(Kind::Text, entry.get_ref())).collect();
            format!("[{}]", entries.join(", "))
        }
        (_, DeValue::String(text)) => text.to_toml_value(),
        (_, DeValue::Integer(number)) => number.to_string(),
        (_, DeValue::Float(number)) => number.to_string(),
        (_, DeValue::Boolean(flag)) => flag.to_string(),
        (_, DeValue::Datetime(time)) => time.to_string(),
    }
}

fn braced(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", lines.join(", ")) }
}

fn value_of<'d>(entries: Option<&'d DeTable<'d>>, name: &str) -> Option<&'d DeValue<'d>> {
    entries?.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value.get_ref())
}
