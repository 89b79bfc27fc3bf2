//! A new configuration in place of the one in force: what it changes, and what it cannot.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::admin::ReloadReport;
use super::registry::Addresses;
use super::resolve::resolve_all;
use crate::config::{BackendUrl, Config, Mistake};
use crate::telemetry::{ConfigStatus, ReloadStatus};

/// How often the files that the configuration names (keys, certificates of tokens) are looked at for changes.
const LOOK_AT_FILES_EVERY: Duration = Duration::from_secs(2);

/// How long all new names together may take to be resolved: less than who asks through the admin interface waits.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(8);

/// Where a configuration came from, and will come from again.
pub struct Origin {
    /// The file, as the user named it; `None` if it came from flags.
    pub(super) file: Option<String>,
    files: Files,
    load: Load,
}

/// Reads a configuration again; or says every mistake in it, a line each.
type Load = Box<dyn Fn() -> Result<Loaded, String> + Send>;

/// Files, as they were at some time.
type Files = Vec<(PathBuf, Option<SystemTime>)>;

impl Origin {
    /// For a configuration that has just been read, and named these files: a change from here on is noticed.
    pub fn new(
        file: Option<String>,
        files: &[PathBuf],
        load: impl Fn() -> Result<Loaded, String> + Send + 'static,
    ) -> Self {
        let files = files.iter().map(|file| (file.clone(), modified(file))).collect();
        Self { file, files, load: Box::new(load) }
    }
}

/// A configuration that has been read.
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The files that it names, whose changes count as its own.
    pub files: Vec<PathBuf>,
    /// What is odd about it.
    pub warnings: Vec<Mistake>,
}

/// Which configuration is in force, and what came of the last attempt to change it.
pub(super) struct Generation {
    number: u64,
    file: Option<String>,
    last: Option<(Instant, Option<String>)>,
}

impl Generation {
    pub(super) fn first(file: Option<String>) -> Self {
        Self { number: 1, file, last: None }
    }

    pub(super) fn status(&self, now: Instant) -> ConfigStatus {
        let status = |(at, error): &(Instant, Option<String>)| ReloadStatus {
            seconds_ago: now.saturating_duration_since(*at).as_secs_f64(),
            error: error.clone(),
        };
        ConfigStatus {
            generation: self.number,
            file: self.file.clone(),
            last_reload: self.last.as_ref().map(status),
        }
    }

    pub(super) fn handle_applied(&mut self, changes: Vec<String>, now: Instant) -> ReloadReport {
        self.number += 1;
        self.last = Some((now, None));
        ReloadReport { generation: self.number, changes }
    }

    pub(super) fn handle_failed(&mut self, error: String, now: Instant) {
        self.last = Some((now, Some(error)));
    }
}

/// Who wants to hear what came of a reload.
pub(super) type Reply = oneshot::Sender<Result<ReloadReport, String>>;

/// The reload under way, of which there is one at most: the names that are new are being resolved.
pub(super) struct Reloads {
    origin: Option<Origin>,
    pending: Option<Pending>,
    watched: Watched,
}

struct Pending {
    loaded: Loaded,
    watched: Watched,
    resolving: JoinHandle<Result<Addresses, String>>,
    replies: Vec<Reply>,
}

/// A reload that can be applied, or the reason why not; and who wants to hear of it.
pub(super) struct Finished {
    pub(super) result: Result<(Loaded, Addresses), String>,
    pub(super) replies: Vec<Reply>,
}

impl Reloads {
    pub(super) fn new(origin: Option<Origin>, now: Instant) -> Self {
        let files = origin.as_ref().map(|origin| origin.files.clone()).unwrap_or_default();
        Self { watched: Watched { files, look_at: now + LOOK_AT_FILES_EVERY }, origin, pending: None }
    }

    /// Reads the file, and begins to resolve what is new in it. Says at once what is wrong with it.
    ///
    /// # Errors
    /// For people; nothing has begun.
    pub(super) fn begin(&mut self, current: &Config) -> Result<(), String> {
        let Some(origin) = &self.origin else {
            return Err(
                "this selat was started without a configuration file; start it with `selat run -c FILE`"
                    .to_owned(),
            );
        };
        // As they are before they are read: a change from here on is one to be read again for.
        let before = self.watched.again();
        let loaded = (origin.load)()?;
        let watched = before.of(&loaded.files);
        check_unchangeable(current, &loaded.config)?;
        let known: HashSet<_> = lines(current).collect();
        let new = lines(&loaded.config).filter(|line| !known.contains(line)).map(|(_, url)| url.clone());
        let new: Vec<_> = new.collect();
        let resolving = tokio::spawn(resolve(new));
        self.pending = Some(Pending { loaded, watched, resolving, replies: Vec::new() });
        Ok(())
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.pending.is_some()
    }

    /// Has somebody told what comes of the reload under way.
    pub(super) fn tell(&mut self, reply: Option<Reply>) {
        if let Some(pending) = &mut self.pending {
            pending.replies.extend(reply);
        }
    }

