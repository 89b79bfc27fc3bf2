//! The order of measurements, and those that have to be repeated.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::attention::Attention;
use super::cores::Cores;
use super::file::{Arm, File, Recipe, Scenario, Source};
use super::load::Load;
use super::process::{Place, Server};
use super::quiet::Patience;
use crate::comparison::{Base, Measured, Pass, Scenario as Compared};
use crate::record::{Record, Unit};
use crate::report::text::short;

/// What a comparison has of the machine.
pub(super) struct Room<'a> {
    pub(super) attention: &'a Attention,
    /// The cores that there are, and those of them that are no target's.
    pub(super) allowed: &'a Cores,
    pub(super) others: &'a Cores,
    pub(super) directory: &'a Path,
}

/// What every measurement needs.
pub(super) struct Bench<'a> {
    source: &'a Source,
    file: &'a File,
    room: Room<'a>,
    program: PathBuf,
    patience: Patience,
}

/// What a target and what stands behind it are, while they run.
struct Scene {
    backends: Vec<Server>,
    targets: Vec<Server>,
}

/// What a scenario has come to so far.
struct Found {
    unit: Unit,
    command_line: Vec<String>,
    /// For each target its passes, those of its base, and of each pass p50 and curve.
    results: Vec<(Measured, Vec<Curve>)>,
}

/// The latency of one pass, by which the one in the middle is found.
struct Curve {
    p50: f64,
    points: Vec<(f64, f64)>,
}

impl<'a> Bench<'a> {
    /// Nothing measured yet.
    pub(super) fn new(source: &'a Source, file: &'a File, room: Room<'a>, program: PathBuf) -> Self {
        Self { source, file, room, program, patience: Patience::new(file.patience) }
    }

    /// Measures every target in one scenario.
    ///
    /// # Errors
    /// Something does not start, or we are to end.
    pub(super) fn measure(&mut self, scenario: &Scenario) -> anyhow::Result<Compared> {
        let targets: Vec<&Recipe> =
            self.file.targets.iter().filter(|target| scenario.takes(&target.name)).collect();
        let mut arms = vec![self.source.arm(self.file, scenario, None)?];
        if let Some(base) = &scenario.base {
            arms.push(self.source.arm(self.file, scenario, Some(base))?);
        }
        // Arms may differ in how targets are started, so that each measurement starts them.
        let is_fresh = scenario.fresh || arms.len() > 1 || scenario.kill.is_some();
        let mut standing = match arms.first() {
            Some(arm) if !is_fresh => Some(self.start(scenario, arm, &targets)?),
            Some(_) | None => None,
        };
        if let (Some(share), Some(scene), Some(arm)) = (scenario.share, &mut standing, arms.first_mut()) {
            let rate = self.slowest(scenario, arm, scene)? * share;
            arm.words.extend(["--rate".to_owned(), format!("{rate:.0}")]);
        }
        let mut found = Found::nothing(&targets);
        let turns: Vec<(usize, usize)> =
            (0..targets.len()).flat_map(|target| (0..arms.len()).map(move |arm| (target, arm))).collect();
        for pair in 0..self.file.pairs {
            let order: Vec<_> =
                if pair.is_multiple_of(2) { turns.clone() } else { turns.iter().rev().copied().collect() };
            for (at, base) in order {
                let (Some(target), Some(arm)) = (targets.get(at), arms.get(base)) else { continue };
                let (pass, record) =
                    self.attempt(scenario, arm, target, standing.as_mut().map(|scene| (scene, at)))?;
                say(
                    scenario,
                    &format!(
                        "{}/{} {}{}",
                        pair + 1,
                        self.file.pairs,
                        target.name,
                        if base > 0 { " base" } else { "" }
                    ),
                    &pass,
                );
                found.add(at, base, pass, record);
            }
        }
        if let Some(scene) = standing {
            scene.end()?;
        }
        Ok(found.finished(scenario))
    }

    fn start(&self, scenario: &Scenario, arm: &Arm, targets: &[&Recipe]) -> anyhow::Result<Scene> {
        let recipe = match &scenario.backend {
            Some(name) => self.file.backends.iter().find(|backend| backend.name == *name.get_ref()),
            None => self.file.backends.first(),
        };
        let mut place = Place {
            directory: self.room.directory,
            cores: self.room.others,
            others: self.room.others,
            attention: self.room.attention,
        };
        let mut words = arm.filled.clone();
        let mut backends = Vec::new();
        for copy in 1..=recipe.map_or(0, |_| scenario.copies) {
            let backend = Server::start(recipe.context("counted above")?, arm.filled.clone(), &place)?;
            if copy == 1 {
                words.set("backend", &backend.address);
            }
            words.set(format!("backend.{copy}"), &backend.address);
            backends.push(backend);
        }
        let cores = Cores::parse(&arm.cores, self.room.allowed)?;
        place.cores = &cores;
        let start = |target: &&Recipe| Server::start(target, words.clone(), &place);
        let targets = targets.iter().map(start).collect::<anyhow::Result<_>>()?;
        Ok(Scene { backends, targets })
    }

