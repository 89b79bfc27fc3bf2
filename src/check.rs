//! `selat check`: whether a configuration would run on this machine, without running it.

use std::io::{self, Write as _};
use std::path::Path;

use selat::config::{Config, Listen};
use selat::control;
use selat::load::load;
use selat::runtime::host::Host;
use selat::tls::{Certificate, date};

/// Prints the effective configuration and its certificates to standard output, and to standard error what is wrong or odd: with the file,
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
    let shown = [parsed.config.render(), &certificates(&parsed.config)].concat();
    let _ = io::stdout().write_all(shown.as_bytes());
    has_names && has_host
}

/// A line for each certificate of a listener, as comments: what is printed can be read as a configuration again.
fn certificates(config: &Config) -> String {
    let of = |listen: &Listen| -> String {
        let all = listen.tls.iter().flat_map(|tls| &tls.settings().certificates);
        all.map(|one| format!("# [listen.{}] has a certificate for {}\n", listen.name, summary(one)))
            .collect()
    };
    let lines: String = config.listeners.iter().map(of).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// For whom, and until when. Whoever made it may have put anything into a name.
fn summary(certificate: &Certificate) -> String {
    let names = certificate.names().join(", ");
    let names = if names.is_empty() { "no name" } else { &names };
    format!("{}, until {}", names.escape_debug(), date(certificate.expires_at()))
}

/// Whether every backend's name leads somewhere.
fn resolves(config: &Config) -> bool {
    let backends =
        config.pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)));
    let mut all_do = true;
    for (pool, backend) in backends {
        if let Err(error) = control::resolve(&backend.url) {
            eprintln!("[{}]: {error}", pool.table());
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
