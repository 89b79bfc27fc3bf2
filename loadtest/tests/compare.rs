//! Comparisons: targets that are started, measured in turn and ended; and files that are wrong.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::capture;

/// A scenario file in a directory of its own, which goes when the test ends.
struct Bench(PathBuf);

impl Bench {
    fn new(name: &str, text: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it is ours");
        fs::write(path.join("bench.toml"), text).expect("it is ours");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Runs it; what it printed as JSON, and what it said.
    fn compare(&self, args: &[&str]) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selat-load"));
        command.arg("compare").arg(self.file("bench.toml")).args(["--patience", "0s", "--attempts", "1"]);
        command.args(["--cores", "0", "--pairs", "2", "--json"]).args(args);
        if !args.contains(&"--for") {
            command.args(["--for", "300ms"]);
        }
        let (code, out, errors) = capture(command);
        (code, serde_json::from_str(&out).unwrap_or(Value::Null), errors)
    }

    fn fails(&self, args: &[&str]) -> String {
        let (code, _, errors) = self.compare(args);
        assert_eq!(code, 2, "{errors}");
        errors
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a comparison found and said, once no time is stolen from it: what that spoils is rightly given up, and tells
/// nothing.
fn whole(mut compare: impl FnMut() -> (i32, Value, String)) -> (Value, String) {
    let mut tries = (0..10).map(|_| compare());
    let is_whole = |(_, _, errors): &(i32, Value, String)| !errors.contains("was stolen");
    let (code, found, errors) = tries.find(is_whole).expect("a machine that is sometimes ours");
    assert_eq!(code, 0, "{errors}");
    (found, errors)
}

const RELAYS: &str = r#"
title = "two relays"
subject = "one"

[[backend]]
name = "echo"
command = ["{load}", "serve", "echo", "{address}"]

[[target]]
name = "one"
command = ["{load}", "serve", "relay", "{address}", "--to", "{backend}"]
version = ["{load}", "--version"]

[[target]]
name = "other"
command = ["sh", "-c", "echo started >> {log}; exec {load} serve relay {address} --to {backend}"]

[[target]]
name = "direct"
control = true
url = "ws://{backend}/"

[[scenario]]
name = "a"
title = "four connections"
echo = { connections = 4, size = "{size}", warmup = "0s" }
set = { size = "32" }
at-most = { other = 100.0, best = 100.0 }

[[scenario]]
name = "b"
title = "eight in flight"
echo = { connections = 4, warmup = "0s", in-flight = 8 }
base = { title = "one", within = ">= 0.01", options = { in-flight = 1 } }
metric = "rate"
targets = ["other"]
"#;

#[test]
fn measures_targets_in_turn_and_reports_ratios() {
    let bench = Bench::new("relays", RELAYS);
    let (log, page) = (bench.file("log"), bench.file("page.html"));
    let (found, errors) = whole(|| {
        let _ = fs::remove_file(&log);
        bench.compare(&["--set", &format!("log={log}"), "--html", &page])
    });
    // Whoever is first in one pass is last in the next; and `other` is started once for all of `a`, each time for `b`.
    let order: Vec<&str> =
        errors.lines().filter_map(|line| line.strip_prefix("a ")?.split_whitespace().nth(1)).collect();
    assert_eq!(order, ["one", "other", "direct", "direct", "other", "one"], "{errors}");
    assert_eq!(fs::read_to_string(log).unwrap().lines().count(), 5);

    let scenario = &found["scenarios"][0];
    for (at, target) in ["one", "other", "direct"].into_iter().enumerate() {
        let result = &scenario["results"][at];
        assert_eq!(result["target"], target);
        for pass in result["passes"].as_array().unwrap() {
            assert!(pass["rate"].as_f64().unwrap() > 0.0 && pass["latency"]["p99"].is_f64(), "{pass}");
            assert_eq!(pass["cpu"].is_null(), target == "direct", "{pass}");
            assert!(pass["backend"].as_f64().unwrap() > 0.0, "{pass}");
            assert!(pass["intervals"][0]["answered"].as_u64().unwrap() > 0, "{pass}");
        }
    }
    assert!(scenario["command_line"].to_string().contains(r#""--size","32""#), "{scenario}");
    assert!(found["targets"][0]["version"].as_str().unwrap().starts_with("selat-load "), "{found}");
    assert_eq!(found["scenarios"][1]["results"][0]["base"].as_array().unwrap().len(), 2);
    assert!(fs::read_to_string(page).unwrap().contains("Latency added over none between"));

    // Shown again, as tables.
    let json = bench.file("found.json");
    fs::write(&json, found.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_selat-load"));
    command.args(["report", &json]);
    let (_, tables, errors) = capture(command);
    for words in ["one / the best", "(≤ 100.00) ✓", "over one (≥ 0.01)", "p50 / p99 / p99.9"] {
        assert!(tables.contains(words), "{words}: {tables} {errors}");
    }
}

const KILLED: &str = r#"
title = "a backend is killed"

[[backend]]
name = "echo"
command = ["{load}", "serve", "echo", "{address}"]

[[target]]
name = "survivor"
command = ["{load}", "serve", "relay", "{address}", "--to", "{backend.2}"]

[[target]]
name = "victim"
url = "ws://{backend.1}/"

[[scenario]]
name = "k"
title = "one of two is killed"
echo = { connections = 2, warmup = "0s", in-flight = 1, reconnect = true }
copies = 2
kill = { copy = 1, after = "700ms" }
metric = "silence"
"#;

#[test]
fn a_backend_is_killed_on_purpose_and_what_it_cost_is_known() {
    let bench = Bench::new("killed", KILLED);
    let (found, _) = whole(|| bench.compare(&["--for", "1500ms"]));
    let passes = |at: usize| found["scenarios"][0]["results"][at]["passes"].as_array().unwrap();
    let (survivor, victim) = (passes(0), passes(1));
    assert!(survivor.iter().all(|pass| pass["failed"] == 0), "{survivor:?}");
    assert!(victim.iter().all(|pass| pass["failed"].as_u64().unwrap() > 2), "{victim:?}");
    // A busy machine may be silent by itself, but not for so long again and again.
    let shortest = |passes: &[Value]| {
        let silences = passes.iter().map(|pass| pass["silence"].as_f64().unwrap());
        silences.fold(f64::INFINITY, f64::min)
    };
    assert!(shortest(survivor) < 0.5 && shortest(victim) > 0.5, "{survivor:?} {victim:?}");
    for pass in survivor.iter().chain(victim) {
        assert!(pass["backend"].as_f64().unwrap() > 0.0, "{pass}");
    }
}

#[test]
fn nothing_outlives_a_comparison_that_is_interrupted() {
    let bench = Bench::new("interrupted", RELAYS);
    let pids = bench.file("pids");
    let mut command = Command::new(env!("CARGO_BIN_EXE_selat-load"));
    command.arg("compare").arg(bench.file("bench.toml")).args([
        "--for",
        "60s",
        "--patience",
        "0s",
        "--cores",
        "0",
    ]);
    command.args(["--set", &format!("log={pids}"), "--scenario", "a"]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    let children = || {
        let pid = child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    // The backend, two targets and the load.
    let mut started = children();
    for _ in 0..3000 {
        if started.len() == 4 {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
        started = children();
    }
    assert_eq!(started.len(), 4, "{started:?}");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(2) && said.contains("interrupted"), "{said}");
    for pid in started {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} runs on");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let rows = [
        ("echo = {", "echos = {", "unknown field `echos`"),
        ("connections = 4, size", "conections = 4, size", "there are no"),
        ("in-flight = 8", "in-flight = 0", "in-flight: invalid value '0'"),
        (
            r#"targets = ["other"]"#,
            r#"targets = ["otter"]"#,
            r#"no target "otter"; there are one, other, direct"#,
        ),
        (r#"at-most = { other"#, r#"at-most = { otter"#, r#"no target "otter""#),
        (r#"within = ">= 0.01""#, r#"within = "0.01""#, r#"write for instance "<= 1.10""#),
        (r#"set = { size = "32" }"#, "", "nothing stands for {size}"),
    ];
    for (right, wrong, what) in rows {
        let text = RELAYS.replacen(right, wrong, 1);
        let line = 1 + text.find(wrong).map_or(0, |at| text[..at].matches('\n').count());
        let errors = Bench::new("wrong", &text).fails(&["--set", "log=/dev/null"]);
        let what = if what == "there are no" { "no such option" } else { what };
        assert!(errors.contains(what), "{wrong}: {errors}");
        if !wrong.is_empty() {
            assert!(errors.contains(&format!("bench.toml:{line}: ")), "{wrong} in line {line}: {errors}");
        }
    }
}

#[test]
fn a_target_that_does_not_start_is_named() {
    let bench = Bench::new("unstarted", &RELAYS.replace("exec {load}", "exec /nonexistent"));
    let errors = bench.fails(&["--set", "log=/dev/null"]);
    assert!(errors.contains("other ended at once") || errors.contains("other said"), "{errors}");
    let errors = Bench::new("unset", RELAYS).fails(&[]);
    assert!(errors.contains("nothing stands for {log}"), "{errors}");
    let errors = Bench::new("unknown", RELAYS).fails(&["--scenario", "z"]);
    assert!(errors.contains(r#"no scenario "z"; there are a, b"#), "{errors}");
}
