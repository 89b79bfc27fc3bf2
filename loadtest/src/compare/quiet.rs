//! Waiting until nobody else is at work: builds and tests beside a measurement spoil it.

use std::time::Duration;

use super::attention::Attention;
use crate::watch::Watch;

/// How long to look.
const SAMPLE: Duration = Duration::from_millis(500);

/// Cores' worth of CPU time; an idle machine with idle targets on it stays below.
const BUSY_MAX: f64 = 0.1;

/// Time to wait, shared by all the waits of a run.
pub(super) struct Patience(Duration);

impl Patience {
    /// This much.
    pub(super) fn new(time: Duration) -> Self {
        Self(time)
    }

    /// Waits until the machine is idle, or until there is no more patience.
    ///
    /// # Errors
    /// We are to end, or `/proc` cannot be read.
    pub(super) fn wait(&mut self, attention: &Attention) -> anyhow::Result<()> {
        let mut watch = Watch::new(&[])?;
        while !self.0.is_zero() {
            let before = watch.read()?;
            attention.wait(SAMPLE)?;
            let after = watch.read()?;
            let busy = watch.between(&before, &after).machine.as_secs_f64() / SAMPLE.as_secs_f64();
            if busy <= BUSY_MAX {
                return Ok(());
            }
            self.0 = self.0.saturating_sub(SAMPLE);
        }
        Ok(())
    }
}
