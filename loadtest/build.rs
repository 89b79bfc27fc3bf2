//! Tells the program which commit it is built of, so that what it measures can be found again.

use std::process::Command;

fn main() {
    let commit = git(&["describe", "--always", "--exclude=*", "--dirty"]);
    let commit = commit.map_or_else(String::new, |commit| format!(" ({commit})"));
    println!("cargo::rustc-env=VERSION={}{commit}", env!("CARGO_PKG_VERSION"));
    // What makes it another commit, or another tree than that of the commit.
    let head = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]);
    for path in ["src", "../src"].map(str::to_owned).into_iter().chain(head) {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// What git says; nothing where there is none, as in a package of sources.
fn git(args: &[&str]) -> Option<String> {
    let done = Command::new("git").args(args).output().ok().filter(|done| done.status.success())?;
    Some(String::from_utf8(done.stdout).ok()?.trim_end().to_owned())
}
