//! SIGINT and SIGTERM end a run with a report; a second one ends the program.

use std::sync::mpsc::Sender;
use std::thread;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};

use super::Note;

/// What a shell makes of an end by SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Tells of the first signal. To be called before any other thread exists, so that no other gets one.
///
/// # Errors
/// The kernel cannot.
pub(super) fn tell(notes: Sender<Note>) -> anyhow::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().context("cannot hold signals back")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.wait().is_ok() {
                // Whoever listens may have ended by now, and then so does the program.
                let _ = notes.send(Note::Interrupted);
                let _ = signals.wait();
                std::process::exit(EXIT_INTERRUPTED);
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}
