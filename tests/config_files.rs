//! The files under `examples/`, the reference page, and what the reader makes of any text at all.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use selat::config::{self, Mistake, Parsed, Sources};
use selat::tls::CertificateDer;

/// The only certificate there is, and its key.
static CERTIFICATE: LazyLock<(rcgen::Certificate, KeyPair)> = LazyLock::new(|| {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["chat.example.com".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2030, 1, 1);
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    (params.self_signed(&key).unwrap(), key)
});

/// The first of June 2030.
const NOW: u64 = 1_906_502_400;

/// Whatever a file refers to is there, but for what selat has yet to make.
struct Everything;

impl Sources for Everything {
    fn env(&self, name: &str) -> Option<String> {
        Some(format!("value-of-{name}-which-is-long-enough"))
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        if path.starts_with("/var/lib/selat") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (certificate, key) = &*CERTIFICATE;
        Ok(match path.extension().and_then(|extension| extension.to_str()) {
            Some("pem") => certificate.pem(),
            Some("key") => key.serialize_pem(),
            _ => format!("name:key-in-{}-long-enough\n", path.file_name().unwrap_or_default().display()),
        })
    }

    fn unix_now(&self) -> u64 {
        NOW
    }

    fn system_roots(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        Ok(vec![CERTIFICATE.0.der().clone()])
    }
}

/// Nothing is.
struct Nothing;

impl Sources for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn unix_now(&self) -> u64 {
        0
    }

    fn system_roots(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each example, by the name of its file.
fn examples() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let tomls = entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let named = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    };
    let examples: Vec<_> = tomls.map(named).collect();
    assert!(examples.len() >= 12, "examples were not found");
    examples
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

#[test]
fn every_example_is_right_and_nothing_about_it_is_odd() {
    for (name, text) in examples() {
        let Parsed { warnings, .. } = config::parse(&text, &name, &Everything)
            .unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)));
        assert_eq!(lines(&warnings), "");
    }
}

#[test]
fn every_example_says_what_it_is_for() {
    for (name, text) in examples() {
        assert!(text.starts_with("# "), "{name} does not begin with what it is for");
    }
}

#[test]
fn the_effective_configuration_of_every_example_reads_back_as_the_same() {
    for (name, text) in examples() {
        let config = config::parse(&text, &name, &Everything).unwrap().config;
        let again = config::parse(config.render(), &name, &Everything)
            .unwrap_or_else(|mistakes| panic!("{}{}", lines(&mistakes), config.render()))
            .config;
        assert_eq!(format!("{config:#?}"), format!("{again:#?}"), "{name}");
        assert!(
            !config.render().contains("value-of-") && !config.render().contains("key-in-"),
            "{}",
            config.render()
        );
    }
}

/// The page is written from the list of keys, so that one that is missing or stale makes a difference.
#[test]
fn the_reference_page_has_every_key() {
    let path = root().join("docs/reference/configuration.md");
    let page = config::reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "the page is not up to date: UPDATE_REFERENCE=1 cargo test --test config_files reference"
    );
}

/// That reading this text ends, and that whatever is told about it has a line of it.
fn check(text: &str) {
    let lines_max = u32::try_from(text.lines().count().max(1)).unwrap();
    let told = match config::parse(text, "any.toml", &Everything) {
        Ok(Parsed { config, warnings, .. }) => {
            let again = config::parse(config.render(), "again.toml", &Everything);
            assert!(again.is_ok(), "{text}\n{}\n{}", config.render(), lines(&again.unwrap_err()));
            warnings
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a word: {text}");
            mistakes
        }
    };
    for mistake in told {
        assert!((1..=lines_max).contains(&mistake.line), "{mistake} in {lines_max} lines of {text}");
        assert!(!mistake.what.is_empty() && !mistake.what.contains("value-of-"), "{mistake}");
    }
    let without = config::parse(text, "any.toml", &Nothing);
    assert!(without.is_ok() || !without.unwrap_err().is_empty());
}

/// What a slip, or malice, may put anywhere.
fn inserted() -> impl Strategy<Value = String> {
    let pieces = [
        "",
        "\n",
        "\"",
        "=",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        "#",
        "$",
        "${",
        "${X}",
        "0",
        "-1",
        "1e9",
        "true",
        "é",
        "\0",
        "''",
        "\"\"\"",
        "pool",
        "respond = 3\n",
        "[route.x]\n",
        "[[route]]\n",
        "99999999999999999999",
        "1979-05-27",
        "\r",
    ];
    prop_oneof![prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_change_to_an_example_is_read_or_told(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, inserted()), 1..5),
    ) {
        let examples = examples();
        let mut text = examples[which.index(examples.len())].1.clone();
        for (at, removed, inserted) in cuts {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + removed).min(text.len()));
            text.replace_range(start..end, &inserted);
        }
        check(&text);
    }

    #[test]
    fn a_value_of_another_type_is_read_or_told(
        which in any::<prop::sample::Index>(),
        line in any::<prop::sample::Index>(),
        value in prop::sample::select(vec!["1", "-1", "1.5", "true", "\"\"", "\"x\"", "[]", "[1]", "{}", "{ a = 1 }", "[{}]", "[[]]", "1979-05-27"]),
    ) {
        let examples = examples();
        let text = &examples[which.index(examples.len())].1;
        let keys: Vec<_> = text.lines().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with([' ', '#'])).collect();
        let (chosen, _) = keys[line.index(keys.len())];
        let changed = text.lines().enumerate().map(|(at, line)| match line.split_once(" = ") {
            Some((key, _)) if at == chosen => format!("{key} = {value}\n"),
            _ => format!("{line}\n"),
        });
        check(&changed.collect::<String>());
    }

    #[test]
    fn any_text_is_read_or_told(text: String) {
        check(&text);
    }
}
