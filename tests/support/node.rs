//! Node.js and the libraries that `tests/node/package.json` names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::python::{Script, run};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node");

const NEEDS: &str = "these tests need node and npm, and the npm registry at their first run";

/// Starts a script.
pub(crate) fn start(name: &str, arguments: &[&str]) -> Script {
    let mut command = Command::new("node");
    command.arg(format!("{SCRIPTS}/{name}")).args(arguments).env("NODE_PATH", modules());
    Script::spawn(command)
}

/// Where the libraries are; installed at the first use.
fn modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        let wanted = fs::read(format!("{SCRIPTS}/package-lock.json")).expect("it is in the repository");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
        // Written last, so that what stands beside it is whole.
        let stamp = directory.join("stamp");
        if fs::read(&stamp).ok().as_ref() != Some(&wanted) {
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory).expect("it is ours");
            for file in ["package.json", "package-lock.json"] {
                fs::copy(format!("{SCRIPTS}/{file}"), directory.join(file)).expect("it is ours");
            }
            let mut npm = Command::new("npm");
            // Scripts would only build what makes it faster.
            npm.args(["ci", "--omit", "optional", "--ignore-scripts", "--no-audit", "--no-fund"]);
            run(npm.current_dir(&directory), NEEDS);
            fs::write(&stamp, wanted).expect("it is ours");
        }
        directory.join("node_modules")
    })
}
