//! What was found, for people and for machines.

mod comparison;
pub(crate) mod document;
mod page;
mod plot;
mod run;
mod scale;
mod style;
mod table;
mod tables;
pub(crate) mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cli::STDOUT;
use crate::comparison::Comparison;
use crate::record::{Record, Verdict};

/// What can be reported.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Found {
    /// One run.
    Run(Box<Record>),
    /// Many of them, held against each other.
    Comparison(Box<Comparison>),
}

/// Where a report goes.
#[derive(Debug)]
pub(crate) struct Outputs {
    table: bool,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
}

impl Outputs {
    /// A table on standard output, and these files; if `json` is standard output, that takes the table's place.
    pub(crate) fn new(json: Option<&Path>, html: Option<&Path>) -> Self {
        let table = json != Some(Path::new(STDOUT));
        Self { table, json: json.map(Path::to_owned), html: html.map(Path::to_owned) }
    }
}

impl Found {
    /// Whether the server did what it should.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Run(record) => record.verdict(),
            Self::Comparison(comparison) => comparison.verdict(),
        }
    }

    fn table(&self) -> String {
        match self {
            Self::Run(record) => table::table(record),
            Self::Comparison(comparison) => comparison::markdown(comparison),
        }
    }

    fn page(&self) -> String {
        match self {
            Self::Run(record) => run::page(record),
            Self::Comparison(comparison) => comparison::page(comparison),
        }
    }
}

impl From<Record> for Found {
    fn from(record: Record) -> Self {
        Self::Run(Box::new(record))
    }
}

impl From<Comparison> for Found {
    fn from(comparison: Comparison) -> Self {
        Self::Comparison(Box::new(comparison))
    }
}

/// Prints and writes what was found.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn put(found: &Found, outputs: &Outputs) -> anyhow::Result<()> {
    if outputs.table {
        print!("{}", found.table());
    }
    if let Some(file) = &outputs.json {
        let json = serde_json::to_string(found).context("figures that JSON cannot hold")?;
        write(file, &(json + "\n"))?;
    }
    match &outputs.html {
        Some(file) => write(file, &found.page()),
        None => Ok(()),
    }
}

/// What [`put`] wrote as JSON.
///
/// # Errors
/// The file cannot be read, or is something else.
pub(crate) fn read(file: &Path) -> anyhow::Result<Found> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what --json writes", file.display()))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if file == Path::new(STDOUT) {
        print!("{text}");
        return Ok(());
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
