//! One measurement: this program as a client of the target, in a process of its own.

use std::fs::{self, File as Output};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::attention::Attention;
use super::file::{Arm, File, Handshakes, Recipe, Scenario};
use super::options;
use super::process::Server;
use crate::clock;
use crate::comparison::Pass;
use crate::record::Record;

/// What opening, warming up, draining and closing may take beside the measurement.
const GRACE: Duration = Duration::from_secs(150);

/// Between two looks at whether the load has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The share of handshakes that may be others than asked for, beside the first of each place, which has no session to
/// resume.
const OTHER_HANDSHAKES_MAX: f64 = 0.02;

/// What is measured with what.
pub(super) struct Load<'a> {
    pub(super) file: &'a File,
    pub(super) scenario: &'a Scenario,
    pub(super) arm: &'a Arm,
    pub(super) recipe: &'a Recipe,
    pub(super) target: &'a Server,
    pub(super) backends: &'a mut [Server],
}

impl Load<'_> {
    /// Starts the load, waits for its end, and judges what it says.
    ///
    /// # Errors
    /// It cannot be started, or we are to end.
    pub(super) fn give(
        &mut self,
        program: &Path,
        directory: &Path,
        attention: &Attention,
    ) -> anyhow::Result<(Pass, Option<Record>)> {
        let own = self.target.pids()?;
        let (json, said) = (directory.join("load.json"), directory.join("load.said"));
        let _ = fs::remove_file(&json);
        let mut command = Command::new(program);
        command.args(self.words(&own)?).arg("--json").arg(&json);
        let output = Output::create(&said).with_context(|| format!("cannot write {}", said.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let mut child = Ended(command.spawn().context("cannot start the load")?);
        let Some(status) = self.watched(&mut child.0, attention)? else {
            return Ok((Pass::failed("the load did not end"), None));
        };
        if !matches!(status.code(), Some(0 | 1)) {
            let said = fs::read_to_string(&said).unwrap_or_default();
            let why = said.trim().lines().last().unwrap_or("the load failed").to_owned();
            return Ok((Pass::failed(why.trim_start_matches("selat-load: ")), None));
        }
        let text = fs::read_to_string(&json).context("the load wrote nothing")?;
        let mut record: Record = serde_json::from_str(&text).context("the load wrote something else")?;
        // Where it was to write is of no interest to anybody else.
        record.run.command_line.truncate(record.run.command_line.len().saturating_sub(2));
        record.run.command_line.iter_mut().for_each(|word| self.hide_path(word));
        if let Some(error) = self.other_tls(&record) {
            return Ok((Pass::failed(error), None));
        }
        Ok((Pass::of(&record, own.len()), Some(record)))
    }

    /// The command line. Processes of the target come first among those that are watched.
    fn words(&self, own: &[u32]) -> anyhow::Result<Vec<String>> {
        let (command, options) = self.arm.words.split_first().context("an arm has a command")?;
        let for_target =
            options::words(command, &self.recipe.options, &self.arm.filled).map_err(|wrong| {
                anyhow::anyhow!("options of {}: {}: {}", self.recipe.name, wrong.key, wrong.what)
            })?;
        let mut words = vec![command.clone(), self.target.url.clone()];
        words.extend_from_slice(options);
        words.extend(for_target);
        words.extend([
            "--for".to_owned(),
            humantime::format_duration(self.file.each).to_string().replace(' ', ""),
        ]);
        let mut pids = own.to_vec();
        for backend in self.backends.iter() {
            pids.extend(backend.pids()?);
        }
        words.extend(pids.into_iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]));
        Ok(words)
    }

    /// Has a path that a placeholder stood for be that again.
    fn hide_path(&self, word: &mut String) {
        let mut sets = self.file.set.iter();
        if let Some((name, _)) = sets.find(|(_, text)| text.contains('/') && *text == word) {
            *word = format!("{{{name}}}");
        }
    }

    /// How the load ended; none if it did not. On the way kills who is to be killed.
    fn watched(&mut self, child: &mut Child, attention: &Attention) -> anyhow::Result<Option<ExitStatus>> {
        let began = clock::now();
        let mut kill = self.scenario.kill;
        while began.elapsed() < self.file.each + GRACE {
            if let Some(status) = child.try_wait().context("cannot wait for the load")? {
                return Ok(Some(status));
            }
            if let Some(due) = kill.filter(|kill| is_due(began, kill.after)) {
                kill = None;
                let at = usize::try_from(due.copy)?.saturating_sub(1);
                self.backends.get_mut(at).context("there are fewer copies to kill")?.kill();
            }
            attention.wait(LOOK)?;
        }
        Ok(None)
    }

    /// What is wrong with the TLS that was spoken.
    fn other_tls(&self, record: &Record) -> Option<String> {
        if !self.target.url.starts_with("wss:") {
            return None;
        }
        let tls = record.tls.as_ref()?;
        if let Some(wanted) = &self.file.speaks
            && !(tls.suites.len() == 1 && tls.suites.contains_key(wanted))
        {
            let spoken = tls.suites.keys().cloned().collect::<Vec<_>>().join(", ");
            return Some(format!("{spoken} was spoken and not {wanted}"));
        }
        let (wanted, others) = match self.scenario.handshakes? {
            Handshakes::Full => ("full", tls.handshakes_resumed),
            Handshakes::Resumed => ("resumed", tls.handshakes_full),
        };
        let all = tls.handshakes_full + tls.handshakes_resumed;
        let places = record.settings.get("concurrency").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let most = crate::wire::float(all).mul_add(OTHER_HANDSHAKES_MAX, crate::wire::float(places));
        (crate::wire::float(others) > most).then(|| format!("{others} of {all} handshakes were not {wanted}"))
    }
}

fn is_due(began: Instant, after: Duration) -> bool {
    began.elapsed() >= after
}

/// A load that ends when this is dropped, if it has not yet.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
