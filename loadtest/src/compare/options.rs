//! A workload as keys of a scenario file: every option of a command is a key, and the command's own parser judges it.

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use toml::{Table, Value};

use super::fill::Words;
use crate::cli::Cli;

/// Options that a comparison gives by itself.
const OWN: [&str; 6] = ["json", "html", "pid", "for", "help", "version"];

/// What stands for the target while options are judged.
const SOME_TARGET: &str = "wss://127.0.0.1:1/";

/// Why an option is none: which, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) key: String,
    pub(super) what: String,
}

/// `options`, their placeholders filled, as words of a command line, which `command` has been seen to take.
///
/// # Errors
/// It does not know one, or does not take its value; or nothing stands for a placeholder.
pub(super) fn words(command: &str, options: &Table, filled: &Words) -> Result<Vec<String>, Wrong> {
    let cli = Cli::command();
    let known: Vec<&str> = cli
        .find_subcommand(command)
        .into_iter()
        .flat_map(|command| command.get_arguments().filter_map(clap::Arg::get_long))
        .filter(|name| !OWN.contains(name))
        .collect();
    let (mut words, mut filled) = (Vec::new(), filled.clone());
    for (key, value) in options {
        let wrong = |what: String| Wrong { key: key.clone(), what };
        if !known.contains(&key.as_str()) {
            return Err(wrong(format!("`{command}` has no such option; it has {}", known.join(", "))));
        }
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            match text(value) {
                Some(Written::Flag(true)) => words.push(format!("--{key}")),
                Some(Written::Flag(false)) => {}
                Some(Written::Text(text)) => {
                    let text = filled.fill(&text).map_err(|error| wrong(error.to_string()))?;
                    words.extend([format!("--{key}"), text]);
                }
                None => {
                    return Err(wrong(
                        "write a text, a number, true or false, or a list of those".to_owned(),
                    ));
                }
            }
        }
    }
    let tried = words.iter().map(String::as_str);
    match Cli::try_parse_from(["selat-load", command, SOME_TARGET].into_iter().chain(tried)) {
        Ok(_) => Ok(words),
        Err(error) => Err(explained(&error)),
    }
}

enum Written {
    Flag(bool),
    Text(String),
}

fn text(value: &Value) -> Option<Written> {
    match value {
        Value::String(text) => Some(Written::Text(text.clone())),
        Value::Integer(number) => Some(Written::Text(number.to_string())),
        Value::Float(number) => Some(Written::Text(number.to_string())),
        Value::Boolean(flag) => Some(Written::Flag(*flag)),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// What the parser found wrong, and with which option.
fn explained(error: &clap::Error) -> Wrong {
    let said = error.to_string();
    let what = said.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let key = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.split_whitespace().next().unwrap_or_default(),
        Some(_) | None => "",
    };
    Wrong { key: key.trim_start_matches("--").to_owned(), what: what.replace('\n', " ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(command: &str, options: &str) -> Result<Vec<String>, Wrong> {
        words(command, &options.parse().unwrap(), &Words::default())
    }

    #[test]
    fn every_kind_of_value_becomes_words() {
        assert_eq!(
            judged("echo", "connections = 10\nwarmup = \"1s\"\n").unwrap().join(" "),
            "--connections 10 --warmup 1s"
        );
        assert_eq!(judged("storm", "resume = true\nhandshake-only = false").unwrap(), ["--resume"]);
    }

    #[test]
    fn says_which_option_is_wrong_and_why() {
        let wrong = judged("echo", "conections = 10").unwrap_err();
        assert!(wrong.key == "conections" && wrong.what.contains("connections"), "{wrong:?}");
        let wrong = judged("echo", "connections = 0").unwrap_err();
        assert!(wrong.key == "connections" && wrong.what.contains("0 is not in 1.."), "{wrong:?}");
        let wrong = judged("echo", "for = \"1s\"").unwrap_err();
        assert_eq!(wrong.key, "for");
    }
}
