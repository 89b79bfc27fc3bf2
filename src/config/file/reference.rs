//! The reference page, from the same list of keys that the reader reads by.

use std::collections::HashSet;

use super::keys::{Default, FILE, Key, Kind, Section};

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the list of keys in src/config/file/keys: UPDATE_REFERENCE=1 cargo test --test config_files -->

A configuration is one TOML file. `selat check FILE` says what is wrong with it, all at once, and shows it with every
default written out; `selat run -c FILE` runs it.

- **Units are mandatory.** Durations: `\"500ms\"`, `\"20s\"`, `\"1h 30m\"`. Sizes: `\"512B\"`, `\"64KiB\"`, `\"1MB\"`.
  Rates: `\"50/s\"`, `\"1MiB/s\"`. Shares: `\"50%\"`.
- **Unknown keys are mistakes**, as is anything of the wrong type.
- **Values from outside.** `${NAME}` in any text is replaced by that environment variable, which must be set; `$${`
  stands for `${`. A key of type *secret* must have its value from outside: `\"${NAME}\"`, or `\"file:/path\"` for the
  contents of a file. Such values are never shown: not by `selat check`, not in `/config`, not in messages.
- **Names** of listeners, routes, pools, feeds and dispatches have letters, digits, `-` and `_`; they are what logs and
  metrics show.
";

/// The page, in Markdown: every key with its type, its default and why.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    write_section(&mut page, &mut HashSet::new(), &FILE);
    page
}

/// A section and those within; but for those that are `written` already, where several have them.
fn write_section(page: &mut String, written: &mut HashSet<&str>, section: &'static Section) {
    if !written.insert(section.heading) {
        return;
    }
    let heading =
        if section.heading.is_empty() { "The file".to_owned() } else { format!("`[{}]`", section.heading) };
    page.push_str(&format!("\n## {heading}\n\n{}\n", section.about));
    for key in section.keys {
        write_key(page, section, key);
    }
    for key in section.keys {
        key.kind.section().into_iter().for_each(|inner| write_section(page, written, inner));
    }
}

fn write_key(page: &mut String, section: &Section, key: &Key) {
    let Key { name, kind, default, about } = key;
    let elsewhere = kind.section().filter(|inner| !inner.heading.starts_with(section.heading));
    let elsewhere = elsewhere.map(|inner| format!(" As in `[{}]`.", inner.heading)).unwrap_or_default();
    let default = match default {
        Default::Required => "Mandatory.".to_owned(),
        Default::Is { toml, because } => format!("Default: `{toml}`: {because}."),
        Default::Nothing(without) => format!("Without it: {without}."),
        Default::Filled => "Without it: the defaults of its keys.".to_owned(),
    };
    page.push_str(&format!(
        "\n### `{name}`\n\n*{}*: {}. {about}{elsewhere}\n\n{default}\n",
        capital(&kind.what()),
        code(*kind)
    ));
}

fn code(kind: Kind) -> String {
    format!("`{}`", kind.example())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
