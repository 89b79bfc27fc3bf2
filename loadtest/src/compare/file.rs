//! A scenario file: what is compared, with which loads, and what is aimed at. Errors name the line and a remedy.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde::de::Error as _;
use toml::{Spanned, Table};

use super::fill::Words;
use super::options;
use crate::comparison::{BEST, Bound, Metric};

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    /// What is compared, in a line.
    pub(super) title: String,
    /// The target whose ratios to the others are shown.
    pub(super) subject: Option<String>,
    /// The cores of targets: `1` or `0-3,6`. Everything else has the others.
    #[serde(default = "first_but_one")]
    pub(super) cores: String,
    /// How often each target is measured in each scenario.
    #[serde(default = "six")]
    pub(super) pairs: u32,
    /// How long each time.
    #[serde(default = "five_seconds", rename = "for", deserialize_with = "duration")]
    pub(super) each: Duration,
    /// How often a disturbed measurement is tried.
    #[serde(default = "five")]
    pub(super) attempts: u32,
    /// How long to wait in all for other programs to be idle.
    #[serde(default = "two_minutes", deserialize_with = "duration")]
    pub(super) patience: Duration,
    /// What must be spoken where a target's URL is wss://: version, cipher suite and key exchange.
    pub(super) speaks: Option<String>,
    /// What stands for placeholders.
    #[serde(default)]
    pub(super) set: BTreeMap<String, String>,
    #[serde(default, rename = "backend")]
    pub(super) backends: Vec<Recipe>,
    #[serde(rename = "target")]
    pub(super) targets: Vec<Recipe>,
    #[serde(rename = "scenario")]
    pub(super) scenarios: Vec<Scenario>,
}

/// How something is started, and what to know of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Recipe {
    pub(super) name: String,
    /// Its command; without one it runs already, or is no process at all.
    #[serde(default)]
    pub(super) command: Vec<String>,
    /// Files in a directory of its own, `{dir}`.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// Where clients connect.
    #[serde(default = "its_address")]
    pub(super) url: String,
    /// A command that says which version it is, in the first line.
    #[serde(default)]
    pub(super) version: Vec<String>,
    /// Which processes count.
    #[serde(default)]
    pub(super) pids: Pids,
    /// Commands that run beside it.
    #[serde(default)]
    pub(super) beside: Vec<Vec<String>>,
    /// A line that it must have printed when it has ended.
    pub(super) says: Option<String>,
    /// Options of every load toward it.
    #[serde(default)]
    pub(super) options: Table,
    /// Whether it is there to judge the others by, and no competitor.
    #[serde(default)]
    pub(super) control: bool,
}

/// Which processes of a target count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pids {
    /// The one that was started.
    #[default]
    Own,
    /// Its children, of which there must be one for each core.
    Children,
}

/// One row of the report: a workload, under the name of its command, and who is measured with it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) title: String,
    /// What targets are compared by.
    #[serde(default = "cpu")]
    pub(super) metric: Metric,
    pub(super) echo: Option<Spanned<Table>>,
    pub(super) storm: Option<Spanned<Table>>,
    pub(super) idle: Option<Spanned<Table>>,
    pub(super) feed: Option<Spanned<Table>>,
    /// Who is measured; everybody, unless some are named.
    pub(super) targets: Option<Vec<Spanned<String>>>,
    /// What stands behind them; the first of the file, unless another is named.
    pub(super) backend: Option<Spanned<String>>,
    /// How many of it: `{backend}` is the first, `{backend.2}` the second.
    #[serde(default = "one")]
    pub(super) copies: u32,
    /// Whether each measurement has a target and a backend that were just started.
    #[serde(default)]
    pub(super) fresh: bool,
    /// A backend that is killed during each measurement.
    pub(super) kill: Option<Kill>,
    /// Which TLS handshakes are wanted.
    pub(super) handshakes: Option<Handshakes>,
    /// The rate, as a share of what the slowest target can do in a closed loop.
    #[serde(default, deserialize_with = "share")]
    pub(super) share: Option<f64>,
    #[serde(default)]
    pub(super) set: BTreeMap<String, String>,
    pub(super) cores: Option<String>,
    /// The greatest ratio of the subject to each of these that is aimed at.
    #[serde(default)]
    pub(super) at_most: BTreeMap<Spanned<String>, f64>,
    /// The greatest figure of the subject itself that is aimed at.
    pub(super) most: Option<f64>,
    /// What each target is measured against, instead of the others.
    pub(super) base: Option<Base>,
}

/// The same target under another load.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Base {
    pub(super) title: String,
    #[serde(deserialize_with = "bound")]
    pub(super) within: Bound,
    /// Options that are others than the scenario's.
    pub(super) options: Option<Spanned<Table>>,
    #[serde(default)]
    pub(super) set: BTreeMap<String, String>,
    pub(super) cores: Option<String>,
}

/// The end of a backend.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Kill {
    /// Which of its copies, from 1.
    pub(super) copy: u32,
    /// When, from the beginning of the load.
    #[serde(deserialize_with = "duration")]
    pub(super) after: Duration,
}

/// TLS handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Handshakes {
    Full,
    Resumed,
}

/// A load, ready to be given.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    /// The command, and its options.
    pub(super) words: Vec<String>,
    /// What stands for placeholders, the target's and the backend's own excepted.
    pub(super) filled: Words,
    /// The cores of the target.
    pub(super) cores: String,
}

