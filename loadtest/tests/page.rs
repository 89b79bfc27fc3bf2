//! Pages made of a template and results, the project's own among them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::capture;

/// A copy of the project's template and results, which goes when the test ends.
struct Docs(PathBuf);

impl Docs {
    fn copy(name: &str) -> Self {
        let copy =
            Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id())));
        fs::create_dir_all(copy.0.join("benchmarks")).expect("it is ours");
        for entry in fs::read_dir(docs().join("benchmarks")).expect("results") {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|kind| kind != "svg") {
                let name = path.file_name().expect("a file has a name");
                fs::copy(&path, copy.0.join("benchmarks").join(name)).expect("it is ours");
            }
        }
        copy
    }

    fn make(&self) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selat-load"));
        command.arg("page").arg(self.0.join("benchmarks/page.md")).arg(self.0.join("benchmarks.md"));
        let (code, _, errors) = capture(command);
        (code, errors)
    }
}

impl Drop for Docs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_page_of_benchmarks_is_what_template_and_results_give() {
    let copy = Docs::copy("same");
    let (code, errors) = copy.make();
    assert_eq!(code, 0, "{errors}");
    let names = fs::read_dir(copy.0.join("benchmarks")).unwrap().map(|entry| entry.unwrap().file_name());
    let plots = names.filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "svg"));
    let plots = plots.map(|name| Path::new("benchmarks").join(name));
    for file in plots.chain([PathBuf::from("benchmarks.md")]) {
        let made = fs::read_to_string(copy.0.join(&file)).unwrap();
        let kept = fs::read_to_string(docs().join(&file)).unwrap_or_default();
        assert!(made == kept, "docs/{} is not up to date: run scripts/benchmarks-page", file.display());
    }
}

#[test]
fn what_a_template_asks_for_and_is_not_there_is_said_with_its_line() {
    let copy = Docs::copy("wrong");
    for (asked, what) in [
        ("{{tables nothing}}", "nothing.json"),
        ("{{tabels placement}}", "write {{about NAME}}"),
        ("{{tables placement}}", "is something else"),
    ] {
        fs::write(copy.0.join("benchmarks/page.md"), format!("# Title\n\n{asked}\n")).unwrap();
        let (code, errors) = copy.make();
        assert!(code == 2 && errors.contains("page.md:3") && errors.contains(what), "{asked}: {errors}");
    }
}