    /// The end of the reload under way; never, while there is none.
    ///
    /// # Cancel safety
    /// Safe: it is still under way then.
    pub(super) async fn next(&mut self) -> Finished {
        let Some(pending) = &mut self.pending else { return std::future::pending().await };
        let resolved = (&mut pending.resolving).await;
        let resolved =
            resolved.unwrap_or_else(|_| Err("resolving the backends failed; try again".to_owned()));
        let Some(Pending { loaded, watched, replies, .. }) = self.pending.take() else {
            return std::future::pending().await;
        };
        if resolved.is_ok() {
            self.watched = watched;
        }
        Finished { result: resolved.map(|addresses| (loaded, addresses)), replies }
    }

    /// Whether a file that the configuration names has changed since it was read. Looks now and then only.
    pub(super) fn has_changed_files(&mut self, now: Instant) -> bool {
        self.pending.is_none() && self.watched.look(now)
    }
}

/// The files that a configuration names, as they were when it was read.
struct Watched {
    files: Files,
    look_at: Instant,
}

impl Watched {
    /// The same files as they are now.
    fn again(&self) -> Self {
        let files = self.files.iter().map(|(file, _)| (file.clone(), modified(file)));
        Self { files: files.collect(), look_at: self.look_at }
    }

    /// Other files: those among ours as they were, new ones as they are now.
    fn of(&self, files: &[PathBuf]) -> Self {
        let known = |file: &PathBuf| self.files.iter().find(|(known, _)| known == file).map(|(_, at)| *at);
        let files = files.iter().map(|file| (file.clone(), known(file).unwrap_or_else(|| modified(file))));
        Self { files: files.collect(), look_at: self.look_at }
    }

    /// Each change is told once.
    fn look(&mut self, now: Instant) -> bool {
        if self.files.is_empty() || now < self.look_at {
            return false;
        }
        self.look_at = now + LOOK_AT_FILES_EVERY;
        let mut has_changed = false;
        for (file, at) in &mut self.files {
            let modified = modified(file);
            has_changed |= *at != modified;
            *at = modified;
        }
        has_changed
    }
}

fn modified(file: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// Every line of every pool: a pool that is new knows no addresses, though another may have the same backends.
fn lines(config: &Config) -> impl Iterator<Item = (&str, &BackendUrl)> {
    config.pools.iter().flat_map(|pool| pool.backends.iter().map(|backend| (&*pool.name, &backend.url)))
}

/// Where these names point.
///
/// # Cancel safety
/// Safe.
async fn resolve(urls: Vec<BackendUrl>) -> Result<Addresses, String> {
    let all = async {
        let mut addresses = Addresses::new();
        for url in urls {
            let found = resolve_all(&url).await.map_err(|error| error.to_string())?;
            addresses.insert(url, found);
        }
        Ok(addresses)
    };
    let timed_out = || format!("resolving the new backends took longer than {RESOLVE_TIMEOUT:?}; try again");
    tokio::time::timeout(RESOLVE_TIMEOUT, all).await.unwrap_or_else(|_| Err(timed_out()))
}

/// What holds for the whole process from its start: sockets, threads and log files.
fn check_unchangeable(current: &Config, new: &Config) -> Result<(), String> {
    let mut pairs = current.listeners.iter().zip(&new.listeners);
    let are_alike =
        current.listeners.len() == new.listeners.len() && pairs.all(|(old, new)| old.is_like(new));
    let changes = [
        (!are_alike, "[listen]"),
        (current.cores != new.cores, "cores"),
        (current.placement != new.placement, "placement"),
        (current.limits != new.limits, "max_connections"),
        (current.handover != new.handover, "handover"),
        (current.admin != new.admin, "[admin]"),
        (current.log != new.log, "[log]"),
    ];
    let changed: Vec<_> =
        changes.into_iter().filter_map(|(has_changed, what)| has_changed.then_some(what)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} cannot change while selat runs: start it anew (scripts/upgrade loses no connection)",
        changed.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again() {
        let name = |name: &str| std::env::temp_dir().join(format!("selat-{}-{name}", std::process::id()));
        let [keys, users] = [name("watched-keys"), name("watched-users")];
        for file in [&keys, &users] {
            fs::write(file, "").unwrap();
        }
        let now = crate::control::now();
        let files = vec![(keys.clone(), modified(&keys))];
        let first = Watched { files, look_at: now + LOOK_AT_FILES_EVERY };
        let before = first.again();
        // Here it is being read, together with one that is new.
        let later = SystemTime::now() + Duration::from_secs(60);
        File::options().write(true).open(&keys).unwrap().set_modified(later).unwrap();
        let mut watched = before.of(&[keys.clone(), users.clone()]);
        assert!(!watched.look(now), "it does not look that often");
        let at = now + LOOK_AT_FILES_EVERY;
        assert!(watched.look(at));
        assert!(!watched.look(at + LOOK_AT_FILES_EVERY), "each change is told once");
        fs::remove_file(&users).unwrap();
        assert!(watched.look(at + 2 * LOOK_AT_FILES_EVERY), "a file that is gone has changed");
        fs::remove_file(&keys).unwrap();
    }
}
