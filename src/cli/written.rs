//! What flags say, as it would stand in a file: so there is one way to a configuration.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use selat::config::escape;
use toml_writer::ToTomlValue;

/// Text as it was given, whatever is in it.
pub(super) fn text(text: &str) -> String {
    escape(text).to_toml_value()
}

/// Text whose `${NAME}`s stand for environment variables: their values are not to be seen among the arguments of a
/// process.
pub(super) fn open_text(text: &str) -> String {
    text.to_toml_value()
}

/// One of the words that a flag knows; the file has the same.
pub(super) fn word(value: impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("no value of a flag is skipped");
    text(value.get_name())
}

/// `["a", "b"]`.
pub(super) fn list(values: &[String], one: impl Fn(&str) -> String) -> String {
    let values: Vec<_> = values.iter().map(|value| one(value)).collect();
    format!("[{}]", values.join(", "))
}

/// A time with its unit.
pub(super) fn time(time: Duration) -> String {
    text(&humantime::format_duration(time).to_string())
}

/// Bytes with their unit.
pub(super) fn size(bytes: u64) -> String {
    text(&format!("{bytes}B"))
}

/// A path from the root, as it has to be in a file.
pub(super) fn path(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    text(&whole.to_string_lossy())
}

/// `key = value` on a line of its own; nothing where there is no value, so that the file's default holds.
pub(super) fn line(key: &str, value: Option<String>) -> String {
    value.map(|value| format!("{key} = {value}\n")).unwrap_or_default()
}

#[cfg(test)]
pub(super) use tests::meant;

#[cfg(test)]
mod tests {
    use std::io;

    use selat::config::{self, Sources};
    use selat::tls::CertificateDer;

    /// An environment with one variable.
    struct Key;

    impl Sources for Key {
        fn env(&self, name: &str) -> Option<String> {
            (name == "KEY").then(|| "s3cret".to_owned())
        }

        fn file(&self, _: &std::path::Path) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn unix_now(&self) -> u64 {
            0
        }

        fn system_roots(&self) -> io::Result<Vec<CertificateDer<'static>>> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// What a file comes to, but for its text; or what is wrong with it.
    pub(in super::super) fn meant(text: &str) -> Result<String, String> {
        let parsed = config::parse(text, "", &Key);
        let config = parsed.map_err(|mistakes| {
            let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            told.join("\n")
        })?;
        Ok(format!("{:#?}", config::Config { effective: "".into(), ..config.config }))
    }
}
