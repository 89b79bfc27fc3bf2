//! Configurations from this machine: the file, what it refers to in the environment and in other files, and whom the
//! machine believes.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::{self, Mistake, Parsed, Sources};
use crate::runtime::unix_now;
use crate::tls::CertificateDer;

/// Bytes of a configuration, or of a file that it refers to; beyond, it is refused. Someone named the wrong file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// This machine's environment, files, clock and authorities.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

/// Why there is no configuration. Shows itself as a line for each reason.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something wrong: everything that is.
    Wrong(Vec<Mistake>),
}

/// Reads a configuration from this file.
///
/// # Errors
/// [`LoadError`].
pub fn load(file: &Path) -> Result<Parsed, LoadError> {
    let text =
        Machine.file(file).map_err(|source| LoadError::Unreadable { file: file.to_owned(), source })?;
    config::parse(&text, &file.display().to_string(), &Machine).map_err(LoadError::Wrong)
}

impl Sources for Machine {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX) {
            Ok(text)
        } else {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 64 MiB"))
        }
    }

    fn unix_now(&self) -> u64 {
        unix_now()
    }

    fn system_roots(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let found = rustls_native_certs::load_native_certs();
        match found.errors.into_iter().next() {
            // A few that cannot be read are no reason to believe none.
            _ if !found.certs.is_empty() => Ok(found.certs),
            Some(error) => Err(io::Error::other(error)),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "there are none")),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => write!(f, "{}: cannot be read: {source}", file.display()),
            Self::Wrong(mistakes) => {
                let lines: Vec<_> = mistakes.iter().map(Mistake::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Wrong(_) => None,
        }
    }
}
