//! A Markdown page of results: prose is the template's, figures are those of files beside it.
//!
//! A line `{{what name …}}` of the template is replaced by what is in `name.json`, in the template's directory:
//! `{{about name}}` where and how it was measured; `{{tables name}}` all tables of a comparison; `{{plots name scenario}}`
//! its plots, as SVG files beside; `{{remarks name}}` what spoils it; and `{{table name}}` rows that something else than
//! a comparison has found.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::comparison::{about, plots, table};
use super::plot::alone;
use super::tables::{remarks, sections};
use crate::comparison::Comparison;

/// Rows that were found by other means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// How: command, commit and machine, in a sentence.
    about: String,
    /// The first is the head.
    rows: Vec<Vec<String>>,
}

/// A template and where it becomes a page.
struct Document<'a> {
    /// The directory of the template, of results and plots.
    results: &'a Path,
    /// The same, as the page's links name it.
    link: PathBuf,
}

/// Makes the page at `page` of `template`, and the plots that it shows.
///
/// # Errors
/// A file cannot be read or written, or the template asks for what there is not; the error names its line.
pub(crate) fn write(template: &Path, page: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(template).with_context(|| format!("cannot read {}", template.display()))?;
    let (results, beside) = (directory(template), directory(page));
    let link = results.strip_prefix(beside).unwrap_or(results).to_owned();
    let document = Document { results, link };
    let mut written = format!(
        "<!-- Made of {} and the results beside it by scripts/benchmarks-page. Edit those. -->\n\n",
        document.link.join(template.file_name().unwrap_or_default()).display()
    );
    for (number, line) in (1..).zip(text.lines()) {
        let asked = line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}"));
        let part = match asked {
            Some(asked) => {
                document.part(asked).with_context(|| format!("{}:{number}", template.display()))?
            }
            None => format!("{line}\n"),
        };
        written.push_str(&part);
    }
    fs::write(page, written).with_context(|| format!("cannot write {}", page.display()))
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|directory| *directory != Path::new("")).unwrap_or(Path::new("."))
}

impl Document<'_> {
    fn part(&self, asked: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = asked.split_whitespace().collect();
        Ok(match *words {
            ["table", name] => table(&self.result::<Table>(name)?.rows),
            ["about-table", name] => format!("{}\n", self.result::<Table>(name)?.about),
            ["about", name] => versions(&self.result(name)?),
            ["tables", name] => {
                let all = sections(&self.result(name)?);
                let all: Vec<String> =
                    all.iter().map(|part| format!("{}:\n\n{}", part.title, table(&part.rows))).collect();
                all.join("\n")
            }
            ["remarks", name] => {
                remarks(&self.result(name)?).iter().map(|remark| format!("- {remark}\n")).collect()
            }
            ["plots", name, scenario] => self.plots(name, scenario)?,
            _ => bail!(
                "{{{{{asked}}}}}: write {{{{about NAME}}}}, {{{{tables NAME}}}}, {{{{remarks NAME}}}}, {{{{plots NAME \
                 SCENARIO}}}}, {{{{table NAME}}}} or {{{{about-table NAME}}}}"
            ),
        })
    }

    fn result<T: for<'de> Deserialize<'de>>(&self, name: &str) -> anyhow::Result<T> {
        let file = self.results.join(format!("{name}.json"));
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is something else", file.display()))
    }

    fn plots(&self, name: &str, scenario: &str) -> anyhow::Result<String> {
        let comparison: Comparison = self.result(name)?;
        let found = comparison.scenarios.iter().find(|found| found.name == scenario);
        let found = found.with_context(|| format!("{name}.json has no scenario {scenario}"))?;
        let mut text = String::new();
        for (number, (title, svg)) in (1..).zip(plots(&comparison, found)) {
            let file = format!("{name}-{scenario}-{number}.svg");
            let path = self.results.join(&file);
            fs::write(&path, alone(&svg)).with_context(|| format!("cannot write {}", path.display()))?;
            let link = self.link.join(&file);
            text += &format!("![{}, {title}]({})\n", found.title, link.display());
        }
        Ok(text)
    }
}

fn versions(comparison: &Comparison) -> String {
    let versions = comparison.targets.iter().filter(|target| !target.version.is_empty());
    let versions: Vec<String> =
        versions.map(|target| format!("{} is {}", target.name, target.version)).collect();
    let versions = if versions.is_empty() { String::new() } else { format!(" {}.", versions.join("; ")) };
    format!("{}: {}{versions}\n", comparison.run.started_at.get(..10).unwrap_or_default(), about(comparison))
}
