//! Targets held against each other: under the same load, in turn, on cores of their own.
//!
//! They take turns in ABBA order, so that what changes on the machine meanwhile hits all of them alike; a measurement
//! during which the hypervisor stole time or other programs were busy is repeated. The load is this program again, as
//! anybody would start it. Whatever was started ends with the comparison, also with one that is interrupted.

mod attention;
mod bench;
mod cores;
mod file;
mod fill;
mod load;
mod options;
mod process;
mod quiet;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cli::CompareArgs;
use crate::comparison::{About, Comparison};
use crate::record::{Host, Run};
use attention::Attention;
use bench::{Bench, Room};
use cores::Cores;
use file::{File, Source};
use fill::Words;

/// Runs `selat-load compare`.
///
/// # Errors
/// The file is wrong, or something does not start. What fails while it is measured is a part of what is found.
pub(crate) fn compare(args: &CompareArgs) -> anyhow::Result<Comparison> {
    let source = Source::read(&args.file)?;
    let mut file = source.parse()?;
    let program = std::env::current_exe().context("cannot find this program itself")?;
    settle(&mut file, args, &program)?;
    // All that can be wrong with the file is found before anything starts.
    for scenario in &file.scenarios {
        source.arm(&file, scenario, None)?;
        if let Some(base) = &scenario.base {
            source.arm(&file, scenario, Some(base))?;
        }
    }
    let targets = versions(&file)?;
    let mut run = Run::begin(Host::here());
    run.command_line = without_paths(run.command_line);
    let attention = Attention::new()?;
    let allowed = Cores::allowed()?;
    let left = allowed.without(&Cores::parse(&file.cores, &allowed)?);
    let mut warnings = Vec::new();
    if left.is_none() {
        warnings.push(
            "no core was left for the load: it shares them with targets, and figures are worth little"
                .to_owned(),
        );
    }
    let others = left.unwrap_or_else(|| allowed.clone());
    others.settle()?;
    let directory = Directory::make()?;
    let room = Room { attention: &attention, allowed: &allowed, others: &others, directory: &directory.0 };
    let mut bench = Bench::new(&source, &file, room, program);
    let scenarios =
        file.scenarios.iter().map(|scenario| bench.measure(scenario)).collect::<anyhow::Result<_>>()?;
    Ok(Comparison {
        title: file.title.clone(),
        run,
        commit: commit(&args.file),
        subject: file.subject.clone().filter(|subject| targets.iter().any(|target| target.name == *subject)),
        cores: file.cores.clone(),
        pairs: file.pairs.into(),
        seconds: file.each.as_secs_f64(),
        targets,
        scenarios,
        warnings,
    })
}

/// A command line without what the words of a file stand for, and where results go: paths, of this machine alone.
fn without_paths(words: Vec<String>) -> Vec<String> {
    let (mut shown, mut words) = (Vec::new(), words.into_iter().peekable());
    while let Some(word) = words.next() {
        let (option, value) =
            word.split_once('=').map_or((word.as_str(), None), |(option, _)| (option, Some(())));
        if !["--set", "--json", "--html"].contains(&option) {
            shown.push(word);
        } else if value.is_none() {
            // Its value is the next word, if that is none of the options.
            let _ = words.next_if(|next| !next.starts_with("--"));
        }
    }
    shown
}

/// Has the command line's word before the file's, and leaves only what is to be measured.
fn settle(file: &mut File, args: &CompareArgs, program: &Path) -> anyhow::Result<()> {
    file.pairs = args.pairs.unwrap_or(file.pairs);
    file.each = args.duration.unwrap_or(file.each);
    file.attempts = args.attempts.unwrap_or(file.attempts);
    file.patience = args.patience.unwrap_or(file.patience);
    file.cores = args.cores.clone().unwrap_or_else(|| file.cores.clone());
    file.set.insert("load".to_owned(), program.display().to_string());
    for set in &args.set {
        let (name, text) =
            set.split_once('=').with_context(|| format!("--set {set}: write --set NAME=TEXT"))?;
        file.set.insert(name.to_owned(), text.to_owned());
    }
    let known: Vec<&str> = file.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    for name in &args.scenario {
        ensure!(known.contains(&name.as_str()), "no scenario {name:?}; there are {}", known.join(", "));
    }
    let known: Vec<&str> = file.targets.iter().map(|target| target.name.as_str()).collect();
    for name in &args.target {
        ensure!(known.contains(&name.as_str()), "no target {name:?}; there are {}", known.join(", "));
    }
    file.scenarios.retain(|scenario| args.scenario.is_empty() || args.scenario.contains(&scenario.name));
    file.targets.retain(|target| {
        let is_named = args.target.contains(&target.name);
        let is_chosen = is_named || args.target.is_empty() || target.control;
        is_chosen && (is_named || !target.control || !args.no_controls)
    });
    // Of those that are left, only whoever has something to do.
    let scenarios = &file.scenarios;
    file.targets.retain(|target| scenarios.iter().any(|scenario| scenario.takes(&target.name)));
    ensure!(!file.targets.is_empty(), "none of these targets is measured in any of these scenarios");
    Ok(())
}

fn versions(file: &File) -> anyhow::Result<Vec<About>> {
    let mut words = Words::default();
    for (name, text) in &file.set {
        let text = words.fill(text)?;
        words.set(name, text);
    }
    let about = |target: &file::Recipe| {
        let command = words.clone().fill_all(&target.version)?;
        let version = if command.is_empty() { String::new() } else { process::first_line(&command)? };
        Ok(About { name: target.name.clone(), version, is_control: target.control })
    };
    file.targets.iter().map(about).collect()
}

/// The commit of the repository that a file lies in; empty where it lies in none.
fn commit(file: &Path) -> String {
    let directory = file.parent().filter(|directory| *directory != Path::new("")).unwrap_or(Path::new("."));
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args(["describe", "--always", "--dirty"]);
    let said = git.output().ok().filter(|done| done.status.success()).map(|done| done.stdout);
    String::from_utf8_lossy(&said.unwrap_or_default()).trim_end().to_owned()
}

/// A directory that goes when this does.
struct Directory(PathBuf);

impl Directory {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("selat-load-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_paths() {
        let shown = |line: &str| without_paths(line.split(' ').map(str::to_owned).collect()).join(" ");
        for (line, expected) in [
            ("compare a.toml --pairs 3 --set x=y --json a.json --html a.html", "compare a.toml --pairs 3"),
            ("compare a.toml --json --pairs 3 --set=x=y --json=a.json", "compare a.toml --pairs 3"),
            ("compare a.toml --json", "compare a.toml"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }
}