/// A file that was read.
pub(super) struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name: path.display().to_string(), text })
    }

    /// What it says.
    ///
    /// # Errors
    /// It is not a scenario file, or names what is not there.
    pub(super) fn parse(&self) -> anyhow::Result<File> {
        let file: File = toml::from_str(&self.text)
            .map_err(|error| self.wrong(error.span().map_or(0, |span| span.start), error.message()))?;
        let names = |recipes: &[Recipe]| recipes.iter().map(|recipe| recipe.name.clone()).collect::<Vec<_>>();
        let (targets, backends) = (names(&file.targets), names(&file.backends));
        for scenario in &file.scenarios {
            let competitors = scenario.at_most.keys().filter(|name| name.get_ref() != BEST);
            for name in competitors.chain(scenario.targets.iter().flatten()) {
                self.one_of("target", name, &targets)?;
            }
            if let Some(name) = &scenario.backend {
                self.one_of("backend", name, &backends)?;
            }
            scenario
                .command()
                .map_err(|what| self.wrong(self.place(0..self.text.len(), &scenario.title), what))?;
        }
        let subject = file.subject.as_ref().filter(|subject| !targets.contains(subject));
        if let Some(subject) = subject {
            return Err(
                self.wrong(self.place(0..self.text.len(), subject), &unknown("target", subject, &targets))
            );
        }
        Ok(file)
    }

    /// The load of a scenario, or of its base.
    ///
    /// # Errors
    /// The command does not take an option, or nothing stands for a placeholder.
    pub(super) fn arm(&self, file: &File, scenario: &Scenario, base: Option<&Base>) -> anyhow::Result<Arm> {
        let (command, options) = scenario.command().map_err(anyhow::Error::msg)?;
        let (mut merged, mut span) = (options.get_ref().clone(), options.span());
        let changed = base.and_then(|base| base.options.as_ref());
        merged.extend(changed.into_iter().flat_map(|options| options.get_ref().clone()));
        if let Some(options) = changed {
            span = span.start.min(options.span().start)..span.end.max(options.span().end);
        }
        let mut filled = Words::default();
        let sets = [Some(&file.set), Some(&scenario.set), base.map(|base| &base.set)];
        for (name, text) in sets.into_iter().flatten().flatten() {
            let text = filled.fill(text)?;
            filled.set(name, text);
        }
        let words = options::words(command, &merged, &filled).map_err(|wrong| {
            self.wrong(self.place(span, &wrong.key), &format!("{}: {}", wrong.key, wrong.what))
        })?;
        let cores =
            base.and_then(|base| base.cores.as_ref()).or(scenario.cores.as_ref()).unwrap_or(&file.cores);
        Ok(Arm { words: [vec![command.to_owned()], words].concat(), filled, cores: cores.clone() })
    }

    fn one_of(&self, what: &str, name: &Spanned<String>, known: &[String]) -> anyhow::Result<()> {
        if known.contains(name.get_ref()) {
            return Ok(());
        }
        Err(self.wrong(name.span().start, &unknown(what, name.get_ref(), known)))
    }

    /// Where `word` stands first within `span`; where that begins, if it does not.
    fn place(&self, span: std::ops::Range<usize>, word: &str) -> usize {
        let found = self.text.get(span.clone()).and_then(|text| text.find(word));
        span.start + found.unwrap_or(0)
    }

    fn wrong(&self, at: usize, what: &str) -> anyhow::Error {
        let line = 1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        anyhow::anyhow!("{}:{line}: {what}", self.name)
    }
}

impl Scenario {
    /// Whether a target is measured in it.
    pub(super) fn takes(&self, target: &str) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.iter().any(|name| name.get_ref() == target))
    }

    /// Its command, and the options of that.
    fn command(&self) -> Result<(&'static str, &Spanned<Table>), &'static str> {
        let all = [("echo", &self.echo), ("storm", &self.storm), ("idle", &self.idle), ("feed", &self.feed)];
        let mut said = all.into_iter().filter_map(|(command, options)| Some((command, options.as_ref()?)));
        match (said.next(), said.next()) {
            (Some(said), None) => Ok(said),
            (None, _) => {
                Err("this scenario has no load: add one of `echo`, `storm`, `idle` or `feed`, as `echo = {}`")
            }
            (Some(_), Some(_)) => Err("this scenario has two loads: leave one, or make it two scenarios"),
        }
    }
}

fn unknown(what: &str, name: &str, known: &[String]) -> String {
    format!("there is no {what} \"{name}\"; there are {}", known.join(", "))
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!("{text:?} is no time ({error}); write for instance \"5s\""))
    })
}

fn bound<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bound, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn share<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match percent.filter(|percent| (1.0..=100.0).contains(percent)) {
        Some(percent) => Ok(Some(percent / 100.0)),
        None => Err(D::Error::custom(format!("{text:?} is no share; write for instance \"50%\""))),
    }
}

fn first_but_one() -> String {
    "1".to_owned()
}

fn its_address() -> String {
    "ws://{address}/".to_owned()
}

fn one() -> u32 {
    1
}

fn five() -> u32 {
    5
}

fn six() -> u32 {
    6
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

fn cpu() -> Metric {
    Metric::Cpu
}
