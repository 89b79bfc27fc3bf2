//! A record for people and for machines.

mod page;
mod plot;
mod run;
mod scale;
mod style;
mod table;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::STDOUT;
use crate::record::Record;

/// Where a record goes.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Whether a table of it is printed.
    pub(crate) table: bool,
    /// The file that gets all of it as JSON; `-` is standard output.
    pub(crate) json: Option<PathBuf>,
    /// The file that gets a page of it.
    pub(crate) html: Option<PathBuf>,
}

/// Prints and writes `record`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn put(record: &Record, outputs: &Outputs) -> anyhow::Result<()> {
    if outputs.table {
        print!("{}", table::table(record));
    }
    if let Some(file) = &outputs.json {
        write(file, &format!("{}\n", record.to_json()))?;
    }
    match &outputs.html {
        Some(file) => write(file, &run::page(record)),
        None => Ok(()),
    }
}

/// The record that [`put`] wrote as JSON.
///
/// # Errors
/// The file cannot be read, or is something else.
pub(crate) fn read(file: &Path) -> anyhow::Result<Record> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what --json writes of a run", file.display()))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if file == Path::new(STDOUT) {
        print!("{text}");
        return Ok(());
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
