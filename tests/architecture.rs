//! The house rules that no lint can hold: who may import whom, what a pure room may touch, how long a file may be.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own sources has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines that no file may pass.
const LINES_MAX: usize = 600;

/// Each room and the rooms it may import. A room is a folder or file right under `src`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("balance", &[]),
    (
        "config",
        &["balance", "dispatch", "feed", "guard", "health", "json", "protocol", "routing", "session", "tls"],
    ),
    ("dispatch", &["balance", "json", "protocol", "session", "telemetry"]),
    ("feed", &["json", "protocol", "session", "telemetry"]),
    ("guard", &["protocol"]),
    ("health", &[]),
    ("json", &[]),
    ("protocol", &[]),
    ("routing", &[]),
    ("session", &["protocol", "telemetry"]),
    ("telemetry", &[]),
    ("tls", &[]),
    ("wires", &["balance", "config", "feed", "guard", "health", "routing", "session", "telemetry", "tls"]),
    ("runtime", &["config", "tls", "wires"]),
    (
        "shard",
        &[
            "balance",
            "config",
            "dispatch",
            "feed",
            "guard",
            "health",
            "protocol",
            "routing",
            "runtime",
            "session",
            "telemetry",
            "tls",
            "wires",
        ],
    ),
    (
        "control",
        &[
            "balance",
            "config",
            "guard",
            "health",
            "protocol",
            "runtime",
            "session",
            "telemetry",
            "tls",
            "wires",
        ],
    ),
    ("server", &["balance", "config", "control", "routing", "runtime", "shard", "wires"]),
    ("demo", &["config", "control", "routing", "server", "tls", "wires"]),
    ("load", &["config", "runtime", "tls"]),
    ("ops", &["config", "control", "telemetry"]),
    ("lib", &[]),
    ("main", &[]),
];

/// Rooms that touch nothing.
const PURE: &[&str] = &[
    "balance",
    "config",
    "dispatch",
    "feed",
    "guard",
    "health",
    "json",
    "protocol",
    "routing",
    "session",
    "telemetry",
    "tls",
    "wires",
];

/// What a pure room may not name: clocks, files, sockets, threads, randomness, async.
const IMPURE: [&str; 14] = [
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "fastrand",
    "async fn",
    ".await",
    "println!",
];

/// Crates that only one room (or the two that share its trade) knows.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("glommio::", &["runtime"]),
    ("rustix::", &["runtime"]),
    ("socket2::", &["runtime"]),
    ("io_uring::", &["runtime"]),
    ("listenfd::", &["runtime"]),
    ("sd_notify::", &["runtime"]),
    ("slab::", &["runtime", "shard"]),
    ("tokio::", &["control", "ops", "demo"]),
    ("tokio_tungstenite::", &["control", "demo"]),
    ("axum::", &["control"]),
    ("hyper::", &["control", "ops"]),
    ("prometheus_client::", &["telemetry"]),
    ("ratatui::", &["ops"]),
    ("rustls::", &["tls", "runtime", "control", "demo"]),
    ("x509_parser::", &["tls"]),
    ("instant_acme::", &["control"]),
    ("httparse::", &["protocol"]),
    ("miniz_oxide::", &["feed"]),
    ("sha1::", &["protocol"]),
    ("jsonwebtoken::", &["guard"]),
    ("clap::", &["cli", "logging"]),
    ("toml::", &["config"]),
    ("toml_writer::", &["config", "cli"]),
];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

/// All of `src`, each file with its room.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 30, "src was not found");
    let source = |path: PathBuf| {
        let inside = path.strip_prefix(&root).unwrap();
        let room = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let text = fs::read_to_string(&path).unwrap();
        Source { path, room, text }
    };
    files.into_iter().map(source).collect()
}

/// The code of a file, without its tests and its comments. A file of tests (`mod tests;`) has none.
fn code(source: &Source) -> String {
    if source.path.ends_with("tests.rs") {
        return String::new();
    }
    let before_tests = source.text.split("#[cfg(test)]").next().unwrap();
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms that `code` names as `crate::room`.
fn imports(code: &str) -> Vec<&str> {
    let after = code.split("crate::").skip(1);
    after.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()).collect()
}

#[test]
fn rooms_import_only_what_they_may() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == source.room) else { continue };
        for import in imports(&code(&source)) {
            let is_room = MAY_IMPORT.iter().any(|(room, _)| *room == import);
            if is_room && import != source.room && !allowed.contains(&import) {
                faults.push(format!("{} imports {import}", source.path.display()));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn pure_rooms_touch_nothing() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.room.as_str())) {
        let code = code(source);
        for word in IMPURE.iter().filter(|word| code.contains(*word)) {
            faults.push(format!("{} has {word}", source.path.display()));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn each_foreign_trade_has_one_home() {
    let mut faults = Vec::new();
    for source in sources() {
        let code = code(&source);
        for (name, rooms) in ONLY_IN {
            if code.contains(name) && !rooms.contains(&source.room.as_str()) {
                faults.push(format!("{} uses {name}", source.path.display()));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn every_file_says_what_it_owns_and_is_short() {
    let mut faults = Vec::new();
    for Source { path, text, .. } in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{} does not begin with //!", path.display()));
        }
        if text.lines().count() > LINES_MAX {
            faults.push(format!("{} has over {LINES_MAX} lines", path.display()));
        }
        if ["TODO", "FIXME", "todo!("].iter().any(|mark| text.contains(mark)) {
            faults.push(format!("{} is unfinished", path.display()));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}
