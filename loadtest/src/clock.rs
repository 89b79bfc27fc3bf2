//! The one home of the clock.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};

/// The time.
#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The date, by which people find a run again; nothing is measured with it.
pub(crate) fn date() -> SystemTime {
    SystemTime::now()
}

/// The machine's monotonic clock, which all of its processes read alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Monotonic {
    read_at: Instant,
    time: Duration,
}

impl Monotonic {
    /// Reads it, to know by how much it differs from an [`Instant`].
    ///
    /// # Errors
    /// There is no such clock.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the monotonic clock")?;
        Ok(Self { read_at: now(), time: time.into() })
    }

    /// Nanoseconds that it shows at this time. As far as two readings in a row are apart, it is wrong.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        let time = self.time + at.saturating_duration_since(self.read_at);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_the_machine_shows() {
        let clock = Monotonic::read().unwrap();
        let before = clock.nanos(now());
        let machine = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
        let after = clock.nanos(now());
        let machine = u64::try_from(machine.as_nanos()).unwrap();
        // `read_at` is a little later than `time`, so that this clock is slow by as much.
        assert!(before <= machine, "{before} {machine} {after}");
        assert!(machine - before < 1_000_000_000 && before <= after, "{before} {machine} {after}");
    }
}
