//! The `selat` command.

use std::process::ExitCode;

mod check;
mod cli;
mod logging;

use cli::Invocation;

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
        Invocation::Ops(errand) => return perform(errand),
        Invocation::Check { file } => Ok(check::check(&file)),
        Invocation::Proxy { config, warnings, logging } => {
            let _flushed_at_exit = logging::start(logging);
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            selat::server::run(*config).map(|outcome| outcome.is_clean)
        }
        Invocation::Demo { settings, logging } => {
            let _flushed_at_exit = logging::start(logging);
            selat::demo::run(settings)
        }
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