    /// The rate of the slowest competitor under a load that waits for answers.
    fn slowest(&mut self, scenario: &Scenario, arm: &Arm, scene: &mut Scene) -> anyhow::Result<f64> {
        let mut slowest = f64::INFINITY;
        for at in 0..scene.targets.len() {
            let target = scene.targets.get(at).context("counted above")?;
            let recipe = self.file.targets.iter().find(|recipe| recipe.name == target.name());
            let Some(recipe) = recipe.filter(|recipe| !recipe.control) else { continue };
            let (pass, _) = self.attempt(scenario, arm, recipe, Some((scene, at)))?;
            say(scenario, &format!("how fast is {}?", recipe.name), &pass);
            if pass.error.is_none() {
                slowest = slowest.min(pass.rate);
            }
        }
        anyhow::ensure!(
            slowest.is_finite(),
            "{}: no target could be measured, of whose rate to take a share",
            scenario.name
        );
        Ok(slowest)
    }

    /// A measurement, undisturbed if one of a few attempts is; stolen time spoils it for good.
    fn attempt(
        &mut self,
        scenario: &Scenario,
        arm: &Arm,
        target: &Recipe,
        mut standing: Option<(&mut Scene, usize)>,
    ) -> anyhow::Result<(Pass, Option<Record>)> {
        let mut last = (Pass::failed("never tried"), None);
        for left in (0..self.file.attempts).rev() {
            self.patience.wait(self.room.attention)?;
            last = match &mut standing {
                Some((scene, at)) => self.once(scenario, arm, (scene, *at))?,
                None => self.freshly(scenario, arm, target)?,
            };
            let Some(disturbance) = &last.0.disturbance else { break };
            if left > 0 {
                eprintln!("{}: once more, since {disturbance}", scenario.name);
            }
        }
        last.0.settle();
        Ok(last)
    }

    fn freshly(
        &self,
        scenario: &Scenario,
        arm: &Arm,
        target: &Recipe,
    ) -> anyhow::Result<(Pass, Option<Record>)> {
        let mut scene = self.start(scenario, arm, &[target])?;
        let measured = self.once(scenario, arm, (&mut scene, 0))?;
        Ok(match scene.end() {
            Ok(()) => measured,
            Err(error) if measured.0.error.is_none() => (Pass::failed(format!("{error:#}")), None),
            Err(_) => measured,
        })
    }

    fn once(
        &self,
        scenario: &Scenario,
        arm: &Arm,
        (scene, at): (&mut Scene, usize),
    ) -> anyhow::Result<(Pass, Option<Record>)> {
        let target = scene.targets.get(at).context("a scene has all of its targets")?;
        let recipe = self.file.targets.iter().find(|recipe| recipe.name == target.name());
        let mut load = Load {
            file: self.file,
            scenario,
            arm,
            recipe: recipe.context("it was started by a recipe")?,
            target,
            backends: &mut scene.backends,
        };
        load.give(&self.program, self.room.directory, self.room.attention)
    }
}

impl Scene {
    fn end(mut self) -> anyhow::Result<()> {
        // Whoever is in front goes first, so that nobody loses what is behind.
        self.targets.clear();
        self.backends.into_iter().try_for_each(Server::end)
    }
}

impl Found {
    fn nothing(targets: &[&Recipe]) -> Self {
        let nothing = |target: &&Recipe| {
            let target = target.name.clone();
            (Measured { target, passes: Vec::new(), base: Vec::new(), curve: Vec::new() }, Vec::new())
        };
        let results = targets.iter().map(nothing).collect();
        Self { unit: Unit::Message, command_line: Vec::new(), results }
    }

    fn add(&mut self, at: usize, base: usize, pass: Pass, record: Option<Record>) {
        let Some((measured, curves)) = self.results.get_mut(at) else { return };
        if base > 0 {
            measured.base.push(pass);
            return;
        }
        measured.passes.push(pass);
        let Some(record) = record else { return };
        if let Some(felt) = record.latency.felt() {
            curves.push(Curve { p50: felt.p50, points: felt.curve.clone() });
        }
        self.unit = record.unit;
        if self.command_line.is_empty() {
            self.command_line = record.run.command_line;
        }
    }

    fn finished(self, scenario: &Scenario) -> Compared {
        let finished = |(mut measured, mut curves): (Measured, Vec<Curve>)| {
            curves.sort_by(|one, other| one.p50.total_cmp(&other.p50));
            let middle = curves.len() / 2;
            measured.curve = curves.into_iter().nth(middle).map(|curve| curve.points).unwrap_or_default();
            measured
        };
        Compared {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            metric: scenario.metric,
            unit: self.unit,
            command_line: self.command_line,
            at_most: scenario.at_most.iter().map(|(name, most)| (name.get_ref().clone(), *most)).collect(),
            most: scenario.most,
            is_broken: scenario.kill.is_some(),
            base: scenario.base.as_ref().map(|base| Base { title: base.title.clone(), within: base.within }),
            results: self.results.into_iter().map(finished).collect(),
        }
    }
}

/// One line about a measurement, for whoever waits.
fn say(scenario: &Scenario, what: &str, pass: &Pass) {
    let figure = match (&pass.error, pass.figure(scenario.metric)) {
        (Some(error), _) => error.clone(),
        (None, Some(figure)) => short(figure),
        (None, None) => String::new(),
    };
    let faults = if pass.faults > 0 { format!(", {} FAULTS", pass.faults) } else { String::new() };
    eprintln!("{} {what:<24} {figure}, {}/s{faults}", scenario.name, short(pass.rate));
}
