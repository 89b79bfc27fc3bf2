//! `selat check`: whether a configuration would run on this machine, without running it.

use std::io::{self, Write as _};
use std::path::Path;

use selat::config::Config;
use selat::control;
use selat::load::load;
use selat::runtime::host::Host;

/// Prints the effective configuration to standard output, and to standard error what is wrong or odd: with the file,
/// with the names in it, with the limits of the host. `false` if anything is wrong.
pub(crate) fn check(file: &Path) -> bool {
    let parsed = match load(file) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("{error}");
            return false;
        }
    };
    parsed.warnings.iter().for_each(|warning| eprintln!("{warning} (a warning)"));
    let (has_names, has_host) = (resolves(&parsed.config), suits(&parsed.config));
    // Whoever closed the pipe has seen enough.
    let _ = io::stdout().write_all(parsed.config.render().as_bytes());
    has_names && has_host
}

/// Whether every backend's name leads somewhere.
fn resolves(config: &Config) -> bool {
    let backends =
        config.pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)));
    let mut all_do = true;
    for (pool, backend) in backends {
        if let Err(error) = control::resolve(&backend.url) {
            eprintln!("[pool.{}]: {error}", pool.name);
            all_do = false;
        }
    }
    all_do
}

/// Whether the host allows what is asked for.
fn suits(config: &Config) -> bool {
    match Host::check(config) {
        Ok(host) => {
            host.warnings.iter().for_each(|warning| eprintln!("{warning} (a warning)"));
            true
        }
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}
