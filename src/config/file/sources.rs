//! What comes from outside the file: `${NAME}` from the environment, `file:/path` for secrets, files of keys and
//! certificates, the time that certificates are held against.
//!
//! Whoever calls the parser brings the outside along, so that this stays pure.

use std::io;
use std::path::Path;

use crate::tls::CertificateDer;

/// What a configuration may refer to.
pub trait Sources {
    /// An environment variable; `None` if it is not set, or not text.
    fn env(&self, name: &str) -> Option<String>;

    /// A file's text.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// Seconds since 1970: certificates have a beginning and an end.
    fn unix_now(&self) -> u64;

    /// The authorities that this machine believes. Asked for once a file at most, and only if it has to be.
    ///
    /// # Errors
    /// There are none, or whatever keeps them from being read.
    fn system_roots(&self) -> io::Result<Vec<CertificateDer<'static>>>;
}

/// Text with its references replaced.
pub(super) struct Expanded {
    pub(super) text: String,
    /// Whether any of it came from the environment.
    pub(super) is_foreign: bool,
}

/// Replaces each `${NAME}` by what `quote` makes of its value; `$${` stands for `${`.
///
/// # Errors
/// What is wrong, for the reader of the file; without any value.
pub(super) fn expand(
    raw: &str,
    sources: &dyn Sources,
    quote: impl Fn(String) -> String,
) -> Result<Expanded, String> {
    let mut expanded = Expanded { text: String::with_capacity(raw.len()), is_foreign: false };
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.text.push_str(before);
            expanded.text.push_str("${");
            rest = after;
            continue;
        }
        let (name, behind) = after.split_once('}').filter(|(name, _)| is_name(name)).ok_or(
            "has ${ without a NAME} behind it; write ${NAME} for an environment variable, $${ for ${",
        )?;
        let value = sources.env(name).ok_or_else(|| {
            format!(
                "refers to the environment variable {name}, which is not set; set it, or write $${{ for ${{"
            )
        })?;
        expanded.text.push_str(before);
        expanded.text.push_str(&quote(value));
        expanded.is_foreign = true;
        rest = behind;
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

/// Text in which nothing is replaced: as it stands, once the configuration has been read.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Env;

    impl Sources for Env {
        fn env(&self, name: &str) -> Option<String> {
            (name == "HOST").then(|| "10.0.0.1".to_owned())
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

    #[test]
    fn references_are_replaced_and_escapes_undone() {
        let rows = [
            ("", ""),
            ("plain $ and $$ and {}", "plain $ and $$ and {}"),
            ("ws://${HOST}:9001", "ws://10.0.0.1:9001"),
            ("${HOST}${HOST}", "10.0.0.110.0.0.1"),
            ("$${HOST} is not ${HOST}", "${HOST} is not 10.0.0.1"),
        ];
        for (raw, text) in rows {
            assert_eq!(
                expand(raw, &Env, |value| value).map(|expanded| expanded.text),
                Ok(text.to_owned()),
                "{raw}"
            );
        }
    }

    #[test]
    fn what_was_escaped_comes_back() {
        for text in ["${", "$${X}", "$", "a${HOST}b${", "$$$${"] {
            let back = expand(&escape(text), &Env, |value| value).map(|expanded| expanded.text);
            assert_eq!(back, Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_told() {
        let rows = [
            ("${NOBODY}", "environment variable NOBODY, which is not set"),
            ("${", "write ${NAME}"),
            ("${}", "write ${NAME}"),
            ("${a-b}", "write ${NAME}"),
            ("${HOST", "write ${NAME}"),
        ];
        for (raw, part) in rows {
            let error = expand(raw, &Env, |value| value).err().unwrap();
            assert!(error.contains(part), "{raw}: {error}");
        }
    }
}
