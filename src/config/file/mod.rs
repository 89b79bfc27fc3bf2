//! The configuration file: TOML, read into a [`Config`] by a list of keys that the reference page is made of too.
//! Everything that is wrong is told at once, each mistake with its line and what would be right.

mod effective;
mod item;
mod keys;
mod mistake;
mod read;
mod reading;
mod reference;
mod sources;
mod table;

use std::path::PathBuf;

use toml::de::DeTable;

pub use mistake::Mistake;
pub use reference::reference;
pub use sources::{Sources, escape};

use super::Config;
use reading::{Gathered, Reading};
use table::Table;

/// What a file without mistakes says.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it comes to.
    pub config: Config,
    /// What is odd about it, and allowed.
    pub warnings: Vec<Mistake>,
    /// The files it refers to, in the order of their names: when they change, it has changed.
    pub files: Vec<PathBuf>,
}

/// Reads a configuration. `file` is what its mistakes call it.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn parse(text: &str, file: &str, sources: &impl Sources) -> Result<Parsed, Vec<Mistake>> {
    let reading = Reading::new(text, file, sources);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        reading.mistake(at, format!("this is not TOML: {}", error.message().trim()));
    }
    // What follows a mistake of syntax would be guesswork.
    let config = if errors.is_empty() { read(document.get_ref(), &reading) } else { None };
    let Gathered { mistakes, warnings, files } = reading.finish();
    match config {
        Some(config) if mistakes.is_empty() => {
            Ok(Parsed { config, warnings, files: files.into_iter().collect() })
        }
        Some(_) | None => Err(mistakes),
    }
}

fn read(document: &DeTable<'_>, reading: &Reading<'_>) -> Option<Config> {
    let file = Table::new(reading, &keys::FILE, String::new(), Some(document), 0);
    let config = read::config(&file)?;
    // What is looked at a second time would tell its mistakes a second time.
    if !reading.has_mistakes() {
        read::check(&file, &config);
    }
    Some(Config { effective: effective::effective(document).into(), ..config })
}

#[cfg(test)]
mod tests;
