//! A record for people and for machines.

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
}

/// Prints and writes `record`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn put(record: &Record, outputs: &Outputs) -> anyhow::Result<()> {
    if outputs.table {
        print!("{}", table::table(record));
    }
    match &outputs.json {
        Some(file) => write(file, &format!("{}\n", record.to_json())),
        None => Ok(()),
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if file == Path::new(STDOUT) {
        print!("{text}");
        return Ok(());
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
