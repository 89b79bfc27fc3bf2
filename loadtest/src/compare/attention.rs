//! Waiting, and hearing of it when somebody wants us to end: what was started must not outlive us.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock;

/// Between two looks at whether we are to end.
const LOOK: Duration = Duration::from_millis(50);

/// What hears of SIGINT and SIGTERM, which do nothing else from its making on. Handlers, and not a mask: a mask would be
/// every child's too.
pub(super) struct Attention(Arc<AtomicBool>);

impl Attention {
    /// Begins to listen.
    ///
    /// # Errors
    /// The kernel does not want it.
    pub(super) fn new() -> anyhow::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, is_over.clone()).context("cannot listen to signals")?;
        }
        Ok(Self(is_over))
    }

    /// Waits for this long.
    ///
    /// # Errors
    /// We are to end.
    pub(super) fn wait(&self, time: Duration) -> anyhow::Result<()> {
        let until = clock::now() + time;
        loop {
            if self.0.load(Ordering::Relaxed) {
                bail!("interrupted; nothing is reported of what was measured so far");
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::park_timeout(left.min(LOOK));
        }
    }
}
