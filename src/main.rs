//! The `selat` command.

use std::process::ExitCode;

mod cli;
mod logging;

use cli::Invocation;

/// Exit code for what the user can put right: flags, addresses, limits of the host.
const EXIT_CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let invocation = cli::parse();
    let _flushed_at_exit = invocation.logging().map(logging::start);
    let result = match invocation {
        Invocation::Proxy { config, .. } => selat::server::run(config).map(|outcome| outcome.is_clean),
        Invocation::Demo { settings, .. } => selat::demo::run(settings),
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
