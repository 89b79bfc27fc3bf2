//! The `selat` command.

use std::process::ExitCode;

mod check;
mod cli;
mod logging;

use cli::{Invocation, Proxy};
use selat::control::{Owner, Signals};

/// Exit code for what the user can put right: flags, addresses, limits of the host.
const EXIT_CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let invocation = match cli::parse() {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CANNOT_START);
        }
    };
    let result = match invocation {
        Invocation::Check { file } => Ok(check::check(&file)),
        Invocation::Proxy(proxy) => run(*proxy),
        Invocation::Demo { settings, logging } => demonstrate(settings, logging),
        Invocation::Ops(errand) => return perform(errand),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("selat: {error}");
            ExitCode::from(EXIT_CANNOT_START)
        }
    }
}

fn run(proxy: Proxy) -> anyhow::Result<bool> {
    let Proxy { config, origin, warnings, logging } = proxy;
    let logs = logging::start(logging)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let owner = Owner { origin, signals: Signals::Handled, lines_lost: Box::new(logs.lines_lost()) };
    Ok(selat::server::run(config, owner)?.is_clean)
}

fn demonstrate(settings: selat::demo::Settings, logging: logging::Logging) -> anyhow::Result<bool> {
    let _flushed_at_exit = logging::start(logging)?;
    Ok(selat::demo::run(settings)?)
}

/// Asks a running selat; that it does not answer, or will not, is a failure and no mistake.
fn perform(errand: selat::ops::Errand) -> ExitCode {
    match errand.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("selat: {error}");
            ExitCode::FAILURE
        }
    }
}
