//! Targets and backends: started on a port of their own, waited for, and ended.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::attention::Attention;
use super::cores::Cores;
use super::file::{Pids, Recipe};
use super::fill::Words;
use crate::clock;

/// How long something may take to listen.
const READY: Duration = Duration::from_secs(15);

/// How long something may take to end before it is killed.
const END: Duration = Duration::from_secs(10);

/// Between two looks at something that will happen soon.
const LOOK: Duration = Duration::from_millis(20);

/// A process that was started by a recipe, and those beside it. Ended when dropped.
pub(super) struct Server {
    /// None where there is no command.
    child: Option<Child>,
    beside: Vec<Child>,
    recipe: Recipe,
    cores: usize,
    directory: PathBuf,
    /// Where clients connect.
    pub(super) url: String,
    /// Where it listens; empty where there is no command.
    pub(super) address: String,
}

/// Where something is started.
pub(super) struct Place<'a> {
    /// The directory that gets one for it.
    pub(super) directory: &'a Path,
    /// The cores that it gets, and those that everything else has.
    pub(super) cores: &'a Cores,
    pub(super) others: &'a Cores,
    pub(super) attention: &'a Attention,
}

impl Server {
    /// Starts what `recipe` says, and waits until it listens.
    ///
    /// # Errors
    /// It does not start, or not in time.
    pub(super) fn start(recipe: &Recipe, mut words: Words, place: &Place<'_>) -> anyhow::Result<Self> {
        let directory = place.directory.join(format!("{}-{:08x}", recipe.name, fastrand::u32(..)));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        words.set("dir", directory.display());
        words.set("cores", place.cores);
        words.set("core-count", place.cores.count());
        let mut server = Self {
            child: None,
            beside: Vec::new(),
            recipe: recipe.clone(),
            cores: place.cores.count(),
            directory,
            url: String::new(),
            address: String::new(),
        };
        if !recipe.command.is_empty() {
            server.address = words.fill("127.0.0.1:{port}")?;
            words.set("address", &server.address);
        }
        for (name, text) in &recipe.files {
            let file = server.directory.join(name);
            fs::write(&file, words.fill(text)?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        server.url = words.fill(&recipe.url)?;
        if !recipe.command.is_empty() {
            let command = words.fill_all(&recipe.command)?;
            place.cores.settle()?;
            let child = spawn(&command, &server.log());
            place.others.settle()?;
            server.child = Some(child?);
            server.wait_until_ready(place.attention).with_context(|| {
                format!(
                    "{} said: {}",
                    recipe.name,
                    fs::read_to_string(server.log()).unwrap_or_default().trim_end()
                )
            })?;
        }
        for command in &recipe.beside {
            server.beside.push(spawn(&words.fill_all(command)?, &server.directory.join("beside"))?);
        }
        Ok(server)
    }

    /// Which target or backend it is.
    pub(super) fn name(&self) -> &str {
        &self.recipe.name
    }

    /// The processes whose cost is its own.
    ///
    /// # Errors
    /// They cannot be found.
    pub(super) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let Some(child) = &self.child else { return Ok(Vec::new()) };
        match self.recipe.pids {
            Pids::Own => Ok(vec![child.id()]),
            Pids::Children => {
                let pid = child.id();
                let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
                    .with_context(|| format!("{} has ended", self.recipe.name))?;
                children.split_whitespace().map(|pid| pid.parse().context("not a process id")).collect()
            }
        }
    }

    /// Kills it, as a machine that loses power would. Until [`Self::end`] the kernel knows what it has cost.
    pub(super) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// It did not say at its end what it should.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.terminate();
        let Some(wanted) = &self.recipe.says else { return Ok(()) };
        let said = fs::read_to_string(self.log()).unwrap_or_default();
        ensure!(
            said.lines().any(|line| line == wanted),
            "{} should have said \"{wanted}\" at its end, and said: {}",
            self.recipe.name,
            said.trim_end()
        );
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn wait_until_ready(&mut self, attention: &Attention) -> anyhow::Result<()> {
        let (deadline, address) = (clock::now() + READY, self.address.parse::<SocketAddr>()?);
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!("{} ended at once with {status}", self.recipe.name);
            }
            if TcpStream::connect_timeout(&address, READY).is_ok() && self.has_its_processes()? {
                return Ok(());
            }
            ensure!(clock::now() < deadline, "{} does not listen on {address}", self.recipe.name);
            attention.wait(LOOK)?;
        }
    }

    fn has_its_processes(&self) -> anyhow::Result<bool> {
        let wanted = match self.recipe.pids {
            Pids::Own => 1,
            Pids::Children => self.cores,
        };
        Ok(self.pids()?.len() >= wanted)
    }

    fn terminate(&mut self) {
        for mut child in self.beside.drain(..).chain(self.child.take()) {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            let has_ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
            if !has_ended(&mut child) {
                let _ = kill(pid, Signal::SIGTERM);
                let deadline = clock::now() + END;
                while !has_ended(&mut child) && clock::now() < deadline {
                    std::thread::park_timeout(LOOK);
                }
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Starts a command whose output goes to `log`.
fn spawn(command: &[String], log: &Path) -> anyhow::Result<Child> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = output.try_clone().context("cannot share a file")?;
    let (program, args) = command.split_first().context("a command without a program")?;
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {program}; is it installed?"))
}

/// The first line that a command prints, on whichever output.
///
/// # Errors
/// It does not run.
pub(super) fn first_line(command: &[String]) -> anyhow::Result<String> {
    let (program, args) = command.split_first().context("a command without a program")?;
    let done = Command::new(program).args(args).stdin(Stdio::null()).output();
    let done = done.with_context(|| format!("cannot start {program}; is it installed?"))?;
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(done.status.success(), "{} failed: {}", command.join(" "), said.trim_end());
    Ok(said.lines().next().unwrap_or_default().to_owned())
}
