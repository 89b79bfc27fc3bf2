//! Placeholders: `{port}`, `{backend}` and whatever a scenario file or the command line sets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, bail};

/// Below the ports that the kernel gives to outgoing connections, which are many here.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Ports to try before giving up.
const TRIES_MAX: usize = 200;

/// What stands for each placeholder.
#[derive(Debug, Clone, Default)]
pub(super) struct Words(BTreeMap<String, String>);

impl Words {
    /// Says what stands for one.
    pub(super) fn set(&mut self, name: impl Into<String>, text: impl ToString) {
        self.0.insert(name.into(), text.to_string());
    }

    /// `text` with every placeholder filled. A port that is named for the first time, `{port}` or `{port.admin}`, is
    /// taken from those that are free. Other braces are left alone.
    ///
    /// # Errors
    /// Nothing stands for one of them.
    pub(super) fn fill(&mut self, text: &str) -> anyhow::Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            match name(from) {
                Some(name) => {
                    filled.push_str(self.word(name)?);
                    rest = from.get(name.len() + 2..).unwrap_or_default();
                }
                None => {
                    filled.push('{');
                    rest = from.get(1..).unwrap_or_default();
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// All of a command's words, filled.
    ///
    /// # Errors
    /// Those of [`Self::fill`].
    pub(super) fn fill_all(&mut self, texts: &[String]) -> anyhow::Result<Vec<String>> {
        texts.iter().map(|text| self.fill(text)).collect()
    }

    fn word(&mut self, name: &str) -> anyhow::Result<&str> {
        if !self.0.contains_key(name) {
            if name != "port" && !name.starts_with("port.") {
                let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                bail!(
                    "nothing stands for {{{name}}}; say it under [set] or with --set {name}=…. Known: {known}"
                );
            }
            self.set(name, free_port()?);
        }
        self.0.get(name).map(String::as_str).context("it was just set")
    }
}

/// The name of the placeholder that `text` begins with.
fn name(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_name =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "._-".contains(letter);
    (name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name.chars().all(is_name))
        .then_some(name)
}

/// A port that nobody listens on, nor is still ending connections on.
fn free_port() -> anyhow::Result<u16> {
    let tries = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(TRIES_MAX);
    let mut free =
        tries.filter(|port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).is_ok());
    free.next().with_context(|| {
        format!("no free port among {TRIES_MAX} from {} to {}; what listens there?", PORTS.start, PORTS.end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_names_and_leaves_other_braces() {
        let mut words = Words::default();
        words.set("backend", "127.0.0.1:9");
        let filled = words.fill("http {\n upstream {backend}; map {} {A} }").unwrap();
        assert_eq!(filled, "http {\n upstream 127.0.0.1:9; map {} {A} }");
        assert_eq!(words.fill("{port.admin} {port.admin}").unwrap().split(' ').count(), 2);
        let ports = words.fill("{port} {port} {port.admin}").unwrap();
        let ports: Vec<&str> = ports.split(' ').collect();
        assert!(ports[0] == ports[1] && ports[0] != ports[2], "{ports:?}");
    }

    #[test]
    fn says_what_nothing_stands_for() {
        let mut words = Words::default();
        words.set("backend", "");
        let error = words.fill("{backnd}").unwrap_err().to_string();
        assert!(error.contains("{backnd}") && error.contains("Known: backend"), "{error}");
    }
}
